"""The tables of the documentation are the committed figures of the benchmarks."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks.cases import PAIR
from tests.paths import ROOT

README = ROOT / "README.md"
METHODS_PAGE, AUDIT_PAGE, POINTS_PAGE, SPACES_PAGE = (
    ROOT / "docs" / name
    for name in ("methods.md", "audit.md", "operating_points.md", "search_spaces.md")
)
# Heads of columns that are shares, with their places in a row of results.
PERCENT = {
    "accuracy": ("accuracy",),
    "macro recall": ("macro_recall",),
    "AUROC": ("auroc",),
    "average precision": ("average_precision",),
    "wrong among the first 100": ("precision_at_100",),
    "among the first 1,000": ("precision_at_1000",),
}
# Names of cases in the tables, where they differ.
CASES = {
    "cross_entropy, 200 verified": "cross_entropy, verified",
    "cross_entropy, two networks": "cross_entropy x 2",
    "cross_entropy, two networks, 200 verified": "cross_entropy x 2, verified",
    "peer_posterior, nothing verified": "peer_posterior",
    "peer_posterior, 200 verified": "peer_posterior, verified",
    "peer_posterior, two networks, nothing verified": "peer_posterior, two networks",
    "peer_posterior, two networks, 200 verified": PAIR,
    "the same, temperature 0.6": f"{PAIR}, temperature 0.6",
    "the same, temperature 0.8": f"{PAIR}, temperature 0.8",
    "the same, not sharpened": f"{PAIR}, predictions not sharpened",
    "each taught by itself": f"{PAIR}, own posteriors",
    "no penalty": f"{PAIR}, no penalty",
    "targets without memory": f"{PAIR}, targets without memory",
    "targets that move faster": f"{PAIR}, targets that move faster",
    "a longer mean": f"{PAIR}, longer mean of predictions",
    "the noise not used": f"{PAIR}, noise not used",
    "the noise estimated": f"{PAIR}, noise estimated",
    "verified labels not learnt": f"{PAIR}, labels kept as given",
    "co_divide, posterior, 200 verified": "co_divide, posterior, verified",
}
FULL_CASES = {
    "cross_entropy, two networks, 203 verified": "cross_entropy x 2, verified",
    "peer_posterior, 203 verified": "peer_posterior, verified",
    "peer_posterior, two networks, 203 verified": PAIR,
}
DRAWN_CASES = {
    f"{name}, noise {rate}{classes}": f"noise {rate}, imbalance {imbalance}: {case}"
    for name, case in (
        ("cross_entropy, two networks", "cross_entropy x 2, verified"),
        ("peer_posterior", "peer_posterior, verified"),
    )
    for rate in ("0", "0.2", "0.28", "0.4")
    for classes, imbalance in (("", 10), (", even", 1))
}
TUNING_CASES = {
    "best of the search": "tuned",
    "best of as many random draws": "random",
    "default configuration": "default",
    "cross_entropy, told the same": "reference",
}
# Heads of columns with accuracy / macro recall at an operating point, or accuracy alone.
POINTS = {"as trained": "trained", "natural": "natural", "balanced": "balanced"}
# Heads of columns with a gain and its interval: "+0.3 (0.0 to 0.5)", in points.
GAINS = {
    "gain at natural": "natural_accuracy_gain",
    "gain at balanced": "balanced_macro_recall_gain",
}
# Heads of columns with what a validation figure says of both truths.
SELECTION = {
    "rank": "rank",
    "rank within a method": "rank_within",
    "regret, points": "regret",
    "best - last epoch, points": "best_less_last",
}
PLAIN = {
    "seconds": ("seconds",),
    "seconds an epoch": ("epoch_s",),
    "passes per image": ("passes_per_image",),
    "CIFAR form over it": ("ratio_to_cifar",),
    "Clothing1M form over it": ("ratio_to_clothing1m",),
}


def tables(page: Path) -> Iterator[list[dict[str, str]]]:
    """The Markdown tables of a page: rows by the words of the head."""
    for block in re.findall(r"(?:^\|.*\n)+", page.read_text(encoding="utf-8"), re.MULTILINE):
        head, _, *rows = (
            [cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines()
        )
        yield [dict(zip(head, row, strict=True)) for row in rows]


def measured(result: str) -> dict[str, Any]:
    """Rows of a committed benchmark by case."""
    path = ROOT / "benchmarks" / "results" / f"{result}.json"
    return {row["case"]: row for row in json.loads(path.read_text(encoding="utf-8"))["rows"]}


def check_row(row: Mapping[str, str], figures: Mapping[str, Any]) -> None:
    """Compare the cells of a row with its figures, to the digits that the cell has."""
    for places, scale in ((PERCENT, 100.0), (PLAIN, 1.0)):
        for head in places.keys() & row.keys():
            figure: Any = figures
            for key in places[head]:
                figure = figure.get(key, {})
            cells = re.findall(r"[\d.]+", row[head])
            assert bool(cells) == bool(figure), (row, head)
            for cell, key in zip(cells, ("mean", "std"), strict=False):
                check_cell(cell, scale * figure[key])
    for head in GAINS.keys() & row.keys():
        gain, interval = figures.get(GAINS[head]), figures.get(f"{GAINS[head]}_interval", [])
        values = [] if gain is None else [gain, *interval]
        for cell, value in zip(re.findall(r"-?[\d.]+", row[head]), values, strict=True):
            check_cell(cell, 100 * value)
    for head in POINTS.keys() & row.keys():
        cells = re.findall(r"[\d.]+", row[head])
        assert 1 <= len(cells) <= 2, (row, head)
        for cell, name in zip(cells, ("accuracy", "macro_recall"), strict=False):
            check_cell(cell, 100 * figures[POINTS[head]][name]["mean"])


def check_cell(cell: str, value: float) -> None:
    """Compare a number with its value, to the digits that it has."""
    digits = len(cell.partition(".")[2])
    # Results have four digits: half of the cell's last one, and of theirs.
    slack = 0.5 * 10**-digits + 5e-4 * abs(float(cell))
    assert abs(float(cell) - value) <= slack, (cell, value)


@pytest.mark.parametrize(
    ("page", "result"),
    [
        (README, "real_noise-small"),
        (METHODS_PAGE, "real_noise-small"),
        (METHODS_PAGE, "real_noise-full"),
        (METHODS_PAGE, "real_noise-synthetic"),
        (METHODS_PAGE, "passes-fer2013plus-small"),
        (AUDIT_PAGE, "audit-find"),
    ],
)
def test_tables_are_the_committed_figures(page: Path, result: str) -> None:
    figures = measured(result)
    known = {"real_noise-full": FULL_CASES, "real_noise-synthetic": DRAWN_CASES}.get(result, CASES)
    is_found = False
    for table in tables(page):
        names = [next(iter(row.values())).replace("`", "") for row in table]
        cases = [known.get(name, name) for name in names]
        if cases[0] not in figures:
            continue
        is_found = True
        for row, case in zip(table, cases, strict=True):
            check_row(row, figures[case])
    assert is_found


@pytest.mark.parametrize(
    ("head", "result"),
    [
        ("drawn faces", "tuning-synthetic-verified-200"),
        ("photographs", "tuning-fer2013plus"),
    ],
)
def test_what_a_search_is_worth_is_the_committed_table(head: str, result: str) -> None:
    figures = measured(result)
    (table,) = (rows for rows in tables(SPACES_PAGE) if head in rows[0])
    for row in table:
        check_row(row, figures[TUNING_CASES[row[head].replace("`", "")]])


@pytest.mark.parametrize(
    ("head", "result"),
    [
        ("drawn faces", "tuning-ranks-synthetic-verified-200"),
        ("photographs", "tuning-ranks-fer2013plus"),
    ],
)
def test_how_trials_are_ranked_is_the_committed_table(head: str, result: str) -> None:
    figures = measured(result)
    (table,) = (rows for rows in tables(POINTS_PAGE) if head in rows[0])
    for row in table:
        found = figures[row["validation figure"].strip("`")]
        for cell, point in zip(row[head].split(" / "), ("natural", "balanced"), strict=True):
            check_cell(cell, found["rank"][point])


def test_what_validation_figures_are_worth_is_the_committed_table() -> None:
    figures = measured("selection")
    (table,) = (rows for rows in tables(POINTS_PAGE) if "regret, points" in rows[0])
    for row in table:
        case = row["validation figure"].removesuffix(" (default)").strip("`").removeprefix("val/")
        found = figures[case if case in figures else f"{case}, verified"]
        for head, key in SELECTION.items():
            truths = ("natural accuracy", "balanced macro recall")
            for cell, truth in zip(row[head].split(" / "), truths, strict=True):
                check_cell(cell, found[truth][key])


def test_a_wrong_figure_is_seen() -> None:
    recall = {"mean": 0.4711, "std": 0.0207}
    natural = {"accuracy": {"mean": 0.6}, "macro_recall": recall}
    figures = {"macro_recall": recall, "seconds": {"mean": 62.45}, "natural": natural}
    figures |= {"natural_accuracy_gain": -0.0031, "natural_accuracy_gain_interval": [-0.008, 0.002]}
    check_row({"macro recall": "**47.1 ± 2.1**", "seconds": "62"}, figures)
    check_row({"gain at natural": "-0.3 (-0.8 to 0.2)"}, figures)
    for cells in (
        {"macro recall": "47.3 ± 2.1"},
        {"macro recall": "47.1 ± 2.3"},
        {"AUROC": "3"},
        {"natural": "47.1 / 47.1"},
        {"gain at natural": "0.3 (-0.8 to 0.2)"},
        {"gain at natural": "-0.3 (-0.8 to 0.4)"},
    ):
        with pytest.raises(AssertionError):
            check_row(cells, figures)
