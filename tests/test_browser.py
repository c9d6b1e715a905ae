"""The fixture that opens pages sees what a page must not do."""

from pathlib import Path

import pytest

from tests.browser import OpenPage, overflow, watch

pytestmark = pytest.mark.browser


def _page(folder: Path, body: str) -> Path:
    path = folder / "page.html"
    path.write_text(f"<!doctype html><html lang=en><title>x</title><body>{body}", encoding="utf-8")
    return path


def test_a_quiet_page_is_opened_at_its_width(open_page: OpenPage, tmp_path: Path) -> None:
    path = _page(tmp_path, "<img alt='' src='data:image/gif;base64,R0lGODlhAQABAAAAACw='>")
    page = open_page(path, width=390, dark=True)
    assert page.evaluate("innerWidth") == 390
    assert page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")
    assert overflow(page) == 0


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("<script>console.error('oh')</script>", "console: oh"),
        ("<script>nothing.at.all</script>", "error: nothing is not defined"),
        ("<img alt='' src='http://127.0.0.1:9/x.png'>", "request: http://127.0.0.1:9/x.png"),
    ],
)
def test_a_complaint_is_noted(
    open_page: OpenPage, tmp_path: Path, body: str, complaint: str
) -> None:
    page, complaints = open_page(_page(tmp_path, "")), list[str]()
    other = page.context.browser.new_page()  # type: ignore[union-attr]
    watch(other, complaints)
    other.goto(_page(tmp_path, body).as_uri())
    other.close()
    assert complaint in complaints
