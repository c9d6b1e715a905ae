"""Images of the reference loop: processed one by one with PIL, as in most training scripts."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import transforms as T

from fer_ray.core.augment import ViewPolicy
from fer_ray.data import Faces

Transform = Callable[[Image.Image], Tensor]


class Batch(NamedTuple):
    """Views of the same images, their labels, clean probabilities and rows."""

    views: list[Tensor]
    label: Tensor
    clean_prob: Tensor
    row: Tensor


def standardize(image: Tensor) -> Tensor:
    """Scale an image to zero mean and unit variance over its own pixels."""
    return (image - image.mean()) / image.std().clamp_min(8 / 255)


def plain_view() -> Transform:
    """Make the transform that only standardizes an image."""
    view: Transform = T.Compose([T.ToTensor(), T.Lambda(standardize)])
    return view


def random_view(policy: ViewPolicy) -> Transform:
    """Make the transform of a policy: flip, affine, colour jitter and erasing."""
    view: Transform = T.Compose(
        [
            T.RandomHorizontalFlip(policy.flip),
            T.RandomAffine(
                policy.rotate_deg,
                translate=(policy.shift, policy.shift),
                scale=(1 - policy.scale, 1 + policy.scale),
                interpolation=T.InterpolationMode.BILINEAR,
            ),
            T.ColorJitter(brightness=policy.brightness, contrast=policy.contrast),
            T.ToTensor(),
            T.Lambda(standardize),
            T.RandomErasing(policy.erase, scale=(0.0, policy.erase_area), ratio=(0.25, 4.0)),
        ]
    )
    return view


class FaceDataset(Dataset[tuple[list[Tensor], int, float, int]]):
    """Some rows of a data set: views made with PIL, label, clean probability, row."""

    def __init__(
        self,
        faces: Faces,
        transforms: Sequence[Transform],
        rows: Sequence[int] | None = None,
        label: Sequence[int] | None = None,
        clean_prob: Sequence[float] | None = None,
    ) -> None:
        self.faces, self.transforms = faces, transforms
        self.rows = range(len(faces)) if rows is None else rows
        self.label = faces.label.tolist() if label is None else label
        self.clean_prob = [1.0] * len(faces) if clean_prob is None else clean_prob

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> tuple[list[Tensor], int, float, int]:
        row = self.rows[number]
        pixels = np.moveaxis(self.faces.images[row], 0, -1)
        image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
        views = [transform(image) for transform in self.transforms]
        return views, self.label[row], self.clean_prob[row], row
