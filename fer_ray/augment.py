"""Batched random views: every image draws its own, all are made at once, on any device.

Drawing is apart from making. The few numbers of a view are drawn on the CPU from a generator, for a
whole batch over all ranks, and each rank makes the views of its rows: what an image looks like does
not depend on the number of ranks or on the device.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

# Smallest deviation, in grey levels, that an image is scaled by: a black frame stays all zero.
_MIN_STD = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewPolicy:
    """How far a random view strays from the image.

    Attributes:
        flip: Probability of mirroring, in [0, 1].
        rotate_deg: Largest rotation in degrees, either way.
        scale: Largest relative change of size, either way, in [0, 1).
        shift: Largest shift as a share of the side, either way, in [0, 1).
        brightness: Largest change, either way, in deviations of the image's pixels, in [0, 1].
        contrast: Largest relative change, in [0, 1).
        erase: Probability of blanking a rectangle, in [0, 1].
        erase_area: Largest share of the image that is blanked, in [0, 1].
    """

    __pydantic_config__: ClassVar[Mapping[str, object]] = {"extra": "forbid"}

    flip: float = 0.5
    rotate_deg: float = 5.0
    scale: float = 0.05
    shift: float = 0.03
    brightness: float = 0.1
    contrast: float = 0.1
    erase: float = 0.0
    erase_area: float = 0.2

    def __post_init__(self) -> None:
        for key in ("flip", "erase", "erase_area", "brightness"):
            if not 0 <= getattr(self, key) <= 1:
                raise ValueError(f"{key}: in [0, 1], got {getattr(self, key)}")
        for key in ("scale", "shift", "contrast"):
            if not 0 <= getattr(self, key) < 1:
                raise ValueError(f"{key}: in [0, 1), got {getattr(self, key)}")
        if not 0 <= self.rotate_deg <= 180:
            raise ValueError(f"rotate_deg: in [0, 180], got {self.rotate_deg}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewParams:
    """The numbers of random views, one row per image.

    Attributes:
        affine: Where a pixel of the view comes from, in `affine_grid`'s coordinates (-1 to 1).
        gain: Factor on the deviation from the image's mean.
        bias: Added brightness, in deviations of the image's pixels.
        box: Blanked rectangle (left, top, right, bottom) in coordinates from -1 to 1.
    """

    affine: Float[Tensor, "view 2 3"]
    gain: Float[Tensor, " view"]
    bias: Float[Tensor, " view"]
    box: Float[Tensor, "view 4"]

    def rows(self, rows: slice) -> "ViewParams":
        """The views of some images only."""
        return ViewParams(**{item.name: getattr(self, item.name)[rows] for item in fields(self)})

    def to(self, device: torch.device) -> "ViewParams":
        """The same numbers on a device."""
        return ViewParams(
            **{item.name: getattr(self, item.name).to(device) for item in fields(self)}
        )


def draw_views(policy: ViewPolicy, num: int, generator: torch.Generator) -> ViewParams:
    """Draw `num` random views on the CPU: a function of `generator` alone."""
    uniform = torch.rand(11, num, generator=generator)
    spread = 2 * uniform - 1
    angle = spread[0] * math.radians(policy.rotate_deg)
    zoom = 1 + spread[1] * policy.scale
    mirror = torch.where(uniform[2] < policy.flip, -1.0, 1.0)
    cos, sin = angle.cos() / zoom, angle.sin() / zoom
    shift_x, shift_y = 2 * policy.shift * spread[3], 2 * policy.shift * spread[4]
    affine = torch.stack([cos * mirror, -sin, shift_x, sin * mirror, cos, shift_y], dim=1)
    return ViewParams(
        affine=affine.reshape(num, 2, 3),
        gain=1 + spread[5] * policy.contrast,
        bias=spread[6] * policy.brightness,
        box=_draw_boxes(policy, uniform[7:]),
    )


def _draw_boxes(policy: ViewPolicy, uniform: Float[Tensor, "4 view"]) -> Float[Tensor, "view 4"]:
    """Rectangles of random place, area and shape; empty for images that keep all."""
    # One draw decides both whether and how large: below `erase` it is uniform again.
    erased = uniform[0] < policy.erase
    share = uniform[0] / max(policy.erase, 1e-9) * erased
    side = 2 * (policy.erase_area * share).sqrt()
    stretch = torch.exp((uniform[1] - 0.5) * 2 * math.log(2.0))
    width, height = (side * stretch).clamp(max=2.0), (side / stretch).clamp(max=2.0)
    left, top = -1 + uniform[2] * (2 - width), -1 + uniform[3] * (2 - height)
    box = torch.stack([left, top, left + width, top + height], dim=1)
    return torch.where(erased[:, None], box, torch.tensor([2.0, 2.0, 2.0, 2.0]))


def plain_views(
    images: UInt8[Tensor, "view channel height width"],
) -> Float[Tensor, "view channel height width"]:
    """The images themselves, each scaled to zero mean and unit variance over its own pixels.

    Faces in the wild differ more in light than in expression; without this the tiny network spends
    its first epochs on light.
    """
    view = images.float()
    view -= view.mean(dim=(1, 2, 3), keepdim=True)
    # Twice as fast on CPUs as `torch.std_mean`, which goes through the pixels one by one.
    std = view.flatten(1).norm(dim=1) / math.sqrt(max(math.prod(view.shape[1:]) - 1, 1))
    return view.div_(std.clamp_min(_MIN_STD)[:, None, None, None])


def make_views(
    images: UInt8[Tensor, "view channel height width"], params: ViewParams
) -> Float[Tensor, "view channel height width"]:
    """Make random views: one affine sample, contrast and brightness, one blanked rectangle.

    Args:
        images: Packed images on any device.
        params: As many rows as images, on the same device.

    Returns:
        float32, scaled as in `plain_views`; blanked pixels are 0, the image's mean.
    """
    view = plain_views(images)
    grid = F.affine_grid(params.affine, list(view.shape), align_corners=False)
    view = F.grid_sample(view, grid, padding_mode="border", align_corners=False)
    gain, bias = params.gain[:, None, None, None], params.bias[:, None, None, None]
    view = torch.addcmul(bias, view, gain)
    return view.masked_fill(_inside(params.box, view.shape[2], view.shape[3])[:, None], 0.0)


def _inside(box: Float[Tensor, "view 4"], height: int, width: int) -> Tensor:
    """Mask [view, height, width] of the pixels whose centres lie in the rectangles."""
    x = (torch.arange(width, device=box.device) * 2 + 1) / width - 1
    y = (torch.arange(height, device=box.device) * 2 + 1) / height - 1
    in_x = (x >= box[:, 0:1]) & (x < box[:, 2:3])
    in_y = (y >= box[:, 1:2]) & (y < box[:, 3:4])
    return in_y[:, :, None] & in_x[:, None, :]
