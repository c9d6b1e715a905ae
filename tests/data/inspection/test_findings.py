import base64
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from fer_ray.data import DataError
from fer_ray.data.inspection import findings, inspection
from fer_ray.data.inspection.findings import inspect
from fer_ray.data.inspection.inspection import Inspection, Pair, copy_facts
from fer_ray.data.inspection.page import write_page
from fer_ray.data.inspection.sheet import data_uri
from fer_ray.data.inspection.tables import tables
from fer_ray.data.packs.copies import exact_groups, near_train
from fer_ray.data.packs.pack import Pack, Problem
from tests.data.packs.test_copies import noisy, smooth

pytestmark = pytest.mark.lowest

HOSTILE = "<script>alert('x')</script>[bold]&\x1b[2J.jpg"
CLASSES = ("neutral", "happiness", "fear")
VOID = {"meta", "img", "br"}


def pack_of(**changed: Any) -> Pack:
    """60 images: 40 train, 8 val, 12 test; labels 0, 1, 2, ... but a few wrong or missing."""
    num = 60
    images = changed.pop("images", smooth(num, (3, 16, 16)))
    subset = changed.pop("subset", np.repeat([0, 1, 2], (40, 8, 12)))
    truth = np.arange(num) % 3
    label = truth.copy()
    label[[0, 3, 6, 9]] = 2  # truly neutral
    label[1] = 0  # truly happiness
    label[41] = 2  # of a validation image, truly fear: right
    label[[30, 31]] = -1
    truth[[20, 31]] = -1
    columns = {
        "name": "folder:faces",
        "class_names": CLASSES,
        "images": images,
        "label": label,
        "true_label": truth,
        "subset": subset,
        "path": np.array([f"{i:02}.jpg" for i in range(num)]),
        "group": exact_groups(images),
        "near_train": near_train(images, subset),
        "original_size": np.tile([100, 80], (num, 1)),
        "folder": Path(),
        "made_of": "",
        "row": np.arange(num),
        "problems": (),
        "notes": (),
    }
    return Pack(**{**columns, **changed})


def planted() -> Pack:
    """Copies within training, copies across splits, of which one has another label."""
    images = smooth(60, (3, 16, 16))
    images[12] = images[11] = images[10]
    images[33] = images[32]
    images[22] = noisy(images[23], 2)
    images[25] = noisy(images[29, :, :, ::-1], 3)
    images[44] = images[5]
    images[50] = images[10]
    images[53] = images[2, :, :, ::-1]
    images[56] = noisy(images[17], 5)
    images[58] = images[59]
    return pack_of(images=images)


def table_text(found: Inspection, width: int = 80) -> str:
    console = Console(width=width, record=True, file=None, force_terminal=False, quiet=False)
    with console.capture() as capture:
        for table in tables(found):
            console.print(table)
    return capture.get()


def test_counts_are_those_of_a_plain_loop() -> None:
    data = pack_of()
    found = inspect(data)
    for subset in range(3):
        own = [i for i in range(60) if data.subset[i] == subset]
        for label in range(3):
            assert found.counts[label, subset] == sum(data.label[i] == label for i in own)
        assert found.unlabelled[subset] == sum(data.label[i] == -1 for i in own)
        for true in range(3):
            for given in range(3):
                expected = sum(data.true_label[i] == true and data.label[i] == given for i in own)
                assert found.confusion[subset, true, given] == expected
    assert found.num_images == 60
    train = [int((data.label[:40] == label).sum()) for label in range(3)]
    assert found.imbalance == max(train) / min(train)


def test_wrong_labels_are_shares_of_the_given_label_in_training_and_validation() -> None:
    data = pack_of()
    found = inspect(data)
    for label in range(3):
        own = [
            i
            for i in range(48)
            if data.label[i] == label and data.true_label[i] >= 0 and data.subset[i] < 2
        ]
        wrong = sum(data.true_label[i] != label for i in own)
        assert found.wrong_share[label] == pytest.approx(wrong / len(own))
    known = (data.label[:48] >= 0) & (data.true_label[:48] >= 0)
    wrong_share = (data.label != data.true_label)[:48][known].mean()
    assert found.total_wrong_share == pytest.approx(wrong_share)
    unknown = inspect(pack_of(true_label=np.full(60, -1)))
    assert np.isnan(unknown.wrong_share).all()
    assert math.isnan(unknown.total_wrong_share)


