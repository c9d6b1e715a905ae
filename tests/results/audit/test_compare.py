"""Two people's labels: agreement against scikit-learn and loops, and the file for a third look."""

import csv
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_ray.audit import main
from fer_ray.data import CANNOT_TELL, DataError, prepared
from fer_ray.data.verified_file import read_verified
from fer_ray.results.audit.apply import kappa
from fer_ray.results.audit.compare import Comparison, Pair, compare
from tests.results.audit.conftest import SPEC

WORDS = ("neutral", "fear", "anger", "cannot tell")
answers = st.lists(st.tuples(*2 * [st.sampled_from(WORDS)]), min_size=1, max_size=30)


def write(path: Path, *lines: str, head: str = "index,label,sample") -> str:
    path.write_text("\n".join([head, *lines]) + "\n")
    return str(path)


@given(said=answers)
def test_agreement_is_that_of_scikit_learn_and_of_loops(said: list[tuple[str, str]]) -> None:
    from sklearn.metrics import cohen_kappa_score

    found = Comparison(
        pairs=[Pair(names={}, first=a, second=b, is_random=True) for a, b in said],
        only_first=0,
        only_second=0,
    )
    if len({word for pair in said for word in pair}) > 1:
        expected = cohen_kappa_score(*zip(*said, strict=True))
        assert found.kappa == pytest.approx(expected, abs=1e-9)
    else:
        assert found.kappa == 1.0  # where scikit-learn has no number
    same = sum(a == b for a, b in said)
    assert found.agreement == pytest.approx(same / len(said))
    assert sum(num for _, _, num in found.disagreements) == len(said) - same
    assert Counter({(a, b): num for a, b, num in found.disagreements}) == Counter(
        pair for pair in said if pair[0] != pair[1]
    )
    for name, counts in found.by_class.items():
        assert counts == (
            sum(a == name for a, _ in said),
            sum(b == name for _, b in said),
            sum(a == b == name for a, b in said),
        )


def test_there_is_no_kappa_of_nothing() -> None:
    assert math.isnan(kappa([]))


def test_what_two_people_agree_on_and_settle_can_be_trained_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack = prepared(SPEC)
    rows = pack.row[np.flatnonzero(pack.subset == 0)][:5].tolist()
    lines = [f"{rows[0]},fear,random", f"{rows[1]},happy,picked", f"{rows[2]},,random"]
    first = write(tmp_path / "a.csv", *lines, f"{rows[3]},anger,random")
    others = (f"{rows[4]},fear,random", f"0{rows[2]},,random", f"{rows[1]},sadness,random")
    second = write(tmp_path / "b.csv", *others, f"{rows[0]},Fear,random")
    out = tmp_path / "compared.csv"
    assert main(["--compare", first, second, "--out", str(out)]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "3 images that both have looked at" in printed
    assert "2 of 3 images have the same label in both (66.7%; Cohen's kappa 0.57)" in printed
    assert "happiness sadness 1" in printed
    assert "1 images that only the first file has, and 1 that only the second one has" in printed
    assert "1 images to settle" in printed
    table = list(csv.DictReader(out.read_text().splitlines()))
    assert [(row["index"], row["label"], row["sample"]) for row in table] == [
        (str(rows[1]), "?", "picked"),
        (str(rows[0]), "fear", "random"),
        (str(rows[2]), "", "random"),
    ]
    with pytest.raises(DataError, match=r"compared\.csv:2: label: .*"):
        read_verified(out, pack)
    out.write_text(out.read_text().replace("?", "sadness"))
    verified = read_verified(out, pack)
    names = [*pack.class_names, "cannot tell"]
    told = {int(pack.row[i]): names[verified.label[i]] for i in np.flatnonzero(verified.is_seen)}
    assert CANNOT_TELL < 0
    assert told[rows[:1][0]] == "fear"
    assert told[rows[1]] == "sadness"
    assert len(told) == 3


@pytest.mark.parametrize(
    ("lines", "head", "message"),
    [
        ((), "index,label,sample", "b.csv: expected a line per image, got none"),
        (("x,fear,random",), "path,label,sample", "b.csv:1: expected a column index or path"),
        (("9,fear,random",), "index,label,sample", "expected images that .* has too, by index"),
        (("1,fear,random", "1,fear,random"), "index,label,sample", r"b.csv:3: .* got 1 again"),
        (("1,banana,random",), "index,label,sample", r"b.csv:2: label: .*banana"),
        (("1,fear,some",), "index,label,sample", r"b.csv:2: sample: .*'some'"),
        (("1,fear,random,ff-2",), "index,label,sample,review", r"b.csv:2: review: .*one of ff"),
    ],
)
def test_files_that_cannot_be_compared_are_refused(
    lines: tuple[str, ...], head: str, message: str, tmp_path: Path
) -> None:
    first = write(tmp_path / "a.csv", "1,fear,random,ab-1", head="index,label,sample,review")
    with pytest.raises(DataError, match=message):
        compare(first, write(tmp_path / "b.csv", *lines, head=head))


def test_nothing_else_goes_with_a_comparison_and_nothing_is_written_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [write(tmp_path / name, "1,fear,random") for name in ("a.csv", "b.csv")]
    assert main(["runs/first", "--compare", *files]) == 2
    assert "--compare: expected two files and at most --out" in capsys.readouterr().err
    assert main(["--compare", *files, "--out", files[0]]) == 2
    assert "expected a new file" in capsys.readouterr().err
