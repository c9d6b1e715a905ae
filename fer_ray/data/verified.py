"""Verified labels: what a person says of some images tells how labels are wrong."""

from dataclasses import replace

import numpy as np
import torch

from fer_ray.core.noise_model import NoiseModel, from_stratified_labels
from fer_ray.data.faces import CANNOT_TELL, UNLABELED, DataError, FaceData, Verified

MIN_RANDOM = 30
"""Random verified images that an estimate of the noise needs."""


def with_verified(
    data: FaceData, train: Verified, val: Verified, *, use_verified: bool, has_own_val: bool
) -> FaceData:
    """The data set with what is verified, and notes of what follows.

    Args:
        data: Data set with its labels as given.
        train: What a person says of its training images.
        val: What a person says of its validation images; their labels stay as given.
        use_verified: Whether training images get their verified label.
        has_own_val: Whether the data set came with validation images. These are not drawn from the
            training images and tell nothing of their noise.

    Raises:
        DataError: If a class has no training image left.
    """
    if has_own_val:
        val = replace(val, is_random=np.zeros(len(val.label), dtype=bool))
    label = np.where(train.is_told, train.label, train.given) if use_verified else train.given
    left = np.bincount(label[label != UNLABELED], minlength=data.num_classes)
    if not left.all():
        raise DataError.at(
            "data.verified",
            expected="a training image of every class",
            got=f"none of {', '.join(_names(data, left == 0))}, whose images are verified to be of "
            "other classes",
            remedy="Verify an image of the class, or set data.use_verified=false.",
        )
    verified = replace(
        data, train=replace(data.train, label=label), verified=train, verified_val=val
    )
    return replace(verified, notes=(*data.notes, *_notes(verified, use_verified=use_verified)))


def noise_of(data: FaceData) -> NoiseModel | None:
    """The noise of a data set's labels by its random verified images.

    Those in validation count too, if they were set aside from the training images. Both samples
    that are drawn plainly at random and samples with as many of every given label are right.

    Returns:
        The model; `None` if fewer than `MIN_RANDOM` random images have a given and a verified
        label.
    """
    truth, given = _random_pairs(data)
    if (truth >= 0).sum() < MIN_RANDOM:
        return None
    assert data.verified is not None
    all_given = data.verified.given[data.verified.given != UNLABELED]
    share = np.bincount(all_given, minlength=data.num_classes) / len(all_given)
    return from_stratified_labels(
        torch.from_numpy(truth), torch.from_numpy(given), torch.from_numpy(share).float()
    )


def _random_pairs(data: FaceData) -> tuple[np.ndarray, np.ndarray]:
    """Verified and given label of the random verified images that have a given one."""
    parts = [part for part in (data.verified, data.verified_val) if part is not None]
    none = np.empty(0, dtype=np.int64)
    truth = [part.label[part.counts_for_noise] for part in parts]
    given = [part.given[part.counts_for_noise] for part in parts]
    return np.concatenate([none, *truth]), np.concatenate([none, *given])


def _notes(data: FaceData, *, use_verified: bool) -> list[str]:
    """How much is verified, and what follows where it is too little."""
    train, val = data.verified, data.verified_val
    assert train is not None
    assert val is not None
    truth, _ = _random_pairs(data)
    num = int((truth >= 0).sum())
    num_blank = int((train.label == CANNOT_TELL).sum() + (val.label == CANNOT_TELL).sum())
    changed = train.is_told & (train.label != train.given)
    notes = [
        f"verified: {int(train.is_seen.sum())} of {len(data.train):,} training and "
        f"{int(val.is_seen.sum())} of {len(data.val):,} validation images, {num} of them random "
        f"and with a class; {num_blank} cannot be told and keep their given label",
        f"{int(changed.sum())} verified labels differ from the given one and "
        + ("are trained on" if use_verified else "are not trained on (data.use_verified is false)"),
    ]
    if num < MIN_RANDOM:
        notes.append(
            f"{num} random verified images are too few to estimate the noise of the labels, which "
            f"takes {MIN_RANDOM}; picked ones do not tell how frequent errors are"
        )
        return notes
    model = noise_of(data)
    assert model is not None
    notes.append(
        f"a row of the noise matrix they tell is off by about {model.row_error:.2f} (sum of "
        "absolute differences)"
    )
    never = np.bincount(truth[truth >= 0], minlength=data.num_classes) == 0
    if never.any():
        notes.append(
            f"no random verified image is of {', '.join(_names(data, never))}: how often its label "
            "is wrong is guessed from the other classes; verify more images that carry that label"
        )
    return notes


def _names(data: FaceData, which: np.ndarray) -> list[str]:
    return [name for name, is_meant in zip(data.class_names, which, strict=True) if is_meant]
