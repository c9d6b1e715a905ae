"""The tables of the documentation are the committed figures of the benchmarks."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.paths import ROOT

METHODS_PAGE = ROOT / "docs" / "methods.md"
# Heads of columns that are shares, with their places in a row of results.
PERCENT = {
    "accuracy": ("accuracy",),
    "macro recall": ("macro_recall",),
    "balanced macro recall": ("balanced_macro_recall",),
    "kept": ("selection", "kept"),
    "precision": ("selection", "precision"),
    "recall": ("selection", "recall"),
    "AUROC": ("selection", "auroc"),
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
                digits = len(cell.partition(".")[2])
                # Results have four digits: half of the cell's last one, and of theirs.
                slack = 0.5 * 10**-digits + 5e-4 * abs(float(cell))
                assert abs(float(cell) - scale * figure[key]) <= slack, (row, head, key)


@pytest.mark.parametrize(
    ("result", "number"),
    [
        ("compare-synthetic", 0),
        ("compare-fer2013plus-small", 1),
        ("methods-fer2013plus-small", 2),
        ("passes-fer2013plus-small", 3),
    ],
)
def test_tables_of_methods_are_the_committed_figures(result: str, number: int) -> None:
    table = [rows for rows in tables(METHODS_PAGE) if "macro recall" in rows[0]][number]
    figures = measured(result)
    names = [next(iter(row.values())) for row in table]
    cases = [name.replace("`", "").replace(", two networks", " x 2") for name in names]
    assert cases == list(figures)
    for row, case in zip(table, cases, strict=True):
        check_row(row, figures[case])


def test_a_wrong_figure_is_seen() -> None:
    figures = {"macro_recall": {"mean": 0.4711, "std": 0.0207}, "seconds": {"mean": 62.45}}
    check_row({"macro recall": "**47.1 ± 2.1**", "seconds": "62"}, figures)
    for cells in ({"macro recall": "47.3 ± 2.1"}, {"macro recall": "47.1 ± 2.3"}, {"kept": "3"}):
        with pytest.raises(AssertionError):
            check_row(cells, figures)