def test_original_sizes_are_summed_up() -> None:
    size = np.tile([100, 80], (60, 1))
    for i in range(12):
        size[i] = 20 + i, 300 - i
    size[12:15] = 70, 70
    found = inspect(pack_of(original_size=size))
    heights, widths = np.sort(size[:, 0]), np.sort(size[:, 1])
    assert found.size_range.tolist() == [[heights[i], widths[i]] for i in (0, 30, 59)]
    assert found.sizes[:2] == ((100, 80, 45), (70, 70, 3))
    assert found.sizes[2] == (31, 289, 1)
    assert len(found.sizes) == 10


def test_problems_are_counted_by_kind_and_the_first_of_each_are_listed() -> None:
    kinds = ["missing"] * 30 + ["unreadable"] * 3
    problems = tuple(
        Problem(path=f"{i}.jpg", listed="", kind=kind, reason="why") for i, kind in enumerate(kinds)
    )
    found = inspect(pack_of(problems=problems))
    assert found.num_problems == {"missing": 30, "unreadable": 3}
    assert found.problems == problems[:20] + problems[30:]
    assert found.warnings[:2] == ["30 images missing", "3 images unreadable"]
    text = table_text(found)
    assert "and 25 more" in text
    assert "32.jpg" in text


def test_groups_of_copies_are_counted() -> None:
    found = inspect(planted())
    assert (found.num_groups, found.num_surplus) == (4, 6)
    data = planted()
    expected = []
    for group in range(4):
        rows = [i for i in range(60) if data.group[i] == group]
        if len({data.label[i] for i in rows if data.label[i] >= 0}) > 1:
            expected.append(tuple(rows))
    assert len(expected) >= 2
    assert found.disagreeing == tuple(expected)
    assert found.num_disagreeing == len(expected)


def test_a_missing_label_does_not_disagree() -> None:
    images = smooth(60, (3, 16, 16))
    images[30] = images[2]
    found = inspect(pack_of(images=images))
    assert (found.num_groups, found.num_disagreeing) == (1, 0)


def test_leaks_are_found_with_what_they_copy() -> None:
    found = inspect(planted())
    assert found.num_leaks.tolist() == [0, 1, 3]
    assert found.num_exact_leaks.tolist() == [0, 1, 1]
    leaks = {pair.row: pair for pair in found.leaks}
    assert {row: pair.other for row, pair in leaks.items()} == {44: 5, 50: 10, 53: 2, 56: 17}
    assert [pair.row for pair in found.leaks] == [44, 50, 53, 56]
    assert [pair.is_exact for pair in found.leaks] == [True, True, False, False]
    assert [pair.is_mirrored for pair in found.leaks] == [False, False, True, False]
    assert leaks[44].subset == "val"
    assert leaks[44].paths == ("44.jpg", "05.jpg")
    assert [pair.correlation_text for pair in found.leaks[:3]] == [
        "equal",
        "equal",
        "1.0000 mirrored",
    ]
    assert 0.95 < leaks[56].correlation < 1
    assert found.warnings[0].startswith("3 test images copied from training images")
    assert found.warnings[1].startswith("1 val image copied")


def test_leaks_are_those_of_the_pack() -> None:
    pack = planted()
    found = inspect(pack)
    assert [pair.row for pair in found.leaks] == np.flatnonzero(pack.is_leak).tolist()
    assert found.num_leaks.sum() == pack.is_leak.sum()


def test_only_the_worst_leaks_are_listed_and_all_are_counted() -> None:
    images = smooth(60, (3, 16, 16))
    subset = np.repeat([0, 2], 30)
    for i in range(30):
        images[30 + i] = noisy(images[i], 1 + i / 4)
    found = inspect(pack_of(images=images, subset=subset))
    assert found.num_leaks.tolist() == [0, 0, 30]
    assert len(found.leaks) == 20
    values = [pair.correlation for pair in found.leaks]
    assert values == sorted(values, reverse=True)
    assert all(pair.other == pair.row - 30 for pair in found.leaks)


