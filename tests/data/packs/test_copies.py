from pathlib import Path

import numpy as np
import pytest

from fer_ray.data.packs import copies, likeness
from fer_ray.data.packs.copies import exact_groups, is_mirrored, near_pairs, near_train, nearest
from tests.paths import SHARED

pytestmark = pytest.mark.lowest

REAL = SHARED / "data" / "fer2013plus" / "fer2013plus.npz"


def smooth(num: int, shape: tuple[int, int, int] = (1, 20, 17), seed: int = 0) -> np.ndarray:
    """Images with more in low frequencies than in high ones, as photographs have."""
    rng = np.random.default_rng(seed)
    channels, height, width = shape
    coarse = rng.normal(size=(num, channels, 4, 4)).repeat(-(-height // 4), 2)
    coarse = coarse.repeat(-(-width // 4), 3)[:, :, :height, :width]
    value = 128 + 40 * coarse + rng.normal(size=(num, *shape)) * 10
    return np.clip(value, 0, 255).astype(np.uint8)


def noisy(image: np.ndarray, deviation: float, seed: int = 1) -> np.ndarray:
    change = np.random.default_rng(seed).normal(scale=deviation, size=image.shape)
    return np.clip(image + change, 0, 255).astype(np.uint8)


def by_force(images: np.ndarray, i: int, j: int) -> float:
    """Of images of at most 48 pixels that are not constant."""
    one, two = (images[k].astype(float).mean(axis=0) for k in (i, j))
    return max(
        float(np.corrcoef(one.ravel(), two.ravel())[0, 1]),
        float(np.corrcoef(one.ravel(), two[:, ::-1].ravel())[0, 1]),
    )


def small_blocks(monkeypatch: pytest.MonkeyPatch, rows: int, among: int, read: int) -> None:
    monkeypatch.setattr(copies, "_ROWS", rows)
    for module in (copies, likeness):
        monkeypatch.setattr(module, "BLOCK", among)
    monkeypatch.setattr(likeness, "_READ_BYTES", read)


def test_equal_images_are_numbered_by_first_occurrence() -> None:
    kinds = [5, 3, 5, 9, 3, 3, 1]
    images = smooth(10)[kinds]
    assert exact_groups(images).tolist() == [0, 1, 0, -1, 1, 1, -1]
    assert exact_groups(images).dtype == np.int64
    assert exact_groups(images[:0]).tolist() == []


def test_one_pixel_makes_another_image() -> None:
    images = smooth(1, (3, 16, 16)).repeat(4, axis=0)
    images[1, 2, 15, 15] ^= 1
    assert exact_groups(images).tolist() == [0, -1, 0, 0]


def test_groups_of_a_memory_map(tmp_path: Path) -> None:
    kinds = np.random.default_rng(0).integers(0, 300, size=500)
    np.save(tmp_path / "images.npy", smooth(300, (3, 8, 8))[kinds])
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    group = exact_groups(mapped)
    same = kinds[:, None] == kinds
    assert np.array_equal(group >= 0, same.sum(axis=1) > 1)
    copied = group >= 0
    assert np.array_equal((group[:, None] == group)[copied], same[copied])
    first = [int(np.flatnonzero(group == i)[0]) for i in range(group.max() + 1)]
    assert first == sorted(first)


@pytest.mark.parametrize("shape", [(1, 20, 17), (3, 48, 48), (1, 9, 30)])
def test_correlations_are_those_of_numpy(shape: tuple[int, int, int]) -> None:
    images = smooth(30, shape)
    subset = np.arange(30) % 3
    found = near_train(images, subset)
    assert found.dtype == np.float32
    for i in range(30):
        expected = -1 if subset[i] == 0 else max(by_force(images, i, j) for j in range(0, 30, 3))
        assert found[i] == pytest.approx(expected, abs=1e-5)


def test_large_images_are_averaged_down() -> None:
    images = smooth(8, (1, 96, 144))
    coarse = images.reshape(8, 1, 48, 2, 48, 3).mean(axis=(3, 5))
    subset = np.repeat([0, 1], 4)
    expected = [max(by_force(coarse, i, j) for j in range(4)) for i in range(4, 8)]
    assert near_train(images, subset)[4:] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("width", [16, 17])
def test_planted_copies_and_mirrored_copies_are_found(width: int) -> None:
    images = smooth(40, (3, 16, width))
    subset = np.repeat([0, 1, 2], (30, 5, 5))
    images[31] = images[7]
    images[33] = images[4, :, :, ::-1]
    images[36] = noisy(images[29], 3)
    images[38] = noisy(images[0, :, :, ::-1], 3)
    found = near_train(images, subset)
    planted = [31, 33, 36, 38]
    assert (found[planted] > 0.97).all()
    assert found[[31, 33]] == pytest.approx(1, abs=1e-6)
    others = np.setdiff1d(np.arange(30, 40), planted)
    assert (found[others] < 0.95).all()
    value, place = nearest(images, np.array(planted), np.arange(30))
    assert place.tolist() == [7, 4, 29, 0]
    assert value == pytest.approx(found[planted])
    mirrored = is_mirrored(images, np.array(planted), place)
    assert mirrored.tolist() == [False, True, False, True]


def test_a_symmetric_image_is_not_called_mirrored() -> None:
    image = smooth(1, (1, 16, 16))
    image = np.concatenate([image, image[..., ::-1]], axis=3)
    assert not is_mirrored(image, np.array([0]), np.array([0]))[0]


def test_constant_images_equal_only_their_like() -> None:
    images = smooth(8, (3, 12, 12))
    images[0], images[4], images[6] = 0, 0, 200
    images[5, 0], images[5, 1], images[5, 2] = 10, 20, 30
    images[1] = 20
    subset = np.repeat([0, 2], 4)
    found, partner = nearest(images, np.arange(4, 8), np.arange(4))
    assert near_train(images, subset)[4:].tolist() == found.tolist()
    assert found[:3].tolist() == [1, 1, 0]
    assert partner[:2].tolist() == [0, 1]
    images[[0, 1]] = 77
    assert near_train(images, np.array([0, 0, 1, 1, 1, 1, 1, 1]))[2:].tolist() == [0] * 6


@pytest.mark.parametrize("side", [13, 90])
def test_constant_colours_are_not_blown_up(side: int) -> None:
    images = smooth(60, (3, side, side))
    images[40:] = (np.arange(20)[:, None] * 9 + (0, 1, 0))[:, :, None, None]
    found = near_train(images, np.repeat([0, 1], (30, 30)))
    assert found[40:].tolist() == [0] * 20
    pairs, _ = near_pairs(images[30:], 0.01)
    assert (pairs < 10).all()


def test_outlines_keep_the_length_of_images() -> None:
    parts = likeness.outlines_of(smooth(9, (3, 30, 21)), np.arange(9), 12)
    length = parts.even.square().sum(dim=1) + parts.odd.square().sum(dim=1)
    assert length.numpy() == pytest.approx(1, abs=1e-5)


def test_without_training_images_there_is_no_correlation() -> None:
    images = smooth(3)
    assert near_train(images, np.ones(3, dtype=int)).tolist() == [-1, -1, -1]
    assert near_train(images, np.zeros(3, dtype=int)).tolist() == [-1, -1, -1]


@pytest.mark.parametrize("blocks", [(1, 1, 1), (3, 4, 1000), (1000, 7, 3000), (5, 1000, 10**6)])
def test_blocks_of_any_size_give_the_same(
    monkeypatch: pytest.MonkeyPatch, blocks: tuple[int, int, int]
) -> None:
    images, subset = smooth(43), np.arange(43) % 3
    images[40] = images[3] = images[12] = 9
    images[22] = noisy(images[6], 3)
    rows, train = np.flatnonzero(subset), np.flatnonzero(subset == 0)
    whole, pairs = nearest(images, rows, train), near_pairs(images, 0.5)
    small_blocks(monkeypatch, *blocks)
    parts = nearest(images, rows, train)
    assert parts[0] == pytest.approx(whole[0], abs=1e-6)
    assert np.array_equal(parts[1], whole[1])
    again = near_pairs(images, 0.5)
    assert sorted(again[0].tolist()) == sorted(pairs[0].tolist())
    assert again[1] == pytest.approx(pairs[1], abs=1e-6)


@pytest.mark.parametrize(("rows", "among"), [(1000, 1000), (7, 5)])
def test_progress_ends_at_the_number_of_held_out_images(
    monkeypatch: pytest.MonkeyPatch, rows: int, among: int
) -> None:
    small_blocks(monkeypatch, rows, among, 10**6)
    told: list[int] = []
    near_train(smooth(60), np.arange(60) % 3, told.append)
    assert sum(told) == 40
    assert min(told) >= 0
    told.clear()
    near_train(smooth(5), np.ones(5, dtype=int), told.append)
    assert sum(told) == 5


def test_progress_is_told_while_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    small_blocks(monkeypatch, 1000, 10, 10**6)
    told: list[int] = []
    near_train(smooth(80), np.repeat([0, 2], 40), told.append)
    assert told == [10, 10, 10, 10]


@pytest.mark.parametrize("threshold", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("is_noise", [False, True])
def test_pairs_are_those_of_brute_force(threshold: float, is_noise: bool) -> None:
    images = smooth(50, (1, 20, 17))
    if is_noise:  # its low frequencies say next to nothing
        images = np.random.default_rng(0).integers(0, 256, images.shape).astype(np.uint8)
    for i in range(10):
        images[40 + i] = noisy(images[i, :, :, :: -1 if i % 2 else 1], 2 * i)
    pairs, values = near_pairs(images, threshold)
    found = {(int(i), int(j)): float(v) for (i, j), v in zip(pairs, values, strict=True)}
    every = {(i, j): by_force(images, i, j) for j in range(50) for i in range(j)}
    expected = {pair: value for pair, value in every.items() if value > threshold}
    assert len(expected) >= 5
    assert found == pytest.approx(expected, abs=1e-5)
    assert np.all(np.diff(values) <= 0)


def test_pairs_among_some_rows_keep_their_places() -> None:
    images = smooth(20)
    images[11], images[17], images[5] = images[3], images[3], 50
    images[8] = 50
    pairs, values = near_pairs(images, rows=np.array([3, 4, 5, 8, 17, 19]))
    assert sorted(pairs.tolist()) == [[3, 17], [5, 8]]
    assert values == pytest.approx([1, 1])
    assert near_pairs(images, rows=np.array([0, 1]))[0].shape == (0, 2)


def test_the_search_for_pairs_ends_where_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = smooth(1).repeat(40, axis=0)
    assert len(near_pairs(images)[0]) == 40 * 39 // 2
    small_blocks(monkeypatch, 8, 8, 10**6)
    pairs, values = near_pairs(images, max_pairs=30)
    assert pairs.shape == (30, 2)
    assert pairs.max() < 16
    assert values.shape == (30,)


@pytest.mark.parametrize("side", [16, 60])
def test_nothing_to_compare_is_no_error(side: int) -> None:
    images, none = smooth(3, (1, side, side)), np.array([], dtype=np.int64)
    assert near_pairs(images, rows=none)[0].shape == (0, 2)
    assert nearest(images, none, np.arange(3))[1].shape == (0,)
    assert is_mirrored(images, none, none).shape == (0,)
    assert near_train(images[:0], none).shape == (0,)


@pytest.mark.skipif(not REAL.exists(), reason=f"{REAL.name} with real faces is not on this machine")
def test_correlations_of_real_faces_are_the_published_ones() -> None:
    with np.load(REAL) as file:
        images, usage, published = (file[key] for key in ("images", "usage", "near_train"))
    test = np.flatnonzero(usage == 1)[::12]
    chosen = np.concatenate([np.flatnonzero(usage == 0), test])
    subset = np.where(usage[chosen] == 1, 2, 0)
    found = near_train(images[chosen][:, None], subset)[-len(test) :]
    assert (published[test] > 0.95).sum() > 20
    assert np.abs(found - published[test].astype(np.float32)).max() < 3e-4  # float16 rounds so
