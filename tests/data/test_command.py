"""`python -m fer_ray.data` end to end, and training on what it made."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_ray.data import DataError, open_data
from fer_ray.data.__main__ import main
from fer_ray.data.packs.pack import open_pack
from tests.data.files import drawn, files_of
from tests.samples import make_run, train

NAMES = ("angry", "happy", "neutral")


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Class folders of 40 training and 10 test images each; a test image leaks."""
    root = tmp_path / "raw"
    faces = iter(drawn(150, 24, seed=3))
    for subset, num in (("train", 40), ("test", 10)):
        for name in NAMES:
            folder = root / subset / name
            folder.mkdir(parents=True)
            for i in range(num):
                Image.fromarray(next(faces)).convert("RGB").save(folder / f"{i:03d}.png")
    leak = (root / "train" / "happy" / "000.png").read_bytes()
    (root / "test" / "happy" / "000.png").write_bytes(leak)
    return root


def test_prepare_writes_a_pack_that_trains(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "pack"
    assert main(["prepare", f"folder:{raw}", "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert "preparing 150 images: 259.2 kB in" in captured.err
    assert f"--data pack:{out}" in captured.out.replace("\n", "")
    data = open_data(f"pack:{out}")
    assert data.class_names == ("neutral", "happiness", "anger")
    assert data.image_size == (24, 24)
    assert len(data.test) == 29
    assert any("1 of 30 test images are copies" in note for note in data.notes)
    _, rows = train(make_run("cross_entropy", optim__epochs=1), data)
    assert [row["epoch"] for row in rows] == [1]


def test_training_prepares_a_raw_data_set_by_itself_and_once(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FER_RAY_CACHE", str(tmp_path / "cache"))
    first = open_data(f"folder:{raw}")
    assert "preparing 150 images" in capsys.readouterr().err
    again = open_data(f"folder:{raw}")
    assert capsys.readouterr().err == ""
    assert np.array_equal(np.asarray(first.train.images), np.asarray(again.train.images))
    assert len(list((tmp_path / "cache" / "packs").glob("[!.]*"))) == 1
    (raw / "train" / "happy" / "999.png").write_bytes(
        (raw / "train" / "angry" / "000.png").read_bytes()
    )
    more = open_data(f"folder:{raw}")
    assert len(more.train) + len(more.val) == 121
    small = open_data(f"folder:{raw}", size=16)
    assert small.image_size == (16, 16)


def test_a_pack_that_lacks_images_is_refused_each_time(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FER_RAY_CACHE", str(tmp_path / "cache"))
    for i in range(4):
        (raw / "train" / "happy" / f"{i:03d}.png").write_bytes(b"")
    for _ in range(2):
        with pytest.raises(DataError, match=r"at most 1.0% of 150 .* got 4, such as train/happy"):
            open_data(f"folder:{raw}")
    assert len(open_data(f"folder:{raw}", max_missing_fraction=0.1).test) == 30
    with pytest.raises(DataError, match="got 4"):  # though the pack is there now
        open_data(f"folder:{raw}")


def test_inspect_writes_a_page_though_images_are_broken(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in range(20):
        (raw / "train" / "happy" / f"{i:03d}.png").write_bytes(b"")
    page = tmp_path / "page.html"
    assert main(["inspect", f"folder:{raw}", "--out", str(page)]) == 0
    assert "happiness" in capsys.readouterr().out
    assert "unreadable" in page.read_text(encoding="utf-8")


def test_inspect_takes_data_sets_that_are_arrays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    spec = "synthetic:train=140,test=35,size=24"
    assert main(["inspect", spec, "--out", str(page)]) == 0
    assert "disgust" in capsys.readouterr().out
    assert page.exists()


def test_inspect_shows_the_noise_that_verified_labels_show(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, page = tmp_path / "verified.csv", tmp_path / "page.html"
    lines = [f"train/{name}/{i:03d}.png,{name}" for name in NAMES for i in range(20)]
    lines[0] = "train/angry/000.png,neutral"
    text = "\n".join(["path,label,sample", *(f"{line},random" for line in lines)])
    path.write_text(text)
    argv = ["inspect", f"folder:{raw}", "--out", str(page), "--verified"]
    assert main([*argv, str(path)]) == 0
    shown = capsys.readouterr().out
    assert "60 of them random and with a class" in shown
    table = shown[shown.index("Noise by verified labels") :].splitlines()
    # One of 20 angry faces is neutral: 5 of 105 images that are, with each class's shrinkage.
    neutral = next(line for line in table if line.startswith("neutral"))
    share, *given = (float(word) for word in neutral.split()[1:])
    assert 33 < share < 37
    assert sum(given) == pytest.approx(100, abs=0.3)
    assert given[0] > 90 > 10 > given[2] > 4
    assert main([*argv, str(tmp_path / "nowhere.csv")]) == 2


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["prepare", "synthetic", "--out", "p", "--processes", "-1"], "whole number of at least 1"),
        (["corrupt", "synthetic", "--out", "p", "--seed", "-1"], "whole number of at least 0"),
        (
            ["prepare", "synthetic", "--out", "p", "--size", "1.5"],
            "of 16 to 1024 pixels, got '1.5'",
        ),
        (["prepare", "synthetic", "--out", ""], "expected a path, got an empty word"),
        (["inspect", "synthetic", "--out", " "], "expected a path, got an empty word"),
    ],
)
def test_options_are_checked_before_anything_is_read(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(argv)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_corrupt_writes_a_variant(raw: Path, tmp_path: Path) -> None:
    options = ["--noise", "symmetric:0.5", "--imbalance", "4", "--seed", "3"]
    for name in ("one", "two"):
        argv = ["corrupt", f"folder:{raw}", *options, "--out", str(tmp_path / name)]
        assert main(argv) == 0
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    made = open_pack(tmp_path / "one")
    rows = made.subset == 0
    assert sorted(np.bincount(made.true_label[rows])) == [10, 20, 40]
    assert 0.3 < (made.label[rows] != made.true_label[rows]).mean() < 0.7


def test_corrupt_takes_data_sets_that_are_arrays(tmp_path: Path) -> None:
    argv = ["corrupt", "synthetic:train=700,test=35,size=24,noise=none,imbalance=1"]
    assert main([*argv, "--noise", "symmetric:0.3", "--out", str(tmp_path / "made")]) == 0
    data = open_data(f"pack:{tmp_path / 'made'}")
    assert 0.2 < (data.train.label != data.train.true_label).mean() < 0.4
    assert (data.test.label == data.test.true_label).all()


@pytest.mark.parametrize(
    "argv",
    [
        ["prepare", "folder:nowhere", "--out", "pack"],
        ["prepare", "pack:.", "--out", "pack"],
        ["inspect", "fodler:here"],
        ["corrupt", "synthetic:train=140,test=35,size=24", "--noise", "salt", "--out", "made"],
    ],
)
def test_bad_input_is_one_paragraph_and_exit_code_2(
    argv: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    assert "expected" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_corrupt_without_anything_to_do_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["corrupt", "synthetic", "--out", "made"])
    assert "--noise, --imbalance or both" in capsys.readouterr().err
