"""The data sets of `real_noise.py`: noisy faces with a strict test set, and drawn ones.

From the two files of FER2013 joined with FER+ are made, as `arrays:` files:

  small   trains on the 4,000 training images of `fer2013plus-small.npz`; tests on the images of
          `fer2013plus.npz` that are no copies of others and not among the 4,000
  carved  is small without validation images: they are then taken from the training images
  full    trains on all 28,709 training images; tests on the images of PublicTest that are no copies
          of training images

Labels of the test images are the majority of FER+. Training images that resemble a test image are
known by `near_train`. Validation images are those of PublicTest that cannot be tested; no epoch is
chosen by them.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int

from benchmarks.verified import Sample
from fer_ray.data import FaceData, open_data

NUM_CLASSES = 7
SIZES = {"small": (4000, 21917), "carved": (4000, 21917), "full": (28709, 2853)}
"""Training and test images of the sets of real faces."""
NUM_VAL = 200
_NEAR = 0.95
_NUM_SMALL = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseSet:
    """A data set and its budget.

    Attributes:
        name: Name in the results; empty if there is only one.
        spec: The data set as `open_data` reads it.
        epochs: Epochs of each of the two cross-entropy networks that set the budget.
        batch_size: Images per step.
        num_verified: Training images whose true label is verified.
        sample: How they are drawn: `random`, or `even` over the given labels.
        pilot_epochs: Epochs of the run that counts what an epoch costs.
    """

    name: str
    spec: str
    epochs: int
    batch_size: int = 64
    num_verified: int = 200
    sample: Sample = "random"
    pilot_epochs: int = 8

    def open(self) -> FaceData:
        """Open the data set; test images are checked already."""
        return open_data(self.spec, deduplicate=False)


def make_sets(name: str, images: Path, work: Path, *, is_quick: bool = False) -> list[NoiseSet]:
    """Return the data sets of a benchmark; files that are missing in `work` are written.

    Args:
        name: `small`, `carved`, `full` or `synthetic`.
        images: Folder of `fer2013plus.npz` and `fer2013plus-small.npz`.
        work: Folder of the benchmark's files.
        is_quick: Whether to use a few small drawn faces instead.

    Raises:
        ValueError: If the files do not have the images that are expected.
    """
    if is_quick:
        spec = "synthetic:train=300,test=70,size=16"
        return [NoiseSet(name="", spec=spec, epochs=2, batch_size=32, pilot_epochs=2)]
    if name == "synthetic":
        return [
            NoiseSet(
                name=f"noise {rate}, imbalance {imbalance}",
                spec=f"synthetic:noise={noise},imbalance={imbalance}",
                epochs=24,
                pilot_epochs=6,
            )
            for imbalance in (10, 1)
            for rate, noise in (("0", "none"), ("0.2", "0.2"), ("0.28", "fer2013"), ("0.4", "0.4"))
        ]
    path = (work / f"{name}.npz").absolute()
    if not path.exists():
        write_faces(name, images, path)
    if name in ("small", "carved"):
        return [NoiseSet(name="", spec=f"arrays:{path}", epochs=60)]
    full = NoiseSet(
        name="",
        spec=f"arrays:{path}",
        epochs=20,
        batch_size=128,
        num_verified=203,
        sample="even",
        pilot_epochs=4,
    )
    return [full]


def write_faces(name: str, images: Path, path: Path) -> None:
    """Write the set `small`, `carved` or `full` as an `arrays:` file, training images first.

    Raises:
        ValueError: If the numbers of images are not those of `SIZES`.
    """
    with np.load(images / "fer2013plus.npz") as file:
        large = {key: file[key] for key in file.files}
    small = None
    if name != "full":
        with np.load(images / "fer2013plus-small.npz") as file:
            small = file["row"][:_NUM_SMALL]
    train, test = chosen_rows(large, small)
    if (train.sum(), test.sum()) != SIZES[name]:
        raise ValueError(
            f"{images}: expected {SIZES[name]} images for training and test, got "
            f"({train.sum()}, {test.sum()}); the files are others than those of FER2013 with FER+"
        )
    num_val = 0 if name == "carved" else NUM_VAL
    val = np.flatnonzero((large["usage"] == 1) & ~test)[:num_val]
    parts = (np.flatnonzero(train), val, np.flatnonzero(test))
    rows = np.concatenate(parts)
    truth = large["majority_ferplus"].astype(np.int64)
    truth[(truth < 0) | (truth >= NUM_CLASSES)] = -1
    split = np.repeat([0, 1, 2], [len(part) for part in parts])
    part = path.with_suffix(f".part{os.getpid()}.npz")
    np.savez(
        part,
        images=large["images"][rows],
        labels=np.where(split == 2, truth[rows], large["label_fer2013"][rows]),
        true_labels=truth[rows],
        split=split,
        class_names=large["class_names"],
    )
    part.replace(path)


def chosen_rows(
    large: dict[str, np.ndarray], small: Int[np.ndarray, " row"] | None
) -> tuple[Bool[np.ndarray, " image"], Bool[np.ndarray, " image"]]:
    """Return masks of the training and of the test images of the large file.

    Args:
        large: The arrays of the large file.
        small: `row` of the training images of the small file; `None` for all training images.
    """
    majority, is_training = large["majority_ferplus"], large["usage"] == 0
    is_fair = (majority >= 0) & (majority < NUM_CLASSES) & (large["near_train"] <= _NEAR)
    if small is None:
        return is_training, ~is_training & is_fair
    train = np.isin(large["row"], small)
    return train, is_fair & (large["dup_group"] < 0) & ~train
