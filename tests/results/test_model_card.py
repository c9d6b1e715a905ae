"""The model card says what the run's files say."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fer_ray.config import RunConfig
from fer_ray.core.intervals import wilson
from fer_ray.data import FaceData
from fer_ray.results.model_card import data_name, label_noise, model_card
from fer_ray.results.run_folder import open_run
from tests.samples import CLASS_NAMES

RunAndData = tuple[Path, FaceData]


def rows(card: str, head: str) -> dict[str, list[str]]:
    """A table of a card by its first column."""
    table = card.split(head)[1].split("\n\n")[0]
    lines = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("| ")]
    return {line[0].strip(): [cell.strip() for cell in line[1:]] for line in lines}


def test_recall_has_an_interval_for_every_class(run_folder: Path) -> None:
    summary = json.loads((run_folder / "summary.json").read_text())
    matrix = [[9, 1, 0, 0], [0, 10, 0, 0], [5, 0, 5, 0], [0, 0, 0, 0]]
    summary["test"]["confusion_matrix"] = matrix
    (run_folder / "summary.json").write_text(json.dumps(summary))
    card = model_card(open_run(run_folder))
    table = rows(card, "| class | test images |")
    assert table["neutral"] == ["10", "90.0 %", "59.6 % to 98.2 %"]
    assert table["happiness"][1:] == ["100.0 %", f"{100 * wilson(10, 10).low:.1f} % to 100.0 %"]
    assert table["anger"] == ["0", "-", "- to -"]
    assert "30 test images" in card
    assert re.search(r"accuracy 80\.0 % \(\d\d\.\d % to \d\d\.\d %\), macro recall 80\.0 %", card)


def test_noise_is_that_of_the_last_split(run_and_data: RunAndData) -> None:
    folder, data = run_and_data
    noise = label_noise(open_run(folder))
    split = np.load(folder / "split.npz")
    assert noise.num.tolist() == np.bincount(data.train.label, minlength=4).tolist()
    for k in range(4):
        own = split["label"] == k
        assert noise.left_out[k] == pytest.approx(1 - split["is_labeled"][:, own].mean())
        assert noise.wrong[k] == pytest.approx(1 - split["clean_prob"][:, own].mean(), abs=1e-6)
    kept = split["is_labeled"].mean()
    assert noise.overall(noise.left_out) == pytest.approx(1 - kept)
    table = rows(model_card(open_run(folder)), "| given label |")
    assert list(table) == list(CLASS_NAMES)
    assert table["fear"][2] == f"{100 * noise.wrong[2]:.1f} %"


@pytest.mark.parametrize(
    ("verified", "source"),
    [(torch.full((4,), 0.25), "verified labels"), (None, "the networks' own predictions")],
)
def test_a_noise_matrix_is_said_with_its_source(
    verified: torch.Tensor | None, source: str, run_folder: Path
) -> None:
    split = dict(np.load(run_folder / "split.npz"))
    transition = np.full((4, 4), 0.1) + 0.6 * np.eye(4)
    split |= {"transition": transition, "prior": np.array([0.4, 0.2, 0.2, 0.2])}
    np.savez(run_folder / "split.npz", **split)
    run = replace(open_run(run_folder), config=RunConfig(), verified=verified)
    noise = label_noise(run)
    assert noise.wrong[0] == pytest.approx(1 - 0.28 / 0.34)
    assert noise.wrong[1:] == pytest.approx(1 - 0.14 / 0.22)
    assert f"by {source}" in model_card(run, "trained")


def test_a_method_that_believes_all_labels_knows_no_noise(
    colour_run: tuple[Path, FaceData, Path],
) -> None:
    card = model_card(open_run(colour_run[0]))
    assert "nothing is known of wrong ones" in card
    assert rows(card, "| given label |")["anger"][1:] == ["-", "-"]
    assert "Data set `folder:faces`" in card
    assert "/" not in card.split("Data set")[1].split("\n")[0]


def test_the_point_of_the_export_is_named(run_and_data: RunAndData) -> None:
    run = open_run(run_and_data[0])
    assert "`uniform`: probabilities are for a population of neutral 25.0 %" in model_card(run)
    own = model_card(run, {"neutral": 1.0, "happiness": 1.0, "fear": 2.0, "anger": 0.0})
    assert "`own shares`: probabilities are for a population of neutral 25.0 %" in own
    assert 'at another one, that of the run: "uniform"' in own
    assert "as the networks learnt them" in model_card(run, "trained")


def test_what_the_model_is_not_for_is_said(run_and_data: RunAndData) -> None:
    run = open_run(run_and_data[0])
    card = model_card(replace(run, image_size=(20, 16)))
    assert "## What it must not be used for" in card
    assert "of 16 x 20 pixels" in card


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("synthetic", "synthetic"),
        ("folder:/home/me/my faces/", "folder:my faces"),
        (
            "fer2013:s3://bucket/fer.csv?key=secret,ferplus=/x/fer2013new.csv",
            "fer2013:fer.csv,ferplus=fer2013new.csv",
        ),
    ],
)
def test_the_name_of_the_data_set_has_no_folders(spec: str, name: str) -> None:
    assert data_name(spec) == name
