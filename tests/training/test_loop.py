"""The loop: what it passes to a split, what it reports, and how it ends."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fer_ray.core.augment import plain_views
from fer_ray.core.mixture import Mixture, MixtureError, fit_mixture
from fer_ray.core.types import EmptySplitError, Scores, SplitResult
from fer_ray.methods import dividemix, dividing
from fer_ray.methods.co_divide import CoDivide
from fer_ray.training.learner import Images, Learner
from fer_ray.training.state import new_state
from tests.samples import (
    CLASS_NAMES,
    CPU,
    build_oracle,
    build_perceptron,
    built_by,
    faces,
    make_run,
    same_weights,
    timeless,
    train,
)
from tests.training.conftest import MethodCalls

# --- splits ---------------------------------------------------------------------------------------

pytestmark = pytest.mark.lowest


def test_a_split_gets_scores_of_every_image_in_index_order(method_calls: MethodCalls) -> None:
    run, data = make_run("co_divide", method__threshold_rule="class_mean"), faces(num_train=70)
    state, _ = train(run, data, num_epochs=2)
    images = Images(data.train, CPU)
    view = plain_views(images.take(torch.arange(70)))
    learners = [Learner(net, bf16=False, channels_last=False) for net in state.networks]
    logits = torch.stack([learner.logits(view) for learner in learners])
    train(run, data, state, num_epochs=1)
    scores, previous, epoch = method_calls.splits[0]
    assert (previous, epoch, scores.class_names) == (None, 3, CLASS_NAMES)
    assert np.array_equal(scores.label.numpy(), data.train.label)
    assert bool(scores.is_labeled.all())
    torch.testing.assert_close(scores.prob, logits.softmax(dim=2), rtol=1e-4, atol=1e-5)
    for loss, row in zip(scores.loss, logits, strict=True):
        expected = F.cross_entropy(row, images.label, reduction="none")
        torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("co_divide", {"method__clip_quantile": 0.9}),
        ("dividemix", {"method__loss_history": 2}),
        ("ada_cm", {}),
        ("crest", {"method__generation_epochs": 2, "method__num_generations": 1}),
    ],
)
def test_the_histogram_counts_the_losses_that_the_mixture_was_fitted_to(
    method: str, settings: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the same scale, whatever the method does with losses before it fits them."""
    fitted: list[tuple[Tensor, Mixture]] = []

    def noted(loss: Tensor) -> Mixture:
        fitted.append((loss, fit_mixture(loss)))
        return fitted[-1][1]

    for module in (dividing, dividemix):
        monkeypatch.setattr(module, "fit_mixture", noted)
    _, rows = train(make_run(method, **settings), faces())
    counts, mixture = rows[-1]["split/histogram"]["counts"], rows[-1]["split/mixture"]
    num = len(counts)
    edges = np.linspace(0, 1, len(counts[0]) + 1)
    for k, (loss, fit) in enumerate(fitted[-num:]):
        assert counts[k] == np.histogram(loss.double().numpy(), edges)[0].tolist()
        assert mixture["mean"][k] == fit.mean.tolist()
        assert mixture["std"][k] == fit.std.tolist()
    # So the bars have the mean of the mixture; an EM step leaves that of the losses unchanged.
    for row, mean, weight in zip(counts, mixture["mean"], mixture["weight"], strict=True):
        middle = (edges[:-1] + edges[1:]) / 2
        assert np.dot(mean, weight) == pytest.approx(np.average(middle, weights=row), abs=0.01)


def test_a_split_gets_the_previous_split_and_its_memory(method_calls: MethodCalls) -> None:
    run = make_run("dividemix", method__loss_history=2, method__guesses="scored")
    state, _ = train(run, faces())
    (_, none, third), (scores, previous, fourth) = method_calls.splits
    assert (none, third, fourth) == (None, 3, 4)
    assert previous is not None
    assert previous.memory["loss_history"].shape == (2, 1, 96)
    assert state.split is not None
    assert state.split.memory["loss_history"].shape == (2, 2, 96)
    answer = scores.prob.mean(dim=0).argmax(dim=1)
    assert torch.equal(state.split.memory["prediction"], answer.short())


def test_a_generation_begins_with_new_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    original = CoDivide.split

    def reset(
        self: CoDivide, scores: Scores, previous: SplitResult | None, epoch: int
    ) -> SplitResult:
        return replace(original(self, scores, previous, epoch), reset_networks=epoch == 3)

    monkeypatch.setattr(CoDivide, "split", reset)
    run = make_run("co_divide", optim__learning_rate=1e-8)
    state = new_state(run, faces(), CPU)
    start = [net.classifier.weight.detach().clone() for net in state.networks]
    train(run, faces(), state, num_epochs=2)
    old, optimizers = list(state.networks), list(state.optimizers)
    train(run, faces(), state, num_epochs=1)
    for number in (0, 1):
        assert state.networks[number] is not old[number]
        assert state.optimizers[number] is not optimizers[number]
        fresh = state.networks[number].classifier.weight
        assert not torch.allclose(fresh, start[number], atol=1e-3)
        held = {
            id(value)
            for group in state.optimizers[number].param_groups
            for value in group["params"]
        }
        assert held == {id(value) for value in state.networks[number].parameters()}
    again, _ = train(run, faces(), num_epochs=3)
    assert same_weights(again, state)


def test_training_learns_and_the_split_finds_wrong_labels() -> None:
    run = make_run("co_divide", optim__epochs=8, optim__learning_rate=0.1)
    with built_by(build_perceptron):
        state, rows = train(run, faces(num_train=240, noise=0.3))
    assert rows[-1]["val/macro_recall"] > 0.9
    assert rows[-1]["split/precision"] > 0.9
    assert rows[-1]["split/auroc"] > 0.9
    assert state.best is not None
    assert state.best.value == max(row["val/macro_recall"] for row in rows)


