"""`compute.speedups` changes the speed but not the results; every choice loads every checkpoint."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim import SGD

from fer_ray.config import ComputeConfig
from fer_ray.core.errors import ConfigError
from fer_ray.training import speedups as speedups_module
from fer_ray.training.checkpoint import TrainState, load_checkpoint, save_checkpoint
from fer_ray.training.optimizers import LightSGD
from fer_ray.training.speedups import _missing_for, resolve_speedups
from fer_ray.training.state import new_state
from tests.paths import ROOT
from tests.samples import CPU, faces, make_run, train

CUDA = torch.device("cuda")


def assert_close(first: TrainState, second: TrainState) -> None:
    for one, other in zip(first.networks, second.networks, strict=True):
        torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=1e-3, atol=1e-4)


def kernels(state: TrainState) -> set[bool | None]:
    return {group["fused"] for optimizer in state.optimizers for group in optimizer.param_groups}


@pytest.mark.parametrize("device", [CPU, CUDA])
def test_auto_is_fused(device: torch.device) -> None:
    assert resolve_speedups(ComputeConfig(), device) == "fused"
    for name in ("none", "fused", "compile"):
        assert resolve_speedups(ComputeConfig(speedups=name), device) == name


@pytest.mark.parametrize("method", ["cross_entropy", "dividemix"])
def test_fused_sgd_learns_the_same(method: str) -> None:
    states = {}
    for name in ("none", "fused", "auto"):
        run = make_run(method, compute__speedups=name, optim__epochs=3)
        states[name], _ = train(run, faces())
    assert_close(states["none"], states["fused"])
    assert_close(states["none"], states["auto"])
    assert (kernels(states["none"]), kernels(states["auto"])) == ({None}, {True})


@pytest.mark.parametrize("fused", [None, True])
def test_the_optimizer_equals_torchs_bit_for_bit(fused: bool | None) -> None:
    settings: dict[str, Any] = {"momentum": 0.9, "nesterov": True, "fused": fused}
    settings |= {"lr": 0.1, "weight_decay": 5e-4}
    weights: dict[type[SGD], torch.nn.Linear] = {}
    for kind in (SGD, LightSGD):
        torch.manual_seed(0)
        weights[kind] = torch.nn.Linear(5, 3)
        optimizer = kind(weights[kind].parameters(), **settings)
        for step in range(4):
            if step == 2:  # continue with another optimizer that loads the state
                saved = optimizer.state_dict()
                optimizer = kind(weights[kind].parameters(), **settings)
                optimizer.load_state_dict(saved)
            optimizer.zero_grad()
            loss = weights[kind](torch.randn(7, 5)).square().mean()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        assert weights[kind].weight.requires_grad
    for one, other in zip(*(x.parameters() for x in weights.values()), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(("first", "second"), [("none", "fused"), ("fused", "none")])
def test_a_checkpoint_resumes_under_another_choice(first: str, second: str, tmp_path: Path) -> None:
    runs = {name: make_run("cross_entropy", compute__speedups=name) for name in (first, second)}
    whole, _ = train(runs[first], faces())
    begun, _ = train(runs[first], faces(), num_epochs=2)
    save_checkpoint(begun, runs[first], tmp_path)
    ended = new_state(runs[second], faces(), CPU)
    own = kernels(ended)
    load_checkpoint(ended, tmp_path)
    assert kernels(ended) == own != kernels(begun)
    for old, new in zip(begun.optimizers, ended.optimizers, strict=True):
        assert old.state_dict()["state"].keys() == new.state_dict()["state"].keys() != set()
    train(runs[second], faces(), ended)
    assert ended.epoch == 4
    assert_close(whole, ended)


def test_without_a_compiler_nothing_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    run = make_run("cross_entropy", compute__speedups="compile")
    state = new_state(run, faces(), CPU)  # works without one, to load and test other weights
    with pytest.raises(ConfigError, match=r"^compute\.speedups: compile needs a C\+\+ compiler .*"):
        train(run, faces(), state)
    assert not state.optimizers[0].state


@pytest.mark.parametrize(
    ("device", "absent", "missing"),
    [
        (CPU, (), None),
        (CPU, ("g++", "clang++"), "a C++ compiler"),
        (CUDA, (), None),
        (CUDA, ("triton",), "the package triton"),
        (CUDA, ("cc", "gcc", "clang"), "a C compiler"),
        (CUDA, ("cc", "gcc", "g++"), None),
    ],
)
def test_what_is_missing_to_compile_is_named(
    device: torch.device,
    absent: tuple[str, ...],
    missing: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("CC", "CXX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None if name in absent else name)
    monkeypatch.setattr(speedups_module, "find_spec", lambda name: name not in absent or None)
    found = _missing_for(device)
    assert found is missing if missing is None else str(found).startswith(missing)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The figures that `tests.compiled` prints."""
    folder = tmp_path_factory.mktemp("compiled")
    env = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
    }
    run = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.compiled", str(folder)],
        env=env,
        cwd=ROOT,
        text=True,
        capture_output=True,
        timeout=400,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    figures: dict[str, Any] = json.loads(run.stdout)
    return figures


@pytest.mark.parametrize("figure", ["tiny", "resumed", "answers", "ddp", "perceptron"])
def test_a_compiled_network_gives_the_same_numbers(figure: str, compiled: dict[str, Any]) -> None:
    assert compiled[figure] < 1e-4


def test_a_compiled_network_keeps_the_names_of_its_weights(compiled: dict[str, Any]) -> None:
    assert compiled["same_keys"]
    assert compiled["ddp_same_keys"]


def test_two_networks_share_compiled_graphs(compiled: dict[str, Any]) -> None:
    assert 2 <= compiled["num_graphs"] <= 5
