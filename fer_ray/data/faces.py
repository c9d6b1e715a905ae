"""What every reader returns: three subsets of faces as arrays in index order."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from fer_ray.data.images import ImageRows, take_images

UNLABELED = -1
"""`label` of a training image that came without one."""
UNKNOWN_TRUTH = -1
"""`true_label` of an image whose true class is not known."""
NOT_VERIFIED = -1
"""`Verified.label` of an image that nobody has looked at again."""
CANNOT_TELL = -2
"""`Verified.label` of an image whose class a person could not tell."""


class DataError(ValueError):
    """Data cannot be used as they are; the message names place, expected, got and remedy."""

    @classmethod
    def at(cls, place: str, *, expected: str, got: str, remedy: str) -> "DataError":
        """The error in the one paragraph a user reads."""
        return cls(f"{place}: expected {expected}, got {got}. {remedy}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Faces:
    """One subset; row i of every array is image i.

    Attributes:
        images: uint8 [sample, channel, height, width], 0 to 255, grey (one channel) or RGB (three);
            may be a read-only memory map, or rows of one.
        label: int64 [sample]; class as given, it may be wrong; `UNLABELED` where none was given, as
            may be among training images.
        true_label: int64 [sample]; true class, `UNKNOWN_TRUTH` if it is not known; for
            evaluation only.
        row: int64 [sample]; row of the image in its source.

    Raises:
        DataError: If a dtype or shape is wrong or the lengths differ.
    """

    images: np.ndarray | ImageRows
    label: np.ndarray
    true_label: np.ndarray
    row: np.ndarray

    def __post_init__(self) -> None:
        shape = self.images.shape
        if self.images.dtype != np.uint8 or len(shape) != 4 or shape[1] not in (1, 3):
            raise DataError.at(
                "images",
                expected="uint8 [sample, channel, height, width] with 1 or 3 channels",
                got=f"{self.images.dtype} {list(shape)}",
                remedy="Convert the images to 8-bit grey or RGB, channels first.",
            )
        for name in ("label", "true_label", "row"):
            column: np.ndarray = getattr(self, name)
            if column.dtype != np.int64 or column.shape != shape[:1]:
                raise DataError.at(
                    name,
                    expected=f"int64 [{shape[0]}], one value per image",
                    got=f"{column.dtype} {list(column.shape)}",
                    remedy="Give every image one value, in the order of the images.",
                )

    def __len__(self) -> int:
        return len(self.label)

    def __repr__(self) -> str:
        channels, height, width = self.images.shape[1:]
        return f"Faces({len(self)} images of {channels} x {height} x {width})"

    def take(self, rows: Int[np.ndarray, " taken"]) -> "Faces":
        """The subset of these rows; a memory map stays one, whichever rows they are.

        Raises:
            IndexError: If a row does not exist.
        """
        return Faces(
            images=take_images(self.images, rows),
            label=self.label[rows],
            true_label=self.true_label[rows],
            row=self.row[rows],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What a person says who looked again at some images; entry i of every array is image i.

    Attributes:
        label: int64 [sample]; the class, `NOT_VERIFIED` or `CANNOT_TELL`.
        is_random: bool [sample]; whether the image was drawn at random from the training images, or
            from those of its given label.
        given: int64 [sample]; the label as given, `UNLABELED` where none was.
    """

    label: np.ndarray
    is_random: np.ndarray
    given: np.ndarray

    def __repr__(self) -> str:
        return f"Verified({self.is_seen.sum()} of {len(self.label)} images)"

    @property
    def is_seen(self) -> np.ndarray:
        """For every image (bool): whether a person has looked at it again."""
        seen: np.ndarray = self.label != NOT_VERIFIED
        return seen

    @property
    def is_told(self) -> np.ndarray:
        """For every image (bool): whether a person has named its class."""
        told: np.ndarray = self.label >= 0
        return told

    @property
    def counts_for_noise(self) -> np.ndarray:
        """For every image (bool): whether it says how often given labels are wrong."""
        counts: np.ndarray = self.is_seen & self.is_random & (self.given != UNLABELED)
        return counts

    def take(self, rows: Int[np.ndarray, " taken"]) -> "Verified":
        """What is said of these images.

        Raises:
            IndexError: If a row does not exist.
        """
        return Verified(
            label=self.label[rows], is_random=self.is_random[rows], given=self.given[rows]
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceData:
    """A data set, ready to train on.

    Attributes:
        name: What errors and reports call it.
        class_names: Name of every label, canonical names in canonical order.
        train: Images to learn from.
        val: Images to select by; disjoint from `train`.
        test: Images to report on, read once.
        notes: What the user must be told, such as how many images were dropped and why.
        verified: What a person says of training images, row by row; `None` if nothing was verified.
            Its labels may stand in `train.label` already (`data.use_verified`).
        verified_val: The same of validation images, whose `label` stays as given.

    Raises:
        DataError: If a subset is empty, a label is out of range, the image shapes differ, a class
            has no training image, or what is verified has not a row for every image.
    """

    name: str
    class_names: tuple[str, ...]
    train: Faces
    val: Faces
    test: Faces
    notes: tuple[str, ...] = ()
    verified: Verified | None = None
    verified_val: Verified | None = None

    def __post_init__(self) -> None:
        for subset in ("train", "val", "test"):
            self._check_subset(subset, getattr(self, subset))
        for rows, faces in ((self.verified, self.train), (self.verified_val, self.val)):
            if rows is not None and len(rows.label) != len(faces):
                raise DataError(
                    f"{self.name}: verified: expected {len(faces)} rows, got {len(rows.label)}."
                )
        self._check_classes()

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    @property
    def num_channels(self) -> int:
        """1 for grey images, 3 for RGB."""
        return int(self.train.images.shape[1])

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return int(self.train.images.shape[2]), int(self.train.images.shape[3])

    def _check_subset(self, subset: str, faces: Faces) -> None:
        if not len(faces):
            raise DataError.at(
                f"{self.name}: {subset}",
                expected="at least one image",
                got="none",
                remedy="Training, validation and test need images each; check the split.",
            )
        if faces.images.shape[1:] != self.train.images.shape[1:]:
            raise DataError.at(
                f"{self.name}: {subset} images",
                expected=f"{list(self.train.images.shape[1:])} each, as in train",
                got=str(list(faces.images.shape[1:])),
                remedy="Bring all images to one size and number of channels.",
            )
        lowest = UNLABELED if subset == "train" else 0
        self._check_range(f"{subset} label", faces.label, lowest=lowest)
        self._check_range(f"{subset} true_label", faces.true_label, lowest=UNKNOWN_TRUTH)

    def _check_range(self, what: str, label: np.ndarray, lowest: int) -> None:
        outside = np.flatnonzero((label < lowest) | (label >= self.num_classes))
        if outside.size:
            raise DataError.at(
                f"{self.name}: {what}[{outside[0]}]",
                expected=f"{lowest} to {self.num_classes - 1} ({', '.join(self.class_names)})",
                got=f"{label[outside[0]]} ({outside.size} such rows)",
                remedy="Drop these images or name their class in class_names.",
            )

    def _check_classes(self) -> None:
        given = self.train.label[self.train.label != UNLABELED]
        num_train = np.bincount(given, minlength=self.num_classes)
        num_val = np.bincount(self.val.label, minlength=self.num_classes)
        for i in np.flatnonzero(num_train == 0):
            where = f"none in train and {num_val[i]} in val" if num_val[i] else "none in train"
            raise DataError.at(
                f"{self.name}: class {self.class_names[i]}",
                expected="at least one labelled training image",
                got=where,
                remedy="Move some of its images to train."
                if num_val[i]
                else "Add images of this class, or take it out of class_names.",
            )
