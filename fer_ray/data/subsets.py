"""A pack as it is trained on: copies left out, validation set aside."""

import numpy as np

from fer_ray.data.faces import DataError, FaceData, Faces, Verified
from fer_ray.data.folds import carved
from fer_ray.data.images import take_images
from fer_ray.data.packs.pack import NEAR_COPY, Pack
from fer_ray.data.records import TEST, TRAIN, VAL
from fer_ray.data.verified import with_verified


def pack_faces(
    pack: Pack,
    *,
    val_fraction: float,
    seed: int,
    deduplicate: bool,
    verified: Verified | None = None,
    use_verified: bool = True,
) -> FaceData:
    """The data set as it is trained on.

    Without validation images, `val_fraction` of the training images are carved off. The images stay
    on disk and are shared by all processes that map them.

    Args:
        pack: The prepared data set.
        val_fraction: Share in (0, 1).
        seed: Which training images validate.
        deduplicate: Whether test and validation images that are copies of training images are
            dropped, and all but the first of equal test images; counted in the notes.
        verified: What a person says of the pack's images.
        use_verified: Whether training images get their verified label in place of the given one.

    Raises:
        DataError: If a subset is empty or a class has no training image.
    """
    subset = np.array(pack.subset)
    notes = list(pack.notes)
    dropped = _dropped(pack, notes) if deduplicate else np.zeros(len(subset), dtype=bool)
    train, val, test = (np.flatnonzero((subset == code) & ~dropped) for code in (TRAIN, VAL, TEST))
    has_own_val = val.size > 0
    if not has_own_val:
        is_val, more = carved(pack, train, val_fraction, seed)
        train, val = train[~is_val], train[is_val]
        notes += more
    _check_left(pack, train, val, test, notes)
    data = FaceData(
        name=pack.name,
        class_names=pack.class_names,
        train=_faces(pack, train),
        val=_faces(pack, val),
        test=_faces(pack, test),
        notes=tuple(notes),
    )
    if verified is None:
        return data
    return with_verified(
        data,
        verified.take(train),
        verified.take(val),
        use_verified=use_verified,
        has_own_val=has_own_val,
    )


def _check_left(
    pack: Pack, train: np.ndarray, val: np.ndarray, test: np.ndarray, notes: list[str]
) -> None:
    """Refuse a data set of which copies leave nothing to validate or to test on.

    Raises:
        DataError: With the notes on copies.
    """
    for code, word, rows in (
        (TRAIN, "training", train),
        (VAL, "validation", val),
        (TEST, "test", test),
    ):
        if not rows.size and (code == VAL or (pack.subset == code).any()):
            raise DataError.at(
                f"{pack.name}: {word} images",
                expected="at least one that is no copy of another image",
                got="; ".join(["none", *notes]),
                remedy="See what python -m fer_ray.data inspect SPEC shows.",
            )


def _dropped(pack: Pack, notes: list[str]) -> np.ndarray:
    """Who is left out as a copy; says how many."""
    subset, leak = np.array(pack.subset), np.array(pack.is_leak)
    repeated = np.zeros(len(subset), dtype=bool)
    rest = np.flatnonzero((subset == TEST) & ~leak & (pack.group >= 0))
    _, first = np.unique(pack.group[rest], return_index=True)
    repeated[np.delete(rest, first)] = True
    for code, word in ((VAL, "validation"), (TEST, "test")):
        num = int((leak & (subset == code)).sum())
        if num:
            notes.append(
                f"{num} of {int((subset == code).sum())} {word} images are copies of training "
                f"images (equal, or pixel correlation above {NEAR_COPY}) and were left out"
            )
    if repeated.any():
        notes.append(f"{int(repeated.sum())} test images repeat another one and were left out")
    dropped: np.ndarray = leak | repeated
    return dropped


def _faces(pack: Pack, rows: np.ndarray) -> Faces:
    return Faces(
        images=take_images(pack.images, rows),
        label=np.array(pack.label[rows]),
        true_label=np.array(pack.true_label[rows]),
        row=np.array(pack.row[rows]),
    )
