"""ExpW's list: boxes in its own order, photographs on one side of the split."""

from pathlib import Path

import pytest

from fer_ray.data import DataError, list_records

NAMES = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")
CANONICAL = {0: 6, 1: 5, 2: 4, 3: 1, 4: 2, 5: 3, 6: 0}


def expw(root: Path, lines: list[str] | None = None, place: str = "label/label.lst") -> Path:
    (root / "image" / "origin").mkdir(parents=True)
    table = root / place
    table.parent.mkdir(exist_ok=True)
    faces = [f"photo{i // 2:03d}.jpg {i % 2} {i} 20 90 {i + 60} {i} {i % 7}" for i in range(400)]
    table.write_text("\n".join(faces if lines is None else lines) + "\n")
    return root


@pytest.mark.parametrize("place", ["label/label.lst", "label.lst"])
def test_the_list_is_read_with_its_boxes(place: str, tmp_path: Path) -> None:
    records = list_records(f"expw:{expw(tmp_path, place=place)}")
    assert len(records) == 400
    assert records.class_names == NAMES
    assert records.label.tolist() == [CANONICAL[i % 7] for i in range(400)]
    assert records.box is not None
    assert records.box[5].tolist() == [20, 5, 90, 65]  # left, top, right, bottom
    assert records.path[5] == "image/origin/photo002.jpg"
    assert records.listed[5] == "label.lst:6"


def test_photographs_may_lie_in_image_itself(tmp_path: Path) -> None:
    expw(tmp_path)
    (tmp_path / "image" / "origin").rmdir()
    assert list_records(f"expw:{tmp_path}").path[5] == "image/photo002.jpg"


def test_faces_of_a_photograph_stay_together_whatever_else_is_listed(tmp_path: Path) -> None:
    records = list_records(f"expw:{expw(tmp_path / 'all')}")
    subset = dict(zip(records.path, records.subset.tolist(), strict=True))
    by_index = [subset[path] for path in records.path]
    assert by_index == records.subset.tolist()
    assert set(by_index) == {0, 2}
    assert 0.1 < by_index.count(2) / 400 < 0.3
    assert records.notes[0].startswith("there is no official split: ")
    lines = (tmp_path / "all" / "label" / "label.lst").read_text().splitlines()
    few = list_records(f"expw:{expw(tmp_path / 'few', lines[100:][::-1])}")
    assert all(subset[path] == code for path, code in zip(few.path, few.subset, strict=True))


def test_boxes_of_low_confidence_are_left_out_and_counted(tmp_path: Path) -> None:
    records = list_records(f"expw:{expw(tmp_path)},min_confidence=100")
    assert len(records) == 300
    assert records.row is not None
    assert records.row.tolist() == list(range(100, 400))
    assert records.label.tolist() == [CANONICAL[i % 7] for i in range(100, 400)]
    assert records.path[0] == "image/origin/photo050.jpg"
    assert records.listed[0] == "label.lst:101"
    assert records.box is not None
    assert records.box[0].tolist() == [20, 100, 90, 160]
    all_faces = list_records(f"expw:{tmp_path}")
    assert records.subset.tolist() == all_faces.subset[100:].tolist()
    assert records.notes[1] == "100 faces with a confidence below 100 were left out"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a.jpg 0 1 2 3 4 5", "8 words"),
        ("a.jpg 0 1 2 30 40 50 7", "expression_label: expected one of 0 anger"),
        ("a.jpg 0 1 2 x 40 50 3", "top < bottom"),
        ("a.jpg 0 1 20 10 40 50 3", "top < bottom"),
        ("a.jpg 0 50 2 30 40 50 3", "top < bottom"),
        ("a.jpg 0 1 2 nan 40 50 3", "top < bottom"),
    ],
)
def test_a_bad_line_is_named(line: str, message: str, tmp_path: Path) -> None:
    expw(tmp_path, ["b.jpg 0 1 2 30 40 50 3", line])
    with pytest.raises(DataError, match=rf"label\.lst:2: .*{message}|label\.lst:2: {message}"):
        list_records(f"expw:{tmp_path}")


def test_a_folder_without_list_or_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the list: label/label\.lst"):
        list_records(f"expw:{tmp_path}")
    expw(tmp_path)
    for value in ("high", "nan"):
        with pytest.raises(DataError, match=f"min_confidence: expected a number, got '{value}'"):
            list_records(f"expw:{tmp_path},min_confidence={value}")
