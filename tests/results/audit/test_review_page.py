"""The page on which a person reviews faces, in Chromium; its file is what training reads."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Dialog, Page, expect

from fer_ray.data import open_data, prepared
from fer_ray.data.classes import CANONICAL
from fer_ray.data.faces import CANNOT_TELL
from fer_ray.results.audit.draw import Drawn, draw
from fer_ray.results.audit.review import PAGE, write_review
from tests.browser import NARROW, OpenPage, overflow
from tests.results.audit.conftest import SPEC, beliefs_of
from tests.samples import make_run, train

pytestmark = pytest.mark.browser

CLASSES = CANONICAL[:7]
KEYS = ["Digit1", "Digit2", "Digit0", "Numpad4", "Digit5", "Digit6", "Digit7", "Digit1", "Digit1"]
KEYS += ["Digit3"]
SAID = ["neutral", "happiness", "", "surprise", "fear", "disgust", "anger", "neutral", "neutral"]
SAID += ["sadness"]


@pytest.fixture
def drawn(posterior_run: Path, tmp_path: Path) -> Drawn:
    """A review of ten images, one of which comes twice, in `tmp_path`."""
    beliefs, _ = beliefs_of(posterior_run)
    drawn = draw(beliefs, 10, "both", seed=3)
    write_review(drawn, beliefs, prepared(SPEC), tmp_path)
    return drawn


def count(page: Page) -> str:
    return page.inner_text("#count")


def downloaded(page: Page, button: str, to: Path) -> Path:
    with page.expect_download() as waiting:
        page.click(button)
    waiting.value.save_as(to)
    return to


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_ten_faces_are_answered_by_keys_and_trained_with(
    drawn: Drawn, open_page: OpenPage, tmp_path: Path
) -> None:
    page = open_page(tmp_path / PAGE)
    page.keyboard.press("Digit1")  # not yet begun
    page.click("#start")
    assert count(page) == "0 of 11 answered."
    for key in KEYS:
        page.keyboard.press(key)
    assert count(page) == "10 of 11 answered."
    page.keyboard.press("Digit2")  # the first face again
    assert page.is_visible("#done")
    assert "0 of 1 faces" in page.inner_text("#figures")

    path = downloaded(page, "#finish", tmp_path / "labels.csv")

    rows = rows_of(path)
    assert [row["label"] for row in rows] == SAID
    assert [row["repeat_label"] for row in rows] == ["happiness"] + [""] * 9
    assert {row["sample"] for row in rows} == {"random", "picked"}
    data = open_data(SPEC, verified=str(path))
    assert data.verified is not None
    of_row = {int(row): i for i, row in enumerate(data.train.row)}
    for row, said in zip(rows, SAID, strict=True):
        label = data.verified.label[of_row[int(row["index"])]]
        assert label == (CLASSES.index(said) if said else CANNOT_TELL)
        assert data.verified.is_random[of_row[int(row["index"])]] == (row["sample"] == "random")
    assert int(data.verified.is_seen.sum()) == 10
    run = make_run("peer_posterior", data__spec=SPEC, data__verified=str(path), optim__epochs=3)
    _, history = train(run, data)
    assert len(history) == 3


def test_taking_back_and_loading_again_keep_the_state(
    drawn: Drawn, open_page: OpenPage, tmp_path: Path
) -> None:
    page = open_page(tmp_path / PAGE)
    page.click("#start")
    first = page.get_attribute("#face", "src")
    page.keyboard.press("Digit1")
    assert page.get_attribute("#face", "src") != first
    page.keyboard.press("Digit2")
    page.keyboard.press("Backspace")
    assert count(page) == "1 of 11 answered."
    assert page.inner_text("#last") == "Your last answer: neutral"
    assert page.inner_text("#saved") == "Saved in this browser"
    page.keyboard.press("Digit7")
    seen = page.get_attribute("#face", "src")

    page.reload()

    assert count(page) == "2 of 11 answered."
    assert page.get_attribute("#face", "src") == seen
    assert page.inner_text("#last") == "Your last answer: anger"
    page.click("#back")
    page.click("#back")
    assert page.get_attribute("#face", "src") == first
    assert page.is_disabled("#back")


def test_held_keys_and_shortcuts_of_the_browser_answer_nothing(
    drawn: Drawn, open_page: OpenPage, tmp_path: Path
) -> None:
    page = open_page(tmp_path / PAGE)
    page.click("#start")
    for key in ("Control+Digit1", "Alt+Digit2", "Digit8", "Digit9", "KeyA", "Meta+Digit3"):
        page.keyboard.press(key)
    assert count(page) == "0 of 11 answered."
    page.keyboard.down("Digit1")
    page.keyboard.down("Digit1")  # as a key that is held repeats
    page.keyboard.up("Digit1")
    page.keyboard.press("Shift+Digit1")  # an AZERTY keyboard needs it
    assert count(page) == "2 of 11 answered."
    page.keyboard.press("?")
    page.keyboard.press("Digit1")
    assert page.is_visible("#keys")
    assert count(page) == "2 of 11 answered."
    page.keyboard.press("Escape")
    page.keyboard.press("Digit1")
    assert count(page) == "3 of 11 answered."


def test_a_browser_that_keeps_nothing_is_said_and_a_copy_helps(
    drawn: Drawn, open_page: OpenPage, tmp_path: Path
) -> None:
    page = open_page(tmp_path / PAGE)
    page.context.add_init_script(
        "Object.defineProperty(window, 'localStorage', {get() { throw new Error('no'); }})"
    )
    page.reload()
    page.click("#start")
    page.keyboard.press("Digit1")
    page.keyboard.press("Digit0")
    assert page.inner_text("#saved").startswith("Not saved")
    asked: list[str] = []

    def dismiss(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    page.on("dialog", dismiss)
    page.close(run_before_unload=True)
    page.wait_for_timeout(500)
    assert asked == ["beforeunload"]
    copy = downloaded(page, "#copy", tmp_path / "copy.json")
    assert page.inner_text("#saved") == "Saved in a file"

    other = open_page(tmp_path / PAGE)
    other.set_input_files("#load", copy)
    expect(other.locator("#saved")).to_contain_text("Loaded copy.json")
    assert count(other) == "2 of 11 answered."
    assert other.inner_text("#last") == "Your last answer: cannot tell"
    other.keyboard.press("Digit1")
    other.set_input_files("#load", copy)
    expect(other.locator("#saved")).to_contain_text("it has 2 answers, this page 3")
    foreign = json.loads(copy.read_text()) | {"review": "other"}
    copy.write_text(json.dumps(foreign))
    other.set_input_files("#load", copy)
    expect(other.locator("#saved")).to_contain_text("it is of another review (other)")
    assert count(other) == "3 of 11 answered."


@pytest.mark.parametrize("dark", [False, True])
def test_a_telephone_shows_face_and_answers_at_once(
    drawn: Drawn, open_page: OpenPage, tmp_path: Path, dark: bool
) -> None:
    page = open_page(tmp_path / PAGE, width=NARROW, height=844, dark=dark)
    page.click("#start")
    assert overflow(page) <= 0
    for button in page.query_selector_all("[data-label]"):
        box = button.bounding_box()
        assert box is not None
        assert box["y"] + box["height"] <= 844
        assert box["height"] >= 44
    page.click("text=fear")
    assert page.inner_text("#last") == "Your last answer: fear"
    for name in ("button", "input"):
        for one in page.query_selector_all(f"{name}:visible"):
            label = one.evaluate("x => x.innerText || x.labels[0].innerText || x.ariaLabel")
            assert label.strip()


def test_answers_so_far_are_a_file_too(drawn: Drawn, open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(tmp_path / PAGE)
    page.click("#start")
    page.keyboard.press("Digit2")
    rows = rows_of(downloaded(page, "#csv", tmp_path / "part.csv"))
    assert [row["label"] for row in rows] == ["happiness"]


def test_earlier_answers_are_in_the_new_file(
    posterior_run: Path, open_page: OpenPage, tmp_path: Path
) -> None:
    """It takes the place of the old file; who is drawn by lot now counts as random from here on."""
    beliefs, data = beliefs_of(posterior_run)
    verified, is_random = beliefs.verified.copy(), beliefs.is_random.copy()
    verified[:100], verified[1] = 2, CANNOT_TELL
    is_random[:10] = True
    beliefs = replace(beliefs, verified=verified, is_random=is_random)
    drawn = draw(beliefs, 60, "random", seed=0)
    write_review(drawn, beliefs, prepared(SPEC), tmp_path)
    page = open_page(tmp_path / PAGE)
    page.click("#start")
    page.keyboard.press("Digit5")
    path = downloaded(page, "#csv", tmp_path / "labels.csv")
    rows = {int(row["index"]): row for row in rows_of(path)}
    assert len(rows) == 101
    assert rows[int(data.train.row[1])]["label"] == ""
    assert rows[int(data.train.row[2])]["label"] == "sadness"
    random = [int(row) for row in beliefs.row[:100] if rows[int(row)]["sample"] == "random"]
    assert 0 < len(drawn.again) < 90
    assert sorted(random) == sorted(beliefs.row[[*range(10), *drawn.again]].tolist())
    assert open_data(SPEC, verified=str(path)).verified is not None


def test_the_source_does_not_say_what_could_sway(drawn: Drawn, tmp_path: Path) -> None:
    """Neither where a face is from nor what anybody has said of it stands there to be read."""
    source = (tmp_path / PAGE).read_text(encoding="utf-8")
    assert re.search(r"train:\d|\bpicked\b.*\bpicked\b", source) is None
    assert "given" not in source
    assert "suggest" not in source
    content = json.loads(source.split('id="review">')[1].split("</script>")[0])
    assert set(content) == {"id", "classes", "images", "sealed"}
    assert len(np.unique(content["images"])) == 10
