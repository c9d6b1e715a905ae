"""Compares compiled with plain networks, in a separate process: `python -m tests.compiled FOLDER`.

The process is separate because Dynamo cannot trace the checks of annotations that pytest adds to
every function. Prints a JSON object of figures for `test_speedups.py`.
"""

import functools
import json
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
from torch import Tensor
from torch._dynamo.utils import counters

from fer_ray.config import ModelConfig
from fer_ray.training.checkpoint import TrainState, load_checkpoint, save_checkpoint
from fer_ray.training.learner import Learner
from fer_ray.training.models import build_network
from fer_ray.training.state import new_state
from tests.samples import CPU, build_perceptron, built_by, faces, make_run, train

# `torch.compile` without the C++ compiler, which takes a minute for the tiny network.
traced = mock.patch("torch.compile", functools.partial(torch.compile, backend="aot_eager"))


def distance(first: TrainState, second: TrainState) -> float:
    """Return the largest difference of a weight or statistic."""
    states = [[net.state_dict() for net in state.networks] for state in (first, second)]
    return max(
        float((value.double() - other[key].double()).abs().max())
        for one, other in zip(*states, strict=True)
        for key, value in one.items()
    )


def trained_tiny(folder: Path) -> dict[str, Any]:
    """Train the tiny network plain, traced, and traced from a checkpoint of the plain run."""
    runs = {
        name: make_run("dividemix", compute__speedups=name, optim__epochs=3)
        for name in ("none", "compile")
    }
    plain, _ = train(runs["none"], faces())
    with traced:
        fast, _ = train(runs["compile"], faces())
        num_graphs = counters["stats"]["unique_graphs"]
        begun, _ = train(runs["none"], faces(), num_epochs=2)
        save_checkpoint(begun, runs["none"], folder)
        ended = new_state(runs["compile"], faces(), CPU)
        load_checkpoint(ended, folder)
        train(runs["compile"], faces(), ended)
    return {
        "tiny": distance(plain, fast),
        "resumed": distance(plain, ended),
        "num_graphs": num_graphs,
        "same_keys": _keys(plain) == _keys(fast),
    }


def answers() -> dict[str, Any]:
    """Compare one network's outputs, plain and traced, for batches of different sizes.

    Also checks that training updates the statistics, and that predicting does not.
    """
    config = ModelConfig()
    build = functools.partial(build_network, config, num_classes=4, num_channels=1, image_size=16)
    options = {"bf16": False, "channels_last": True}
    plain = Learner(build(seed=0), **options)
    fast = Learner(build(seed=0), compiles=True, **options)
    differences = []
    for num in (6, 1, 9):
        images = torch.randn(num, 1, 16, 16, generator=torch.Generator().manual_seed(num))
        before = _statistics(fast)
        differences.append(_difference(plain.logits(images), fast.logits(images)))
        assert torch.equal(before, _statistics(fast)), "predicting changed the statistics"
        if num > 1:
            differences.append(_difference(plain(images).logits, fast(images).logits))
            assert not torch.equal(before, _statistics(fast)), "training changed no statistics"
    return {"answers": max(differences)}


def _keys(state: TrainState) -> list[str]:
    return list(state.networks[0].state_dict())


def _statistics(learner: Learner) -> Tensor:
    return torch.cat([value.double().flatten() for value in learner.module.buffers()])


def _difference(first: Tensor, second: Tensor) -> float:
    assert first.requires_grad == second.requires_grad
    return float((first - second).detach().abs().max())


def trained_under_ddp(folder: Path) -> dict[str, Any]:
    """Train in a process group of one rank, whose networks are wrapped in DDP too."""
    plain, _ = train(make_run("cross_entropy", compute__speedups="none"), faces(), num_epochs=1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=0, world_size=1)
    run = make_run("cross_entropy", compute__speedups="compile")
    with traced:
        fast, _ = train(run, faces(), num_epochs=1)
    dist.destroy_process_group()
    return {"ddp": distance(plain, fast), "ddp_same_keys": _keys(plain) == _keys(fast)}


def trained_perceptron() -> dict[str, Any]:
    """Train a network that the C++ compiler compiles quickly."""
    states = {}
    with built_by(build_perceptron):
        for name in ("none", "compile"):
            run = make_run("cross_entropy", compute__speedups=name)
            states[name], _ = train(run, faces(), num_epochs=1)
    return {"perceptron": distance(states["none"], states["compile"])}


def main() -> None:
    """Compute all figures and print them."""
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    figures = trained_tiny(folder)
    with traced:
        figures |= answers()
    torch._dynamo.reset()
    figures |= trained_under_ddp(folder)
    torch._dynamo.reset()
    figures |= trained_perceptron()
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
