"""How much time and memory does a split take, for 10^4 to 10^7 images?

    python benchmarks/split.py [--quick] [--sizes N ...] [--repeats N]

Two ranks (gloo, one thread each) hold the losses of two networks, each for every other image. Times
what the loop does with them: gather them on rank zero, fit the mixtures, apply the thresholds of
the classes, send the split to both ranks; with one mixture for all and with one per class. Memory
is the peak of rank zero's resident set minus its size before, in multiples of the bytes of all
losses (networks x images x 4). In the same run, scikit-learn's `GaussianMixture` is fitted and
applied to the same losses, one network after the other, and the results are compared. Writes
`results/split-<hardware>.json`.
"""

import argparse
import os
import statistics
import sys
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
import torch.distributed as dist
from torch import Tensor

from benchmarks import report
from benchmarks.ranks import on_ranks
from fer_ray.core.mixture import normalize
from fer_ray.core.types import Scores, SplitResult
from fer_ray.methods.co_divide import CoDivide
from fer_ray.training.distributed import rank
from fer_ray.training.gather import gather_rows
from fer_ray.training.handover import from_rank_zero

Kind = Literal["global", "class"]
KINDS: tuple[Kind, ...] = ("global", "class")
SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
NUM_RANKS, NUM_NETWORKS, NUM_CLASSES = 2, 2, 7
NAMES = tuple(f"class_{number}" for number in range(NUM_CLASSES))
CLIP = 0.99


def main() -> None:
    """Measure, print and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="check that it runs; write nothing")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), metavar="N")
    parser.add_argument("--repeats", type=int, default=5, metavar="N")
    args = parser.parse_args()
    sizes, repeats = ([2_000], 1) if args.quick else (args.sizes, args.repeats)
    rows = [
        measure(kind, size, repeats) | against_sklearn(kind, size)
        for size in sizes
        for kind in KINDS
    ]
    for row in rows:
        row["ratio_sklearn_to_fit"] = row["sklearn_s"] / row["fit_s"]
        row["ratio_sklearn_to_split"] = row["sklearn_s"] / row["split_s"]
    goals = [goal for row in rows if row["images"] == max(sizes) for goal in goals_of(row)]
    report.print_table(f"Dividing: {NUM_NETWORKS} networks, {NUM_RANKS} ranks", rows)
    report.print_goals(goals)
    if not args.quick:
        result = report.Report(benchmark="split", rows=rows, goals=goals)
        print("written:", result.write(f"split-{report.slug(report.hardware())}").name)


def losses_of(num: int) -> Tensor:
    """Draw losses [network, image] as after warm-up: many small and a cluster of large ones."""
    generator = torch.Generator().manual_seed(num)
    is_noisy = torch.rand(num, generator=generator) < 0.3
    small = torch.empty(NUM_NETWORKS, num).exponential_(3.0, generator=generator)
    large = torch.empty(NUM_NETWORKS, num).normal_(2.2, 0.5, generator=generator).abs_()
    return torch.where(is_noisy, large, small)


def labels_of(num: int) -> Tensor:
    """Draw labels of classes that are as imbalanced as in data sets of faces."""
    share = torch.tensor([8.0, 8.0, 4.0, 3.0, 2.0, 1.0, 0.5])
    generator = torch.Generator().manual_seed(num + 1)
    return torch.multinomial(share, num, replacement=True, generator=generator)


def predictions_of(label: Tensor, num: int) -> Tensor:
    """Make the predictions [network, image, class] of `num` images that fit their losses."""
    right = (-losses_of(num)).exp() if num else torch.zeros(NUM_NETWORKS, 0)
    prob = ((1 - right) / (NUM_CLASSES - 1))[..., None].repeat(1, 1, NUM_CLASSES)
    given = label[:num].expand(NUM_NETWORKS, -1)[..., None]
    return prob.scatter_(2, given, right[..., None])


def measure(kind: Kind, size: int, repeats: int) -> report.Row:
    """Let the ranks split `repeats` times, after one warm-up; return rank zero's row."""
    row = on_ranks(NUM_RANKS, _divide, kind, size, repeats)
    print(f"{row['case']}: {row['split_s']:.3f} s", flush=True)
    return row


def _divide(kind: Kind, size: int, repeats: int) -> report.Row:
    """Split on one rank; return medians by its own clock."""
    index = torch.arange(size)[rank() :: NUM_RANKS]
    own = losses_of(size)[:, index].contiguous()
    label = labels_of(size)
    # Only mixtures per class ask what the networks say; the gather of that is not timed.
    prob = predictions_of(label, size if kind == "class" and rank() == 0 else 0)
    rounds = [divide_once(kind, index, own, label, prob) for _ in range(repeats + 1)][1:]
    parts = {key: statistics.median(x.seconds[key] for x in rounds) for key in rounds[0].seconds}
    peak = max(x.peak for x in rounds)
    return {
        "case": f"{kind}/{size:,} images",
        "images": size,
        **parts,
        "peak_over_bytes_of_losses": peak / (4 * NUM_NETWORKS * size),
    }


