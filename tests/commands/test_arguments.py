"""The run that a command line describes."""

from pathlib import Path

import pytest
import yaml

from fer_ray import scale, train, tune
from fer_ray.commands.arguments import absolute_spec, parse_assignments, read_run
from fer_ray.config import RunConfig
from fer_ray.core.errors import ConfigError

MAINS = {"tune": tune.main, "train": train.main, "scale": scale.main}


def test_the_command_line_overrides_the_file(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("optim: {epochs: 3, momentum: 0.5}\nworkers: {num_workers: 4}\n")
    words = ["--config", str(path), "--set", "optim.epochs=5", "--workers", "2"]
    run = read_run(train.build_parser().parse_args(words))
    assert (run.optim.epochs, run.optim.momentum, run.workers.num_workers) == (5, 0.5, 2)


def test_relative_data_paths_become_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Workers have their own working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "noise.txt").write_text("")
    assert absolute_spec("folder:faces") == f"folder:{tmp_path}/faces"
    assert absolute_spec("raf-db:basic,noise=noise.txt") == (
        f"raf-db:{tmp_path}/basic,noise={tmp_path}/noise.txt"
    )
    assert absolute_spec("affectnet:s3://bucket/faces,classes=7") == (
        "affectnet:s3://bucket/faces,classes=7"
    )
    assert absolute_spec("synthetic:train=300") == "synthetic:train=300"
    for words in (["--data", "folder:faces"], ["--set", "data=folder:faces"]):
        run = read_run(train.build_parser().parse_args(words))
        assert run.data.spec == f"folder:{tmp_path}/faces"


@pytest.mark.parametrize("name", MAINS)
def test_the_path_of_verified_labels_becomes_absolute(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    space = tmp_path / "space.yaml"
    space.write_text(
        "method: random\nparameters:\n  data.spec: {values: [synthetic, folder:faces]}\n"
    )
    words = ["--space", str(space)] if name == "tune" else []
    words += ["--set", "data.verified=labels/mine.csv", "--print-config"]
    assert MAINS[name](words) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["data"]["verified"] == f"{tmp_path}/labels/mine.csv"


@pytest.mark.parametrize("name", MAINS)
def test_the_resolved_configuration_is_printed_as_yaml(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(
        "method: random\nrun: {optim: {epochs: 20}}\n"
        "parameters: {method.warmup_epochs: {values: [2, 4]}}\n"
    )
    words = ["--set", "optim.learning_rate=0.25", "--print-config"]
    words += ["--space", str(space)] if name == "tune" else []
    assert MAINS[name](words) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    run = RunConfig.from_dict(printed)
    assert run.to_dict() == printed
    assert run.optim.learning_rate == 0.25
    assert run.optim.epochs == (20 if name == "tune" else 12)


@pytest.mark.parametrize("module", [tune, train, scale])
def test_every_option_has_a_help_text(module: object) -> None:
    parser = module.build_parser()  # type: ignore[attr-defined]
    silent = [action.dest for action in parser._actions if not action.help]
    assert silent == []


def test_assignments_are_yaml() -> None:
    words = [
        "optim.epochs=3",
        "model.weights=null",
        "data=arrays:/a=b.npz",
        "method.prior={fear: 1}",
    ]
    assert parse_assignments(words) == {
        "optim.epochs": 3,
        "model.weights": None,
        "data": "arrays:/a=b.npz",
        "method.prior": {"fear": 1},
    }


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("optim.epochs", r"--set optim\.epochs: expected key=value"),
        ("=3", r"--set =3: expected key=value"),
        ("optim.epochs=[1", r"--set optim\.epochs=\[1: the value is not YAML"),
    ],
)
def test_a_bad_assignment_is_refused(word: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_assignments([word])