def test_near_copies_within_training_are_pairs_of_different_images() -> None:
    found = inspect(planted())
    assert found.num_near == 2
    pairs = {(pair.other, pair.row): pair for pair in found.near}
    assert set(pairs) == {(22, 23), (25, 29)}
    assert not pairs[22, 23].is_mirrored
    assert pairs[25, 29].is_mirrored
    assert not any(pair.is_exact for pair in found.near)
    assert found.num_near_disagreeing == 2  # labels 1 and 2, 1 and 2
    label = np.array(planted().label)
    label[22], label[25] = 2, -1
    assert inspect(replace(planted(), label=label)).num_near_disagreeing == 0


def test_near_copies_are_not_looked_for_among_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (findings, inspection):
        monkeypatch.setattr(module, "MAX_COMPARED", 37)
    found = inspect(planted())  # 40 training images, three of them equal to another one
    assert found.num_near == 2
    for module in (findings, inspection):
        monkeypatch.setattr(module, "MAX_COMPARED", 36)
    found = inspect(planted())
    assert found.num_near is None
    assert found.near == ()
    assert ("pairs of training images above 0.95", "not looked for among more than 36 images") in (
        copy_facts(found)
    )


def test_too_many_near_copies_are_called_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (findings, inspection):
        monkeypatch.setattr(module, "MAX_PAIRS", 2)
    assert copy_facts(inspect(planted()))[-1][1] == "2 or more (2 with two labels)"


def test_empty_classes_are_warned_of() -> None:
    label = np.array(pack_of().label)
    label[(label == 1) & (np.arange(60) < 40)] = 0
    label[(label == 2) & (np.arange(60) >= 48)] = 0
    found = inspect(pack_of(label=label))
    assert found.warnings == ["no train image of happiness", "no test image of fear"]
    assert found.imbalance == math.inf
    assert "imbalance inf" in table_text(found)
    without_test = inspect(pack_of(subset=np.repeat([0, 1], 30)))
    assert without_test.warnings == ["no test image has a label"]


def test_a_data_set_without_validation_images_needs_no_warning() -> None:
    assert inspect(pack_of(subset=np.repeat([0, 2], 30))).warnings == []


def test_a_data_set_of_test_images_only_is_inspected(tmp_path: Path) -> None:
    data = pack_of(subset=np.full(60, 2))
    found = inspect(data)
    assert found.num_near == 0
    assert "no train image has a label" in found.warnings
    assert not found.learnt.any()
    assert "all" in table_text(found)
    write_page(found, data, tmp_path / "page.html")


def test_tables_fit_eighty_columns() -> None:
    data = planted()
    long = np.array([f"Image/aligned/a_long_folder/train_{i:05}_aligned.jpg" for i in range(60)])
    problem = Problem(path=str(long[0]), listed="", kind="unreadable", reason="w" * 200)
    data = replace(data, path=long, problems=(problem,), notes=("word " * 40,))
    text = table_text(inspect(data))
    assert max(map(len, text.splitlines())) <= 80
    assert "train_00044_aligned.jpg" in text
    assert "1.0000 mirrored" in text
    for title in ("Look at this first", "Given labels", "Height x width", "Copies", "Notes"):
        assert title in text
    assert re.search(r"^neutral +\d+ +\d+ +\d+ +[\d.]+% +━+ *$", text, re.M)


def test_large_numbers_and_eight_classes_fit_too() -> None:
    found = inspect(pack_of())
    names = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")
    large = replace(
        found,
        class_names=names,
        counts=np.full((8, 3), 134_415),
        confusion=np.full((3, 8, 8), 130_000),
    )
    text = table_text(large)
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("260000") == 64
    assert "…" not in text


def test_tables_leave_out_what_is_empty() -> None:
    text = table_text(inspect(pack_of(true_label=np.full(60, -1))))
    assert "Given labels" not in text
    assert "wrong" not in text
    assert "Look at this first" not in text
    assert "cannot be used" not in text


def test_hostile_text_stays_text_in_a_terminal() -> None:
    data = planted()
    path = np.array([HOSTILE] * 60)
    problem = Problem(path="[red]x[/]", listed="", kind="missing", reason="[link=a]")
    text = table_text(
        inspect(replace(data, path=path, problems=(problem,), notes=("[/nonsense]\x1b[2J",)))
    )
    assert "\x1b" not in text
    for kept in ("[red]x[/]", "[link=a]", "[/nonsense]", "[bold]"):
        assert kept in text


