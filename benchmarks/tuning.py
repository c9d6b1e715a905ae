"""Is a searched configuration better than the default one, and the search than random draws?

    python benchmarks/tuning.py [--space FILE] [--data SPEC | --images FOLDER] [--trials N]
                                [--epochs N] [--searches N] [--only NAME ...] [--work FOLDER]
                                [--quick]

Runs `python -m fer_ray.tune` on a space as it is, and once more with random draws: as many trials,
with the same early stops. Both searches are repeated with other seeds, which are the seeds of their
runs too. Every seed also trains the default configuration: that of the method, not the one that the
space begins with. With --images the data set is 4,000 faces of FER2013, of which 200 are verified,
others for every seed (FOLDER has its two files, see `noise_sets.py`). Test figures, accuracy at the
natural and macro recall at the balanced operating point, are those of the networks that were chosen
on validation images; the reference is the one of the searches. Drawn faces are others for every
seed too, and none of those by which a space was made, unless --data says which.

Every search is a piece of minutes with a folder of its own in --work: a second start goes on where
the first one was interrupted, and repeats nothing. Writes `results/tuning-<data>.json`, in which
what --only leaves out keeps its row, and to `results/tuning-ranks-<data>.json` how each validation
figure ranks the trials that were trained to the end: Spearman's correlation with the test figures.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import yaml

from benchmarks import report
from benchmarks.noise_runs import verified_path
from benchmarks.noise_sets import NoiseSet, make_sets
from benchmarks.trial_ranks import rank_rows
from fer_ray.commands.arguments import absolute_spec
from fer_ray.core.yaml_input import load_yaml
from fer_ray.search.reading import parse_space

ROOT = Path(__file__).resolve().parents[1]
SPACE = ROOT / "search_spaces" / "thresholds.yaml"
QUICK_DATA = "synthetic:train=140,test=70,size=16"
FIGURES = {"accuracy": "natural", "macro_recall": "balanced"}
"""What is judged, and at which operating point."""
FIRST_FACES = 100
"""Seed of the drawn faces of the first search."""
TUNED, RANDOM, DEFAULT, REFERENCE = "tuned", "random", "default", "reference"
Outcomes = dict[str, list[dict[str, Any]]]


def main() -> None:
    """Run the missing searches, print and write the results."""
    args = parse_arguments()
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch if args.quick else args.work).absolute()
        work.mkdir(parents=True, exist_ok=True)
        source, faces = read_source(args, work)
        space = parse_space(source, args.space.name)
        config = default_config(source, args.space.name)
        spec = "fer2013plus" if faces else report.without_folders(config["data"]["spec"])
        data = spec.partition(",")[0]
        draws = {key: x for key, x in source.items() if key != "reference"}
        files = {TUNED: source, RANDOM: draws | {"method": "random"}, DEFAULT: config}
        words = ["--trials", str(args.trials or space.run_cap or 12)]
        outcomes = run_all(args, files, faces, work / report.slug(data), words)
    if not args.quick:
        kept = kept_outcomes(report.RESULTS / f"tuning-{report.slug(data)}.json", args.searches)
        outcomes = {name: found or kept.get(name, []) for name, found in outcomes.items()}
    rows = [make_row(name, found) for name, found in outcomes.items() if found]
    goals = make_goals(outcomes)
    report.print_table("Test set, mean and standard deviation over searches", flat(rows))
    report.print_goals(goals)
    folders = [work / report.slug(data) / f"{TUNED}-{seed}" for seed in range(args.searches)]
    ranks = rank_rows(folders) if TUNED in args.only else []
    show = [{**row, "rank": " / ".join(f"{x:.2f}" for x in row["rank"].values())} for row in ranks]
    report.print_table("Ranks of the tuned trials: natural accuracy / balanced macro recall", show)
    if not args.quick:
        more = {"data": data, "space": args.space.name, "num_searches": args.searches}
        result = report.Report(benchmark="tuning", rows=rows, goals=goals, more=more)
        print("written:", result.write(f"tuning-{report.slug(data)}").name)
    if ranks and not args.quick:
        result = report.Report(benchmark="tuning", rows=ranks, goals=[], more=more)
        print("written:", result.write(f"tuning-ranks-{report.slug(data)}").name)


def parse_arguments() -> argparse.Namespace:
    """Parse the command line; with `--quick`, what is not given is small."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--space", type=Path, default=SPACE, metavar="FILE")
    data = parser.add_mutually_exclusive_group()
    data.add_argument("--data", metavar="SPEC", help="default: that of the space")
    data.add_argument("--images", type=Path, metavar="FOLDER", help="faces of FER2013 instead")
    parser.add_argument("--trials", type=int, metavar="N", help="default: run_cap of the space")
    parser.add_argument("--epochs", type=int, metavar="N", help="default: those of the space")
    parser.add_argument("--searches", type=int, metavar="N", help="default: 3")
    parser.add_argument("--only", nargs="+", choices=(TUNED, RANDOM, DEFAULT), metavar="NAME")
    parser.add_argument("--work", default="runs/tuning", metavar="FOLDER")
    parser.add_argument("--quick", action="store_true", help="check that it runs; write nothing")
    args = parser.parse_args()
    if args.quick:
        args.data, args.images = QUICK_DATA, None
    args.searches = args.searches or (1 if args.quick else 3)
    args.trials = args.trials or (2 if args.quick else None)
    args.epochs = args.epochs or (3 if args.quick else None)
    # Each starts a Ray of its own, which takes longer than everything else in a quick run.
    args.only = args.only or ([TUNED, DEFAULT] if args.quick else [TUNED, RANDOM, DEFAULT])
    return args


