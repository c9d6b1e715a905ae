"""Lists `synthetic[:key=value,...]`: the faces are drawn when they are listed."""

from pathlib import Path

import numpy as np

from fer_ray.data.faces import NOT_VERIFIED
from fer_ray.data.records import TEST, TRAIN, Records, Source
from fer_ray.data.synthetic.faces import CLASS_NAMES, VERSION, make_arrays, parse_spec

__all__ = ["KEYS", "VERSION", "list_synthetic"]

KEYS: tuple[str, ...] = ("spec",)


def list_synthetic(source: Source) -> Records:
    """Draw the faces. None is a copy of another one, so copies are not looked for.

    Raises:
        DataError: If the options are not known keys with usable values.
    """
    spec = parse_spec(source.options["spec"])
    arrays = make_arrays(spec)
    parts = ("train", "test")
    sizes = [len(arrays[f"{part}_label"]) for part in parts]
    columns = {
        key: np.concatenate([arrays[f"{part}_{key}"] for part in parts])
        for key in ("images", "label", "true_label", "is_verified")
    }
    num = sum(sizes)
    row = np.concatenate([np.arange(size) for size in sizes])
    subset = np.repeat([TRAIN, TEST], sizes)
    wrong = float(np.mean(arrays["train_label"] != arrays["train_true_label"]))
    is_verified, truth = columns["is_verified"], columns["true_label"]
    told = np.stack([np.where(is_verified, truth, NOT_VERIFIED), is_verified], axis=1)
    return Records(
        name="synthetic",
        root=Path(),
        path=tuple(f"{parts[int(code == TEST)]}:{i}" for code, i in zip(subset, row, strict=True)),
        listed=("",) * num,
        label=columns["label"].astype(np.int64),
        true_label=columns["true_label"].astype(np.int64),
        subset=subset.astype(np.int64),
        class_names=CLASS_NAMES,
        pixels=columns["images"][:, 0],
        row=row.astype(np.int64),
        group=np.full(num, -1, dtype=np.int64),
        near_train=np.full(num, -1, dtype=np.float32),
        num_channels=1,
        verified=told.astype(np.int64) if spec.verified else None,
        notes=(
            f"drawn faces; {wrong:.1%} of the training and validation labels are wrong "
            f"(noise={spec.noise}), the test labels are all right",
        ),
    )
