"""What does `compute.speedups` gain, and after how many steps has compiling paid for itself?

    python benchmarks/speedups.py [--quick] [--repeats N]

With one thread, in turn: steps as the loop does them (forward, backward, clipping, SGD), their
updates alone (clipping, SGD), and forwards without gradient; before that the first step and forward
of each, compiling included. The compiler starts with an empty cache; what a second run pays, which
finds the compilations of the first on the disk, is measured too. Writes
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
from fer_ray.training.speedups import resolve_speedups
from fer_ray.training.state import new_optimizer

_NUM_CLASSES, _SIZE = 7, 48


@dataclass
class Trainee:
    """A network and its optimizer under one choice of `compute.speedups`.

    Attributes:
        model: Name of the network.
        speedups: The choice.
        images: A batch [batch, 1, 48, 48] on the device.
        first_s: Seconds of the first step and the first forward without gradient, compiling
            included.
    """

    model: str
    speedups: str
    images: Tensor
    first_s: float = field(init=False)

    def __post_init__(self) -> None:
        raw = {
            "model": {"name": self.model},
            "compute": {"speedups": self.speedups},
            "optim": {"learning_rate": 1e-6},  # the same gradient is applied many times
        }
        run, device = RunConfig.from_dict(raw), self.images.device
        network = build_network(
            run.model, num_classes=_NUM_CLASSES, num_channels=1, image_size=_SIZE, seed=0
        ).to(device)
        bf16, channels_last = resolve_compute(run.compute, device)
        compiles = self.speedups == "compile"
        self.learner = Learner(network, bf16=bf16, channels_last=channels_last, compiles=compiles)
        self.label = torch.zeros(len(self.images), dtype=torch.long, device=device)
        self.clip_norm, self.optimizer = run.optim.clip_norm, new_optimizer(run, network)
        start = time.perf_counter()
        self.step()
        self.look()
        self.first_s = time.perf_counter() - start

    def step(self) -> None:
        """A step of training."""
        loss = F.cross_entropy(self.learner(self.images).logits, self.label)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.update()

    def update(self) -> None:
        """What of a step comes after the gradient."""
        torch.nn.utils.clip_grad_norm_(self.learner.module.parameters(), self.clip_norm)
        self.optimizer.step()

    def look(self) -> float:
        """A forward without gradient; reading a number waits for the device."""
        return float(self.learner.logits(self.images)[0, 0])


def measure_speedups(
    models: dict[str, tuple[int, int]], device: torch.device, repeats: int, *, compiles: bool
) -> tuple[list[report.Row], list[report.Goal]]:
    """Steps, updates and forwards under every choice, and how `auto` compares to none.

    Args:
        models: Name -> images a batch, batches a round.
        device: Where.
        repeats: Rounds.
        compiles: Whether `compile` is among the choices.
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
    """A row for every choice; the rounds of all choices take turns."""
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
    """Of a new process."""
    torch.set_num_threads(1)
    return Trainee(model, choice, images).first_s


def add_break_even(rows: list[report.Row], again_s: float) -> None:
    """After how many steps `compile` has overtaken `fused`; `None` if it never does.

    Args:
        rows: Of fused and compile, at the end.
        again_s: First step and forward of a second run, which finds the first one's compilations.
    """
    fused, compiled = rows[-2:]
    gain_s = (fused["step_ms"] - compiled["step_ms"]) / 1000
    compiled["first_again_s"] = again_s
    for key, first_s in (("", compiled["first_s"]), ("_again", again_s)):
        paid_s = first_s - fused["first_s"]
        compiled[f"break_even_steps{key}"] = round(paid_s / gain_s) if gain_s > 0 else None


def repeatedly(part: Callable[[], object], num: int) -> None:
    """The batches of a round."""
    for _ in range(num):
        part()


@contextmanager
def empty_cache() -> Iterator[None]:
    """Let the compiler know nothing of earlier runs."""
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.dict(os.environ, {"TORCHINDUCTOR_CACHE_DIR": folder}),
    ):
        torch.compiler.reset()
        yield


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small, nothing compiled or written")
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
