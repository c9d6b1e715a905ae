"""What does saving cost: bytes of a checkpoint, seconds that training stands still, what is sent?

    python benchmarks/checkpoints.py [--quick] [--model NAME] [--size PIXELS] [--images N]
                                     [--train N] [--repeats N] [--folder FOLDER]

Trains two networks of `peer_posterior` for a few epochs on N drawn faces, and saves them as a run
on `--images` images does (300,000: what a method and a split keep of every image is repeated up to
that number). Measured are the bytes of every file; the seconds of writing a checkpoint to FOLDER at
once; the seconds of copying the state, all that training waits for where it is written beside the
next epoch; and the bytes that an object store is sent in a later epoch, where `select` asks for the
last epoch and for the best one. An epoch of `--images` images takes as long as the last epoch on
this device did, times the images. Writes `results/checkpoints-<hardware>.json`.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor

from benchmarks import report
from benchmarks.runs import read_run
from fer_ray.config import RunConfig
from fer_ray.core.types import SplitResult
from fer_ray.training.checkpoint import TrainState, copied_save, save_checkpoint
from fer_ray.training.loop import fit
from fer_ray.training.runtime import open_run_data, use_device
from fer_ray.training.state import new_state

EPOCHS = 3
"""Epochs trained: one of warm-up, and two with a split."""


def main() -> None:
    """Measure, print and write the results."""
    args = parse_arguments()
    run = read_run(
        {
            "data": f"synthetic:train={args.train},test=70,size={args.size}",
            "model": {"name": args.model},
            "method": {"name": "peer_posterior", "num_networks": 2, "warmup_epochs": 1},
            "optim": {"epochs": EPOCHS, "batch_size": 16},
        }
    )
    state, num, epoch_s = trained(run)
    state = enlarged(state, num, args.images)
    epoch_s *= args.images / num
    folder = Path(args.folder) if args.folder else None
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        at_once = [
            seconds(lambda: save_checkpoint(state, run, new_folder(scratch)))
            for _ in range(args.repeats)
        ]
        sizes = file_sizes(state, run, scratch)
        assert state.best is not None
        earlier = replace(state, best=replace(state.best, epoch=state.epoch - 1))
        later = file_sizes(earlier, run, scratch)
    beside = [seconds(lambda: copied_save(state, run)) for _ in range(args.repeats)]
    row: report.Row = {
        "case": f"2 x {args.model}/{args.size}px/{args.images} images",
        **{f"{Path(name).stem}_mb": size / 1e6 for name, size in sizes.items()},
        "sent_mb_select_last": sum(sizes.values()) / 1e6,
        "sent_mb_best_unchanged": sum(later.values()) / 1e6 - later["best.pt"] / 1e6,
        "at_once_s": statistics.median(at_once),
        "beside_s": statistics.median(beside),
        "epoch_s": epoch_s,
    }
    goals = [
        report.Goal(
            name=f"share of an epoch that training waits for a checkpoint, {how}",
            goal="<= 0.02",
            value=row[key] / epoch_s,
            why=f"any epoch of more than {50 * row[key]:.0f} s meets it",
        )
        for how, key in (("saved at once", "at_once_s"), ("saved beside it", "beside_s"))
    ]
    report.print_table("Checkpoints", [row])
    report.print_goals(goals)
    if not args.quick:
        result = report.Report(benchmark="checkpoints", rows=[row], goals=goals)
        name = f"checkpoints-{report.slug(report.hardware())}"
        print("written:", result.write(name).name)


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="check that it runs; write nothing")
    parser.add_argument("--model", default="resnet50", metavar="NAME")
    parser.add_argument("--size", type=int, default=112, metavar="PIXELS")
    parser.add_argument("--images", type=int, default=300_000, metavar="N")
    parser.add_argument("--train", type=int, default=140, metavar="N", help="images drawn")
    parser.add_argument("--repeats", type=int, default=5, metavar="N")
    parser.add_argument("--folder", metavar="FOLDER", help="on the disk that is measured")
    args = parser.parse_args()
    if args.quick:
        args.model, args.size, args.images, args.repeats = "tiny", 32, 1000, 1
    return args


def trained(run: RunConfig) -> tuple[TrainState, int, float]:
    """Train to the end; return the state, its training images, and seconds of the last epoch."""
    device, data = use_device(run), open_run_data(run)
    state = new_state(run, data, device)
    for row in fit(run, data, device, state):
        print(f"epoch {row['epoch']}: {row['time/images_per_s']:.1f} images/s", flush=True)
    return state, len(data.train), row["time/epoch_s"]


def enlarged(state: TrainState, num: int, wanted: int) -> TrainState:
    """Repeat all that is kept of each of `num` images, up to `wanted` images."""

    def grown(value: Any) -> Any:
        if not isinstance(value, Tensor) or num not in value.shape:
            return value
        dim = value.shape.index(num)
        return value.index_select(dim, torch.arange(wanted, device=value.device) % num)

    assert state.split is not None
    values = {item.name: grown(getattr(state.split, item.name)) for item in fields(SplitResult)}
    memory = {key: grown(value) for key, value in state.split.memory.items()}
    split = SplitResult(**values | {"memory": memory})
    return replace(state, memory=[grown(value) for value in state.memory], split=split)


def new_folder(scratch: str) -> Path:
    """Empty the scratch folder and return a folder in it."""
    folder = Path(scratch) / "checkpoint"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def file_sizes(state: TrainState, run: RunConfig, scratch: str) -> dict[str, int]:
    """Return the bytes of every file of a checkpoint."""
    folder = new_folder(scratch)
    save_checkpoint(state, run, folder)
    return {path.name: path.stat().st_size for path in sorted(folder.iterdir())}


def seconds(work: Callable[[], object]) -> float:
    """Return how long something takes; work on a GPU that was started before is over first."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
