"""`python -m fer_ray.audit`: what it writes, and what it refuses in one paragraph."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from fer_ray.audit import main
from fer_ray.data import open_data, prepared
from fer_ray.results.audit.draw import data_id
from fer_ray.results.audit.files import COLUMNS
from tests.data.files import files_of
from tests.results.audit.conftest import SPEC, plain_run, posterior_run

__all__ = ["plain_run", "posterior_run"]  # fixtures

Refused = Callable[..., str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Refused:
    """Runs the command with bad input; returns the paragraph that it prints."""

    def run(*argv: object) -> str:
        assert main([str(word) for word in argv]) == 2
        printed = capsys.readouterr().err
        assert printed.startswith("error: ")
        assert len(printed.splitlines()) == 1
        return printed

    return run


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("as_search", [False, True])
def test_an_audit_is_written(
    posterior_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], as_search: bool
) -> None:
    place = posterior_run
    if as_search:
        place = tmp_path / "search"
        shutil.copytree(posterior_run, place / "trial_001")
        (place / "search.yaml").write_text("{}")
        summary = json.loads((posterior_run / "summary.json").read_text())
        summary |= {"best": summary["best"] | {"trial": "trial_001"}}
        (place / "summary.json").write_text(json.dumps(summary))
    out = tmp_path / "out"

    assert main([str(place), "--out", str(out), "--review", "20"]) == 0

    printed = capsys.readouterr().out
    assert max(map(len, printed.split("note: the numbers")[0].splitlines()[1:])) <= 80
    assert str(out / "review.html") in printed
    rows = rows_of(out / "audit.csv")
    data, pack = open_data(SPEC), prepared(SPEC)
    assert len(rows) == 200
    assert list(rows[0]) == list(COLUMNS)
    assert [int(row["rank"]) for row in rows] == list(range(1, 201))
    score = [float(row["score"]) for row in rows]
    assert score == sorted(score)
    for row in rows[::20]:
        i = int(row["index"])
        assert row["path"] == f"train:{i}"
        assert row["given"] == data.class_names[int(pack.label[i])]
        assert row["split"] == ("val" if i in data.val.row else "train")
    classes = {row["given"]: int(row["rank_in_class"]) for row in rows}  # the last of each
    counts = np.bincount(pack.label[pack.subset == 0])
    assert classes == dict(zip(data.class_names, counts.tolist(), strict=True))
    table = pq.read_table(out / "audit.parquet")
    assert table.column_names == list(COLUMNS)
    assert table["score"].to_pylist() == score
    content = json.loads((out / "audit.json").read_text())
    assert content["sources"]["posterior"]["images"] == len(data.train)
    assert content["wrong"][-1]["name"] == "all"
    assert [row["name"] for row in rows_of(out / "classes.csv")] == [*data.class_names, "all"]
    assert len(rows_of(out / "pairs.csv")) == 42
    review = json.loads((out / "review.json").read_text())
    assert (review["images"], review["hidden_repeats"]) == (20, 2)
    drawn = sum(row["drawn_by_lot"] * (row["weight"] or 0) for row in review["classes"])
    assert drawn == pytest.approx(len(data.train), abs=1)


def test_networks_that_learned_the_labels_are_called_that(
    plain_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(plain_run), "--out", str(tmp_path / "out")]) == 0
    assert "LEARNED these very labels" in capsys.readouterr().out
    rows = rows_of(tmp_path / "out" / "audit.csv")
    assert {row["epochs_kept"] for row in rows} == {""}
    assert pq.read_table(tmp_path / "out" / "audit.parquet")["agreement"].null_count == 200


def test_bad_input_is_refused(
    posterior_run: Path, tmp_path: Path, refused: Refused, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    assert f"--out {out}: expected no such folder" in refused(posterior_run, "--out", out)
    assert list(out.iterdir()) == []
    assert "RUN: expected the folder of a run" in refused()
    assert "RUN: expected the folder of a run" in refused("--apply", "x.csv")
    assert "finished run or search" in refused(tmp_path)
    new = tmp_path / "new"
    assert "at least 1 image, got 0" in refused(posterior_run, "--out", new, "--review", 0)
    both = refused(posterior_run, "--apply", "x.csv", "--review", 3)
    assert "one of the two" in both
    other = refused(posterior_run, "--out", new, "--data", "synthetic:train=90,test=70,size=16")
    assert "training images" in other
    assert not new.exists()


def labels(path: Path, *lines: str, head: str = "index,path,label,sample") -> Path:
    path.write_text("\n".join([head, *lines]) + "\n")
    return path


def test_labels_are_corrected_and_the_difference_is_shown(
    posterior_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack = prepared(SPEC)
    names = [pack.class_names[k] for k in pack.label[:4]]
    new = pack.class_names[(int(pack.label[0]) + 1) % 7]
    path = labels(
        tmp_path / "labels.csv",
        f"0,train:0,{new},random,{new},{data_id(pack)}-1",
        f"1,train:1,{names[1]},random,fear,{data_id(pack)}-1",
        f"2,train:2,,picked,cannot tell,{data_id(pack)}-1",
        head="index,path,label,sample,repeat_label,review",
    )
    out = tmp_path / "new"
    assert main([str(posterior_run), "--apply", str(path), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "1 labels changed" in printed
    assert " ".join([names[0], new, "1"]) in " ".join(printed.split())
    assert "1 have their given label confirmed and 1 cannot be told" in printed
    same = 2 + (names[1] == "fear")
    assert f"{same} of 3 faces that were shown twice got the same answer" in printed
    assert f"--data pack:{out}" in printed
    written = prepared(f"pack:{out}").label
    assert np.flatnonzero(written != pack.label).tolist() == [0]


def test_labels_that_do_not_fit_are_refused(tmp_path: Path, refused: Refused) -> None:
    out, path = tmp_path / "new", tmp_path / "labels.csv"
    own = prepared(SPEC).class_names[int(prepared(SPEC).label[0])]

    def said(*lines: str, head: str = "index,path,label,sample") -> str:
        labels(path, *lines, head=head)
        return refused("--data", SPEC, "--apply", path, "--out", out)

    assert f"{path}:2: label" in said("0,train:0,bored,random")
    assert "no images" in said("0,train:1,fear,random")
    assert "a test image" in said("test:0,fear,random", head="path,label,sample")
    head = "index,path,label,sample,review"
    assert "of another data set" in said("0,train:0,fear,random,01234567-89abcdef", head=head)
    assert "nothing would change" in said(f"0,train:0,{own},random")
    assert "a line per verified image" in said()
    missing = path.with_name("no.csv")
    assert str(missing) in refused("--data", SPEC, "--apply", missing, "--out", out)
    assert list(tmp_path.iterdir()) == [path]
    out.mkdir()
    before = files_of(tmp_path)
    assert "something there" in said("0,train:0,disgust,random")
    assert files_of(tmp_path).keys() == before.keys()
