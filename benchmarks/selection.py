"""Which validation figure picks a good configuration, and which a good epoch, under noisy labels?

    python benchmarks/selection.py [--images FOLDER] [--configs N] [--jobs N] [--work FOLDER]
                                   [--minutes N] [--report] [--quick]

Trains N random configurations of each of three methods on 4,000 faces of FER2013 (FOLDER has its
two files, see `noise_sets.py`). Some are validation images, with labels as given, a third of
which are wrong. After every epoch the predictions of the validation images and of 4,000 test images
are kept. The truth is that of FER+: accuracy at the natural and macro recall at the balanced
operating point.

For every validation figure it reports, over the configurations after their last epoch:

  rank         Spearman's correlation with the truth, over all and as the mean within the methods
  regret       points by which the configuration that it picks lies below the best one
  best - last  truth at the epoch that the figure picks, less that of the last epoch, in points, as
               the mean over configurations

`corrected` figures and `forward_loss` know a noise matrix: `verified`, of 200 verified training
images, or `estimated` from the validation predictions. Finished runs are kept in --work. Writes
`results/selection.json` and prints a Markdown table.
"""

import argparse
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from scipy.stats import spearmanr

from benchmarks import points, report
from benchmarks.noise_runs import Case, verified_model
from benchmarks.noise_sets import NoiseSet, make_sets
from benchmarks.options import parse_resumable, resumable_parser
from benchmarks.plan import digest, processes
from benchmarks.runs import predict_all, read_run
from fer_ray.config import RunConfig, needs_noise
from fer_ray.core.noise_model import NoiseModel, from_predictions
from fer_ray.data.faces import FaceData, Faces
from fer_ray.training.learner import Learners
from fer_ray.training.loop import fit
from fer_ray.training.operating_point import Priors, validation_figures
from fer_ray.training.runtime import open_run_data, use_device
from fer_ray.training.state import new_state

NUM_TEST = 4000
TRUTHS = ("natural accuracy", "balanced macro recall")
# Metrics of which less is better.
LOSSES = ("loss", "forward_loss, verified", "forward_loss, estimated")
Figures = dict[str, list[float]]


def main() -> None:
    """Train the missing configurations, print and write the results."""
    args = parse_arguments()
    deadline = time.time() + 60 * args.minutes
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch if args.quick else args.work)
        work.mkdir(parents=True, exist_ok=True)
        (faces,) = make_sets("carved", args.images, work, is_quick=args.quick)
        cases = draw_cases(args.configs, args.epochs)
        if not args.report:
            with processes(args.jobs) as pool:
                tasks = [pool.submit(train, case, faces, work, deadline) for case in cases]
                for number, task in enumerate(as_completed(tasks), start=1):
                    print(f"[{number}/{len(tasks)}] {task.result()}", flush=True)
        done = [case for case in cases if outcome_path(case, faces, work).exists()]
        if not done:
            raise SystemExit(f"{work}: no run is finished")
        found = [(str(case.values["method.name"]), judge(case, faces, work)) for case in done]
    rows = make_rows(found)
    goals = make_goals(rows)
    print(markdown(rows))
    report.print_goals(goals)
    if not args.quick:
        more = {"num_configs": len(done), "methods": sorted({name for name, _ in found})}
        result = report.Report(benchmark="selection", rows=rows, goals=goals, more=more)
        print("written:", result.write("selection").name)
    if len(done) < len(cases):
        raise SystemExit("some runs are missing; start again to train them")


def parse_arguments() -> argparse.Namespace:
    """Parse the command line; with `--quick`, what is not given is small."""
    parser = resumable_parser(__doc__, "runs/selection")
    parser.add_argument("--configs", type=int, metavar="N", help="of each method (default: 14)")
    args = parse_resumable(parser)
    args.configs = args.configs or (1 if args.quick else 14)
    args.epochs = (2,) if args.quick else (8, 12, 16)
    return args