class Parser(HTMLParser):
    """Fails on tags that do not match; collects tags, text and pictures."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.text: list[str] = []
        self.images: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def parsed(data: Pack, path: Path) -> Parser:
    write_page(inspect(data), data, path)
    parser = Parser()
    parser.feed(path.read_text(encoding="utf-8"))
    parser.close()
    assert parser.open == []
    return parser


def test_the_page_is_html_that_needs_nothing_else(tmp_path: Path) -> None:
    page = parsed(planted(), tmp_path / "page.html")
    source = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert source.startswith("<!doctype html>")
    assert '<meta charset="utf-8">' in source
    assert "<title>folder:faces: inspection</title>" in source
    assert "prefers-color-scheme: dark" in source
    for outside in ("http://", "https://", "url(", "@import", 'src="/', "<link"):
        assert outside not in source
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert all(str(image["src"]).startswith("data:image/") for image in page.images)


def test_the_page_shows_warnings_classes_leaks_and_faces_in_this_order(tmp_path: Path) -> None:
    page = parsed(planted(), tmp_path / "page.html")
    text = "".join(page.text)
    titles = (
        "60 images (40 train, 8 val, 12 test)",
        "3 test images copied from training images",
        "Classes",
        "Given labels by true class",
        "Copies",
        "Held-out images and what they copy",
        "Training images that are nearly the same",
        "Equal images with different labels",
        "Original sizes",
        "Training images by given label",
    )
    places = [text.index(title) for title in titles]
    assert places == sorted(places)
    # pairs, groups whose labels differ, at most 12 of a class, two without a label
    found = inspect(planted())
    sheet = int(found.counts[:, 0].clip(max=12).sum()) + 2
    assert len(page.images) == 2 * 4 + 2 * 2 + found.num_disagreeing + sheet


def test_bars_are_as_long_as_the_counts(tmp_path: Path) -> None:
    found = inspect(planted())
    write_page(found, planted(), tmp_path / "page.html")
    source = (tmp_path / "page.html").read_text(encoding="utf-8")
    largest = found.counts.max(axis=0)
    for i, name in enumerate(CLASSES):
        (row,) = re.findall(rf"<tr><td>{name}</td>(.*class=.bar bad.*)</tr>", source)
        cells = re.findall(r'<td>([\d.]+)%?<span class="bar.*?width:([\d.]+)%', row)
        numbers = [float(number) for number, _ in cells]
        assert numbers == [*found.counts[i], round(100 * found.wrong_share[i], 1)]
        lengths = [float(length) for _, length in cells]
        share = [100 * found.counts[i, subset] / largest[subset] for subset in range(3)]
        assert lengths == pytest.approx([*share, 100 * found.wrong_share[i]], abs=0.051)


def test_a_leak_stands_beside_what_it_copies(tmp_path: Path) -> None:
    data = planted()
    page = parsed(data, tmp_path / "page.html")
    pictures = [(image["alt"], image["src"]) for image in page.images[:8]]
    assert [alt for alt, _ in pictures] == [
        "44.jpg",
        "05.jpg",
        "50.jpg",
        "10.jpg",
        "53.jpg",
        "02.jpg",
        "56.jpg",
        "17.jpg",
    ]
    assert pictures[0][1] == pictures[1][1]
    assert pictures[4][1] != pictures[5][1]
    decoded = np.asarray(Image.open(BytesIO(base64.b64decode(str(pictures[4][1]).split(",")[1]))))
    assert np.array_equal(decoded.transpose(2, 0, 1), data.images[53])


def test_the_contact_sheet_names_the_truth_where_it_differs(tmp_path: Path) -> None:
    label = np.zeros(60, dtype=np.int64)
    truth = np.array([2] * 4 + [0] * 3 + [-1] * 53)
    data = pack_of(label=label, true_label=truth, subset=np.repeat([0, 2], (8, 52)))
    page = parsed(data, tmp_path / "page.html")
    shown = {str(image["alt"]) for image in page.images}
    assert shown == {f"{i:02}.jpg" for i in range(8)}
    assert [text for text in page.text if text.startswith("is ")] == ["is fear"] * 4
    assert "".join(page.text).count("8 training images") == 1
    assert "".join(page.text).count("0 training images") == 2


def test_the_page_is_the_same_each_time_and_faces_are_spread(tmp_path: Path) -> None:
    for name in ("one.html", "two.html"):
        data = planted()
        write_page(inspect(data), data, tmp_path / name)
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()
    many = pack_of(label=np.zeros(60, dtype=np.int64), subset=np.zeros(60, dtype=np.int64))
    rows = [int(str(i["alt"])[:2]) for i in parsed(many, tmp_path / "many.html").images]
    assert len(set(rows)) == 12
    assert max(rows) > 30


def test_hostile_names_are_escaped_in_the_page(tmp_path: Path) -> None:
    data = planted()
    problem = Problem(path=HOSTILE, listed=HOSTILE, kind=HOSTILE, reason=HOSTILE)
    data = replace(
        data,
        name=HOSTILE,
        class_names=(HOSTILE, '"><img src=x onerror=y>', "\udce4'"),
        path=np.array([HOSTILE + '" onload="z'] * 60),
        problems=(problem,),
        notes=(HOSTILE,),
    )
    page = parsed(data, tmp_path / "page.html")
    assert "script" not in page.tags
    assert all(str(image["src"]).startswith("data:") for image in page.images)
    assert all(set(image) == {"src", "alt", "title"} for image in page.images)
    text = "".join(page.text)
    assert "<script>alert('x')</script>[bold]&" in text
    assert "\x1b" not in text


def test_a_page_of_seven_classes_stays_small(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = smooth(200, (3, 112, 112))
    images[100:] = images[:100]
    images[100:, 0] ^= rng.integers(0, 4, images[100:, 0].shape, dtype=np.uint8)
    subset = np.repeat([0, 2], 100)
    data = pack_of(
        class_names=("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger"),
        images=images,
        label=np.arange(200) % 7,
        true_label=np.arange(200) % 5,
        subset=subset,
        path=np.array([f"{i}.jpg" for i in range(200)]),
        group=exact_groups(images),
        near_train=near_train(images, subset),
        original_size=np.tile([112, 112], (200, 1)),
    )
    page = parsed(data, tmp_path / "page.html")
    assert len(page.images) == 7 * 12 + 2 * 20
    assert "20 of 100" in "".join(page.text)
    assert (tmp_path / "page.html").stat().st_size < 3 * 2**20


@pytest.mark.parametrize(
    ("shape", "kind", "mode", "size"),
    [
        ((1, 48, 48), "PNG", "L", (48, 48)),
        ((3, 48, 40), "PNG", "RGB", (40, 48)),
        ((3, 112, 112), "JPEG", "RGB", (96, 96)),
        ((1, 60, 1000), "JPEG", "L", (96, 6)),
    ],
)
def test_images_are_embedded(
    shape: tuple[int, int, int], kind: str, mode: str, size: tuple[int, int]
) -> None:
    uri = data_uri(smooth(1, shape)[0])
    with Image.open(BytesIO(base64.b64decode(uri.split(",")[1]))) as image:
        assert (image.format, image.mode, image.size) == (kind, mode, size)
    assert uri.startswith(f"data:image/{kind.lower()};base64,")


def test_grey_in_three_channels_is_embedded_as_grey() -> None:
    image = smooth(1, (1, 20, 20))[0].repeat(3, axis=0)
    with Image.open(BytesIO(base64.b64decode(data_uri(image).split(",")[1]))) as picture:
        assert picture.mode == "L"
        assert np.array_equal(np.asarray(picture), image[0])


def test_a_page_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no/page.html: expected a file .*got No such file"):
        write_page(inspect(pack_of()), pack_of(), tmp_path / "no" / "page.html")


def test_a_pair_says_how_alike_it_is() -> None:
    pair = Pair(
        row=1,
        other=0,
        paths=("a", "b"),
        subset="test",
        correlation=0.98764,
        is_exact=False,
        is_mirrored=False,
    )
    assert pair.correlation_text == "0.9876"
    assert replace(pair, is_mirrored=True).correlation_text == "0.9876 mirrored"
    assert replace(pair, is_exact=True, is_mirrored=False).correlation_text == "equal"
