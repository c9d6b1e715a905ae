"""`python -m fer_ray.sweep`: bad input, and a sweep file for W&B's own agents."""

import json
from pathlib import Path

import pytest
import yaml

from fer_ray import sweep
from fer_ray.record.storage import Folder
from fer_ray.record.wandb_run import WandbPlace
from fer_ray.record.wandb_sweep import WandbSearch
from tests.paths import SPACES

THRESHOLDS = SPACES / "thresholds.yaml"


def test_a_space_becomes_a_file_of_wandb(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a sweep.yaml"
    assert sweep.main([str(THRESHOLDS), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"next: wandb sweep '{out}'\n"
    written = yaml.safe_load(out.read_text())
    assert written["project"] == written["program"].split(".")[0] == "fer_ray"
    assert written["command"][-3:] == ["--config", str(THRESHOLDS), "${args_no_hyphens}"]
    assert not {"run", "reference", "margin"} & written.keys()
    thresholds = written["parameters"]["method"]["parameters"]["thresholds"]["parameters"]
    level = yaml.safe_load(THRESHOLDS.read_text())["parameters"]["method.thresholds.default"]
    assert thresholds["fear"] == thresholds["default"] == level  # W&B has no `around`
    assert sweep.main([str(THRESHOLDS)]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == written
    assert sweep.main([str(THRESHOLDS), "--out", str(out)]) == 2
    assert "--out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, "expected the folder of a search, or a file, got neither"),
        (("config.yaml",), "expected a search with wandb.json, got none"),
    ],
)
def test_what_is_no_search_is_refused(
    files: tuple[str, ...] | None,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "x"
    for name in files or ():
        Folder(folder).write_text(name, "")
    assert sweep.main([str(folder), "--json"]) == 2
    printed = capsys.readouterr()
    assert len(printed.err.splitlines()) == 1
    assert message in printed.err
    assert json.loads(printed.out)["status"] == "bad_input"


def test_without_a_key_nothing_is_lost(
    machine: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = WandbSearch(mode="offline", place=WandbPlace(), config={}, runs={})
    known.write(Folder(tmp_path))
    assert sweep.main([str(tmp_path)]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: W&B cannot be reached. Nothing is lost")