# --- rows and the best epoch ----------------------------------------------------------------------


def test_a_row_has_all_metrics() -> None:
    _, rows = train(make_run("co_divide"), faces(num_train=96, num_val=40))
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    for row in rows[:2]:
        assert not any(key.startswith("split/") for key in row)
    for row in rows[2:]:
        counts = row["split/histogram"]["counts"]
        assert np.shape(row["split/clean_prob"]["counts"]) == np.shape(counts)
        assert [sum(part) for part in counts] == [96, 96]
        assert len(row["split/histogram"]["edges"]) == len(counts[0]) + 1
        assert {key: np.shape(part) for key, part in row["split/mixture"].items()} == {
            "mean": (2, 2),
            "std": (2, 2),
            "weight": (2, 2),
        }
        assert {"train/loss", "train/penalty", "split/precision", "time/split_s"} <= set(row)
    for row in rows:
        confusion = np.array(row["val/confusion"])
        assert confusion.sum() == 40
        assert row["val/accuracy"] == pytest.approx(np.trace(confusion) / 40)
        assert row["val/macro_recall"] == pytest.approx(
            np.mean([row[f"val/recall/{name}"] for name in CLASS_NAMES])
        )
        parts = [row[key] for key in row if key in ("time/split_s", "time/train_s", "time/val_s")]
        assert row["time/epoch_s"] == pytest.approx(sum(parts), rel=0.01)


@pytest.mark.parametrize(
    ("metric", "mode"),
    [("val/macro_recall", "max"), ("val/loss", "min"), ("val/recall/fear", "max")],
)
def test_the_first_best_epoch_is_kept_with_its_weights(metric: str, mode: str) -> None:
    run = make_run("cross_entropy", metric=metric, mode=mode, select="best", optim__epochs=5)
    state = new_state(run, faces(), CPU)
    seen: list[tuple[float, Tensor]] = []
    for _ in range(5):
        _, rows = train(run, faces(), state, num_epochs=1)
        seen.append((rows[0][metric], state.networks[0].classifier.weight.detach().clone()))
    values = [value for value, _ in seen]
    best = min(values) if mode == "min" else max(values)
    assert state.best is not None
    assert (state.best.value, state.best.epoch) == (best, values.index(best) + 1)
    assert torch.equal(state.best.weights[0]["classifier.weight"], seen[values.index(best)][1])


def test_a_metric_that_is_nan_is_never_best() -> None:
    data = faces()
    few = data.val.take(np.flatnonzero(data.val.label != 2))
    run = make_run("cross_entropy", metric="val/recall/fear", select="best")
    state, rows = train(run, replace(data, val=few))
    assert all(math.isnan(row["val/recall/fear"]) for row in rows)
    assert state.best is None
    assert len(state.history) == 4


def test_the_state_is_up_to_date_when_a_row_is_yielded() -> None:
    run = make_run("co_divide")
    state = new_state(run, faces(), CPU)
    for epoch in range(1, 5):
        _, rows = train(run, faces(), state, num_epochs=1)
        assert state.epoch == epoch == rows[0]["epoch"]
        assert timeless(state.history[-1:]) == timeless(rows)
        assert (state.split is None) == (epoch <= 2)
    assert train(run, faces(), state)[1] == []


# --- errors ---------------------------------------------------------------------------------------


FIELDS = ("images", "label", "true_label", "row")


def test_a_split_with_too_few_labels_ends_the_run() -> None:
    thresholds = {"default": 0.5, "fear": 1.0, "anger": 1.0}
    run = make_run("co_divide", method__thresholds=thresholds, method__min_class_fraction=0.0)
    data = faces(num_classes=4)
    only = data.train.take(np.flatnonzero(data.train.label >= 2))
    rest = data.train.take(
        np.array([int(np.flatnonzero(data.train.label == c)[0]) for c in (0, 1)])
    )
    joined = [np.concatenate([getattr(only, k), getattr(rest, k)]) for k in FIELDS]
    few = replace(data, train=type(only)(**dict(zip(FIELDS, joined, strict=True))))
    with pytest.raises(EmptySplitError, match=r"epoch 3: [01] images keep their label for network"):
        train(run, few)


def test_a_row_names_the_classes_that_the_floor_has_kept_from_starving() -> None:
    thresholds = {"default": 0.01, "fear": 1.0}
    run = make_run(
        "co_divide", method__thresholds=thresholds, method__min_class_fraction=0.25, optim__epochs=3
    )
    data = faces()
    _, rows = train(run, data)
    num = math.ceil(0.25 * int((data.train.label == 2).sum()))
    assert rows[-1]["split/rescued/fear"] == num
    assert rows[-1]["split/labeled_fraction/fear"] == pytest.approx(
        num / int((data.train.label == 2).sum())
    )
    assert rows[-1]["split/min_class_fraction"] == rows[-1]["split/labeled_fraction/fear"]
    assert "split/min_class_fraction" not in rows[0]


def test_equal_losses_cannot_be_split() -> None:
    run, data = make_run("co_divide"), faces()
    with built_by(build_oracle):
        state = new_state(run, data, CPU)
    with torch.no_grad():
        for network in state.networks:
            network.classifier.weight.zero_()
    state.epoch = 2
    with pytest.raises(MixtureError, match=r"all 96 losses are 1\.386: nothing to divide"):
        train(run, data, state)
