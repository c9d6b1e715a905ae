"""Plain JPEGs are decoded to what Pillow makes of them; all others are left to it."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fer_ray.data.packs import read
from fer_ray.data.packs.decode import decode
from fer_ray.data.packs.jpeg import decode_plain
from fer_ray.data.packs.read import ImageError

pytestmark = pytest.mark.lowest


def picture(height: int, width: int, seed: int = 0, mode: str = "RGB") -> Image.Image:
    rng = np.random.default_rng(seed)
    few = rng.integers(0, 256, (3, 3, 3), dtype=np.uint8)
    smooth = Image.fromarray(few).resize((width, height), Image.Resampling.BICUBIC)
    noise = rng.normal(0, 6, (height, width, 3))
    pixels = (np.asarray(smooth) + noise).clip(0, 255).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def written(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def plain(content: bytes) -> np.ndarray | None:
    return decode_plain(content, max_pixels=10**6, max_side=1000)


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    seed=st.integers(0, 9),
    mode=st.sampled_from(["RGB", "L"]),
    quality=st.integers(5, 98),
    subsampling=st.sampled_from(["4:4:4", "4:2:2", "4:2:0"]),
    progressive=st.booleans(),
    restart=st.integers(0, 3),
)
def test_the_pixels_are_those_of_pillow(
    height: int, width: int, seed: int, mode: str, quality: int, subsampling: str,
    progressive: bool, restart: int,
) -> None:  # fmt: skip
    content = written(
        picture(height, width, seed, mode),
        quality=quality,
        subsampling=subsampling,
        progressive=progressive,
        restart_marker_blocks=restart,
    )
    found = plain(content)
    assert found is not None
    with Image.open(io.BytesIO(content)) as image:
        expected = np.asarray(image)
    np.testing.assert_array_equal(found.squeeze(2) if mode == "L" else found, expected)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xd8\xff",
        written(picture(20, 20), exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0"),
        written(picture(20, 20, mode="CMYK")),
        written(picture(20, 20))[:-40],
        written(picture(1001, 1000)),
    ],
    ids=["nothing", "a start", "Exif", "CMYK", "cut short", "large"],
)
def test_what_is_not_plain_is_left_to_pillow(content: bytes) -> None:
    assert plain(content) is None


def test_an_image_too_large_to_decode_is_left_to_pillow() -> None:
    content = written(picture(30, 40))
    assert decode_plain(content, max_pixels=1200, max_side=1000) is not None
    assert decode_plain(content, max_pixels=1199, max_side=1000) is None
    assert decode_plain(content, max_pixels=1200, max_side=30) is None


@settings(max_examples=40, deadline=None)
@given(
    data=st.data(),
    size=st.integers(16, 40),
    box=st.sampled_from([None, (3, 2, 20, 30), (0, 0, 99, 99)]),
    mode=st.sampled_from(["RGB", "L"]),
)
def test_files_whole_or_damaged_end_as_with_pillow_alone(
    data: st.DataObject, size: int, box: tuple[int, int, int, int] | None, mode: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    content = bytearray(written(picture(40, 33, mode=mode)))
    for _ in range(data.draw(st.integers(0, 2), "damages")):
        content[data.draw(st.integers(0, len(content) - 1), "place")] = data.draw(
            st.integers(0, 255), "byte"
        )
    del content[data.draw(st.integers(len(content) // 2, len(content)), "end") :]
    path = tmp_path_factory.mktemp("images") / data.draw(st.sampled_from(["a.jpg", "a.png"]))
    path.write_bytes(content)

    def outcome() -> tuple[Any, ...]:
        try:
            pixels, original, done = decode(path, size, box)
        except ImageError as error:
            return error.kind, str(error)
        return pixels.tobytes(), original, done

    found = outcome()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(read, "decode_plain", lambda *_, **__: None)
        assert outcome() == found


def test_a_file_of_a_plain_jpeg_does_not_reach_pillow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(written(picture(40, 40)))
    expected = decode(path, 40)[0]
    monkeypatch.setattr(Image, "open", None)
    np.testing.assert_array_equal(decode(path, 40)[0], expected)
