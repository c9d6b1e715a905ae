"""How much does `compute.speedups` gain, and after how many steps does compiling pay off?

    python benchmarks/speedups.py [--quick] [--repeats N]

Times with one thread, in turn: training steps as in the loop (forward, backward, clipping, SGD),
their updates alone (clipping, SGD), and forward passes without gradients. Before that, times the
first step and forward pass of each, which includes compiling. The compiler starts with an empty
cache. Also times a second run, which finds the compiled code of the first on the disk. Writes
`results/speedups-<hardware>.json`.
"""

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks import report
from fer_ray.config import ComputeConfig, RunConfig
from fer_ray.training.learner import Learner, resolve_compute
from fer_ray.training.models import build_network
from fer_ray.training.optimizers import new_optimizer
from fer_ray.training.speedups import resolve_speedups

_NUM_CLASSES, _SIZE = 7, 48


@dataclass
class Trainee:
    """A network and its optimizer with one value of `compute.speedups`.

    Attributes:
        model: Name of the network.
        speedups: Value of `compute.speedups`.
        images: A batch [batch, 1, 48, 48] on the device.
        first_s: Seconds of the first step and the first forward pass without gradients, including
            the time to compile.
    """

    model: str
    speedups: str
    images: Tensor
    first_s: float = field(init=False)

    def __post_init__(self) -> None:
        raw = {
            "model": {"name": self.model},
            "compute": {"speedups": self.speedups},
            "optim": {
                "name": "sgd",
                "learning_rate": 1e-6,
            },  # the same gradient is applied many times
        }
        run, device = RunConfig.from_dict(raw), self.images.device
        network = build_network(
            run.model, num_classes=_NUM_CLASSES, num_channels=1, image_size=_SIZE, seed=0
        ).to(device)
        bf16, channels_last = resolve_compute(run.compute, device)
        compiles = self.speedups == "compile"
        self.learner = Learner(network, bf16=bf16, channels_last=channels_last, compiles=compiles)
        self.label = torch.zeros(len(self.images), dtype=torch.long, device=device)
        self.clip_norm, self.optimizer = run.optim.clip_norm, new_optimizer(run, network, 0)
        start = time.perf_counter()
        self.step()
        self.look()
        self.first_s = time.perf_counter() - start

    def step(self) -> None:
        """Run a training step."""
        loss = F.cross_entropy(self.learner(self.images).logits, self.label)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.update()

    def update(self) -> None:
        """Run the part of a step after the gradient: clipping and SGD."""
        torch.nn.utils.clip_grad_norm_(self.learner.module.parameters(), self.clip_norm)
        self.optimizer.step()

    def look(self) -> float:
        """Run a forward pass without gradients; reading a number waits for the device."""
        return float(self.learner.logits(self.images)[0, 0])


def measure_speedups(
    models: dict[str, tuple[int, int]], device: torch.device, repeats: int, *, compiles: bool
) -> tuple[list[report.Row], list[report.Goal]]:
    """Time steps, updates and forward passes with every choice, and compare `auto` with `none`.

    Args:
        models: Name -> (images per batch, batches per round).
        device: Where to compute.
        repeats: Number of rounds.
        compiles: Whether `compile` is one of the choices.
    """
    rows: list[report.Row] = []
    goals: list[report.Goal] = []
    choices = ("none", "fused", "compile") if compiles else ("none", "fused")
    auto = resolve_speedups(ComputeConfig(), device)
    for model, (batch_size, num_batches) in models.items():
        images = torch.randn(batch_size, 1, _SIZE, _SIZE, device=device)
        own = measure_model(model, choices, images, num_batches, repeats)
        for row in own:
            row["auto"] = row["speedups"] == auto
            if row["auto"]:
                goals.append(
                    report.Goal(
                        name=f"speed of a step under speedups=auto over none, {model}",
                        goal=">= 1",
                        value=row["step_ratio_to_none"],
                        why=f"of the update alone: {row['update_ratio_to_none']:.2f}",
                    )
                )
        rows += own
    return rows, goals


def measure_model(
    model: str, choices: Sequence[str], images: Tensor, num_batches: int, repeats: int
) -> list[report.Row]:
    """Return a row for every choice; the choices take turns in every round."""
    with empty_cache():
        trainees = {choice: Trainee(model, choice, images) for choice in choices}
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            again_s = pool.submit(first_seconds, model, choices[-1], images).result()
    rows: list[report.Row] = [
        {
            "case": f"{model}/{_SIZE}px/batch {len(images)}",
            "speedups": choice,
            "first_s": trainee.first_s,
        }
        for choice, trainee in trainees.items()
    ]
    for kind in ("step", "update", "look"):
        parts = {choice: getattr(trainee, kind) for choice, trainee in trainees.items()}
        cases = {x: partial(partial, repeatedly, part, num_batches) for x, part in parts.items()}
        timings = report.interleaved(cases, repeats)
        for row in rows:
            timing = timings[row["speedups"]]
            row[f"{kind}_ms"] = 1000 * timing.median / num_batches
            row[f"{kind}_ratio_to_none"] = report.paired_ratio(
                timings["none"].seconds, timing.seconds
            )
    if choices[-1] == "compile":
        add_break_even(rows, again_s)
    return rows


def first_seconds(model: str, choice: str, images: Tensor) -> float:
    """Return `Trainee.first_s`; called in a new process."""
    torch.set_num_threads(1)
    return Trainee(model, choice, images).first_s


def add_break_even(rows: list[report.Row], again_s: float) -> None:
    """Add the number of steps after which `compile` overtakes `fused`; `None` if it never does.

    Args:
        rows: The last two rows are those of `fused` and `compile`; the latter is changed.
        again_s: Seconds of the first step and forward pass of a second run, which finds the
            compiled code of the first run.
    """
    fused, compiled = rows[-2:]
    gain_s = (fused["step_ms"] - compiled["step_ms"]) / 1000
    compiled["first_again_s"] = again_s
    for key, first_s in (("", compiled["first_s"]), ("_again", again_s)):
        paid_s = first_s - fused["first_s"]
        compiled[f"break_even_steps{key}"] = round(paid_s / gain_s) if gain_s > 0 else None


def repeatedly(part: Callable[[], object], num: int) -> None:
    """Run the batches of a round."""
    for _ in range(num):
        part()


@contextmanager
def empty_cache() -> Iterator[None]:
    """Give the compiler an empty cache for the length of a block."""
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.dict(os.environ, {"TORCHINDUCTOR_CACHE_DIR": folder}),
    ):
        torch.compiler.reset()
        yield


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small; compile and write nothing")
    parser.add_argument("--repeats", type=int, default=7, metavar="N")
    args = parser.parse_args()
    repeats = 1 if args.quick else args.repeats
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_num_threads(1)
    models = {"tiny": (16, 1)} if args.quick else {"tiny": (64, 8), "resnet18": (16, 1)}
    rows, goals = measure_speedups(models, device, repeats, compiles=not args.quick)
    report.print_table("Speedups", rows)
    report.print_goals(goals)
    if not args.quick:
        result = report.Report(benchmark="speedups", rows=rows, goals=goals)
        print("written:", result.write(f"speedups-{report.slug(report.hardware())}").name)


if __name__ == "__main__":
    main()