def draw_cases(num_configs: int, epochs: Sequence[int]) -> list[Case]:
    """Draw configurations of three methods, in turn; those before do not depend on their number."""
    cases = []
    for number in range(num_configs):
        for method in ("cross_entropy", "co_divide", "peer_posterior"):
            rng = np.random.default_rng([number, len(method)])
            values: dict[str, Any] = {"method.name": method}
            values |= {f"method.{key}": value for key, value in _drawn_fields(method, rng).items()}
            values |= {
                "optim.epochs": int(rng.choice(epochs)),
                "optim.learning_rate": _between(rng, 0.03, 0.2),
                "optim.weight_decay": _between(rng, 1e-4, 3e-3),
                "augment.strength": round(float(rng.uniform(0.2, 1)), 2),
            }
            name = f"{method} {number}"
            cases.append(Case(name=name, values=values, knows_verified=method == "peer_posterior"))
    return cases


def _drawn_fields(method: str, rng: np.random.Generator) -> dict[str, Any]:
    if method == "cross_entropy":
        return {
            "label_smoothing": round(float(rng.uniform(0, 0.4)), 2),
            "balanced_softmax": bool(rng.integers(2)),
        }
    fields = {
        "warmup_epochs": round(float(rng.uniform(0.2, 0.6)), 2),
        "penalty_weight": _between(rng, 0.03, 3),
        "thresholds.default": round(float(rng.uniform(0.3, 1)), 2),
    }
    if method == "co_divide":
        fields["thresholds.default"] = round(float(rng.uniform(0.2, 0.8)), 2)
    else:
        fields["num_networks"] = 2
    return fields


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw uniformly in the logarithm; three digits."""
    return float(f"{np.exp(rng.uniform(np.log(low), np.log(high))):.3g}")


def outcome_path(case: Case, faces: NoiseSet, work: Path) -> Path:
    """Return the file of a finished configuration."""
    config = {"values": dict(case.values), "spec": Path(faces.spec).name}
    return work / f"{report.slug(case.name)}-{digest(config)}.npz"


def train(case: Case, faces: NoiseSet, work: Path, deadline: float) -> str:
    """Train a configuration unless it is finished, and keep its predictions of every epoch.

    Returns:
        What happened, in words.
    """
    path = outcome_path(case, faces, work)
    if path.exists() or time.time() > deadline:
        return f"{case.name}: {'finished before' if path.exists() else 'no time'}"
    start = time.time()
    run = read_run(case.raw(faces, work, 0))
    data, device = open_run_data(run), use_device(run)
    judged = {"val": data.val, "test": chosen_test(data)}
    state = new_state(run, data, device)
    kept: dict[str, list[np.ndarray]] = {name: [] for name in judged}
    for _ in fit(run, data, device, state):
        learners = Learners(state.networks, state.averages, run.compute, device).evaluated
        for name, subset in judged.items():
            prob = predict_all(learners, subset, run, device)
            kept[name].append(prob.numpy().astype(np.float16))
    part = path.with_suffix(".part.npz")
    np.savez_compressed(part, **{name: np.stack(x) for name, x in kept.items()})  # type: ignore[arg-type]
    part.replace(path)
    return f"{case.name}: {time.time() - start:.0f} s"


def chosen_test(data: FaceData) -> Faces:
    """Return the test images whose predictions are kept."""
    rows = np.random.default_rng(0).permutation(len(data.test))[:NUM_TEST]
    return data.test.take(np.sort(rows))


def judge(case: Case, faces: NoiseSet, work: Path) -> Figures:
    """Return all validation figures and the truths of a configuration, epoch by epoch."""
    data, verified = faces.open(), verified_model(faces, work, 0)
    truth = chosen_test(data).label
    label = torch.from_numpy(np.asarray(data.val.label))
    figures: Figures = {}
    with np.load(outcome_path(case, faces, work)) as file:
        for val, test in zip(file["val"], file["test"], strict=True):
            prob = torch.from_numpy(val).float()
            found = _figures(prob, label, data.class_names, verified)
            found |= dict(zip(TRUTHS, _truths(test.astype(np.float64), truth), strict=True))
            for key, value in found.items():
                figures.setdefault(key, []).append(value)
    return figures


def _figures(
    prob: torch.Tensor, label: torch.Tensor, names: Sequence[str], verified: NoiseModel
) -> dict[str, float]:
    """Validation figures by name: what nothing verified tells, and what two noise models add."""
    shares = torch.bincount(label, minlength=len(names)).double() / len(label)
    given = Priors(chosen=None, given=shares, natural=shares, natural_source="given")
    found = validation_figures(prob, label, names, given, None)
    models = {"verified": verified, "estimated": from_predictions(prob, label)}
    for source, model in models.items():
        natural = model.prior.double()
        priors = replace(given, natural=natural, natural_source="verified")
        row = validation_figures(prob, label, names, priors, model)
        found |= {f"{key}, {source}": row[key] for key in row if needs_noise(key)}
    return {
        key.removeprefix("val/"): value
        for key, value in found.items()
        if isinstance(value, float) and not re.search("/recall/|trained/", key)
    }


def _truths(prob: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    shares = points.shares(truth, prob.shape[1])
    natural = points.answers(prob, shares)
    balanced = points.answers(prob, np.ones_like(shares))
    accuracy, _ = points.accuracy_and_recall(truth, natural)
    return accuracy, points.accuracy_and_recall(truth, balanced)[1]


def make_rows(found: Sequence[tuple[str, Figures]]) -> list[report.Row]:
    """Return a row per validation figure, the best rank with the mean of both truths first."""
    rows = []
    for metric in found[0][1]:
        if metric in TRUTHS:
            continue
        row: report.Row = {"case": metric}
        for truth in TRUTHS:
            row[truth] = {
                "rank": _rank([figures for _, figures in found], metric, truth),
                "rank_within": _mean(
                    _rank(ours, metric, truth) for ours in _by_method(found).values()
                ),
                "regret": 100 * _regret([figures for _, figures in found], metric, truth),
                "best_less_last": 100
                * _mean(
                    figures[truth][_best(figures[metric], metric)] - figures[truth][-1]
                    for _, figures in found
                ),
            }
        rows.append(row)
    return sorted(rows, key=lambda row: -sum(row[truth]["rank"] for truth in TRUTHS))


def make_goals(rows: Sequence[report.Row]) -> list[report.Goal]:
    """Whether the default metric ranks configurations better than chance."""
    default = RunConfig().metric.removeprefix("val/")
    (row,) = (row for row in rows if row["case"] == default)
    return [
        report.Goal(
            name=f"rank of val/{default}, the default, with {truth}",
            goal=">= 0.5",
            value=row[truth]["rank"],
        )
        for truth in TRUTHS
    ]


def _by_method(found: Sequence[tuple[str, Figures]]) -> Mapping[str, list[Figures]]:
    names = dict.fromkeys(name for name, _ in found)
    return {name: [figures for other, figures in found if other == name] for name in names}


def _sign(metric: str) -> int:
    return -1 if metric in LOSSES else 1


def _best(values: Sequence[float], metric: str) -> int:
    """Return the epoch that a figure picks: the first best one."""
    return int(np.nanargmax(_sign(metric) * np.array(values)))


def _rank(found: Sequence[Figures], metric: str, truth: str) -> float:
    """Return Spearman's correlation after the last epochs; 0 where a figure does not vary."""
    own = [_sign(metric) * figures[metric][-1] for figures in found]
    real = [figures[truth][-1] for figures in found]
    if len(set(own)) < 2 or len(set(real)) < 2:
        return 0.0
    return float(spearmanr(own, real).statistic)


def _regret(found: Sequence[Figures], metric: str, truth: str) -> float:
    last = [figures[truth][-1] for figures in found]
    return max(last) - last[_best([figures[metric][-1] for figures in found], metric)]


def _mean(values: Iterator[float]) -> float:
    return float(np.mean(list(values)))


def markdown(rows: Sequence[report.Row]) -> str:
    """Make the table of `docs/operating_points.md`: natural accuracy / balanced macro recall."""
    columns = ("rank", "rank_within", "regret", "best_less_last")
    lines = [
        "| validation figure | rank | rank within a method | regret | best - last epoch |",
        "|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        cells = []
        for column in columns:
            digits = 2 if column.startswith("rank") else 1
            cells.append(" / ".join(f"{row[truth][column]:.{digits}f}" for truth in TRUTHS))
        lines.append(f"| `{row['case']}` | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