@dataclass(frozen=True, slots=True)
class Round:
    """Seconds of the parts of one split, and its peak of memory in bytes, without its input."""

    seconds: Mapping[str, float]
    peak: int


def divide_once(kind: Kind, index: Tensor, own: Tensor, label: Tensor, prob: Tensor) -> Round:
    """Gather, fit, apply thresholds and broadcast once."""
    method = CoDivide(mixture=kind, clip_quantile=CLIP)
    dist.barrier()
    before = _reset_peak()
    start = time.perf_counter()
    loss = gather_rows(index, own, len(label), dim=1)
    gathered = fitted = time.perf_counter()

    def divide() -> SplitResult:
        nonlocal fitted
        assert loss is not None
        scores = Scores(
            class_names=NAMES,
            label=label,
            is_labeled=torch.ones(len(label), dtype=torch.bool),
            loss=loss,
            prob=prob,
        )
        split = method.split(scores, None, 1)
        fitted = time.perf_counter()
        return split

    split = from_rank_zero(divide)
    dist.barrier()
    end = time.perf_counter()
    assert split.is_labeled.shape == (NUM_NETWORKS, len(label)), rank()
    seconds = {
        "split_s": end - start,
        "gather_s": gathered - start,
        "fit_s": fitted - gathered,
        "broadcast_s": end - fitted,
    }
    return Round(seconds, _peak() - before)


def _reset_peak() -> int:
    """Reset Linux's record of the largest resident set; return the present size in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def against_sklearn(kind: Kind, size: int) -> report.Row:
    """Time scikit-learn for both networks, and compare its results with ours."""
    loss, label = losses_of(size), labels_of(size)
    prob = predictions_of(label, size if kind == "class" else 0)
    everyone = torch.ones(size, dtype=torch.bool)
    scores = Scores(class_names=NAMES, label=label, is_labeled=everyone, loss=loss, prob=prob)
    method = CoDivide(mixture=kind, clip_quantile=CLIP, monotone=False, shrinkage=0.0)
    ours = method.split(scores, None, 1).clean_prob.flip(0)
    seconds, difference, num_other = 0.0, 0.0, 0
    _sklearn_clean_prob(
        normalize(loss[0, :100]), label[:100], "global"
    )  # imports scikit-learn, untimed
    for network, row in enumerate(loss):
        start = time.perf_counter()
        prob = _sklearn_clean_prob(normalize(row, CLIP), label, kind)
        seconds += time.perf_counter() - start
        difference = max(difference, float((prob - ours[network]).abs().max()))
        num_other += int(((prob > 0.5) != (ours[network] > 0.5)).sum())
    return {
        "sklearn_s": seconds,
        "largest_difference": difference,
        "kept_by_one_only_fraction": num_other / loss.numel(),
    }


def _sklearn_clean_prob(loss: Tensor, label: Tensor, kind: Kind) -> Tensor:
    """Return clean probabilities by DivideMix's `GaussianMixture`, on all losses or per class."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    groups = [label >= 0] if kind == "global" else [label == x for x in range(NUM_CLASSES)]
    prob = torch.zeros_like(loss)
    for group in groups:
        own = loss[group].double().numpy()[:, None]
        model = GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(own)
        answer = model.predict_proba(own)[:, model.means_.argmin()]
        prob[group] = torch.from_numpy(answer).float()
    return prob


def goals_of(row: report.Row) -> list[report.Goal]:
    """Return the goals for the largest size."""
    case = row["case"]
    return [
        report.Goal(name=f"seconds, {case}", goal="<= 2", value=row["split_s"]),
        report.Goal(
            name=f"peak memory over the bytes of the losses, {case}",
            goal="<= 4",
            value=row["peak_over_bytes_of_losses"],
        ),
        report.Goal(
            name=f"scikit-learn's seconds over those of fitting and judging, {case}",
            goal=">= 20",
            value=row["ratio_sklearn_to_fit"],
        ),
        report.Goal(
            name=f"share of labels that only one keeps, we or scikit-learn, {case}",
            goal="<= 0.001",
            value=row["kept_by_one_only_fraction"],
            why=f"clean probabilities differ by at most {row['largest_difference']:.2g}; more than "
            "0.005 where one of the two stopped an iteration earlier",
        ),
    ]


if __name__ == "__main__":
    main()
