"""Final tables, drawn into strings."""

import pytest

from fer_ray.record.tables import confusion_table, points_table, recall_table
from fer_ray.record.text import abbreviate
from tests.record.drawing import NAMES, drawn


def test_recall_table_shows_every_class() -> None:
    recall = {name: 0.1 * number for number, name in enumerate(NAMES)} | {"contempt": float("nan")}
    lines = drawn(recall_table(recall, 0.55, 0.66, dict.fromkeys(NAMES, 1000)))
    assert [line.split()[0] for line in lines[1:9]] == list(NAMES)
    assert lines[8].split() == ["contempt", "1,000", "-"]
    assert lines[9].startswith("macro recall")
    assert lines[10].split()[:3] == ["accuracy", "8,000", "0.6600"]


@pytest.mark.parametrize(("recall", "blocks"), [(0.0, 0), (0.25, 5), (0.5, 10), (1.0, 20)])
def test_recall_bars_are_as_long_as_the_recall(recall: float, blocks: int) -> None:
    line = drawn(recall_table({"fear": recall}, recall, recall, {"fear": 4}))[1]
    assert line.count("█") == blocks


def test_confusion_table_fits_eight_classes() -> None:
    counts = [[12345 + 10 * row + column for column in range(8)] for row in range(8)]
    lines = drawn(confusion_table(counts, NAMES))
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["true", *abbreviate(NAMES), "recall"]
    assert lines[2].split()[:3] == ["happiness", "12355", "12356"]
    assert "…" not in "".join(lines)


def test_confusion_table_ends_with_the_share_of_the_true_class() -> None:
    lines = drawn(confusion_table([[0, 0], [1, 3]], ["fear", "anger"]))
    assert lines[1].split() == ["fear", "0", "0", "-"]
    assert lines[2].split() == ["anger", "1", "3", "0.7500"]


def test_points_table_has_a_line_per_operating_point() -> None:
    points = {
        "trained": {"accuracy": 0.665, "macro_recall": 0.571},
        "natural": {"accuracy": 0.735, "macro_recall": float("nan")},
    }
    lines = [line.split() for line in drawn(points_table(points))]
    assert lines == [
        ["operating", "point", "accuracy", "macro", "recall"],
        ["trained", "0.6650", "0.5710"],
        ["natural", "0.7350", "-"],
    ]
