"""Batched random views: every image draws its own, all are made at once, on any device.

Drawing is apart from making. The few numbers of a view are drawn on the CPU from a generator, for a
whole batch over all ranks, and each rank makes the views of its rows: what an image looks like does
not depend on the number of ranks or on the device.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from fer_ray.core.bounds import bounded, check_bounds

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

    flip: float = bounded(0.5, "[0, 1]")
    rotate_deg: float = bounded(5.0, "[0, 180]")
    scale: float = bounded(0.05, "[0, 1)")
    shift: float = bounded(0.03, "[0, 1)")
    brightness: float = bounded(0.1, "[0, 1]")
    contrast: float = bounded(0.1, "[0, 1)")
    erase: float = bounded(0.0, "[0, 1]")
    erase_area: float = bounded(0.2, "[0, 1]")

    def __post_init__(self) -> None:
        check_bounds(self)

    def scaled(self, strength: float) -> "ViewPolicy":
        """The same policy with weaker changes; mirror images and the size of rectangles stay.

        Args:
            strength: Factor in [0, 1].

        >>> ViewPolicy(rotate_deg=10.0, erase=0.5).scaled(0.5).rotate_deg
        5.0
        """
        names = ("rotate_deg", "scale", "shift", "brightness", "contrast", "erase")
        return replace(self, **{name: strength * getattr(self, name) for name in names})


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewParams:
    """The numbers of random views, one row per image.

    Attributes:
        affine: Where a pixel of the view comes from, in `affine_grid`'s coordinates (-1 to 1).
        gain: Factor on the deviation from the image's mean.
        bias: Added brightness, in deviations of the image's pixels.
        box: Blanked rectangle (left, top, right, bottom) in coordinates from -1 to 1.
        blanks: Whether some rectangle may hold a pixel; if not, none is looked for.
    """

    affine: Float[Tensor, "view 2 3"]
    gain: Float[Tensor, " view"]
    bias: Float[Tensor, " view"]
    box: Float[Tensor, "view 4"]
    blanks: bool = True

    def rows(self, rows: slice) -> "ViewParams":
        """The views of some images only."""
        return self._with(self.affine[rows], self.gain[rows], self.bias[rows], self.box[rows])

    def to(self, device: torch.device) -> "ViewParams":
        """The same numbers on a device, which is not waited for."""
        if self.affine.device == device:
            return self
        parts = [self.affine.flatten(1), self.gain[:, None], self.bias[:, None], self.box]
        # One copy rather than four, because each has a fixed cost.
        together = torch.cat(parts, dim=1).to(device, non_blocking=True)
        affine, gain, bias, box = together.split([6, 1, 1, 4], dim=1)
        return self._with(affine.reshape(-1, 2, 3), gain[:, 0], bias[:, 0], box)

    def _with(self, affine: Tensor, gain: Tensor, bias: Tensor, box: Tensor) -> "ViewParams":
        return ViewParams(affine=affine, gain=gain, bias=bias, box=box, blanks=self.blanks)


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
        blanks=policy.erase > 0,
    )


def _draw_boxes(policy: ViewPolicy, uniform: Float[Tensor, "4 view"]) -> Float[Tensor, "view 4"]:
    """Rectangles of random place, area and shape; empty for images that keep all."""
    if not policy.erase:
        return torch.full((uniform.shape[1], 4), 2.0)
    # One draw decides both whether and how large: below `erase` it is uniform again.
    erased = uniform[0] < policy.erase
    share = uniform[0] / policy.erase * erased
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
    view, std = _centred(images)
    return view.div_(std[:, None, None, None])


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
    return make_several(images, [params])[0]


def make_several(
    images: UInt8[Tensor, "view channel height width"], params: Sequence[ViewParams]
) -> list[Float[Tensor, "view channel height width"]]:
    """`make_views` under each of `params`; what the views share is computed once.

    The images are centred before they are sampled, and scaled by one multiply-add with the view's
    contrast and brightness after. A sample is a mean of pixels (at the border of one pixel
    repeated) with weights that sum to 1, so the scale passes through it.
    """
    centred, std = _centred(images)
    height, width = centred.shape[2:]
    views = []
    for param in params:
        grid = _sample_places(param.affine, height, width)
        view = F.grid_sample(centred, grid, padding_mode="border", align_corners=False)
        view.mul_((param.gain / std)[:, None, None, None]).add_(param.bias[:, None, None, None])
        if param.blanks:
            view.mul_(_outside(param.box, height, width)[:, None])
        views.append(view)
    return views


def _centred(
    images: UInt8[Tensor, "view channel height width"],
) -> tuple[Float[Tensor, "view channel height width"], Float[Tensor, " view"]]:
    """Images less their own mean, and their own deviation, at least `_MIN_STD`."""
    view = images.float()
    view -= view.mean(dim=(1, 2, 3), keepdim=True)
    # Twice as fast on CPUs as `torch.std_mean`, which goes through the pixels one by one.
    std = view.flatten(1).norm(dim=1) / math.sqrt(max(math.prod(view.shape[1:]) - 1, 1))
    return view, std.clamp_min_(_MIN_STD)


def _sample_places(
    affine: Float[Tensor, "view 2 3"], height: int, width: int
) -> Float[Tensor, "view {height} {width} 2"]:
    """`F.affine_grid` in a fifth of its time on CPUs: a sum of rows and columns, no product.

    Element by element, so that the places of a view do not depend on the views beside it, and
    float32 wherever matrix products are allowed to be less. Laid out plane by plane.
    """
    x, y = _pixel_centres(width, affine.device), _pixel_centres(height, affine.device)
    rows = torch.addcmul(affine[:, :, 2:], affine[:, :, 1:2], y)
    columns = affine[:, :, 0:1] * x
    return (rows[:, :, :, None] + columns[:, :, None, :]).permute(0, 2, 3, 1)


def _outside(box: Float[Tensor, "view 4"], height: int, width: int) -> Tensor:
    """1 for pixels whose centres lie outside the rectangles, else 0: [view, height, width]."""
    x, y = _pixel_centres(width, box.device), _pixel_centres(height, box.device)
    in_x = ((x >= box[:, 0:1]) & (x < box[:, 2:3])).float()
    in_y = ((y >= box[:, 1:2]) & (y < box[:, 3:4])).float()
    return torch.addcmul(box.new_ones(()), in_y[:, :, None], in_x[:, None, :], value=-1)


@functools.lru_cache(maxsize=16)
def _pixel_centres(num: int, device: torch.device) -> Float[Tensor, " {num}"]:
    """Middles of the pixels of a row, from -1 to 1; shared, so not to be written to."""
    return (torch.arange(num, device=device) * 2 + 1) / num - 1
