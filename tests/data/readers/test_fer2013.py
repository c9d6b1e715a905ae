import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from fer_ray.data import DataError, list_records
from fer_ray.data.classes import FERPLUS_VOTES
from fer_ray.data.packs.prepare import prepare
from fer_ray.data.readers.ferplus import plurality, read_votes
from fer_ray.data.records import TEST, TRAIN, VAL, Records
from tests.paths import SHARED

REAL = SHARED / "data" / "fer2013plus" / "fer2013plus.npz"
NATIVE = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
USAGES = ("Training",) * 7 + ("PublicTest",) * 3 + ("PrivateTest",) * 2
LABELS = (0, 1, 2, 3, 4, 5, 6, 3, 4, 5, 0, 6)
WORDS = tuple(map(str, range(256)))
HEADER = "emotion,pixels,Usage"


def write_table(path: Path, rows: Sequence[tuple[int, bytes, str]]) -> Path:
    """A csv as Kaggle's, fast enough for all of FER2013."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        file.write(f"{HEADER}\n")
        for label, pixels, usage in rows:
            file.write(f"{label},{' '.join(map(WORDS.__getitem__, pixels))},{usage}\n")
    return path


def write_votes(path: Path, usages: Sequence[str], votes: Sequence[Sequence[int]]) -> Path:
    """A csv as Microsoft's; every third image has no name."""
    lines = [f"Usage,Image name,{','.join(FERPLUS_VOTES)}"]
    for i, (usage, counts) in enumerate(zip(usages, votes, strict=True)):
        name = f"fer{i:07d}.png" if i % 3 else ""
        lines.append(f"{usage},{name},{','.join(map(str, counts))}")
    path.write_text("\n".join(lines) + "\n")
    return path


def miniature(path: Path) -> Path:
    """Seven rows of training, three PublicTest, two PrivateTest; pixels of row i begin with i."""
    rows = [
        (label, bytes([i, 255 - i]) + bytes(48 * 48 - 2), usage)
        for i, (label, usage) in enumerate(zip(LABELS, USAGES, strict=True))
    ]
    return write_table(path, rows)


def ten_for(*names: str) -> list[list[int]]:
    return [[10 * (column == name) for column in FERPLUS_VOTES] for name in names]


def names(records: Records, subset: int) -> list[str]:
    return [records.class_names[i] for i in records.label[records.subset == subset]]


def truths(records: Records, subset: int) -> list[str]:
    known = (*records.class_names, "?")
    return [known[i] for i in records.true_label[records.subset == subset]]


def replace_line(path: Path, number: int, line: str) -> None:
    lines = path.read_text().split("\n")
    lines[number - 1] = line
    path.write_text("\n".join(lines))


def test_the_csv_is_read_to_canonical_fields(tmp_path: Path) -> None:
    path = miniature(tmp_path / "fer2013.csv")
    records = list_records(f"fer2013:{path}")
    assert records.name == "fer2013:fer2013.csv"
    assert records.root == tmp_path
    assert records.class_names[0] == "neutral"
    assert len(records.class_names) == 7
    assert names(records, TRAIN) == list(NATIVE)
    assert names(records, TEST) == ["happiness", "sadness", "surprise"]
    assert records.pixels is not None
    assert records.pixels.shape == (10, 48, 48)
    assert records.pixels.dtype == np.uint8
    assert records.row is not None
    assert records.row.tolist() == list(range(10))
    assert np.array_equal(records.pixels[:, 0, 0], records.row)
    assert np.array_equal(records.pixels[:, 0, 1], 255 - records.row)
    assert records.path[3] == "fer2013.csv:5"
    assert set(records.true_label.tolist()) == {-1}
    assert records.notes == (
        "2 PrivateTest images were left out, for a final check (test=private)",
    )


def test_private_tests_on_private_and_validates_on_public(tmp_path: Path) -> None:
    records = list_records(f"fer2013:{miniature(tmp_path / 'fer2013.csv')},test=private")
    assert names(records, VAL) == ["happiness", "sadness", "surprise"]
    assert names(records, TEST) == ["anger", "neutral"]
    assert records.notes == ()


