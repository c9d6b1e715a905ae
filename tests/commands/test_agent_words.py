"""What an agent of W&B passes to `fer_ray.train`, made by W&B's own code, is the run it means."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from fer_ray import train
from fer_ray.commands.arguments import agent_words, read_run
from fer_ray.config import RunConfig
from fer_ray.core.errors import ConfigError
from fer_ray.search.reading import load_space
from fer_ray.search.wandb_format import agent_sweep

SPACE: dict[str, Any] = {
    "method": "random",
    "metric": {"name": "val/accuracy", "goal": "maximize"},
    "run": {
        "data": "synthetic:train=300,test=70",
        "method": {"name": "co_divide", "penalty_weight": 0.3},
        "optim": {"epochs": 4},
    },
    "parameters": {
        "method.name": {"values": ["co_divide", "cross_entropy"]},
        "method.thresholds.default": {"min": 0.2, "max": 0.6},
        "optim.learning_rate": {"distribution": "log_uniform_values", "min": 1.0e-5, "max": 1.0},
        "flip_average": {"values": [True, False]},
        "optim.name": {"values": ["sgd", "adamw"]},
    },
}
CHOSEN: dict[str, Any] = {
    "method": {"name": "co_divide", "thresholds": {"default": 0.25}},
    "optim": {"learning_rate": 1e-05, "name": "adamw"},
    "flip_average": False,
}


def words_of(chosen: dict[str, Any], form: str, space: Path) -> list[str]:
    """The words after `python -m fer_ray.train` of the command that W&B's agent would run."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

    command = agent_sweep(load_space(space), str(space))["command"]
    assert command[:4] == ["${env}", "python", "-m", "fer_ray.train"]
    args = create_sweep_command_args(
        {"args": {key: {"value": value} for key, value in chosen.items()}}
    )
    assert command[-1] == "${args_no_hyphens}"
    return [*command[4:-1], *args[form]]


def run_of(words: list[str]) -> RunConfig:
    return read_run(train.build_parser().parse_intermixed_args(agent_words(words)))


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "my space.yaml"
    path.write_text(yaml.safe_dump(SPACE))
    return path


@pytest.mark.parametrize("form", ["args", "args_no_hyphens"])
@pytest.mark.parametrize("is_nested", [True, False])
def test_a_run_of_an_agent_is_the_trial_it_means(form: str, is_nested: bool, space: Path) -> None:
    chosen = CHOSEN
    if not is_nested:
        chosen = {
            "method.name": "co_divide",
            "method.thresholds.default": 0.25,
            "optim.learning_rate": 1e-05,
            "optim.name": "adamw",
            "flip_average": False,
        }
    run = run_of(words_of(chosen, form, space))
    method = run.to_dict()["method"]
    assert (method["name"], method["penalty_weight"]) == ("co_divide", 0.3)
    assert method["thresholds"]["default"] == 0.25
    assert (run.optim.learning_rate, run.optim.name, run.optim.epochs) == (1e-05, "adamw", 4)
    assert (run.flip_average, run.metric, run.mode) == (False, "val/accuracy", "max")


def test_values_of_another_method_are_left_out(space: Path) -> None:
    chosen = {**CHOSEN, "method": {"name": "cross_entropy", "thresholds": {"default": 0.25}}}
    run = run_of(words_of(chosen, "args_no_hyphens", space))
    assert run.method.label == "cross_entropy"


def test_other_options_stay_options_and_wrong_keys_are_named(space: Path) -> None:
    run = run_of(["--config", str(space), "seed=3", "--data=synthetic:train=200", "--seed=4"])
    assert run.seed == 4
    assert run.data.spec == "synthetic:train=200"
    with pytest.raises(ConfigError, match=r"optim\.learnin_rate"):
        run_of(["--config", str(space), "optim.learnin_rate=3"])


def test_an_interrupted_run_of_an_agent_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "WANDB_SWEEP_ID", "sweep7")
    monkeypatch.setitem(os.environ, "WANDB_RUN_ID", "run7")
    args = train.build_parser().parse_args(["--storage", str(tmp_path)])
    assert train._chosen_name(args) == ("run7", False)
    (tmp_path / "run7").mkdir()
    assert train._chosen_name(args) == ("run7", True)
