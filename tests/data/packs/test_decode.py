"""Image files of every kind become RGB pixels, or the reason why not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fer_ray.data.packs.decode import decode
from fer_ray.data.packs.read import ImageError
from tests.data.files import drawn

pytestmark = pytest.mark.lowest

FACE = drawn(1, 40)[0]
RGB = np.stack([FACE, FACE // 2, 255 - FACE], axis=2)


def save(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def test_an_image_of_the_size_asked_for_is_its_own_pixels(tmp_path: Path) -> None:
    pixels, original, done = decode(save(tmp_path / "a.png", Image.fromarray(RGB)), 40)
    assert np.array_equal(pixels, RGB.transpose(2, 0, 1))  # red first, not blue
    assert (original, done) == ((40, 40), ())


@pytest.mark.parametrize(
    ("name", "image", "how"),
    [
        ("a.png", Image.fromarray(FACE), "grey"),
        ("a.png", Image.fromarray(FACE.astype(np.uint16) * 257), "16 bits"),
        ("a.tif", Image.fromarray(FACE.astype(np.uint16) * 257), "16 bits"),
        ("a.png", Image.fromarray(FACE > 127), "grey"),
    ],
)
def test_grey_in_every_depth_becomes_three_equal_channels(
    name: str, image: Image.Image, how: str, tmp_path: Path
) -> None:
    pixels, _, done = decode(save(tmp_path / name, image), 40)
    expected = np.where(FACE > 127, 255, 0) if image.mode == "1" else FACE
    assert np.array_equal(pixels, np.stack([expected] * 3))
    assert done == (how,)


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    image = Image.fromarray(RGB).convert("CMYK")
    pixels, _, done = decode(save(tmp_path / "a.jpg", image, quality=98), 40)
    assert np.abs(pixels.astype(int) - RGB.transpose(2, 0, 1)).mean() < 6
    assert done == ("CMYK",)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_becomes_black(mode: str, tmp_path: Path) -> None:
    image = Image.fromarray(RGB).convert("RGBA")
    image.paste((255, 255, 255, 0), (0, 0, 20, 40))
    path = tmp_path / "a.png"
    if mode == "P":
        palette = image.convert("RGB").quantize(16)
        save(path, palette, transparency=palette.getpixel((0, 0)))
    else:
        save(path, image.convert(mode))
    pixels, _, done = decode(path, 40)
    assert pixels[:, :, :20].max() == 0
    assert pixels[:, :, 21:].mean() > 20
    assert done == ("transparent",)


def test_the_content_decides_what_a_file_is_and_a_wrong_ending_is_told(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(RGB)).rename(tmp_path / "a.jpg")
    pixels, _, done = decode(path, 40)
    assert np.array_equal(pixels, RGB.transpose(2, 0, 1))
    assert done == ("misnamed",)


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [(".jpe", "JPEG"), (".jfif", "JPEG"), (".ppm", "PPM"), (".pgm", "PPM"), (".gif", "GIF")],
)
def test_what_pillow_reads_is_an_image(suffix: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(RGB[:, :, 0]).save(path, format=kind)
    pixels, _, done = decode(path, 40)
    assert np.abs(pixels.astype(int) - RGB[None, :, :, 0]).mean() < 4
    assert "misnamed" not in done


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_16_bits_are_scaled_by_the_bits_that_are_used(bits: int, tmp_path: Path) -> None:
    grey = np.arange(1600, dtype=np.int64).reshape(40, 40) * (2**bits - 1) // 1599
    pixels, _, done = decode(save(tmp_path / "a.png", Image.fromarray(grey.astype(np.uint16))), 40)
    expected = grey // {8: 1, 12: 16, 16: 257}[bits]
    assert np.array_equal(pixels[0], expected)
    assert done == ("16 bits",)


@pytest.mark.parametrize("most", [1.0, 255.0, 65535.0])
def test_floating_point_numbers_are_scaled_by_what_they_reach(most: float, tmp_path: Path) -> None:
    share = np.linspace(0, 1, 1600, dtype=np.float32).reshape(40, 40)
    pixels, _, done = decode(save(tmp_path / "a.tif", Image.fromarray(share * most)), 40)
    assert np.abs(pixels[0] - 255 * share).max() <= 1
    assert done == ("float",)


def test_numbers_that_are_not_finite_are_unreadable(tmp_path: Path) -> None:
    values = np.full((40, 40), np.nan, dtype=np.float32)
    with pytest.raises(ImageError, match="not finite") as caught:
        decode(save(tmp_path / "a.tif", Image.fromarray(values)), 40)
    assert caught.value.kind == "unreadable"


def test_an_image_of_one_shade_is_told(tmp_path: Path) -> None:
    _, _, done = decode(save(tmp_path / "a.png", Image.new("RGB", (40, 40))), 40)
    assert done == ("flat",)


def test_the_orientation_of_the_camera_is_undone(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    pixels, _, _ = decode(save(tmp_path / "a.png", Image.fromarray(RGB), exif=exif), 40)
    assert np.array_equal(pixels, RGB[::-1, ::-1].transpose(2, 0, 1))


def test_the_middle_square_is_taken_and_scaled(tmp_path: Path) -> None:
    wide = np.zeros((20, 60, 3), dtype=np.uint8)
    wide[:, 20:40] = 200
    pixels, original, _ = decode(save(tmp_path / "a.png", Image.fromarray(wide)), 16)
    assert pixels.shape == (3, 16, 16)
    assert (pixels[:, :, 1:-1] == 200).all()  # the filter looks a little beyond
    assert original == (20, 60)


@pytest.mark.parametrize(
    ("box", "corner"),
    [
        ((30, 10, 50, 30), (30, 10)),  # a square as it is
        ((30, 14, 50, 26), (30, 10)),  # made a square around its centre
        ((-8, -4, 12, 16), (0, 0)),  # moved into the image
    ],
)
def test_the_square_of_the_face_is_taken(
    box: tuple[int, int, int, int], corner: tuple[int, int], tmp_path: Path
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    pixels, _, _ = decode(save(tmp_path / "a.png", Image.fromarray(image)), 20, box)
    left, top = corner
    assert np.array_equal(pixels, image[top : top + 20, left : left + 20].transpose(2, 0, 1))


def test_a_large_jpeg_is_scaled_as_a_small_one(tmp_path: Path) -> None:
    large = Image.fromarray(RGB).resize((800, 800), Image.Resampling.BICUBIC)
    pixels, original, _ = decode(save(tmp_path / "a.jpg", large, quality=95), 40)
    assert original == (800, 800)
    assert np.abs(pixels.astype(int) - RGB.transpose(2, 0, 1)).mean() < 4


def broken(path: Path, kind: str) -> Path:
    save(path, Image.fromarray(RGB))
    content = path.read_bytes()
    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "text":
        path.write_text("<html>not found</html>")
    elif kind == "damaged":
        path.write_bytes(content[:60] + bytes(200) + content[260:])
    return path


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".bmp", ".webp"])
@pytest.mark.parametrize("kind", ["empty", "truncated", "text"])
def test_what_is_no_whole_image_is_unreadable(suffix: str, kind: str, tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        decode(broken(tmp_path / f"a{suffix}", kind), 40)
    assert caught.value.kind == "unreadable"
    assert (str(caught.value) == "an empty file") == (kind == "empty")


def test_a_damaged_png_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as caught:
        decode(broken(tmp_path / "a.png", "damaged"), 40)
    assert caught.value.kind == "unreadable"


def test_a_missing_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such file") as caught:
        decode(tmp_path / "a.png", 40)
    assert caught.value.kind == "missing"


@pytest.mark.parametrize("side", [8001, 14_000])
def test_a_bomb_is_refused_before_it_is_decoded(side: int, tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", Image.new("1", (side, side)))
    assert path.stat().st_size < 1_000_000
    with pytest.raises(ImageError) as caught:
        decode(path, 40)
    assert caught.value.kind == "too large"


@pytest.mark.parametrize("box", [(50, 50, 60, 60), (10, 10, 10, 20), (-20, 0, 0, 10)])
def test_a_box_outside_the_image_is_unreadable(
    box: tuple[int, int, int, int], tmp_path: Path
) -> None:
    with pytest.raises(ImageError, match="face box"):
        decode(save(tmp_path / "a.png", Image.fromarray(RGB)), 40, box)


def test_a_name_that_is_too_long_is_unreadable(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="too long"):
        decode(tmp_path / f"{'9' * 300}.jpg", 24)