def test_both_tests_on_public_and_private(tmp_path: Path) -> None:
    records = list_records(f"fer2013:{miniature(tmp_path / 'fer2013.csv')},test=both")
    assert names(records, VAL) == []
    assert names(records, TEST) == ["happiness", "sadness", "surprise", "anger", "neutral"]


@pytest.mark.parametrize("place", ["", "fer2013"])
@pytest.mark.parametrize("name", ["fer2013.csv", "icml_face_data.csv"])
def test_a_folder_may_hold_the_csv(tmp_path: Path, place: str, name: str) -> None:
    path = miniature(tmp_path / place / name)
    records = list_records(f"fer2013:{tmp_path}")
    assert len(records) == 10
    assert records.name == f"fer2013:{tmp_path.name}"
    assert records.root == path.parent
    assert records.path[0] == f"{name}:2"


def test_the_other_header_means_the_same(tmp_path: Path) -> None:
    path = miniature(tmp_path / "icml_face_data.csv")
    lines = [line.split(",") for line in path.read_text().splitlines()[1:]]
    text = [f"{label},{usage},{pixels}" for label, pixels, usage in lines]
    path.write_text("\r\n".join(["emotion, Usage, pixels", *text]) + "\r\n")
    records = list_records(f"fer2013:{path}")
    plain = list_records(f"fer2013:{miniature(tmp_path / 'fer2013.csv')}")
    assert np.array_equal(records.label, plain.label)
    assert records.pixels is not None
    assert plain.pixels is not None
    assert np.array_equal(records.pixels, plain.pixels)


ZEROS = " ".join(["0"] * 2304)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"0,{ZEROS[2:]},Training", r"pixels: expected 2304 whole .* got 2303 numbers"),
        (f"0,{ZEROS} 0,Training", r"pixels: .* got 2305 numbers"),
        ("0,,Training", r"pixels: .* got 0 numbers"),
        (f"0,{ZEROS[:-1]}256,Training", r"pixels: .* got 256"),
        (f"0,{ZEROS[:-1]}{'9' * 30},Training", r"pixels: .* 0 to 255, got 9"),
        (f"0,{ZEROS[:-1]}-1,Training", r"pixels: .* got '-' among them"),
        (f"0,{ZEROS[:-1]}0.5,Training", r"pixels: .* got '\.' among them"),
        (f"0,{ZEROS[:-1]}grey,Training", r"pixels: .* got 'grey' among them"),
        (f"0,{ZEROS[:-1]}\u0663,Training", r"pixels: .* got '\u0663' among them"),
        (f"0,{ZEROS},Validation", r"Usage: expected one of Training, .* got 'Validation'"),
        (f"0,{ZEROS},", r"Usage: expected one of Training, .* got ''"),
        (f"7,{ZEROS},Training", r"emotion: expected one of 0 anger, .* got '7'"),
        (f"-1,{ZEROS},Training", r"emotion: .* got '-1'"),
        (f"angry,{ZEROS},Training", r"emotion: .* got 'angry'"),
        (f"0,{ZEROS}", r"expected 3 values, got 2"),
    ],
)
def test_a_bad_row_is_named_with_its_line(tmp_path: Path, line: str, message: str) -> None:
    path = miniature(tmp_path / "fer2013.csv")
    replace_line(path, 4, line)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DataError, match=rf"fer2013\.csv:4: {message}"):
            list_records(f"fer2013:{path}")


def test_a_csv_of_another_name_without_usage_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "faces.csv"
    path.write_text(f"emotion,pixels\n0,{ZEROS}\n")
    with pytest.raises(DataError, match=r"faces\.csv:1: .*Missing: Usage"):
        list_records(f"fer2013:{path}")


