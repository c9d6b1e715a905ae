"""RAF-DB's two layouts and three kinds of noise list read back to the same canonical fields."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_ray.data import DataError, list_records, open_data
from fer_ray.data.records import Records
from tests.data.files import drawn

# Native ids 1 to 7 and the labels they become: surprise, fear, disgust, happiness, sadness, anger,
# neutral, of the canonical order neutral, happiness, sadness, surprise, fear, disgust, anger.
CANONICAL = {1: 3, 2: 4, 3: 5, 4: 1, 5: 2, 6: 6, 7: 0}
TRAIN = {f"train_{i:05d}": i % 7 + 1 for i in range(1, 22)}
TEST = {f"test_{i:04d}": i % 7 + 1 for i in range(1, 8)}
NAMES = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")


def release(root: Path, lines: list[str] | None = None, folder: str = "aligned") -> Path:
    (root / "EmoLabel").mkdir(parents=True)
    (root / "Image" / folder).mkdir(parents=True)
    listed = [f"{stem}.jpg {native}" for stem, native in (TRAIN | TEST).items()]
    text = "\n".join(listed if lines is None else lines) + "\n"
    (root / "EmoLabel" / "list_patition_label.txt").write_text(text)
    return root


def kaggle(root: Path, *, with_csv: bool) -> Path:
    for subset, images in (("train", TRAIN), ("test", TEST)):
        rows = ["image,label"]
        for stem, native in images.items():
            folder = root / "DATASET" / subset / str(native)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{stem}_aligned.jpg").touch()
            rows.append(f"{stem}_aligned.jpg,{native}")
        if with_csv:
            (root / f"{subset}_labels.csv").write_text("\n".join(rows) + "\n")
    return root


def check(records: Records) -> None:
    natives = TRAIN | TEST
    stems = [Path(path).stem.removesuffix("_aligned") for path in records.path]
    assert sorted(stems) == sorted(natives)
    assert records.class_names == NAMES
    assert records.label.tolist() == [CANONICAL[natives[stem]] for stem in stems]
    assert records.subset.tolist() == [0 if stem in TRAIN else 2 for stem in stems]
    assert set(records.true_label) == {-1}


@pytest.mark.parametrize("below", [".", "basic", "raf-basic"])
def test_the_release(below: str, tmp_path: Path) -> None:
    root = release(tmp_path / below)
    records = list_records(f"raf-db:{tmp_path}")
    check(records)
    assert records.root == root
    assert records.path[0] == "Image/aligned/train_00001_aligned.jpg"
    assert records.listed[0] == "list_patition_label.txt:1"
    assert records.notes == ()


def test_original_images_serve_where_none_are_aligned(tmp_path: Path) -> None:
    release(tmp_path, folder="original")
    records = list_records(f"raf-db:{tmp_path}")
    check(records)
    assert records.path[0] == "Image/original/train_00001.jpg"
    assert records.notes == ("there is no Image/aligned: faces are those of Image/original",)


@pytest.mark.parametrize("with_csv", [True, False])
@pytest.mark.parametrize("below", [".", "DATASET"])
def test_the_copy_on_kaggle(with_csv: bool, below: str, tmp_path: Path) -> None:
    kaggle(tmp_path, with_csv=with_csv)
    records = list_records(f"raf-db:{tmp_path / below}")
    check(records)
    assert all((records.root / path).exists() for path in records.path)
    assert bool(records.listed[0]) == with_csv


def test_a_csv_that_differs_from_the_folders_is_named_with_its_line(tmp_path: Path) -> None:
    kaggle(tmp_path, with_csv=True)
    table = tmp_path / "train_labels.csv"
    rows = table.read_text().splitlines()
    rows[3] = rows[3][:-1] + "7"
    table.write_text("\n".join(rows))
    with pytest.raises(DataError, match=r"train_labels\.csv:4: expected the label of its folder"):
        list_records(f"raf-db:{tmp_path}")


def test_images_beside_the_csv_are_counted_and_half_a_list_is_refused(tmp_path: Path) -> None:
    kaggle(tmp_path, with_csv=True)
    (tmp_path / "DATASET" / "train" / "1" / "train_99999_aligned.jpg").touch()
    records = list_records(f"raf-db:{tmp_path}")
    check(records)
    assert records.notes == ("1 images that no csv lists were left out",)
    (tmp_path / "test_labels.csv").unlink()
    with pytest.raises(DataError, match=r"both csv files or none, got no test_labels\.csv"):
        list_records(f"raf-db:{tmp_path}")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train_00001_aligned.jpg,2", r"csv:9: expected a name such as test_0001"),
        ("test_0001.jpg,2", r"csv:9: expected every image once"),
        ("test_0009_aligned.jpg,8", r"csv:9: label: expected one of 1 surprise"),
        ("test_0009_aligned.jpg,1", r"csv:9: expected the label of its folder, test/2/"),
    ],
)
def test_a_bad_row_of_a_csv_is_named(line: str, message: str, tmp_path: Path) -> None:
    kaggle(tmp_path, with_csv=True)
    (tmp_path / "DATASET" / "test" / "2" / "test_0009_aligned.jpg").touch()
    with (tmp_path / "test_labels.csv").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DataError, match=rf"test_labels\.{message}"):
        list_records(f"raf-db:{tmp_path}")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("test/1/train_00077_aligned.jpg", "expected a name such as test_0001"),
        ("train/5/train_00001_aligned.jpg", "expected every image once"),
        ("train/2/train_00001.jpg", "expected every image once"),
        ("train/2/Thumbs.db", "expected a name such as train_00001"),
    ],
)
def test_a_bad_file_in_a_class_folder_is_named(path: str, message: str, tmp_path: Path) -> None:
    kaggle(tmp_path, with_csv=False)
    (tmp_path / "DATASET" / path).touch()
    with pytest.raises(DataError, match=rf"DATASET/(train|test)/\d/.*: {message}"):
        list_records(f"raf-db:{tmp_path}")


def test_an_image_in_two_folders_contradicts_its_csv(tmp_path: Path) -> None:
    kaggle(tmp_path, with_csv=True)
    (tmp_path / "DATASET" / "train" / "5" / "train_00001_aligned.jpg").touch()
    with pytest.raises(DataError, match=r"train_labels\.csv:2: .*its folder, train/5/.*got 2"):
        list_records(f"raf-db:{tmp_path}")


@pytest.mark.parametrize("with_csv", [True, False])
def test_what_lies_beside_the_class_folders_is_said(with_csv: bool, tmp_path: Path) -> None:
    kaggle(tmp_path, with_csv=with_csv)
    (tmp_path / "DATASET" / "train" / "8").mkdir()
    (tmp_path / "DATASET" / "train" / ".hidden").mkdir()
    records = list_records(f"raf-db:{tmp_path}")
    check(records)
    assert records.notes == (
        "1 files or folders beside the classes 1 to 7 were left out, the first train/8",
    )


def test_one_of_several_releases_is_taken_only_if_it_is_called_basic(tmp_path: Path) -> None:
    release(tmp_path / "compound")
    release(tmp_path / "raf-basic")
    with pytest.raises(DataError, match=r"one folder with EmoLabel.* got compound, raf-basic\."):
        list_records(f"raf-db:{tmp_path}")
    (tmp_path / "raf-basic").rename(tmp_path / "basic")
    assert list_records(f"raf-db:{tmp_path}").root == tmp_path / "basic"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("train_00003.jpg", "the name of an image and its label"),
        ("train_00003.jpg 8", "expected one of 1 surprise"),
        ("train_00003.jpg 0", "got '0'"),
        ("train_00003.jpg x", "got 'x'"),
        ("train_00001.jpg 3", "every image once"),
        ("0001.jpg 3", "a name such as train_00001.jpg"),
        ("../train_00003.jpg 3 4", "the name of an image and its label"),
    ],
)
def test_a_bad_line_of_the_list_is_named(line: str, message: str, tmp_path: Path) -> None:
    release(tmp_path, ["train_00001.jpg 1", "", line])
    with pytest.raises(DataError, match=rf"label\.txt:3: .*{message}|label\.txt:3.*{message}"):
        list_records(f"raf-db:{tmp_path}")


def write_noise(path: Path, style: str) -> dict[str, int]:
    """A third of the training labels moved on by one class; returns the native labels."""
    wrong = {
        stem: native % 7 + 1 if i % 3 == 0 else native
        for i, (stem, native) in enumerate(TRAIN.items())
    }
    if style == "eac":
        lines = [f"{stem}.jpg {native}" for stem, native in wrong.items()]
    elif style == "from 0":
        lines = [f"{stem}_aligned.jpg\t{native - 1}" for stem, native in wrong.items()]
    elif style == "scn":
        lines = [
            f"/home/x/aligned/{stem}_aligned.jpg {native - 1}" for stem, native in wrong.items()
        ]
    elif style == "from 0 with test":
        lines = [f"{stem}.jpg {native - 1}" for stem, native in (wrong | TEST).items()]
    elif style == "with test":
        lines = [f"{stem}.jpg,{native}" for stem, native in (wrong | TEST).items()]
    path.write_text("\n".join(lines) + "\n")
    return wrong


@pytest.mark.parametrize("style", ["eac", "scn", "from 0", "with test", "from 0 with test"])
@pytest.mark.parametrize("layout", ["release", "kaggle"])
def test_noise_lists_give_the_label_and_the_official_one_is_the_truth(
    style: str, layout: str, tmp_path: Path
) -> None:
    root = tmp_path / "faces"
    release(root) if layout == "release" else kaggle(root, with_csv=False)
    wrong = write_noise(tmp_path / "noise.txt", style)
    records = list_records(f"raf-db:{root},noise={tmp_path / 'noise.txt'}")
    stems = [Path(path).stem.removesuffix("_aligned") for path in records.path]
    assert records.label.tolist() == [CANONICAL[(wrong | TEST)[stem]] for stem in stems]
    assert records.true_label.tolist() == [CANONICAL[(TRAIN | TEST)[stem]] for stem in stems]
    assert records.notes == ("7 of 21 training labels are wrong by noise.txt",)


def replaced(lines: list[str], number: int, line: str) -> list[str]:
    return [*lines[: number - 1], line, *lines[number:]]


@pytest.mark.parametrize(
    ("number", "line", "message"),
    [
        (2, "train_00002.jpg", r"noise\.txt:2: expected the name"),
        (2, "train_00002.jpg 8", r"noise\.txt:2: label: .*got '8'"),
        (2, "train_00001.jpg 2", r"noise\.txt:2: expected every image once"),
        (2, "train_77777.jpg 2", r"noise\.txt:2: expected an image of the data set"),
        (2, "", r"a label for every training image, got none for 1 of them, such as train_00002"),
        (2, "train_00002.jpg 1 4", r"noise\.txt:2: .*add ,column=2 \(1\) or ,column=3 \(4\)"),
        (2, "train_00002.jpg 0", r"noise\.txt:2: .*got both 0 and 7 \(.*noise\.txt:20\)"),
        (22, "test_0001.jpg 7", r"noise\.txt:22: expected the official label 2"),
    ],
)
def test_a_noise_list_that_does_not_fit_is_named(
    number: int, line: str, message: str, tmp_path: Path
) -> None:
    release(tmp_path / "faces")
    path = tmp_path / "noise.txt"
    write_noise(path, "eac")
    path.write_text("\n".join(replaced(path.read_text().splitlines(), number, line)) + "\n")
    with pytest.raises(DataError, match=message):
        list_records(f"raf-db:{tmp_path / 'faces'},noise={path}")


def test_a_test_label_is_named_in_the_numbers_of_its_noise_list(tmp_path: Path) -> None:
    release(tmp_path / "faces")
    path = tmp_path / "noise.txt"
    write_noise(path, "from 0")
    with path.open("a") as file:
        file.write("test_0001_aligned.jpg\t6\n")
    with pytest.raises(DataError, match=r"noise\.txt:22: expected the official label 1 .*got 6"):
        list_records(f"raf-db:{tmp_path / 'faces'},noise={path}")


def test_a_noise_list_whose_first_id_is_not_known_is_refused(tmp_path: Path) -> None:
    release(tmp_path / "faces")
    path = tmp_path / "noise.txt"
    path.write_text("".join(f"{stem}.jpg 3\n" for stem in TRAIN))
    with pytest.raises(DataError, match="neither 0 nor 7"):
        list_records(f"raf-db:{tmp_path / 'faces'},noise={path}")


def test_neither_layout_is_an_error_that_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="list_patition_label"):
        list_records(f"raf-db:{tmp_path}")
    release(tmp_path)
    (tmp_path / "Image" / "aligned").rmdir()
    with pytest.raises(DataError, match="a folder aligned"):
        list_records(f"raf-db:{tmp_path}")


def test_drawn_faces_saved_as_rafdb_are_read_in_rgb(tmp_path: Path) -> None:
    release(tmp_path)
    stems = list(TRAIN | TEST)
    for stem, face in zip(stems, drawn(len(stems), 100), strict=True):
        pixels = np.stack([face, face // 2, face // 4], axis=2)
        path = tmp_path / "Image" / "aligned" / f"{stem}_aligned.jpg"
        Image.fromarray(pixels).save(path, quality=95)
    data = open_data(f"raf-db:{tmp_path}", deduplicate=False)
    assert data.image_size == (100, 100)
    assert len(data.test) == 7
    red, green, blue = np.asarray(data.test.images).reshape(7, 3, -1).mean(axis=(0, 2))
    assert red > 1.8 * green > 3 * blue


def test_the_user_says_which_word_of_a_list_is_the_label(tmp_path: Path) -> None:
    root, path = release(tmp_path / "faces"), tmp_path / "noise.txt"
    wrong = write_noise(path, "from 0")
    lines = path.read_text().splitlines()
    path.write_text("\n".join(f"{line.split()[0]} 3 {line.split()[1]}" for line in lines))
    records = list_records(f"raf-db:{root},noise={path},column=3")
    stems = [Path(name).stem.removesuffix("_aligned") for name in records.path]
    assert records.label.tolist() == [CANONICAL[(wrong | TEST)[stem]] for stem in stems]
    for spec in (f"raf-db:{root},column=3", f"raf-db:{root},noise={path},column=4"):
        with pytest.raises(DataError, match="column"):
            list_records(spec)


def test_a_noise_list_may_miss_one_in_a_hundred(tmp_path: Path) -> None:
    train = {f"train_{i:05d}": i % 7 + 1 for i in range(200)}
    lines = [f"{stem}.jpg {native}" for stem, native in (train | TEST).items()]
    root, path = release(tmp_path / "faces", lines), tmp_path / "noise.txt"
    path.write_text("\n".join(f"{stem}.jpg {i % 7 + 1}" for i, stem in enumerate(list(train)[2:])))
    records = list_records(f"raf-db:{root},noise={path}")
    assert records.label[:2].tolist() == [CANONICAL[1], CANONICAL[2]]
    assert records.label[2] == CANONICAL[1]
    assert "2 training images, such as train_00000, are not in noise.txt" in records.notes[0]
    path.write_text("\n".join(path.read_text().splitlines()[1:]))
    with pytest.raises(DataError, match="got none for 3 of them"):
        list_records(f"raf-db:{root},noise={path}")


def test_an_official_list_may_count_from_0_if_all_seven_ids_show_it(tmp_path: Path) -> None:
    lines = [f"{stem}.jpg {native - 1}" for stem, native in (TRAIN | TEST).items()]
    records = list_records(f"raf-db:{release(tmp_path / 'all', lines)}")
    stems = [Path(path).stem.removesuffix("_aligned") for path in records.path]
    assert records.label.tolist() == [CANONICAL[(TRAIN | TEST)[stem]] for stem in stems]
    assert records.notes == ("list_patition_label.txt has ids from 0 (surprise) to 6 (neutral)",)
    some = [line for line in lines if not line.endswith(" 3")]
    with pytest.raises(DataError, match=r"label: expected one of 1 surprise.* got '0'"):
        list_records(f"raf-db:{release(tmp_path / 'some', some)}")


@pytest.mark.parametrize("with_csv", [True, False])
def test_test_images_may_lie_in_valid(with_csv: bool, tmp_path: Path) -> None:
    kaggle(tmp_path, with_csv=with_csv)
    (tmp_path / "DATASET" / "test").rename(tmp_path / "DATASET" / "valid")
    records = list_records(f"raf-db:{tmp_path}")
    check(records)
    assert all((records.root / path).exists() for path in records.path)
