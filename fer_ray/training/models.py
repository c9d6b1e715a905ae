"""Networks: torchvision's ResNets, with a stem for small images, and a tiny one for CPUs."""

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from fer_ray.config import ModelConfig
from fer_ray.core.errors import ConfigError
from fer_ray.core.types import ModelOutput

SMALL_IMAGE = 64
_TINY_CHANNELS = (16, 16, 32, 64, 96)


class Residual(nn.Module):
    """Two 3x3 convolutions around a shortcut (He et al. 2016, https://arxiv.org/abs/1512.03385)."""

    def __init__(self, num_in: int, num_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(num_in, num_out, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(num_out)
        self.conv2 = nn.Conv2d(num_out, num_out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(num_out)
        self.shortcut = (
            nn.Identity()
            if num_in == num_out and stride == 1
            else nn.Sequential(
                nn.Conv2d(num_in, num_out, 1, stride, bias=False), nn.BatchNorm2d(num_out)
            )
        )

    def forward(self, x: Float[Tensor, "batch _ _ _"]) -> Float[Tensor, "batch _ _ _"]:
        """Convolve twice and add the shortcut."""
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class TinyBackbone(nn.Sequential):
    """A ResNet with four blocks and 0.2 M parameters, whose stem halves the image size."""

    num_features = _TINY_CHANNELS[-1]

    def __init__(self, num_channels: int) -> None:
        stem, *widths = _TINY_CHANNELS
        blocks: list[nn.Module] = []
        for number, (num_in, num_out) in enumerate(zip(_TINY_CHANNELS, widths, strict=False)):
            blocks.append(Residual(num_in, num_out, 1 if number == 0 else 2))
        super().__init__(
            nn.Conv2d(num_channels, stem, 3, 2, 1, bias=False),
            nn.BatchNorm2d(stem),
            nn.ReLU(),
            *blocks,
        )


class FaceNetwork(nn.Module):
    """A backbone that yields feature maps, global average pooling, and a linear classifier."""

    def __init__(self, backbone: nn.Module, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = nn.Linear(num_features, num_classes)

    def forward(self, images: Float[Tensor, "batch channel height width"]) -> ModelOutput:
        """Return the logits, the pooled features, and the class activation maps."""
        maps = self.backbone(images)
        features = F.adaptive_avg_pool2d(maps, 1).flatten(1)
        weight = self.classifier.weight.detach()[:, :, None, None]
        return ModelOutput(
            logits=self.classifier(features),
            features=features,
            attention=F.conv2d(maps, weight),
        )


def build_network(
    config: ModelConfig, *, num_classes: int, num_channels: int, image_size: int, seed: int
) -> FaceNetwork:
    """Build a network whose initial weights depend only on `seed`; global generators do not change.

    Args:
        config: Architecture, stem and weights.
        num_classes: Number of classes.
        num_channels: 1 for grey images, 3 for colour.
        image_size: Shorter side of the images in pixels; chooses the stem where it is `auto`.
        seed: Seed of the initial weights.

    Raises:
        ConfigError: If the file of weights cannot be read or does not fit the network.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if config.name == "tiny":
            network = FaceNetwork(
                TinyBackbone(num_channels), TinyBackbone.num_features, num_classes
            )
        else:
            network = _build_resnet(config, num_classes, num_channels, image_size)
        if config.weights not in (None, "torchvision"):
            _load_weights(network, Path(str(config.weights)))
    return network


def _build_resnet(
    config: ModelConfig, num_classes: int, num_channels: int, image_size: int
) -> FaceNetwork:
    import torchvision  # here, because it takes three seconds and the tiny network does not need it

    weights = "DEFAULT" if config.weights == "torchvision" else None
    resnet = torchvision.models.get_model(config.name, weights=weights)
    # All layers but the pooling and the classifier, which `FaceNetwork` has, under their names.
    parts = OrderedDict(list(resnet.named_children())[:-2])
    backbone: Any = nn.Sequential(parts)
    is_small = config.stem == "small" or (config.stem == "auto" and image_size < SMALL_IMAGE)
    if is_small:
        backbone.conv1 = _small_stem(backbone.conv1, num_channels)
        backbone.maxpool = nn.Identity()
    elif num_channels != backbone.conv1.in_channels:
        backbone.conv1 = _with_channels(backbone.conv1, num_channels)
    return FaceNetwork(backbone, resnet.fc.in_features, num_classes)


def _with_channels(conv: nn.Conv2d, num_channels: int) -> nn.Conv2d:
    """Copy the filters for another number of channels: their sum over colours, spread evenly."""
    fresh = nn.Conv2d(
        num_channels, conv.out_channels, 7, conv.stride[0], conv.padding[0], bias=False
    )
    with torch.no_grad():
        total = conv.weight.sum(dim=1, keepdim=True)
        fresh.weight.copy_(total.expand_as(fresh.weight) / num_channels)
    return fresh


def _small_stem(conv: nn.Conv2d, num_channels: int) -> nn.Conv2d:
    """Make a 3x3 convolution with stride 1 from the centres of the 7x7 filters."""
    wide = _with_channels(conv, num_channels)
    stem = nn.Conv2d(num_channels, conv.out_channels, 3, 1, 1, bias=False)
    with torch.no_grad():
        stem.weight.copy_(wide.weight[:, :, 2:5, 2:5])
    return stem


def _load_weights(network: FaceNetwork, path: Path) -> None:
    """Load a state dict of a whole `FaceNetwork`, or of a torchvision ResNet (its `fc` is ignored).

    Raises:
        ConfigError: If the file cannot be read or does not fit; names the file and the keys.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ConfigError(
            f"model.weights: {path} cannot be read as a state dict: {error}"
        ) from None
    if not isinstance(state, Mapping):
        raise ConfigError(
            f"model.weights: {path}: expected a state dict, got {type(state).__name__}"
        )
    target: nn.Module = network
    if not any(key.startswith("backbone.") for key in state):
        target = network.backbone
        state = {key: value for key, value in state.items() if not key.startswith("fc.")}
    try:
        target.load_state_dict(state)
    except RuntimeError as error:
        raise ConfigError(
            f"model.weights: {path} does not fit {type(target).__name__}: {error}. Give weights of "
            "the network in model.name, or set model.weights=null."
        ) from None