def test_rows_to_train_and_test_on_are_needed(tmp_path: Path) -> None:
    path = write_table(tmp_path / "fer2013.csv", [])
    with pytest.raises(DataError, match="expected at least one training image, got none"):
        list_records(f"fer2013:{path}")
    kept = [(label, bytes(2304), "Training") for label in range(7)]
    write_table(path, [*kept, (0, bytes(2304), "PrivateTest")])
    with pytest.raises(DataError, match=r"one test image, got none; 1 PrivateTest .*test=private"):
        list_records(f"fer2013:{path}")
    write_table(path, [*kept[:-2], (0, bytes(2304), "PublicTest")])
    with pytest.raises(DataError, match="every class, got none of neutral, surprise"):
        list_records(f"fer2013:{path}")


def test_votes_are_the_truth_and_what_is_tested_on(tmp_path: Path) -> None:
    path = miniature(tmp_path / "fer2013.csv")
    voted = ("fear", *NATIVE[1:6], "contempt", "neutral", "NF", "surprise", "anger", "sadness")
    votes = write_votes(tmp_path / "fer2013new.csv", USAGES, ten_for(*voted))
    records = list_records(f"fer2013:{path},ferplus={votes}")
    assert names(records, TRAIN) == list(NATIVE)
    assert truths(records, TRAIN) == ["fear", *NATIVE[1:6], "?"]
    assert names(records, TEST) == truths(records, TEST) == ["neutral", "surprise"]
    assert records.row is not None
    assert records.row.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 9]
    assert records.pixels is not None
    assert np.array_equal(records.pixels[:, 0, 0], records.row)
    assert records.path[-1] == "fer2013.csv:11"
    assert records.notes[1:] == (
        "train carries FER2013's labels; FER+ (majority) has one for 6 of the 7 training images, "
        "and it is another for 16.7% of them",
        "test carries FER+'s labels (majority); 1 of 3 images have none and were left out",
    )


def test_validation_keeps_the_labels_that_are_trained_on(tmp_path: Path) -> None:
    path = miniature(tmp_path / "fer2013.csv")
    voted = (*NATIVE, "neutral", "NF", "surprise", "NF", "sadness")
    votes = write_votes(tmp_path / "fer2013new.csv", USAGES, ten_for(*voted))
    records = list_records(f"fer2013:{path},ferplus={votes},test=private")
    assert names(records, VAL) == ["happiness", "sadness", "surprise"]
    assert truths(records, VAL) == ["neutral", "?", "surprise"]
    assert names(records, TEST) == truths(records, TEST) == ["sadness"]
    assert records.notes[0].startswith("train and val carry FER2013's labels")


@pytest.mark.parametrize(
    ("truth", "expected"),
    [("majority", "?"), ("plurality", "fear"), ("soft", "fear")],
)
def test_truth_names_the_rule(tmp_path: Path, truth: str, expected: str) -> None:
    path = miniature(tmp_path / "fer2013.csv")
    rows = ten_for(*[NATIVE[i] for i in LABELS])
    rows[0] = [3, 0, 0, 0, 2, 0, 5, 0, 0, 0]
    rows[1] = [0, 0, 0, 0, 1, 3, 0, 6, 0, 0]
    votes = write_votes(tmp_path / "fer2013new.csv", USAGES, rows)
    records = list_records(f"fer2013:{path},ferplus={votes},truth={truth}")
    assert truths(records, TRAIN)[0] == expected
    assert truths(records, TRAIN)[1] == ("disgust" if truth == "soft" else "?")
    assert f"FER+ ({truth})" in records.notes[1]


def test_votes_of_other_rows_are_refused(tmp_path: Path) -> None:
    path = miniature(tmp_path / "fer2013.csv")
    rows = ten_for(*[NATIVE[i] for i in LABELS])
    votes = write_votes(tmp_path / "fer2013new.csv", USAGES, rows)
    replace_line(votes, 8, votes.read_text().split("\n")[8])
    with pytest.raises(
        DataError,
        match=r"new\.csv:8: Usage: expected 'Training', as in .*2013\.csv:8, got 'PublicTest'",
    ):
        list_records(f"fer2013:{path},ferplus={votes}")
    write_votes(votes, USAGES[:-1], rows[:-1])
    with pytest.raises(DataError, match=r"new\.csv:12: expected 12 rows.*got 11"):
        list_records(f"fer2013:{path},ferplus={votes}")


