"""How fast is an epoch, compared with a plain training script and with the network passes alone?

    python benchmarks/epoch.py [--quick] [--data SPEC] [--repeats N] [--cases MODEL:SIZE ...]

Times one epoch after warm-up (score, split, train both networks, validate): fer_ray's loop,
`reference_loop.py` with 0 and 2 loader processes, and only the network passes (`floor.py`). They
take turns, and every round starts from the same networks after warm-up, so that all split the data
alike. Then times the options of `compute`. `--cases` takes other networks on drawn faces of other
sizes, without the reference loop. The share of reading images and making views is that of
`time/input_s`. Writes `results/epoch-<hardware>.json`; with `--cases`,
`results/epoch-<networks>-<hardware>.json`.
"""

import argparse
import copy
import itertools
import os
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from benchmarks import report
from benchmarks.compute import measure_compute
from benchmarks.floor import NetworkPasses
from benchmarks.reference_loop import ReferenceLoop
from benchmarks.runs import num_warmup
from fer_ray.config import RunConfig
from fer_ray.data import FaceData
from fer_ray.training.checkpoint import TrainState
from fer_ray.training.loop import fit
from fer_ray.training.runtime import open_run_data, resolve_gpus, use_device
from fer_ray.training.state import new_state

QUICK_DATA = "synthetic:train=160,test=70"
METHODS = ("cross_entropy", "co_divide", "dividemix")
WARMUP_EPOCHS, ALL_EPOCHS = 4, 12
LOADERS = (0, 2)


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="check that it runs; write nothing")
    parser.add_argument("--data", default="synthetic:train=1600,test=280", metavar="SPEC")
    parser.add_argument("--repeats", type=int, default=3, metavar="N")
    parser.add_argument("--cases", nargs="+", metavar="MODEL:SIZE", help="such as resnet18:48")
    args = parser.parse_args()
    data, repeats = (QUICK_DATA, 1) if args.quick else (args.data, args.repeats)
    places = [("tiny", data)]
    if args.cases:
        few = "synthetic:train=80,test=70" if args.quick else args.data
        places = [
            (model, f"{few}{',' if ':' in few else ':'}size={size}")
            for model, _, size in (case.partition(":") for case in args.cases)
        ]
    loaders = () if args.cases else LOADERS
    rows: list[report.Row] = []
    goals: list[report.Goal] = []
    for (model, spec), method in itertools.product(places, METHODS):
        run = make_run(spec, method, model, quick=args.quick)
        rows.append(measure_epoch(run, repeats, loaders))
        goals += epoch_goals(rows[-1])
        print(f"{rows[-1]['case']}: {rows[-1]['images_per_s']:.0f} images/s", flush=True)
    device = use_device(make_run(data, METHODS[0], "tiny", quick=args.quick))
    arithmetic, choices = measure_compute(compute_sizes(args.quick), device, repeats)
    report.print_table("One epoch after warm-up, validation included", rows)
    report.print_table("Arithmetic", arithmetic)
    report.print_goals(goals + choices)
    if not args.quick:
        result = report.Report(benchmark="epoch", rows=rows + arithmetic, goals=goals + choices)
        names = dict.fromkeys(model for model, _ in places if args.cases)
        name = "-".join(["epoch", *names, report.slug(report.hardware())])
        print("written:", result.write(name).name)


def make_run(data: str, method: str, model: str, *, quick: bool) -> RunConfig:
    """Make the configuration of a case: the defaults except for the arguments and the warm-up."""
    raw: dict[str, object] = {
        "data": data,
        "method": {"name": method},
        "model": {"name": model},
        "optim": {
            "name": "sgd",  # the reference loop has neither Muon nor averages
            "average_decay": 0,
            "epochs": ALL_EPOCHS,
            "batch_size": 16 if quick else 64,
        },
    }
    if method != "cross_entropy":
        warmup = 1 if quick else WARMUP_EPOCHS
        # The uniform prior is all that the reference loop knows.
        raw["method"] = {"name": method, "warmup_epochs": warmup, "prior": "uniform"}
    return resolve_gpus(RunConfig.from_dict(raw), torch.cuda.device_count())


def compute_sizes(quick: bool) -> dict[str, tuple[int, int]]:
    """Return model -> (images per batch, batches per round)."""
    if quick:
        return {"tiny": (16, 1)}
    if torch.cuda.is_available():
        return {"tiny": (64, 20), "resnet18": (64, 20), "resnet50": (64, 20)}
    return {"tiny": (64, 8), "resnet18": (16, 1)}


