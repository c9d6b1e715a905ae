"""What a finished run tells of itself, and what is said of folders that hold none."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fer_ray import __version__
from fer_ray.core.errors import ConfigError
from fer_ray.data import FaceData
from fer_ray.record.places import StorageError
from fer_ray.results.run_folder import open_run
from fer_ray.training.evaluation import evaluate
from fer_ray.training.finish import exact_learner
from fer_ray.training.learner import Images
from tests.samples import CLASS_NAMES, CPU

RunAndData = tuple[Path, FaceData]


def test_a_run_tells_what_predicting_needs(run_and_data: RunAndData) -> None:
    folder, data = run_and_data
    run = open_run(folder)
    assert run.class_names == CLASS_NAMES
    assert (run.num_channels, run.image_size) == (1, (16, 16))
    assert run.folder.local_path == folder
    assert run.search is None
    assert run.version == __version__
    assert run.config.prediction.prior == "uniform"
    count = torch.bincount(torch.from_numpy(data.train.label), minlength=4)
    assert run.given.tolist() == pytest.approx((count / count.sum()).tolist())
    assert run.verified is None
    row = json.loads((folder / "summary.json").read_text())["best"]
    assert len(run.mean_prediction) == 4
    assert row["epoch"] in (1, 2, 3)


def test_its_networks_are_those_that_were_tested(run_and_data: RunAndData) -> None:
    folder, data = run_and_data
    run = open_run(folder)
    learners = [exact_learner(network, CPU) for network in run.networks()]
    prob = evaluate(learners, Images(data.test, CPU), run.config, 4)
    assert prob is not None
    prior = run.prior()
    assert prior is not None
    answer = (prob * prior / run.mean_prediction).argmax(dim=1)
    hits = (answer == torch.from_numpy(data.test.label)).double().mean()
    assert run.summary["test"]["accuracy"] == pytest.approx(float(hits))


def test_its_networks_predict_in_float32(run_and_data: RunAndData) -> None:
    (network, _) = open_run(run_and_data[0]).networks()
    images = torch.randn(8, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    found = exact_learner(network, CPU).logits(images)
    torch.testing.assert_close(found, network(images).logits, rtol=1e-5, atol=1e-5)


def test_the_file_of_initial_weights_may_be_gone(run_folder: Path) -> None:
    text = (run_folder / "config.yaml").read_text()
    assert "weights: null" in text
    (run_folder / "config.yaml").write_text(text.replace("weights: null", "weights: gone.pt"))
    assert len(open_run(run_folder).networks()) == 2


def test_a_search_is_its_best_trial(search_folder: Path) -> None:
    run = open_run(f"file://{search_folder}")
    assert run.folder.local_path == search_folder / "trial_002"
    assert run.search is not None
    assert run.search.local_path == search_folder
    assert len(run.networks()) == 2


@pytest.mark.parametrize(
    ("choice", "shares"),
    [
        ("trained", None),
        ("uniform", [0.25] * 4),
        ({"neutral": 1.0, "happiness": 1.0, "fear": 2.0, "anger": 0.0}, [0.25, 0.25, 0.5, 0.0]),
        (None, [0.25] * 4),
    ],
)
def test_a_prior_can_be_chosen(run_and_data: RunAndData, choice: Any, shares: Any) -> None:
    prior = open_run(run_and_data[0]).prior(choice)
    assert (prior if prior is None else prior.tolist()) == shares


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ("verified", "has none or too few"),
        ("even", "trained, given, verified, uniform"),
        ({"fear": 1.0}, "none of neutral, happiness, anger"),
        ({"joy": 1.0}, "joy"),
    ],
)
def test_a_prior_that_cannot_be_is_refused(
    run_and_data: RunAndData, choice: Any, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        open_run(run_and_data[0]).prior(choice)


def without(*keys: str) -> Callable[[Path], None]:
    """Takes a key out of `summary.json`."""

    def change(folder: Path) -> None:
        summary = json.loads((folder / "summary.json").read_text())
        inner = summary
        for key in keys[:-1]:
            inner = inner[key]
        del inner[keys[-1]]
        (folder / "summary.json").write_text(json.dumps(summary))

    return change


def written(name: str, content: bytes) -> Callable[[Path], None]:
    """Writes over a file."""

    def change(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return change


def with_mean(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    summary["prediction"]["mean_prediction"]["fear"] = None
    (folder / "summary.json").write_text(json.dumps(summary))


def with_another_network(folder: Path) -> None:
    text = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(text.replace("name: tiny", "name: resnet18"))


def with_one_network(folder: Path) -> None:
    best = torch.load(folder / "checkpoints" / "best.pt", weights_only=True)
    torch.save(best | {"weights": best["weights"][:1]}, folder / "checkpoints" / "best.pt")


def cut_short(folder: Path) -> None:
    path = folder / "checkpoints" / "best.pt"
    path.write_bytes(path.read_bytes()[:1000])


BEST = "checkpoints/best.pt"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (shutil.rmtree, "got an empty folder or none at all. Check the path"),
        (lambda x: (x / "summary.json").unlink(), "still training or was interrupted. Add --name"),
        (lambda x: (x / "config.yaml").unlink(), "got a folder with checkpoints, confusion_matrix"),
        (without("version"), "key version, got none. The run was made by an earlier version"),
        (
            without("images"),
            f"key images.size, got none. The run was made by version {__version__}",
        ),
        (without("prediction", "given"), "key prediction.given, got none"),
        (without("prediction", "mean_prediction", "fear"), "a share of every class"),
        (with_mean, "prediction.mean_prediction: expected a share of every class"),
        (written("summary.json", b'{"classes": '), "expected a JSON object, got a damaged file"),
        (written("summary.json", b"[1]"), "expected a JSON object, got a damaged file"),
        (written("config.yaml", b"method: ["), "expected the configuration of a run as YAML"),
        (
            written("config.yaml", b"optim: {epoch: 3}"),
            "optim.epoch: unknown key; .*use the version",
        ),
        (
            lambda x: (x / BEST).unlink(),
            "expected the networks in checkpoints/best.pt, got no such",
        ),
        (written(BEST, b""), "2 networks as in .*a file that is damaged"),
        (cut_short, "2 networks as in config.yaml, got a file that is damaged"),
        (with_one_network, "2 networks as in config.yaml, got .*1 networks"),
        (with_another_network, "got a file that is damaged or of another run"),
    ],
)
def test_a_folder_that_cannot_be_used_is_refused_in_one_paragraph(
    run_folder: Path, change: Callable[[Path], None], said: str
) -> None:
    change(run_folder)
    with pytest.raises(ConfigError, match=said) as raised:
        open_run(run_folder).networks()
    message = str(raised.value)
    assert message.startswith(str(run_folder))
    assert "\n" not in message


def test_the_folder_of_many_runs_names_one(run_folder: Path) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"such as {run_folder}.")):
        open_run(run_folder.parent)


def test_a_file_is_no_folder(run_folder: Path) -> None:
    with pytest.raises(StorageError, match="expected a folder that can be read"):
        open_run(run_folder / "config.yaml")


def test_a_trial_that_was_not_tested_leads_to_its_search(search_folder: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"a trial that was not tested. .*give the search's folder"
    ):
        open_run(search_folder / "trial_001")


def test_a_search_that_tested_nothing_is_refused(search_folder: Path) -> None:
    (search_folder / "summary.json").unlink()
    with pytest.raises(ConfigError, match=r"none of 2 trials has a result. .*trials.csv"):
        open_run(search_folder)
    (search_folder / "trials.csv").unlink()
    with pytest.raises(ConfigError, match=r"has not ended, with 2 trials begun. Add --name search"):
        open_run(search_folder)