def test_options_that_cannot_be_are_refused(tmp_path: Path) -> None:
    path = miniature(tmp_path / "fer2013.csv")
    for options, message in (
        ("test=all", "test: expected one of public, private, both, got 'all'"),
        ("truth=mean", "truth: expected one of majority, plurality, soft, got 'mean'"),
        ("truth=soft", "truth=soft: expected ferplus=FILE beside it"),
        (f"ferplus={tmp_path / 'absent.csv'}", "expected a file, got no such file"),
    ):
        with pytest.raises(DataError, match=message):
            list_records(f"fer2013:{path},{options}")


def image_folders(root: Path) -> Path:
    """Names in Kaggle's style; nothing is in the files, for no reader opens them."""
    shown = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    files = [f"train/{name}/Training_{1000 + i}.jpg" for i, name in enumerate(shown)]
    files += ["test/happy/PublicTest_5.jpg", "test/sad/PublicTest_6.jpg"]
    files += ["test/happy/PrivateTest_7.jpg", "test/Thumbs.db"]
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.parametrize("place", ["", "fer2013"])
def test_image_folders_are_split_by_prefix(tmp_path: Path, place: str) -> None:
    root = image_folders(tmp_path / place)
    records = list_records(f"fer2013:{tmp_path}")
    assert records.root == root
    assert records.pixels is None
    assert len(records.class_names) == 7
    trained = dict(zip(records.path, records.label.tolist(), strict=True))
    assert records.class_names[trained["train/angry/Training_1000.jpg"]] == "anger"
    assert sorted(names(records, TRAIN)) == sorted(NATIVE)
    assert names(records, TEST) == ["happiness", "sadness"]
    assert [path for path in records.path if path.startswith("test")] == [
        "test/happy/PublicTest_5.jpg",
        "test/sad/PublicTest_6.jpg",
    ]
    assert records.notes == (
        "1 PrivateTest images were left out, for a final check (test=private)",
        "1 files that are no images were left out: 1 .db",
    )
    private = list_records(f"fer2013:{tmp_path},test=private")
    assert (names(private, VAL), names(private, TEST)) == (["happiness", "sadness"], ["happiness"])


def test_what_lies_beside_the_image_folders_is_told(tmp_path: Path) -> None:
    (image_folders(tmp_path) / "validation").mkdir()
    assert "left out beside test, train: validation" in list_records(f"fer2013:{tmp_path}").notes


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("train/happy/im5.jpg", r"Training_123\.jpg"),
        ("train/happy/Training_5.jpg0.jpg", r"Training_123\.jpg"),
        ("train/happy/PublicTest_9.jpg", r"Training_123\.jpg"),
        ("test/happy/Training_9.jpg", r"PublicTest_123\.jpg or PrivateTest_123\.jpg"),
    ],
)
def test_an_image_whose_name_hides_its_split_is_refused(
    tmp_path: Path, name: str, known: str
) -> None:
    (image_folders(tmp_path) / name).touch()
    with pytest.raises(DataError, match=rf"{name}: expected a name such as {known}, got 1 images"):
        list_records(f"fer2013:{tmp_path}")


def test_a_class_that_is_not_of_fer2013_is_refused(tmp_path: Path) -> None:
    extra = image_folders(tmp_path) / "train" / "contempt"
    extra.mkdir()
    (extra / "Training_1.jpg").touch()
    with pytest.raises(DataError, match=r"got train/contempt \(1 images\)\."):
        list_records(f"fer2013:{tmp_path}")


