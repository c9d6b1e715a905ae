"""How well do the settings of a search work? Simulated, without training a network.

    python benchmarks/searcher.py [--repeats N] [--quick]

Searches a made-up objective with the parameters of `search_spaces/thresholds.yaml`: a quadratic
function of every parameter's place in its range plus normal noise of 0.02, as a validation set of
some hundred images has. Its optimum differs from repetition to repetition; those of the classes'
thresholds lie near each other (standard deviation 0.12 of the range). Two trials run at a time.
Reports by how much the objective of the chosen trial is better than that of the default one, in
points, without the noise. Writes `results/searcher.json`.
"""

import argparse
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Ray's, on import
    from fer_ray.on_ray.searcher import make_sampler
from benchmarks import report
from fer_ray.core.yaml_input import load_yaml
from fer_ray.search.reading import parse_space
from fer_ray.search.space import SearchSpace

SPACE = Path(__file__).resolve().parents[1] / "search_spaces" / "thresholds.yaml"
LEVEL = "method.thresholds.default"
OURS = "TPE, few random trials, one level"
NOISE, CLASS_SPREAD, BUDGETS, AT_A_TIME = 0.02, 0.12, (6, 12, 24), 2
CENTER = {
    "warmup_epochs": 0.225,
    "penalty_weight": 0.3,
    "thresholds": {"default": 0.7},
}
"""The default trial lies in the middle of every continuous range."""
Sampler = Callable[[SearchSpace, int, int], Any]


def main() -> None:
    """Simulate, print and write the results."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=200, metavar="N")
    parser.add_argument("--quick", action="store_true", help="check that it runs; write nothing")
    args = parser.parse_args()
    num_repeats = 2 if args.quick else args.repeats
    rows = [
        make_row(name, num_trials, [gain(*case, num_trials, seed) for seed in range(num_repeats)])
        for num_trials in BUDGETS
        for name, case in cases().items()
    ]
    goals = make_goals(rows)
    report.print_table(f"Points gained over the default, {num_repeats} repetitions", rows)
    report.print_goals(goals)
    if not args.quick:
        more = {"num_repeats": num_repeats, "noise": NOISE, "class_spread": CLASS_SPREAD}
        result = report.Report(benchmark="searcher", rows=rows, goals=goals, more=more)
        print("written:", result.write("searcher").name)


def cases() -> dict[str, tuple[SearchSpace, Sampler]]:
    """Return what is compared: a space, and the sampler of a search in it."""
    import optuna

    def random(space: SearchSpace, num_trials: int, seed: int) -> Any:
        return optuna.samplers.RandomSampler(seed=seed)

    def ten_random(space: SearchSpace, num_trials: int, seed: int) -> Any:
        return optuna.samplers.TPESampler(seed=seed)

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    level = load_yaml(SPACE)
    level["run"]["method"] |= CENTER
    own = {
        key: level["parameters"][LEVEL] if "around" in raw else raw
        for key, raw in level["parameters"].items()
        if key != LEVEL
    }
    near = parse_space(level, SPACE.stem)
    apart = parse_space({**level, "parameters": own}, SPACE.stem)
    return {
        "random, a threshold per class": (apart, random),
        "random, one level": (near, random),
        "TPE after 10 random trials, a threshold per class": (apart, ten_random),
        "TPE after 10 random trials, one level": (near, ten_random),
        "TPE, few random trials, a threshold per class": (apart, make_sampler),
        OURS: (near, make_sampler),
    }


def gain(space: SearchSpace, sampler: Sampler, num_trials: int, seed: int) -> float:
    """Return the points that the chosen trial of one search gains over the default trial."""
    import optuna

    value, rng = objective(space, seed), np.random.default_rng((seed, 1))
    study = optuna.create_study(direction="maximize", sampler=sampler(space, num_trials, seed))
    study.enqueue_trial(space.default_point())
    running, seen = list[tuple[Any, float]](), list[tuple[float, float]]()
    for number in range(num_trials):
        trial = study.ask()
        running.append((trial, value(space.suggest(trial))))
        while len(running) == AT_A_TIME or (running and number == num_trials - 1):
            done, true = running.pop(0)
            measured = true + float(rng.normal(0, NOISE))
            study.tell(done, measured)
            seen.append((measured, true))
    return 100 * (max(seen)[1] - value(space.default_params()))


def objective(space: SearchSpace, seed: int) -> Callable[[Mapping[str, Any]], float]:
    """Return a function of a configuration, the same for all spaces with these parameters."""
    rng = np.random.default_rng((seed, 0))
    keys = sorted(key for key in space.parameters if key != LEVEL)
    classes = [key.startswith("method.thresholds.") for key in keys]
    place = np.where(
        classes,
        rng.uniform(0.25, 0.75) + rng.normal(0, CLASS_SPREAD, len(keys)),
        rng.uniform(0.15, 0.85, len(keys)),
    ).clip(0, 1)
    weight = np.where(classes, rng.uniform(0.05, 0.4, len(keys)), rng.uniform(0.2, 0.6, len(keys)))
    domains = [  # a threshold near the level is judged by its place in the level's range
        space.parameters[LEVEL if is_class and LEVEL in space.parameters else key]
        for key, is_class in zip(keys, classes, strict=True)
    ]

    def value(params: Mapping[str, Any]) -> float:
        pairs = zip(domains, keys, strict=True)
        found = np.array([domain.position(params[key]) for domain, key in pairs])
        return float(0.85 - (weight * (found - place) ** 2).sum())

    return value


def make_row(name: str, num_trials: int, gains: Sequence[float]) -> report.Row:
    """Return mean and standard error of the gains of one case."""
    error = float(np.std(gains, ddof=1) / len(gains) ** 0.5)
    return {"case": name, "trials": num_trials, "gain": fmean(gains), "standard_error": error}


def make_goals(rows: Sequence[report.Row]) -> list[report.Goal]:
    """Compare the settings of `fer_ray.tune` with the best of the others."""
    goals = []
    for num_trials in BUDGETS:
        gains = {row["case"]: row["gain"] for row in rows if row["trials"] == num_trials}
        ours = gains.pop(OURS)
        best = max(gains, key=lambda name: gains[name])
        goals.append(
            report.Goal(
                name=f"points over the best other setting, {num_trials} trials",
                goal=">= 0",
                value=ours - gains[best],
                why=f"the best other: {best}",
            )
        )
    return goals


if __name__ == "__main__":
    main()
