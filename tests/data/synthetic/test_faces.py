import time

import numpy as np
import pytest

from fer_ray.core.label_noise import FER2013_TRANSITION
from fer_ray.data import DataError, FaceData, noise_of, open_data
from fer_ray.data.classes import CANONICAL
from fer_ray.data.synthetic.drawing import EXPRESSIONS
from fer_ray.data.synthetic.faces import SyntheticSpec, draw_faces, make_arrays, parse_spec

SMALL = "synthetic:train=700,test=70,size=32"


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    return make_arrays(SyntheticSpec(train=2000, test=140, size=24))


def both(data: FaceData, name: str) -> np.ndarray:
    """Training and validation in the order they were drawn."""
    whole = np.concatenate([getattr(data.train, name), getattr(data.val, name)])
    return whole[np.argsort(np.concatenate([data.train.row, data.val.row]))]


def test_class_order_is_canonical() -> None:
    assert CANONICAL[:7] == EXPRESSIONS
    assert open_data(SMALL).class_names == CANONICAL[:7]


def test_sizes_and_notes() -> None:
    data = open_data(SMALL, val_fraction=0.2)
    assert (len(data.train) + len(data.val), len(data.test)) == (700, 70)
    assert abs(len(data.val) - 140) <= 7
    assert data.image_size == (32, 32)
    assert data.num_channels == 1
    assert "of the training and validation labels are wrong" in data.notes[0]


def test_training_is_long_tailed_and_test_is_balanced(arrays: dict[str, np.ndarray]) -> None:
    num_train = dict(zip(EXPRESSIONS, np.bincount(arrays["train_true_label"]), strict=True))
    assert num_train["happiness"] / num_train["disgust"] == pytest.approx(10, rel=0.1)
    assert sorted(num_train, key=lambda name: num_train[name])[:2] == ["disgust", "fear"]
    assert np.bincount(arrays["test_true_label"]).tolist() == [20] * 7


def test_noise_is_fer2013s_in_training_only(arrays: dict[str, np.ndarray]) -> None:
    label, truth = arrays["train_label"], arrays["train_true_label"]
    expected = 1 - np.diag(FER2013_TRANSITION)[truth].mean()
    assert (label != truth).mean() == pytest.approx(expected, abs=0.03)
    assert np.array_equal(arrays["test_label"], arrays["test_true_label"])


@pytest.mark.parametrize(("noise", "rate"), [("none", 0.0), ("0.4", 0.4)])
def test_other_noise(noise: str, rate: float) -> None:
    data = open_data(f"{SMALL},noise={noise}")
    assert (both(data, "label") != both(data, "true_label")).mean() == pytest.approx(rate, abs=0.06)


def test_same_seed_same_bytes() -> None:
    spec = SyntheticSpec(train=140, test=70, size=24)
    once, again = make_arrays(spec), make_arrays(spec)
    other = make_arrays(SyntheticSpec(train=140, test=70, size=24, seed=1))
    for name, value in once.items():
        assert value.tobytes() == again[name].tobytes(), name
    assert not np.array_equal(once["train_images"], other["train_images"])


def test_the_split_seed_moves_rows_but_draws_nothing_anew() -> None:
    one, two = open_data(SMALL, seed=0), open_data(SMALL, seed=1)
    assert not np.array_equal(one.val.row, two.val.row)
    assert np.array_equal(both(one, "images"), both(two, "images"))
    assert np.array_equal(both(one, "label"), both(two, "label"))


def test_noise_does_not_change_the_pictures() -> None:
    one, two = open_data(SMALL), open_data(f"{SMALL},noise=none")
    assert np.array_equal(both(one, "images"), both(two, "images"))


def test_random_training_images_are_verified() -> None:
    plain, data = open_data(SMALL), open_data(f"{SMALL},verified=200", use_verified=False)
    truth = np.concatenate([data.train.true_label, data.val.true_label])
    told = [part.label for part in (data.verified, data.verified_val) if part is not None]
    label = np.concatenate(told)
    assert (label >= 0).sum() == 200
    assert np.array_equal(label[label >= 0], truth[label >= 0])
    noise = noise_of(data)
    assert noise is not None
    assert noise.num_verified == 200
    for part in ("train", "val", "test"):
        assert np.array_equal(getattr(data, part).images, getattr(plain, part).images)
        assert np.array_equal(getattr(data, part).label, getattr(plain, part).label)


def test_pictures_use_the_range_and_differ(arrays: dict[str, np.ndarray]) -> None:
    images = arrays["train_images"].astype(np.float64)
    assert 90 < images.mean() < 150
    assert images.std(axis=(1, 2, 3)).min() > 5
    assert len(np.unique(arrays["train_images"].reshape(len(images), -1), axis=0)) == len(images)


def test_expressions_differ_where_they_should() -> None:
    """The mean surprised face is darker than the neutral one where the mouth opens."""
    label = np.repeat([EXPRESSIONS.index("neutral"), EXPRESSIONS.index("surprise")], 300)
    images, intensity = draw_faces(label, 48, np.random.default_rng(0))
    assert 0.3 <= intensity.min() < intensity.max() <= 1.15
    mouth = images[:, 34:42, 20:28].mean(axis=(1, 2))
    assert mouth[:300].mean() - mouth[300:].mean() > 8


def test_a_nearest_mean_classifier_beats_chance_only_modestly() -> None:
    """Neither trivial nor hopeless for the simplest of models."""
    arrays = make_arrays(SyntheticSpec(train=1400, test=350, imbalance=1.0, size=24))
    train = arrays["train_images"].reshape(1400, -1).astype(np.float64)
    test = arrays["test_images"].reshape(350, -1).astype(np.float64)
    truth = arrays["train_true_label"]
    means = np.stack([train[truth == i].mean(axis=0) for i in range(7)])
    guess = ((test[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
    assert 0.15 < (guess == arrays["test_true_label"]).mean() < 0.6


def test_drawn_within_seconds() -> None:
    start = time.process_time()
    make_arrays(SyntheticSpec(train=1000, test=350))
    assert time.process_time() - start < 5 * 1350 / 5400 + 1


def test_spec_is_read() -> None:
    spec = parse_spec("train=700, imbalance=2.5,seed=4,noise=0.3")
    assert (spec.train, spec.imbalance, spec.seed, spec.noise) == (700, 2.5, 4, "0.3")
    assert parse_spec("") == SyntheticSpec()


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ("trian=5", "key=value, each key once, of train, test, size, .*noise, verified, seed"),
        ("train", "got 'train'"),
        ("seed=1,seed=2", "the key twice"),
        ("train=5", "train: expected a whole number from 70 to .* got '5'"),
        ("train=many", "train: .* got 'many'"),
        ("imbalance=0.5", "imbalance: expected a number from 1 to 1000"),
        ("imbalance=nan", "imbalance: .* got 'nan'"),
        ("noise=1.5", "noise: expected fer2013, none, or the share"),
        ("size=4", "size"),
        ("train=700,verified=701", "verified: expected at most .*, 700, got 701"),
    ],
)
def test_bad_spec_is_refused(rest: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_data(f"synthetic:{rest}")


def test_unknown_scheme_lists_the_known() -> None:
    with pytest.raises(DataError, match=r"synthetic, .*got 'sinthetic'\. Did you mean 'synthetic'"):
        open_data("sinthetic")


def test_bad_share_of_validation() -> None:
    with pytest.raises(DataError, match="val_fraction: expected a share between 0 and 1, got 1"):
        open_data("synthetic", val_fraction=1.0)
