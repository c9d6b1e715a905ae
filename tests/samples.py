"""Small data, runs and networks that tests share; gloo ranks can import them too."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fer_ray.config import ModelConfig, RunConfig, with_overrides
from fer_ray.core.types import ModelOutput
from fer_ray.data import FaceData, Faces
from fer_ray.methods import METHODS
from fer_ray.methods.base import SplitMethod
from fer_ray.training.checkpoint import TrainState
from fer_ray.training.loop import fit
from fer_ray.training.models import FaceNetwork
from fer_ray.training.state import new_state

CLASS_NAMES = ("neutral", "happiness", "fear", "anger")
CPU = torch.device("cpu")


def faces(
    num_train: int = 96,
    num_val: int = 40,
    *,
    size: int = 16,
    num_classes: int = 4,
    num_channels: int = 1,
    noise: float = 0.25,
    seed: int = 0,
) -> FaceData:
    """Make images of one pattern per class with pixel noise, and wrong training labels.

    Args:
        num_train: Number of training images.
        num_val: Number of validation images, and of test images.
        size: Height and width in pixels.
        num_classes: Number of classes, at most 4.
        num_channels: Number of channels.
        noise: Probability that a training label is wrong.
        seed: Seed of patterns, pixels and labels.
    """
    rng = np.random.default_rng(seed)
    coarse = rng.integers(60, 196, (num_classes, num_channels, 4, 4))
    pattern = coarse.repeat(-(-size // 4), axis=2).repeat(-(-size // 4), axis=3)[..., :size, :size]

    def subset(num: int, wrong: float) -> Faces:
        true_label = np.arange(num) % num_classes
        images = pattern[true_label] + rng.normal(0, 30, (num, num_channels, size, size))
        is_wrong = rng.random(num) < wrong
        shift = rng.integers(1, max(num_classes, 2), num)
        return Faces(
            images=images.clip(0, 255).astype(np.uint8),
            label=np.where(is_wrong, (true_label + shift) % num_classes, true_label),
            true_label=true_label,
            row=np.arange(num),
        )

    return FaceData(
        name="tiny",
        class_names=CLASS_NAMES[:num_classes],
        train=subset(num_train, noise),
        val=subset(num_val, 0.0),
        test=subset(num_val, 0.0),
    )


def make_run(method: str = "co_divide", **overrides: Any) -> RunConfig:
    """Make a run that takes seconds on `faces()`; `__` in a keyword stands for the dot of a key.

    Its few steps are too few for a warm-up of the learning rate, an average of the weights, or very
    strong views.
    """
    optim = {"name": "sgd", "epochs": 4, "batch_size": 32, "learning_rate": 0.05}
    strong = {"rotate_deg": 10, "scale": 0.1, "shift": 0.05, "brightness": 0.3, "contrast": 0.2}
    raw: dict[str, Any] = {
        "method": {"name": method},
        "optim": optim | {"lr_warmup": 0, "average_decay": 0},
        "augment": {"strong": strong | {"erase": 0.25}, "strength": 1.0},
        "compute": {"bf16": False, "channels_last": False, "eval_batch_size": 30},
    }
    if issubclass(METHODS[method], SplitMethod):
        raw["method"]["warmup_epochs"] = 2
    dotted = {key.replace("__", "."): value for key, value in overrides.items()}
    return RunConfig.from_dict(with_overrides(raw, dotted))


def train(
    run: RunConfig,
    data: FaceData,
    state: TrainState | None = None,
    num_epochs: int | None = None,
    device: torch.device = CPU,
) -> tuple[TrainState, list[dict[str, Any]]]:
    """Train from `state` (or the start) for `num_epochs` (or to the end); return state and rows."""
    state = new_state(run, data, device) if state is None else state
    rows = []
    for row in fit(run, data, device, state):
        rows.append(row)
        if len(rows) == num_epochs:
            break
    return state, rows


def timeless(rows: list[dict[str, Any]]) -> str:
    """Return rows without durations as text, which shows every bit, and in which NaN equals NaN."""
    return repr([{k: v for k, v in row.items() if not k.startswith("time/")} for row in rows])


def same_weights(first: TrainState, second: TrainState) -> bool:
    """Return whether all networks' parameters and buffers are equal bit for bit."""
    pairs = zip(first.networks, second.networks, strict=True)
    return all(
        torch.equal(value, other.state_dict()[key])
        for network, other in pairs
        for key, value in network.state_dict().items()
    )


@dataclass(eq=False)
class LinearNetwork:
    """A `types.Network` that is easy to compute in NumPy: logits are linear in the pixels."""

    weight: Tensor
    bias: Tensor
    predicted: list[Tensor] = field(default_factory=list)

    def __call__(self, images: Tensor, /) -> ModelOutput:
        pixels = images.flatten(1)
        place = self.weight.detach().T.reshape(1, -1, *images.shape[1:])  # a weight per pixel
        return ModelOutput(
            logits=pixels @ self.weight + self.bias,
            features=pixels,
            attention=(images[:, None] * place).sum(dim=2),
        )

    def predict(self, images: Tensor, /) -> Tensor:
        self.predicted.append(images)
        with torch.no_grad():
            return self(images).logits.softmax(dim=1)


def linear_network(
    num_pixels: int, num_classes: int, seed: int, spread: float = 1.0
) -> LinearNetwork:
    generator = torch.Generator().manual_seed(seed)
    weight = spread * torch.randn(num_pixels, num_classes, generator=generator)
    bias = spread * torch.randn(num_classes, generator=generator)
    return LinearNetwork(weight.requires_grad_(), bias.requires_grad_())


class _Perceptron(nn.Sequential):
    """A backbone without BatchNorm: a batch's gradient is the mean of its rows' gradients."""

    def __init__(self, num_pixels: int) -> None:
        super().__init__(
            nn.Flatten(), nn.Linear(num_pixels, 12), nn.Tanh(), nn.Unflatten(1, (12, 1, 1))
        )


def build_perceptron(
    config: ModelConfig, *, num_classes: int, num_channels: int, image_size: int, seed: int
) -> FaceNetwork:
    """Replace `models.build_network` by a network without BatchNorm."""
    del config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FaceNetwork(_Perceptron(num_channels * image_size**2), 12, num_classes)


def build_oracle(
    config: ModelConfig, *, num_classes: int, num_channels: int, image_size: int, seed: int
) -> FaceNetwork:
    """Replace `models.build_network` by a network that finds the brightest of horizontal bands."""
    del config, seed
    num_pixels = num_channels * image_size**2
    pixels = nn.Sequential(nn.Flatten(), nn.Unflatten(1, (num_pixels, 1, 1)))
    network = FaceNetwork(pixels, num_pixels, num_classes)
    band = torch.arange(image_size) * num_classes // image_size
    weight = F.one_hot(band, num_classes).T.float()[:, None, :, None]
    weight = weight.expand(-1, num_channels, -1, image_size) / image_size
    with torch.no_grad():
        network.classifier.weight.copy_(weight.flatten(1))
        network.classifier.bias.zero_()
    return network


@contextmanager
def built_by(builder: Any) -> Iterator[None]:
    """Make the loop build its networks with `builder`."""
    with mock.patch("fer_ray.training.state.build_network", builder):
        yield
