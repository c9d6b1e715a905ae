"""`python -m fer_ray.predict` writes a row for every image, whatever some of them are."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

from fer_ray import predict
from fer_ray.data import FaceData
from fer_ray.results.predictor import load
from tests.samples import CLASS_NAMES

RunAndData = tuple[Path, FaceData]
HEADER = ["path", "label", "probability", *CLASS_NAMES, "error"]


@pytest.fixture
def faces_folder(run_and_data: RunAndData, tmp_path: Path) -> Path:
    """Twelve test images of the run as files, three of them not what they seem."""
    root = tmp_path / "faces"
    for number, image in enumerate(np.asarray(run_and_data[1].test.images)[:12, 0]):
        folder = root / ("deep/er" if number % 2 else "a")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number:02d}.png")
    (root / "a" / "00.png").write_bytes(b"")
    whole = (root / "deep" / "er" / "03.png").read_bytes()
    (root / "deep" / "er" / "03.png").write_bytes(whole[: len(whole) // 2])
    (root / "a" / "04.png").write_text("no image")
    (root / "a" / "notes.txt").write_text("not listed")
    (root / "a" / ".hidden.png").write_text("not listed")
    return root


@pytest.fixture
def run(run_and_data: RunAndData) -> str:
    return str(run_and_data[0])


def rows_of(text: str) -> list[dict[str, str]]:
    reader = csv.DictReader(io.StringIO(text))
    assert reader.fieldnames == HEADER
    return list(reader)


def test_every_image_of_a_folder_has_its_row(
    run: str, faces_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict.main([run, str(faces_folder), "--batch-size", "5"]) == 1
    out, err = capsys.readouterr()
    rows = rows_of(out)
    names = [Path(row["path"]).relative_to(faces_folder).as_posix() for row in rows]
    even, odd = range(0, 12, 2), range(1, 12, 2)
    assert names == [*(f"a/{i:02d}.png" for i in even), *(f"deep/er/{i:02d}.png" for i in odd)]
    failed = {name for name, row in zip(names, rows, strict=True) if row["error"]}
    assert failed == {"a/00.png", "a/04.png", "deep/er/03.png"}
    good = [row for row in rows if not row["error"]]
    found = load(run).predict([row["path"] for row in good])
    for row, label, prob in zip(good, found.label, found.prob, strict=True):
        assert row["label"] == label
        values = [float(row[name]) for name in CLASS_NAMES]
        np.testing.assert_allclose(values, prob, atol=1e-6)
        assert float(row["probability"]) == max(values)
    for row in rows:
        if row["error"]:
            assert [row[key] for key in ("label", "probability", *CLASS_NAMES)] == [""] * 6
    assert "3 of 12 images could not be predicted:" in err
    assert f"{faces_folder / 'a' / '00.png'}: an empty file" in err
    assert "photograph" not in err


def test_good_images_end_well_and_in_the_same_order(
    run: str, faces_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(faces_folder / "a" / "1*.png"), str(faces_folder / "a" / "02.png")]
    assert predict.main([run, *words, words[0]]) == 0
    out, err = capsys.readouterr()
    assert [Path(row["path"]).name for row in rows_of(out)] == ["10.png", "02.png"]
    assert err == ""
    assert predict.main([run, *words]) == 0
    assert capsys.readouterr().out == out


def test_paths_come_from_tables_and_standard_input(
    run: str,
    faces_folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = faces_folder / "list.csv"
    table.write_text("id,path\n1,a/08.png\n2,a/06.png\n3,a/none.png\n")
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{faces_folder}/a/10.png\n\n"))
    assert predict.main([run, str(table), "-"]) == 1
    rows = rows_of(capsys.readouterr().out)
    assert [Path(row["path"]).name for row in rows] == ["08.png", "06.png", "none.png", "10.png"]
    assert [row["error"] for row in rows] == ["", "", "no such file", ""]
    table.write_text("file\na/08.png\n")
    assert predict.main([run, str(table), "--path-column", "file"]) == 0
    capsys.readouterr()
    assert predict.main([run, str(table)]) == 2
    assert "expected the columns path, got file" in capsys.readouterr().err


def test_the_ending_of_the_file_decides_its_format(run: str, faces_folder: Path) -> None:
    out = faces_folder.parent
    for name in ("out.csv", "out.jsonl", "out.parquet"):
        assert predict.main([run, str(faces_folder), "--out", str(out / name)]) == 1
    rows = rows_of((out / "out.csv").read_text())
    lines = [json.loads(line) for line in (out / "out.jsonl").read_text().splitlines()]
    columns = parquet.read_table(out / "out.parquet").to_pylist()
    assert list(lines[0]) == list(columns[0]) == HEADER
    assert len(rows) == len(lines) == len(columns) == 12
    for row, line, column in zip(rows, lines, columns, strict=True):
        assert row["path"] == line["path"] == column["path"]
        assert row["label"] == (line["label"] or "") == (column["label"] or "")
        assert row["error"] == (line["error"] or "") == (column["error"] or "")
        for name in CLASS_NAMES:
            values = ((row[name] and float(row[name])) or None, line[name], column[name])
            assert values[0] == values[1] == pytest.approx(values[2], abs=1e-6)
    assert [path.name for path in out.glob(".*")] == []


def test_a_prior_is_given_in_words_or_shares(
    run: str, faces_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, found = str(faces_folder / "a" / "02.png"), {}
    even = ",".join(f"{name}=2" for name in CLASS_NAMES)
    only = ",".join(f"{name}={float(name == 'fear')}" for name in CLASS_NAMES)
    for prior in ("trained", "uniform", even, only):
        assert predict.main([run, image, "--prior", prior]) == 0
        found[prior] = capsys.readouterr().out
    assert found["uniform"] == found[even] != found["trained"]
    assert rows_of(found[only])[0]["label"] == "fear"
    assert predict.main([run, image]) == 0
    assert capsys.readouterr().out == found["uniform"], "the run's own prior"


def test_photographs_are_told_once(
    run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, size in enumerate([(640, 480), (480, 640), (40, 30), (300, 300)]):
        Image.new("RGB", size, (90, 120, 200)).save(tmp_path / f"{number}.jpg")
    assert predict.main([run, str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert len(rows_of(out)) == 4
    assert err.count("photographs rather than cropped faces: 2 of 4 images") == 1
    assert "facenet-pytorch" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{run}", "{faces}", "--out", "{run}/summary.json"], "expected an ending of .csv, .jsonl"),
        (["{run}", "{faces}", "--out", "{faces}/list.csv"], "expected a new file, got one that ex"),
        (["{run}", "{faces}", "--out", "{faces}/x/y.csv"], "expected a file in a folder that exis"),
        (["{run}", "{faces}", "--format", "parquet"], "expected a file to write it to"),
        (["{run}", "{faces}/none"], "expected an image, a folder, a pattern"),
        (["{run}", "{faces}/*.gif"], "nothing there"),
        (["{run}", "{faces}/empty"], "expected at least one image, got none"),
        (["{faces}", "{faces}"], "expected the folder of a finished run or search"),
        (["{run}", "{faces}", "--prior", "verified"], "has none or too few"),
        (["{run}", "{faces}", "--prior", "fear=x"], "--prior fear=x: expected class=share"),
        (["{run}", "{faces}", "--prior", "fear=1,joy=1"], "joy"),
        (["{run}", "{faces}", "--prior", "fear=1"], "none of neutral, happiness, anger"),
        (["{run}", "{faces}", "--prior", "even"], "trained, given, verified, uniform"),
    ],
)
def test_bad_input_is_one_paragraph(
    run: str,
    faces_folder: Path,
    words: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (faces_folder / "empty").mkdir()
    (faces_folder / "list.csv").write_text("path\n")
    before = sorted(faces_folder.rglob("*"))
    assert predict.main([word.format(run=run, faces=faces_folder) for word in words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert said in err
    assert sorted(faces_folder.rglob("*")) == before


def test_a_pipe_that_closes_early_is_no_traceback(run: str, faces_folder: Path) -> None:
    command = [sys.executable, "-m", "fer_ray.predict", run, str(faces_folder), "--batch-size=1"]
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        ended = subprocess.run(
            command, stdout=pipe, stderr=subprocess.PIPE, text=True, timeout=120, check=False
        )
    assert ended.returncode == 141
    assert ended.stderr == ""
