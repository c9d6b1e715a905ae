"""Predicts the expressions of new faces with the networks of a finished run."""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from fer_ray.core.operating_points import reweighted
from fer_ray.data import DataError
from fer_ray.data.packs.decode import fit
from fer_ray.data.packs.read import ImageError, read_rgb, to_rgb
from fer_ray.record.storage import Folder
from fer_ray.record.text import error_text
from fer_ray.results.run_folder import FinishedRun, open_run
from fer_ray.training.finish import evaluation_device, exact_learner
from fer_ray.training.learner import mean_prediction

Picture = str | os.PathLike[str] | Image.Image | np.ndarray | Tensor
"""A file, a Pillow image, uint8 [H, W] or [H, W, 3] as an array, or uint8 [1 or 3, H, W] as a
tensor; colours are red, green, blue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """What a run says of images; row i is image i.

    Attributes:
        classes: Names of the classes, in the order of the columns.
        prob: Probability of every class; rows sum to 1.
    """

    classes: tuple[str, ...]
    prob: Float[np.ndarray, "image class"]

    def __len__(self) -> int:
        return len(self.prob)

    @property
    def label(self) -> list[str]:
        """The likeliest class of every image."""
        return [self.classes[i] for i in self.prob.argmax(axis=1)]

    @property
    def probability(self) -> Float[np.ndarray, " image"]:
        """Probability of the likeliest class."""
        highest: np.ndarray = self.prob.max(axis=1)
        return highest


class Predictor:
    """The networks of a run at an operating point, ready for images of any size.

    Attributes:
        run: The run.
        classes: Names of the classes, in the order of the probabilities.
    """

    def __init__(
        self,
        run: FinishedRun,
        *,
        prior: str | Mapping[str, float] | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        """Load the networks.

        Args:
            run: A finished run.
            prior: Class shares to predict for, as `prediction.prior`; by default the run's.
            device: Where the networks compute; by default a GPU if there is one.

        Raises:
            ConfigError: If the prior is none that the run can have, or the networks cannot be
                loaded.
        """
        self.run, self.classes = run, run.class_names
        self._prior = run.prior(prior)
        self._device = evaluation_device() if device is None else torch.device(device)
        self._learners = [exact_learner(network, self._device) for network in run.networks()]

    def predict(self, images: Picture | Iterable[Picture], *, batch_size: int = 128) -> Predictions:
        """Predict images.

        Args:
            images: One or many, each as a path, Pillow image, uint8 array [H, W] or [H, W, 3], or
                uint8 tensor [1 or 3, H, W]; an array or tensor with one more dimension is a batch.
                They are prepared as in training: the middle square, scaled to the size of the
                training images.
            batch_size: Images per forward pass.

        Raises:
            DataError: If an image cannot be used; names it.
        """
        probs = [torch.empty(0, len(self.classes))]
        batch: list[np.ndarray] = []
        for number, image in enumerate(_each(images)):
            try:
                batch.append(self.prepare(image))
            except ImageError as error:
                name = image if isinstance(image, str | os.PathLike) else f"image {number}"
                raise DataError(f"{name}: {error}") from None
            if len(batch) == batch_size:
                probs.append(self.prob(np.stack(batch)))
                batch = []
        if batch:
            probs.append(self.prob(np.stack(batch)))
        return Predictions(classes=self.classes, prob=torch.cat(probs).numpy())

    def prepare(self, image: Picture) -> UInt8[np.ndarray, "channel height width"]:
        """Bring an image to the form of the training images, by the functions that made theirs.

        Raises:
            ImageError: If it cannot be used.
        """
        return self.prepare_sized(image)[0]

    def prepare_sized(
        self, image: Picture
    ) -> tuple[UInt8[np.ndarray, "channel height width"], tuple[int, int]]:
        """`prepare`, and the image's original height and width.

        Raises:
            ImageError: If it cannot be used.
        """
        height, width = self.run.image_size
        if isinstance(image, str | os.PathLike):
            is_square = height == width
            rgb, original, _ = read_rgb(Path(image), height if is_square else None)
        else:
            picture = image if isinstance(image, Image.Image) else _picture(image)
            original = picture.height, picture.width
            try:
                rgb, _ = to_rgb(picture)
            except Exception as error:  # a file that Pillow reads only now
                raise ImageError("unreadable", error_text(error)) from None
        return fit(rgb, self.run.num_channels, self.run.image_size), original

    def prob(
        self, packed: UInt8[np.ndarray, "image channel height width"]
    ) -> Float[Tensor, "image class"]:
        """Probabilities of images that `prepare` has made, on the CPU."""
        images = torch.from_numpy(packed).to(self._device)
        flips = self.run.config.flip_average
        prob = mean_prediction(self._learners, images, flip_average=flips)
        if self._prior is not None:
            prob = reweighted(prob, self._prior, self.run.mean_prediction)
        return prob.cpu()


def load(
    run: str | os.PathLike[str] | Folder,
    *,
    prior: str | Mapping[str, float] | None = None,
    device: torch.device | str | None = None,
) -> Predictor:
    """Load the networks of a finished run, or of the best trial of a search; see `Predictor`.

    Raises:
        ConfigError: If the folder is not that of a finished run or search, its files cannot be
            used, or the prior is none that the run can have.
        StorageError: If the folder cannot be read.
    """
    return Predictor(open_run(run), prior=prior, device=device)


def _each(images: Picture | Iterable[Picture]) -> Iterator[Picture]:
    """The images one by one."""
    if isinstance(images, str | os.PathLike | Image.Image):
        yield images
    elif isinstance(images, np.ndarray | Tensor):
        is_batch = images.ndim == 4
        yield from images if is_batch else [images]
    else:
        yield from images


def _picture(image: object) -> Image.Image:
    """An array or tensor as a Pillow image.

    Raises:
        ImageError: If it is neither, or has another shape or dtype.
    """
    pixels = image
    if isinstance(pixels, Tensor):
        pixels = (pixels.movedim(0, 2) if pixels.ndim == 3 else pixels).cpu().numpy()
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or not pixels.size:
        raise _unfit(image)
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3):
        raise _unfit(image)
    return Image.fromarray(np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3))))


def _unfit(image: object) -> ImageError:
    got = type(image).__name__
    if isinstance(image, np.ndarray | Tensor):
        got = f"{image.dtype} {list(image.shape)}"
    return ImageError(
        "unreadable",
        "expected a path, a Pillow image, a uint8 array [H, W] or [H, W, 3], or a uint8 tensor "
        f"[1 or 3, H, W], with values from 0 to 255, got {got}. A batch has one dimension more: "
        "[N, H, W, 1 or 3] as an array, [N, 1 or 3, H, W] as a tensor",
    )