def read_source(args: argparse.Namespace, work: Path) -> tuple[dict[str, Any], NoiseSet | None]:
    """Return the content of the space for the data set that is asked for, and the real faces."""
    source, faces = load_yaml(args.space), None
    if args.epochs:
        source["run"]["optim"]["epochs"] = args.epochs
    if args.images:
        (faces,) = make_sets("carved", args.images, work)
        source["run"]["data"] = {"spec": faces.spec, "deduplicate": False}
    elif args.data:
        source["run"]["data"] = absolute_spec(args.data)
    return source, faces


def default_config(source: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the run of a space without what the space sets of its method."""
    method = parse_space(source, name).default_method
    run = source["run"] | {"method": {"name": method}}
    space = parse_space({**source, "run": run}, name)
    return space.run_config(space.default_params()).to_dict()


def run_all(
    args: argparse.Namespace,
    files: Mapping[str, Mapping[str, Any]],
    faces: NoiseSet | None,
    folder: Path,
    of_search: Sequence[str],
) -> Outcomes:
    """Run every search and every default run that has no summary yet; return them by name."""
    folder.mkdir(parents=True, exist_ok=True)
    outcomes: Outcomes = {TUNED: [], RANDOM: [], DEFAULT: [], REFERENCE: []}
    for seed in range(args.searches):
        for name in args.only:
            path = folder / f"{name}.yaml"
            _write_once(path, files[name])
            words = [] if name == DEFAULT else [*of_search]
            if faces:
                words += ["--set", f"data.verified={verified_path(faces, folder.parent, seed)}"]
            elif not args.data:
                words += ["--data", other_faces(files[DEFAULT]["data"]["spec"], seed)]
            summary = run(name, path, seed, words)
            outcomes[name].append(_outcome(summary))
            if name == TUNED and "test" in summary.get("reference", {}):
                outcomes[REFERENCE].append(_outcome(summary["reference"]))
    return outcomes


def kept_outcomes(path: Path, num_searches: int) -> Outcomes:
    """Return the outcomes in a result file of as many searches; none if it is missing."""
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"rows": []}
    rows = content["rows"] if content.get("num_searches") == num_searches else []
    return {row["case"]: row["seeds"] for row in rows}


def other_faces(spec: str, seed: int) -> str:
    """Return drawn faces by which no space was made, with more images for the test."""
    return f"{spec},test=7000,seed={FIRST_FACES + seed}"


def _write_once(path: Path, content: Mapping[str, Any]) -> None:
    """Write what is run, or check that an earlier start ran the same.

    Raises:
        SystemExit: If it ran something else.
    """
    text = yaml.safe_dump(dict(content), sort_keys=False)
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise SystemExit(f"{path} is of another space; delete its folder, or give another --work")
    path.write_text(text, encoding="utf-8")


def run(name: str, path: Path, seed: int, more: Sequence[str]) -> dict[str, Any]:
    """Run or resume a command, unless it has a summary; return its summary.

    Raises:
        SystemExit: If the command fails; has the end of its output.
    """
    folder = path.parent / f"{name}-{seed}"
    if not (folder / "summary.json").exists():
        print(f"{name}, seed {seed} ...", flush=True)
        command = ["train", "--config"] if name == DEFAULT else ["tune", "--space"]
        words = [*command, str(path), *more, "--set", f"seed={seed}", "--name", folder.name]
        words += ["--storage", str(path.parent), "--wandb", "disabled"]
        words += ["--resume"] if folder.exists() else []
        command = [sys.executable, "-m", f"fer_ray.{words[0]}", *words[1:]]
        with (path.parent / f"{folder.name}.log").open("w+") as log:
            done = subprocess.run(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
            log.seek(0)
            if done.returncode != 0:
                raise SystemExit(log.read()[-4000:])
    content: dict[str, Any] = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    return content


def _outcome(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the table shows of a summary."""
    best = summary.get("best", summary)
    points = summary["test"]["points"]
    test = {key: points[point][key] for key, point in FIGURES.items()}
    config = best["config"]
    if "method" in config:  # of a whole run, which names folders of this machine
        config = {"method": config["method"]}
    found = {"test": test, "val": best["val"], "config": config, "s": summary["wall_s"]}
    if "num_trials" in summary:  # of a search
        found |= {"trial": best["trial"], "lead": summary.get("lead")}
    return found


def make_row(name: str, outcomes: Sequence[Mapping[str, Any]]) -> report.Row:
    """Return means, standard deviations and the figures of every seed."""
    row: report.Row = {"case": name, "searches": len(outcomes)}
    for key in FIGURES:
        row[key] = report.mean_std([outcome["test"][key] for outcome in outcomes])
    row["seconds"] = report.mean_std([outcome["s"] for outcome in outcomes])
    row["seeds"] = list(outcomes)
    return row


def flat(rows: Sequence[report.Row]) -> list[report.Row]:
    """Return rows for the terminal: shares in per cent with their standard deviation."""
    return [
        {
            "case": row["case"],
            "searches": row["searches"],
            **{
                key: f"{100 * row[key]['mean']:.1f} ± {100 * row[key]['std']:.1f}"
                for key in FIGURES
            },
            "seconds": row["seconds"]["mean"],
        }
        for row in rows
    ]


def make_goals(outcomes: Outcomes) -> list[report.Goal]:
    """Compare the tuned runs with the others, seed by seed, where both were run."""
    goals = []
    for figure, other in product(FIGURES, (DEFAULT, RANDOM, REFERENCE)):
        found = {
            name: [100 * outcome["test"][figure] for outcome in outcomes[name]]
            for name in (TUNED, other)
        }
        gains = [a - b for a, b in zip(found[TUNED], found[other], strict=False)]
        if not gains:
            continue
        spread = 2 * report.mean_std(found[other])["std"] if other == DEFAULT else 0.0
        goals.append(
            report.Goal(
                name=f"{figure} ({FIGURES[figure]}), tuned over {other}, points",
                goal=f">= {spread:.2f}",
                value=fmean(gains),
                why=f"by seed: {', '.join(f'{gain:+.1f}' for gain in gains)}",
            )
        )
    return goals


if __name__ == "__main__":
    main()
