"""Figures of saved predictions: operating points, the curve, resamples, times to a target."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from benchmarks import points
from benchmarks.noise_runs import agrees, fitted_epochs
from benchmarks.noise_sets import chosen_rows
from benchmarks.time_to_accuracy import time_to

NUM_CLASSES = 4


def predictions(seed: int, num: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Predictions that favour the true label, and labels of all classes, imbalanced."""
    generator = np.random.default_rng(seed)
    share = np.array([0.6, 0.2, 0.15, 0.05])
    label = np.concatenate([np.arange(4), generator.choice(4, num - 4, p=share)])
    logits = generator.normal(size=(num, NUM_CLASSES)) + 1.5 * np.eye(NUM_CLASSES)[label]
    prob = np.exp(logits)
    return prob / prob.sum(axis=1, keepdims=True), label


@given(st.integers(0, 1000))
def test_figures_are_those_of_scikit_learn(seed: int) -> None:
    prob, label = predictions(seed)
    answer = points.answers(prob, None)
    assert points.accuracy_and_recall(label, answer) == pytest.approx(
        (accuracy_score(label, answer), balanced_accuracy_score(label, answer))
    )


@given(st.integers(0, 1000), st.floats(0.1, 10))
def test_a_point_depends_on_neither_scale_nor_a_prior_of_the_predictions(
    seed: int, scale: float
) -> None:
    """The mean is divided out: answers with the prior m itself are those as trained."""
    prob, label = predictions(seed)
    prior = points.shares(label, NUM_CLASSES)
    same = points.answers(prob, prob.mean(axis=0))
    np.testing.assert_array_equal(same, points.answers(prob, None))
    scaled = points.answers(prob, scale * prior)
    np.testing.assert_array_equal(scaled, points.answers(prob, prior))


def test_the_curve_goes_through_the_balanced_and_the_natural_point() -> None:
    prob, label = predictions(3)
    ends = points.curve(prob, label, (0.0, 1.0))
    for end, prior in zip(ends, (np.ones(4), points.shares(label, 4)), strict=True):
        answer = (prob / prob.mean(axis=0) * prior).argmax(axis=1)
        assert end == points.accuracy_and_recall(label, answer)
    assert ends[1][0] > ends[0][0]


@pytest.mark.parametrize("is_macro", [False, True])
def test_resamples_are_the_same_for_all_cases(is_macro: bool) -> None:
    prob, label = predictions(5)
    hit = (points.answers(prob, None) == label).astype(float)
    cases = {"a": hit, "same": hit.copy(), "all right": np.ones(len(label))}
    drawn = points.bootstrap(label, cases, num_resamples=50, is_macro=is_macro)
    np.testing.assert_array_equal(drawn["a"], drawn["same"])
    np.testing.assert_allclose(drawn["all right"], 1)
    rows = np.random.default_rng(0).integers(len(label), size=len(label))
    measure = balanced_accuracy_score if is_macro else accuracy_score
    answer = points.answers(prob, None)
    assert drawn["a"][0] == pytest.approx(measure(label[rows], answer[rows]))
    whole = points.mean_hit(label, hit, is_macro=is_macro)
    assert whole == pytest.approx(measure(label, answer))
    low, high = points.interval(drawn["a"])
    assert low < drawn["a"].mean() < high


def test_resampled_deviation_is_that_of_a_share() -> None:
    label = np.zeros(400, dtype=int)
    hit = np.arange(400) < 300
    drawn = points.bootstrap(label, {"a": hit})["a"]
    assert drawn.std() == pytest.approx(np.sqrt(0.75 * 0.25 / 400), rel=0.1)


def test_tested_images_are_no_copies_and_not_trained_on() -> None:
    large = {
        "majority_ferplus": np.array([0, 1, 7, 2, 3, 4, 5]),
        "usage": np.array([0, 0, 0, 0, 1, 1, 0]),
        "near_train": np.array([0.5, 0.99, 0.5, 0.5, 0.5, 0.97, 0.5]),
        "dup_group": np.array([-1, -1, -1, 3, -1, -1, -1]),
        "row": np.arange(10, 17),
    }
    train, test = chosen_rows(large, np.array([10]))
    assert np.flatnonzero(train).tolist() == [0]
    assert np.flatnonzero(test).tolist() == [4, 6]
    train, test = chosen_rows(large, None)
    assert np.flatnonzero(train).tolist() == [0, 1, 2, 3, 6]
    assert np.flatnonzero(test).tolist() == [4]


def test_epochs_fill_the_budget() -> None:
    plain = {"method": {"name": "cross_entropy"}}
    assert fitted_epochs(plain, {"warmup": 3.0, "later": 3.0}, 360) == 120
    split = {"method": {"name": "co_divide", "warmup_epochs": 10}}
    assert fitted_epochs(split, {"warmup": 6.0, "later": 15.0}, 360) == 30


def test_a_run_is_kept_when_keys_are_added_but_not_when_values_change() -> None:
    kept = {"optim": {"epochs": 3}, "data": {"spec": "elsewhere"}}
    assert agrees(kept, {"optim": {"epochs": 3, "name": "sgd"}, "data": {"spec": "here"}})
    assert not agrees(kept, {"optim": {"epochs": 4}})


def test_time_to_a_target() -> None:
    assert time_to(60, [2.0, 4.0, 8.0], [40, 60, 50]) == pytest.approx(4.0)
    assert time_to(30, [2.0, 4.0], [40, 60]) == 2.0
    assert time_to(61, [2.0, 4.0, 8.0], [40, 60, 50]) is None
