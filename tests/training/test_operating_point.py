"""The operating points of a run: which priors it has, and its figures in rows and summaries."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fer_ray.config import RunConfig
from fer_ray.core.errors import ConfigError
from fer_ray.core.metrics import epoch_metrics
from fer_ray.core.noise_model import NoiseModel, corrected_confusion
from fer_ray.core.operating_points import mean_prediction_of, prediction_metrics, reweighted
from fer_ray.data import FaceData
from fer_ray.record.storage import Folder
from fer_ray.training.checkpoint import Best, copy_weights, save_checkpoint
from fer_ray.training.finish import best_learners, finish_run, write_summary
from fer_ray.training.learner import Images, mean_prediction
from fer_ray.training.operating_point import Priors, read_priors, validation_figures
from fer_ray.training.runtime import check_run
from tests.gloo import GlooRanks
from tests.samples import CLASS_NAMES, CPU, faces, make_run, timeless, train

NOISE = NoiseModel(
    transition=0.7 * torch.eye(4) + 0.075, prior=torch.tensor([0.4, 0.3, 0.2, 0.1]), num_verified=99
)


def unbalanced(seed: int = 0) -> FaceData:
    """Training and validation images with few of the last class."""
    data = faces(num_train=120, num_val=80, seed=seed)
    train_rows = np.concatenate([np.arange(96), np.arange(96, 120, 4)])
    return replace(data, train=data.train.take(train_rows))


def run_with(prior: Any, **overrides: Any) -> RunConfig:
    return make_run("cross_entropy", prediction__prior=prior, **overrides)


def test_the_chosen_prior_is_the_one_asked_for() -> None:
    data = unbalanced()
    label = data.train.label
    given = np.bincount(label, minlength=4) / len(label)
    shares = {"neutral": 2, "happiness": 1, "fear": 1, "anger": 0}
    expected: dict[Any, Any] = {
        "given": given.tolist(),
        "verified": NOISE.prior.tolist(),
        "uniform": [0.25] * 4,
    }
    for prior, values in expected.items():
        chosen = read_priors(run_with(prior), data, NOISE).chosen
        assert chosen is not None
        assert chosen.tolist() == pytest.approx(values)
    own = read_priors(run_with(shares), data, None)
    assert own.chosen is not None
    assert own.chosen.tolist() == [0.5, 0.25, 0.25, 0]
    assert own.natural.tolist() == pytest.approx(given.tolist())
    assert own.natural_source == "given"
    trained = read_priors(run_with("trained"), data, NOISE)
    assert trained.chosen is None
    assert trained.natural.tolist() == pytest.approx(NOISE.prior.tolist())
    assert trained.natural_source == "verified"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"prediction__prior": "verified"},
            r"^prediction\.prior: verified .*none or too few.*\(data\.verified\), or.*prior=given",
        ),
        (
            {"prediction__prior": {"fear": 1}},
            r"^prediction\.prior: expected a share of every class",
        ),
        ({"prediction__prior": {"fer": 1}}, r"^prediction\.prior\.fer: .*did you mean fear\?"),
        ({"metric": "val/corrected/accuracy"}, r"^metric: val/corrected/accuracy needs random ver"),
        ({"metric": "val/forward_loss"}, r"^metric: val/forward_loss needs .*val/natural/accuracy"),
    ],
)
def test_what_needs_verified_labels_or_classes_is_refused(
    overrides: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check_run(make_run("cross_entropy", **overrides), faces())


def test_with_verified_labels_nothing_is_refused() -> None:
    run = make_run(
        "cross_entropy", prediction__prior="verified", metric="val/corrected/natural/accuracy"
    )
    with mock.patch("fer_ray.training.runtime.noise_of", return_value=NOISE):
        check_run(run, faces())


@pytest.mark.parametrize("noise", [None, NOISE])
def test_validation_figures_are_at_the_chosen_and_at_three_points(noise: NoiseModel | None) -> None:
    generator = torch.Generator().manual_seed(1)
    prob = (2 * torch.randn(60, 4, generator=generator) + torch.tensor([2.0, 1, 0, -1])).softmax(1)
    label = torch.randint(4, (60,), generator=generator)
    uniform, natural = torch.full((4,), 0.25).double(), torch.tensor([0.1, 0.2, 0.3, 0.4]).double()
    priors = Priors(chosen=uniform, given=natural, natural=natural, natural_source="given")
    row = validation_figures(prob, label, CLASS_NAMES, priors, noise)
    mean = mean_prediction_of(prob)
    assert row["val/mean_prediction"] == mean.tolist()
    points = {"trained": prob, "natural": reweighted(prob, natural, mean)}
    points["balanced"] = points[""] = reweighted(prob, uniform, mean)
    assert row["val/loss"] == pytest.approx(float(F.nll_loss(points[""].log(), label)), rel=1e-5)
    accuracies = set()
    for point, answer in points.items():
        metrics, confusion = prediction_metrics(answer, label, CLASS_NAMES)
        at = f"{point}/" if point else ""
        assert row[f"val/{at}accuracy"] == metrics["accuracy"]
        assert row[f"val/{at}macro_recall"] == metrics["macro_recall"]
        accuracies.add(metrics["accuracy"])
        assert (f"val/corrected/{at}accuracy" in row) == (noise is not None)
        if noise is not None:
            true = epoch_metrics(corrected_confusion(confusion.double(), noise), CLASS_NAMES)
            assert row[f"val/corrected/{at}accuracy"] == pytest.approx(true["accuracy"])
            assert row[f"val/corrected/{at}macro_recall"] == pytest.approx(true["macro_recall"])
    assert len(accuracies) == 3
    if noise is not None:
        assert row["val/forward_loss"] == -noise.likelihood(points[""], label)
    else:
        assert "val/forward_loss" not in row


def test_corrected_figures_find_the_truth_behind_noisy_labels() -> None:
    rng = np.random.default_rng(0)
    truth = rng.choice(4, 20_000, p=[0.4, 0.3, 0.2, 0.1])
    is_wrong = rng.random(20_000) < 0.3  # a wrong label may be the right one, as in NOISE
    given = np.where(is_wrong, rng.integers(0, 4, 20_000), truth)
    answer = np.where(rng.random(20_000) < 0.8, truth, rng.integers(0, 4, 20_000))
    prob = F.one_hot(torch.from_numpy(answer), 4).float() * 0.9 + 0.025
    natural = NOISE.prior.double()
    priors = Priors(chosen=None, given=natural, natural=natural, natural_source="verified")
    row = validation_figures(prob, torch.from_numpy(given), CLASS_NAMES, priors, NOISE)
    assert row["val/corrected/accuracy"] == pytest.approx(0.85, abs=0.02)
    assert row["val/corrected/macro_recall"] == pytest.approx(0.85, abs=0.02)
    assert row["val/accuracy"] < 0.72


def priors_rows(run: RunConfig) -> str:
    """Rows of a run, without durations."""
    return timeless(train(run, unbalanced(), num_epochs=2)[1])


def test_all_ranks_report_the_same_points(gloo_pair: GlooRanks) -> None:
    first, second = gloo_pair.run(priors_rows, run_with("uniform"))
    assert first == second
    assert "val/balanced/macro_recall" in first


def test_the_best_epoch_is_chosen_at_the_operating_point() -> None:
    values = {"metric": "val/macro_recall", "select": "best", "optim__epochs": 3}
    run = run_with("uniform", **values)
    state, rows = train(run, unbalanced())
    assert state.best is not None
    for row in rows:
        assert row["val/macro_recall"] == row["val/balanced/macro_recall"]
    assert state.best.value == max(row["val/balanced/macro_recall"] for row in rows)


@pytest.mark.parametrize("select", ["best", "last"])
def test_the_networks_of_the_selected_epoch_are_kept(select: str) -> None:
    """Against a metric whose best epoch is the first."""
    run = make_run("cross_entropy", select=select, metric="val/loss", mode="max", optim__epochs=3)
    state, rows = train(run, faces())
    losses = [row["val/loss"] for row in rows]
    assert int(np.argmax(losses)) == 0
    assert state.best is not None
    assert state.best.epoch == (1 if select == "best" else 3)
    assert state.best.value == losses[state.best.epoch - 1]
    final = copy_weights(state.evaluated)[0]
    same = all(torch.equal(final[key], value) for key, value in state.best.weights[0].items())
    assert same == (select == "last")


def finished(run: RunConfig, data: FaceData, folder: Path) -> tuple[dict[str, Any], Best]:
    """The summary of a run, read back from its file."""
    state, _ = train(run, data)
    (folder / "checkpoint").mkdir()
    save_checkpoint(state, run, folder / "checkpoint")
    summary, _ = finish_run(run, data, folder / "checkpoint", Folder(folder / "run"), CPU)
    write_summary(Folder(folder / "run"), summary)
    assert state.best is not None
    return json.loads((folder / "run" / "summary.json").read_text()), state.best


def test_a_summary_has_three_points_by_the_mean_of_validation(tmp_path: Path) -> None:
    data = unbalanced()
    skewed = data.test.take(np.flatnonzero(data.test.label != 1))  # another mean prediction
    data = replace(data, test=skewed)
    run = run_with("given", optim__epochs=2, select="last")
    summary, best = finished(run, data, tmp_path)

    learners = best_learners(run, data, best, CPU)

    def predicted(images: Images) -> torch.Tensor:
        every = images.take(torch.arange(len(images)))
        return mean_prediction(learners, every, flip_average=True)

    test = Images(data.test, CPU)
    mean, prob = mean_prediction_of(predicted(Images(data.val, CPU))), predicted(test)
    given = torch.from_numpy(np.bincount(data.train.label, minlength=4) / len(data.train))
    points = {
        "trained": prob,
        "natural": reweighted(prob, given, mean),
        "balanced": reweighted(prob, torch.full((4,), 0.25).double(), mean),
    }
    for name, answer in points.items():
        metrics, confusion = prediction_metrics(answer, test.label, CLASS_NAMES)
        found = summary["test"]["points"][name]
        assert found["accuracy"] == metrics["accuracy"]
        assert found["macro_recall"] == metrics["macro_recall"]
        assert found["recall"]["fear"] == metrics["recall/fear"]
        assert found["recall"]["happiness"] is None
        assert found["confusion_matrix"] == confusion.tolist()
    with np.load(tmp_path / "run" / "test.npz") as kept:
        assert torch.equal(torch.from_numpy(kept["prob"]), prob)
        assert kept["label"].tolist() == data.test.label.tolist()
        assert kept["row"].tolist() == data.test.row.tolist()
    assert summary["test"]["accuracy"] == summary["test"]["points"]["natural"]["accuracy"]
    assert summary["select"] == "last"
    used = summary["prediction"]
    assert (used["prior"], used["natural_source"]) == ("given", "given")
    assert list(used["chosen"].values()) == pytest.approx(given.tolist())
    assert list(used["mean_prediction"].values()) == pytest.approx(mean.tolist(), rel=1e-4)
