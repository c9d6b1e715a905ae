"""Random views: what they depend on, and what each number does to an image."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fer_ray.core.augment import (
    ViewParams,
    ViewPolicy,
    draw_views,
    make_several,
    make_views,
    plain_views,
)

pytestmark = pytest.mark.lowest

STILL = ViewPolicy(
    flip=0.0, rotate_deg=0.0, scale=0.0, shift=0.0, brightness=0.0, contrast=0.0, erase=0.0
)
WILD = ViewPolicy(
    flip=0.5,
    rotate_deg=180.0,
    scale=0.5,
    shift=0.5,
    brightness=1.0,
    contrast=0.9,
    erase=0.5,
    erase_area=1.0,
)
NO_BOX = torch.full((1, 4), 2.0)
CPU = torch.device("cpu")


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(num: int = 3, channels: int = 1, height: int = 12, width: int = 12) -> Tensor:
    shape = (num, channels, height, width)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator(1))


def params(
    affine: list[list[float]] | None = None, gain: float = 1.0, bias: float = 0.0
) -> ViewParams:
    matrix = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]] if affine is None else affine
    return ViewParams(
        affine=torch.tensor([matrix]),
        gain=torch.tensor([gain]),
        bias=torch.tensor([bias]),
        box=NO_BOX,
    )


def as_tensors(views: ViewParams) -> list[Tensor]:
    return [views.affine, views.gain, views.bias, views.box]


def equal(first: ViewParams, second: ViewParams) -> bool:
    pairs = zip(as_tensors(first), as_tensors(second), strict=True)
    return all(torch.equal(one, other) for one, other in pairs)


@given(seed=st.integers(0, 2**32), num=st.integers(1, 9))
def test_draws_depend_on_the_generator_alone(seed: int, num: int) -> None:
    torch.manual_seed(seed)
    first = draw_views(WILD, num, generator(seed))
    torch.rand(3)
    state = torch.get_rng_state()
    assert equal(first, draw_views(WILD, num, generator(seed)))
    assert torch.equal(state, torch.get_rng_state())
    assert not equal(first, draw_views(WILD, num, generator(seed + 1)))


def test_every_image_draws_its_own() -> None:
    views = draw_views(WILD, 50, generator(0))
    assert len(views.affine.unique(dim=0)) == 50
    assert len(views.gain.unique()) == 50


def test_two_policies_move_the_generator_alike() -> None:
    first, second = generator(0), generator(0)
    draw_views(WILD, 5, first)
    draw_views(STILL, 5, second)
    assert torch.equal(first.get_state(), second.get_state())


@given(seed=st.integers(0, 1000), world_size=st.sampled_from([1, 2, 4]))
def test_the_ranks_shares_are_the_rows_of_the_whole_batch(seed: int, world_size: int) -> None:
    images = pictures(8)
    views = draw_views(WILD, 8, generator(seed))
    whole = make_views(images, views)
    part = 8 // world_size
    for rank in range(world_size):
        mine = slice(rank * part, (rank + 1) * part)
        torch.testing.assert_close(make_views(images[mine], views.rows(mine)), whole[mine])


@pytest.mark.parametrize("shape", [(3, 1, 12, 12), (2, 3, 8, 12)])
def test_a_still_policy_gives_the_plain_view(shape: tuple[int, int, int, int]) -> None:
    images = pictures(*shape)
    views = make_views(images, draw_views(STILL, len(images), generator(0)))
    torch.testing.assert_close(views, plain_views(images), rtol=1e-4, atol=1e-4)


def test_plain_views_have_zero_mean_and_unit_deviation_per_image() -> None:
    views = plain_views(pictures(4, 3))
    std, mean = torch.std_mean(views, dim=(1, 2, 3))
    torch.testing.assert_close(mean, torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(std, torch.ones(4))


@given(gain=st.floats(0.3, 1.0), offset=st.integers(0, 60))
def test_light_does_not_change_the_plain_view(gain: float, offset: int) -> None:
    images = pictures(1).float()
    darker = (images * gain * 0.7 + offset).round().to(torch.uint8)
    bright = plain_views(images.to(torch.uint8))
    torch.testing.assert_close(plain_views(darker), bright, atol=0.05, rtol=0)


@pytest.mark.parametrize("level", [0, 255])
def test_a_flat_image_is_zero_and_never_nan(level: int) -> None:
    flat = torch.full((4, 1, 8, 8), level, dtype=torch.uint8)
    assert not bool(plain_views(flat).any())
    views = make_views(flat, draw_views(WILD, 4, generator(0)))
    assert bool(torch.isfinite(views).all())


def test_the_image_itself_is_left_alone() -> None:
    images = pictures()
    before = images.clone()
    make_views(images, draw_views(WILD, 3, generator(0)))
    assert torch.equal(images, before)


def test_flip_mirrors_left_and_right() -> None:
    images = pictures(5)
    policy = ViewPolicy(
        flip=1.0, rotate_deg=0.0, scale=0.0, shift=0.0, brightness=0.0, contrast=0.0
    )
    views = make_views(images, draw_views(policy, 5, generator(0)))
    torch.testing.assert_close(views, plain_views(images).flip(3), rtol=1e-4, atol=1e-4)


def test_flip_happens_as_often_as_said() -> None:
    views = draw_views(ViewPolicy(flip=0.3, rotate_deg=0.0), 4000, generator(0))
    assert float((views.affine[:, 0, 0] < 0).float().mean()) == pytest.approx(0.3, abs=0.03)


def rotated(image: np.ndarray, angle: float) -> np.ndarray:
    """Bilinear samples of a square image turned about its middle, pixel by pixel."""
    side = len(image)
    middle = (side - 1) / 2
    result = np.zeros_like(image)
    for row in range(side):
        for column in range(side):
            x, y = column - middle, row - middle
            from_x = math.cos(angle) * x - math.sin(angle) * y + middle
            from_y = math.sin(angle) * x + math.cos(angle) * y + middle
            from_x, from_y = min(max(from_x, 0), side - 1), min(max(from_y, 0), side - 1)
            left, top = min(int(from_x), side - 2), min(int(from_y), side - 2)
            right_share, low_share = from_x - left, from_y - top
            result[row, column] = (
                image[top, left] * (1 - right_share) * (1 - low_share)
                + image[top, left + 1] * right_share * (1 - low_share)
                + image[top + 1, left] * (1 - right_share) * low_share
                + image[top + 1, left + 1] * right_share * low_share
            )
    return result


@pytest.mark.parametrize("degrees", [-90.0, -10.0, 7.5, 90.0, 180.0])
def test_a_rotation_by_a_known_angle_is_that_of_a_loop(degrees: float) -> None:
    images = pictures(1)
    angle = math.radians(degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    view = make_views(images, params([[cos, -sin, 0.0], [sin, cos, 0.0]]))
    expected = rotated(plain_views(images)[0, 0].double().numpy(), angle)
    np.testing.assert_allclose(view[0, 0].numpy(), expected, atol=1e-4)


def test_a_quarter_turn_is_exact() -> None:
    images = pictures(1)
    view = make_views(images, params([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]))
    torch.testing.assert_close(view, plain_views(images).rot90(1, (2, 3)), rtol=1e-3, atol=1e-3)


def test_a_shift_moves_the_image_and_repeats_its_border() -> None:
    images = pictures(1)
    view = make_views(images, params([[1.0, 0.0, 2 * 3 / 12], [0.0, 1.0, 0.0]]))
    plain = plain_views(images)
    torch.testing.assert_close(view[..., :9], plain[..., 3:], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(
        view[..., 9:], plain[..., -1:].expand(-1, -1, -1, 3), rtol=1e-3, atol=1e-3
    )


def test_contrast_and_brightness_are_in_deviations_of_the_image() -> None:
    images = pictures(1)
    view = make_views(images, params(gain=1.5, bias=0.25))
    torch.testing.assert_close(view, plain_views(images) * 1.5 + 0.25, rtol=1e-3, atol=1e-3)


@given(seed=st.integers(0, 10_000), height=st.integers(3, 20), width=st.integers(3, 20))
def test_views_are_those_of_one_step_after_the_other(seed: int, height: int, width: int) -> None:
    """Scale, then sample, then change the light, then blank: the order does not matter."""
    images = pictures(5, 3, height, width)
    views = draw_views(WILD, 5, generator(seed))
    grid = F.affine_grid(views.affine, [5, 3, height, width], align_corners=False)
    sampled = F.grid_sample(plain_views(images), grid, padding_mode="border", align_corners=False)
    expected = sampled * views.gain[:, None, None, None] + views.bias[:, None, None, None]
    x, y = (torch.arange(width) * 2 + 1) / width - 1, (torch.arange(height) * 2 + 1) / height - 1
    left, top, right, bottom = views.box[:, :, None, None].unbind(1)
    inside = (left <= x) & (x < right) & (top <= y[:, None]) & (y[:, None] < bottom)
    expected = torch.where(inside[:, None], 0.0, expected)
    torch.testing.assert_close(make_views(images, views), expected, rtol=1e-4, atol=1e-4)


def test_several_views_are_those_made_one_by_one() -> None:
    images = pictures(6, 3)
    policies = (WILD, ViewPolicy(), WILD)
    params = [draw_views(policy, 6, generator(n)) for n, policy in enumerate(policies)]
    together = make_several(images, params)
    for views, param in zip(together, params, strict=True):
        assert torch.equal(views, make_views(images, param))
    assert make_several(images, []) == []


def test_numbers_are_the_same_on_another_device() -> None:
    views = draw_views(WILD, 3, generator(0))
    other = torch.device("cpu", 0)  # the same memory, yet another device to torch
    assert equal(views.to(other), views)
    assert views.to(other).blanks
    assert views.to(CPU) is views
    assert not draw_views(STILL, 3, generator(0)).to(other).blanks


@given(seed=st.integers(0, 10_000), degrees=st.floats(0, 180), scale=st.floats(0, 0.9))
def test_draws_stay_within_the_policy(seed: int, degrees: float, scale: float) -> None:
    policy = ViewPolicy(rotate_deg=degrees, scale=scale, shift=0.2, brightness=0.4, contrast=0.3)
    views = draw_views(policy, 20, generator(seed))
    zoom = 1 / views.affine[:, :, 1].norm(dim=1)
    angle = torch.rad2deg(torch.atan2(-views.affine[:, 0, 1], views.affine[:, 1, 1]))
    assert bool(((zoom - 1).abs() <= scale + 1e-4).all())
    assert bool((angle.abs() <= degrees + 1e-2).all())
    assert bool((views.affine[:, :, 2].abs() <= 0.4 + 1e-6).all())
    assert bool((views.bias.abs() <= 0.4 + 1e-6).all())
    assert bool(((views.gain - 1).abs() <= 0.3 + 1e-6).all())


@given(seed=st.integers(0, 10_000), area=st.floats(0, 1))
def test_a_blanked_rectangle_keeps_to_its_area_and_to_the_image(seed: int, area: float) -> None:
    policy = ViewPolicy(flip=0.0, rotate_deg=0.0, erase=1.0, erase_area=area)
    box = draw_views(policy, 30, generator(seed)).box
    width, height = box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]
    assert bool((width * height / 4 <= area + 1e-5).all())
    assert bool((box.abs() <= 1 + 1e-5).all())
    assert bool((width >= -1e-6).all())


def test_blanked_pixels_are_zero_lie_together_and_no_others_are() -> None:
    policy = ViewPolicy(
        flip=0.0,
        rotate_deg=0.0,
        scale=0.0,
        shift=0.0,
        brightness=0.0,
        contrast=0.0,
        erase=1.0,
        erase_area=0.5,
    )
    images, side = pictures(40, height=16, width=16), 16
    blank = make_views(images, draw_views(policy, 40, generator(3)))[:, 0] == 0
    assert float(blank.float().mean()) == pytest.approx(0.25, abs=0.07)
    for mask in blank:
        rows, columns = mask.any(dim=1), mask.any(dim=0)
        assert torch.equal(mask, rows[:, None] & columns[None, :])
        assert int(mask.sum()) <= 0.5 * side**2 + rows.sum() + columns.sum() + 1


def test_blanking_happens_as_often_as_said() -> None:
    box = draw_views(ViewPolicy(erase=0.25), 4000, generator(0)).box
    assert float((box[:, 0] < 1.5).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert bool((draw_views(ViewPolicy(erase=0.0), 100, generator(0)).box == 2).all())


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("flip", 1.5, r"flip: in \[0, 1\], got 1.5"),
        ("erase", -0.1, r"erase: in \[0, 1\], got -0.1"),
        ("erase_area", 2.0, r"erase_area: in \[0, 1\]"),
        ("brightness", float("nan"), r"brightness: in \[0, 1\], got nan"),
        ("scale", 1.0, r"scale: in \[0, 1\), got 1.0"),
        ("shift", -0.2, r"shift: in \[0, 1\)"),
        ("contrast", 1.0, r"contrast: in \[0, 1\)"),
        ("rotate_deg", 181.0, r"rotate_deg: in \[0, 180\], got 181.0"),
    ],
)
def test_a_policy_out_of_range_is_refused(key: str, value: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ViewPolicy(**{key: value})
