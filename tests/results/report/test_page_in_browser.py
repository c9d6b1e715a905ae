"""The page in headless Chromium: it sorts, filters, hovers, copies, by mouse and by keyboard."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from fer_ray.record.storage import Folder
from fer_ray.results.report.page import report_html
from tests.browser import NARROW, WIDE, OpenPage, overflow
from tests.results.report.search_files import leave_search, leave_trial

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def page_file(search: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pages") / "report.html"
    path.write_text(report_html(Folder(search)), encoding="utf-8")
    return path


_CONTRAST = """() => {
  const parse = (text) => {
    const numbers = text.match(/[\\d.]+/g).map(Number);
    return text.startsWith("color(srgb") ? [...numbers.slice(0, 3).map(x => 255 * x),
      numbers[3] ?? 1] : numbers.length < 4 ? [...numbers, 1] : numbers;
  };
  const light = (color) => {
    const [r, g, b] = color.slice(0, 3).map(x => x / 255).map(
      x => x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    let color = null;
    const layers = [];
    for (let node = element; node; node = node.parentElement) {
      layers.push(parse(getComputedStyle(node).backgroundColor));
    }
    color = [255, 255, 255];
    for (const [r, g, b, a] of layers.reverse()) {
      color = color.map((x, i) => x * (1 - a) + [r, g, b][i] * a);
    }
    return color;
  };
  const bad = [];
  for (const element of document.querySelectorAll("main *, header *")) {
    const own = [...element.childNodes].some(x => x.nodeType === 3 && x.textContent.trim());
    if (!own || !element.checkVisibility() || element.closest("svg, script")) continue;
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(behind(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) bad.push(`${element.textContent.slice(0, 30)}: ${ratio.toFixed(2)}`);
  }
  return bad;
}"""


def _drawn(page: Page) -> None:
    """Wait until Plotly has drawn all charts."""
    page.wait_for_function(
        "[...document.querySelectorAll('[data-chart]')].every(x => x.querySelector('.main-svg'))"
    )


def _column(page: Page, number: int) -> list[str]:
    cells = page.locator(f"#trials-table tbody tr:visible > :nth-child({number})")
    return [text.strip() for text in cells.all_inner_texts()]


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_everything_is_drawn_at_both_widths_in_both_schemes(
    page_file: Path, open_page: OpenPage, width: int, dark: bool
) -> None:
    page = open_page(page_file, width=width, dark=dark)
    _drawn(page)
    assert overflow(page) == 0
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    ink = page.evaluate("getComputedStyle(document.querySelector('#order .xtick text')).fill")
    assert (paper, ink) == (
        ("rgb(21, 23, 26)", "rgb(230, 232, 235)") if dark else ("rgb(255, 255, 255)", ink)
    )
    for chart in page.locator("[data-chart]").all():
        assert chart.get_attribute("role") == "img"
        svg = chart.locator(".main-svg").first.bounding_box()
        box = chart.bounding_box()
        assert svg is not None
        assert box is not None
        assert svg["width"] == pytest.approx(box["width"], abs=2)
    assert page.locator(".modebar").count() == 0
    expect(page.locator("#verdict .card")).to_have_count(5)
    assert page.evaluate(_CONTRAST) == []


def test_the_table_sorts_filters_and_copies(
    page_file: Path, open_page: OpenPage, search: Path
) -> None:
    page = open_page(page_file)
    value = page.get_by_role("button", name="macro_recall", exact=True)
    value.click()
    up = _column(page, 4)
    assert up[-1] == "not available"  # what is missing is last, whichever way
    assert up[:-1] == sorted(up[:-1], key=float)
    value.click()
    assert _column(page, 4) == [*reversed(up[:-1]), "not available"]
    head = page.locator("#trials-table th[aria-sort]")
    expect(head).to_have_count(1)
    expect(head).to_have_attribute("aria-sort", "descending")
    page.get_by_role("button", name="learning_rate", exact=True).click()
    order = ["trial_003", "trial_004", "trial_005", "trial_006", "trial_001", "trial_002"]
    assert _column(page, 1) == [*order, "reference"]
    page.get_by_role("button", name="trial", exact=True).click()
    assert _column(page, 1)[:3] == ["reference", "trial_001", "trial_002"]

    said = page.locator("#trials-said")
    expect(said).to_have_text("7 of 7 shown")
    page.get_by_label("filter by words").fill("DISK full")
    assert _column(page, 1) == ["trial_005"]
    page.get_by_label("filter by words").fill("trial")
    page.get_by_label("state").select_option("finished")
    assert _column(page, 1) == ["trial_001", "trial_002", "trial_006"]
    expect(said).to_have_text("3 of 7 shown")
    page.get_by_role("button", name="learning_rate").click()  # what is hidden stays hidden
    assert len(_column(page, 1)) == 3

    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="copy the command of trial_001").click()
    expect(page.locator("#copied")).to_have_text("copied")
    expected = f"python -m fer_ray.train --config {search / 'trial_001' / 'config.yaml'}"
    assert page.evaluate("navigator.clipboard.readText()") == expected


def test_a_point_tells_its_trial_and_an_axis_is_brushed(
    page_file: Path, open_page: OpenPage
) -> None:
    page = open_page(page_file)
    _drawn(page)
    point = page.locator("#order .points path").first
    point.scroll_into_view_if_needed()
    point.hover(force=True)
    hover = page.locator("#order .hoverlayer .hovertext")
    expect(hover.first).to_contain_text("trial_001, finished")

    axis = page.locator("#parallel .axis-brush .background").nth(1)
    axis.scroll_into_view_if_needed()
    box = axis.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"]
    page.mouse.move(x, y + 0.2 * box["height"])
    page.mouse.down()
    page.mouse.move(x, y + 0.6 * box["height"], steps=5)
    page.mouse.up()
    page.wait_for_function(
        "document.querySelector('#parallel [data-chart]').data[0].dimensions"
        ".some(x => x.constraintrange)"
    )


def test_all_can_be_reached_by_keyboard_and_read_aloud(
    page_file: Path, open_page: OpenPage
) -> None:
    page = open_page(page_file)
    _drawn(page)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the result"
    for act, seen in (
        (lambda: page.locator("#trials-filter").focus(), "trials-filter"),
        (lambda: page.keyboard.press("Tab"), "trials-state"),
    ):
        act()
        assert page.evaluate("document.activeElement.id") == seen
    head = page.get_by_role("button", name="state")
    head.focus()
    page.keyboard.press("Enter")
    assert _column(page, 3)[0] == "failed"
    details = page.locator("#recall details")
    details.locator("summary").focus()
    page.keyboard.press("Space")
    expect(details.locator("table")).to_be_visible()
    for figure in page.locator("figure").all():
        chart = figure.get_by_role("img")
        for attribute in ("aria-labelledby", "aria-describedby"):
            assert len(page.locator(f"#{chart.get_attribute(attribute)}").inner_text()) > 4
        assert figure.locator("details tbody tr").count() > 0
    # Links of a chart that a reader would stumble over without seeing where they lead.
    assert page.locator("[data-chart] a:not([aria-hidden])").count() == 0


def test_colours_follow_the_scheme_and_paper_is_light(page_file: Path, open_page: OpenPage) -> None:
    page = open_page(page_file, dark=True)
    _drawn(page)

    def ink() -> str:
        script = "getComputedStyle(document.querySelector('#order .xtick text')).fill"
        return str(page.evaluate(script))

    assert ink() == "rgb(230, 232, 235)"
    page.emulate_media(color_scheme="light")
    page.wait_for_timeout(300)
    assert ink() == "rgb(28, 30, 33)"
    page.emulate_media(color_scheme="dark", media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert ink() == "rgb(28, 30, 33)"
    assert not page.locator("nav").is_visible()


def test_pages_of_a_run_and_of_failed_trials_open(
    trained: dict[str, Path], open_page: OpenPage, tmp_path: Path
) -> None:
    failed = leave_search(tmp_path / "search", {})
    leave_trial(failed, 1, None, epochs=1, failure={"kind": "OSError", "message": "x"})
    for number, folder in enumerate((trained["reference"], failed)):
        path = tmp_path / f"{number}.html"
        path.write_text(report_html(Folder(folder)), encoding="utf-8")
        page = open_page(path, width=NARROW)
        _drawn(page)
        assert overflow(page) == 0