def kaggle_table(path: Path, num: int = 70) -> Path:
    """Kaggle's train.csv: rows without a usage; row i and row i + 7 may be copies."""
    rng = np.random.default_rng(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["Emotion,Pixels"]
    for i in range(num):
        pixels = " ".join(map(WORDS.__getitem__, rng.integers(0, 256, 48 * 48)))
        lines += [f"{i % 7},{pixels}"] * (1 + (i % 5 == 0))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("place", ["", "/train.csv"])
def test_training_rows_alone_give_some_to_test(tmp_path: Path, place: str) -> None:
    kaggle_table(tmp_path / "train.csv")
    records = list_records(f"fer2013:{tmp_path}{place}")
    assert len(records) == 84
    is_test = records.subset == TEST
    assert 0 < is_test.sum() < 42
    assert "training rows alone" in records.notes[0]
    assert records.pixels is not None
    bytes_of = [image.tobytes() for image in records.pixels]
    sides: dict[bytes, set[bool]] = {text: set() for text in bytes_of}
    for text, side in zip(bytes_of, is_test.tolist(), strict=True):
        sides[text].add(side)
    assert {len(side) for side in sides.values()} == {1}  # copies stay together
    again = list_records(f"fer2013:{tmp_path}{place}")
    assert np.array_equal(again.subset, records.subset)


def ferplus_folders(root: Path) -> Path:
    """A few images of each of the three folders, with votes; the last of each has no winner."""
    for top, num in (("FER2013Train", 14), ("FER2013Valid", 7), ("FER2013Test", 7)):
        (root / top).mkdir(parents=True)
        lines = []
        for i in range(num + 1):
            (root / top / f"fer{i:07d}.png").touch()
            votes = [0] * 10
            if i < num:
                votes[FERPLUS_VOTES.index(("neutral", *FERPLUS_VOTES[1:7])[i % 7])] = 10
            else:
                votes[0] = votes[1] = 5
            lines.append(f'fer{i:07d}.png,"(0, 0, 48, 48)",{",".join(map(str, votes))}')
        (root / top / "label.csv").write_text("\n".join(lines) + "\n")
    return root


def test_the_folders_of_ferplus_have_its_labels(tmp_path: Path) -> None:
    records = list_records(f"fer2013:{ferplus_folders(tmp_path)}")
    assert (records.subset == TRAIN).sum() == 14
    assert (records.subset == TEST).sum() == 7
    assert records.path[0] == "FER2013Train/fer0000000.png"
    assert records.path[-1].startswith("FER2013Valid/")
    assert names(records, TEST) == list(FERPLUS_VOTES[:7])
    assert "2 of 23 images have none" in records.notes[0]
    private = list_records(f"fer2013:{tmp_path},test=private,truth=plurality")
    assert {path.split("/")[0] for path in private.path} == {
        *("FER2013Train", "FER2013Valid", "FER2013Test")
    }
    assert (private.subset == VAL).sum() == 7


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("fer0000001.png,10", r"label\.csv:2: expected 12 values.*got 2"),
        ('a.png,"(0, 0, 48, 48)",9,9,0,0,0,0,0,0,0,0', r"label\.csv:2: expected ten votes, got 18"),
    ],
)
def test_a_bad_line_of_ferplus_is_named(tmp_path: Path, line: str, message: str) -> None:
    root = ferplus_folders(tmp_path)
    replace_line(root / "FER2013Train" / "label.csv", 2, line)
    with pytest.raises(DataError, match=message):
        list_records(f"fer2013:{root}")


def test_votes_do_not_join_image_folders(tmp_path: Path) -> None:
    votes = write_votes(tmp_path / "fer2013new.csv", USAGES, ten_for(*USAGES))
    spec = f"fer2013:{image_folders(tmp_path / 'faces')},ferplus={votes}"
    with pytest.raises(DataError, match=r"got image folders.*no row numbers\. Use fer2013:PATH/"):
        list_records(spec)


def test_a_folder_with_neither_csv_nor_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"fer2013\.csv, icml_face_data\.csv.*none of them"):
        list_records(f"fer2013:{tmp_path}")


