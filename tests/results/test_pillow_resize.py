"""Images are scaled as Pillow scales them, bit for bit, whatever their size."""

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from fer_ray.data.packs.decode import square
from fer_ray.results.pillow_resize import scaled, shortens_first

FIRST = shortens_first()
side = st.integers(1, 400)


@given(st.sampled_from([16, 31, 48, 112]), side, side, st.integers(0, 99))
@example(48, 48, 48, 0)  # nothing to do
@example(16, 400, 398, 0)  # averaged first, by eight
@example(16, 97, 301, 0)  # averaged by two, with a rest, and cut in the middle of a pixel
@example(48, 57, 50, 0)  # shortened before it is narrowed, by Pillow 13
@example(48, 1, 1, 0)
def test_every_pixel_is_that_of_pillow(size: int, height: int, width: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    ours = torch.from_numpy(pixels).permute(2, 0, 1)[None].double()
    found = scaled(ours, size, shortens_first=FIRST)[0].numpy()
    np.testing.assert_array_equal(found, square(Image.fromarray(pixels), size))


@pytest.mark.parametrize("value", [0, 1, 254, 255])
def test_plain_images_stay_plain(value: int) -> None:
    image = torch.full((1, 3, 217, 130), float(value)).double()
    assert bool((scaled(image, 48, shortens_first=FIRST) == value).all())