def measure_epoch(run: RunConfig, repeats: int, loaders: Sequence[int] = LOADERS) -> report.Row:
    """Time the loops in turn; return images per second and ratios."""
    case = Case.warmed_up(run)
    cases: dict[str, Callable[[], Callable[[], int]]] = {
        "fer_ray": case.fer_ray,
        **{f"loaders={num}": partial(case.reference, num) for num in loaders},
        "floor": case.floor,
    }
    timings = report.interleaved(cases, repeats, warmups=min(1, repeats - 1))
    speeds = {
        name: [count / s for count, s in zip(timing.results, timing.seconds, strict=True)]
        for name, timing in timings.items()
    }
    reference = {num: statistics.median(speeds[f"loaders={num}"]) for num in loaders}
    size, name = max(case.data.image_size), run.to_dict()["method"]["name"]
    row: report.Row = {
        "case": f"{name}/{run.model.name}/{size}px",
        "images": timings["fer_ray"].results[0],
        "epoch_s": timings["fer_ray"].median,
        "images_per_s": statistics.median(speeds["fer_ray"]),
        **{f"reference_{num}_loaders_images_per_s": reference[num] for num in loaders},
        "input_share": statistics.median(case.input_shares),
        "ratio_to_floor": report.paired_ratio(timings["fer_ray"].seconds, timings["floor"].seconds),
    }
    if reference:
        best = f"loaders={max(reference, key=reference.__getitem__)}"
        row["ratio_to_reference"] = report.paired_ratio(speeds["fer_ray"], speeds[best])
    return row


@dataclass(frozen=True, slots=True)
class Case:
    """One method before its first epoch after warm-up, for every loop that is timed.

    Attributes:
        run: Its configuration.
        data: Its images.
        device: Where it runs.
        warm: The state after warm-up; every loop works on a copy.
        num_labeled: Number of images that keep their label, per network; `None` if all do.
        input_shares: Share of reading images and making views in every epoch of fer_ray's loop.
    """

    run: RunConfig
    data: FaceData
    device: torch.device
    warm: TrainState
    num_labeled: list[int] | None
    input_shares: list[float] = field(default_factory=list)

    @classmethod
    def warmed_up(cls, run: RunConfig) -> "Case":
        """Train to the end of warm-up, and one epoch more to learn how many labels are kept."""
        device, data = use_device(run), open_run_data(run)
        state = new_state(run, data, device)
        rows = fit(run, data, device, state)
        while state.epoch < max(1, num_warmup(run)):
            next(rows)
        warm = copy.deepcopy(state)
        next(rows)
        split = state.split
        kept = None if split is None else split.is_labeled.sum(dim=1).tolist()
        return cls(run, data, device, warm, kept)

    def fer_ray(self) -> Callable[[], int]:
        """Return the epoch with fer_ray's loop, including the loop's set-up."""
        state = copy.deepcopy(self.warm)

        def timed() -> int:
            row = next(fit(self.run, self.data, self.device, state))
            num_images: float = row["time/images_per_s"] * row["time/epoch_s"]
            self.input_shares.append(row["time/input_s"] / row["time/epoch_s"])
            return round(num_images)

        return timed

    def reference(self, num_workers: int) -> Callable[[], int]:
        """Return the epoch with the reference loop."""
        state = new_state(self.run, self.data, self.device)
        for network, known in zip(state.networks, self.warm.networks, strict=True):
            network.load_state_dict(known.state_dict())
        loop = ReferenceLoop(
            self.run, self.data, self.device, num_workers, state.networks, state.optimizers
        )
        return partial(loop.epoch, self.warm.epoch + 1)

    def floor(self) -> Callable[[], int]:
        """Return the network passes of the epoch."""
        state = copy.deepcopy(self.warm)
        passes = NetworkPasses.of(self.run, self.data, self.device, state, self.num_labeled)

        def timed() -> int:
            passes.epoch()
            return 0

        return timed


def epoch_goals(row: report.Row) -> list[report.Goal]:
    """Return the goals of one case."""
    goals = []
    if "ratio_to_reference" in row:
        bound = row["ratio_to_reference"] * row["ratio_to_floor"]
        goals.append(
            report.Goal(
                name="images/s over the reference loop at its better number of loaders, "
                f"{row['case']}",
                goal=">= 2",
                value=row["ratio_to_reference"],
                why=f"with nothing but its network passes it would be {bound:.2f}",
            )
        )
    return [
        *goals,
        report.Goal(
            name=f"epoch over its network passes alone, {row['case']}",
            goal="<= 1.15",
            value=row["ratio_to_floor"],
            why="beyond the passes: views, shuffling, mixture, logs",
        ),
        report.Goal(
            name=f"share of input in an epoch, {row['case']}",
            goal="<= 0.05",
            value=row["input_share"],
            why="reading images and making views, by time/input_s",
        ),
    ]


if __name__ == "__main__":
    main()