needs_real = pytest.mark.skipif(
    not REAL.exists(), reason=f"{REAL.name} with real faces is not on this machine"
)
PRINTED = """
.780 .025 .137 .008 .034 .010 .005
.151 .798 .034 0    .008 .008 0
.043 .004 .818 .006 .019 .111 0
.012 .001 .012 .899 .006 .028 .042
.077 .021 .236 .002 .604 .006 .054
.031 .001 .160 .037 .010 .756 .006
.114 .003 .124 .036 .241 .019 .463
"""
"""P(FER2013's label | FER+'s majority) of the training images, by FER2013's own order."""


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path, np.ndarray]]:
    """FER2013 without PrivateTest as Kaggle's csv, FER+'s csv of the same rows, and the images."""
    folder = tmp_path_factory.mktemp("real")
    with np.load(REAL) as arrays:
        usages = [("Training", "PublicTest")[i] for i in arrays["usage"]]
        label, images = arrays["label_fer2013"].tolist(), arrays["images"]
        votes = arrays["votes_ferplus"].tolist()
    rows = [
        (given, image.tobytes(), usage)
        for given, image, usage in zip(label, images, usages, strict=True)
    ]
    yield (
        write_table(folder / "fer2013.csv", rows),
        write_votes(folder / "fer2013new.csv", usages, votes),
        images,
    )
    (folder / "fer2013.csv").unlink()


def noise(label: np.ndarray, truth: np.ndarray) -> float:
    return float((label != truth)[truth >= 0].mean())


@needs_real
def test_real_fer2013_has_the_published_figures(real: tuple[Path, Path, np.ndarray]) -> None:
    table, votes, images = real
    plain = list_records(f"fer2013:{table}")
    assert len(plain) == 32298
    train = plain.subset == TRAIN
    order = [plain.class_names.index(name) for name in NATIVE]
    num_train = np.bincount(plain.label[train])[order]
    assert num_train.tolist() == [3995, 436, 4097, 7215, 4830, 3171, 4965]
    records = list_records(f"fer2013:{table},ferplus={votes}")
    assert records.row is not None
    assert plain.pixels is not None
    assert records.pixels is not None
    assert np.array_equal(plain.pixels, images)
    assert np.array_equal(records.pixels, images[records.row])
    given, truth = plain.label[records.row], records.true_label
    train, test = records.subset == TRAIN, records.subset == TEST
    assert np.array_equal(records.label[train], given[train])
    assert (int((truth[train] >= 0).sum()), int(test.sum())) == (24941, 3186)
    assert noise(given[train], truth[train]) == pytest.approx(0.320, abs=0.0005)
    assert noise(given[test], truth[test]) == pytest.approx(0.330, abs=0.0005)
    known = train & (truth >= 0)
    matrix = np.zeros((7, 7))
    np.add.at(matrix, (truth[known], given[known]), 1)
    shares = (matrix / matrix.sum(axis=1, keepdims=True))[np.ix_(order, order)]
    printed = np.array([line.split() for line in PRINTED.strip().split("\n")], dtype=float)
    assert np.abs(shares - printed).max() <= 0.0005 + 1e-9
    most = plurality(read_votes(votes).votes)
    train = plain.subset == TRAIN
    assert int((most[train] >= 0).sum()) == 26778
    assert noise(plain.label[train], most[train]) == pytest.approx(0.342, abs=0.0005)


@needs_real
def test_real_fer2013_leaks_as_often_as_published(
    real: tuple[Path, Path, np.ndarray], tmp_path: Path
) -> None:
    table, votes, _ = real
    pack = prepare(list_records(f"fer2013:{table}"), 48, tmp_path / "pack")
    trained = pack.group[(pack.subset == TRAIN) & (pack.group >= 0)]
    equal = (pack.subset == TEST) & np.isin(pack.group, trained)
    assert int(equal.sum()) == 280
    judged = list_records(f"fer2013:{table},ferplus={votes}")
    assert judged.row is not None
    usable = np.isin(pack.row, judged.row[judged.subset == TEST])
    assert [int(usable.sum()), int((usable & pack.is_leak).sum())] == [3186, 333]
