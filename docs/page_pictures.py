"""Takes pictures of pages in Chromium and puts them side by side."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

HEIGHT = 844
"""Height of every picture, in pixels: that of a telephone."""
_CHROMIUM = "/usr/bin/chromium"
_MARGIN = 24
_PAPER = (232, 234, 237)


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Start Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM)
        yield browser
        browser.close()


def open_page(browser: Browser, path: Path, *, width: int, is_dark: bool) -> Page:
    """Open a file in a window of a width, in pixels."""
    scheme = "dark" if is_dark else "light"
    page = browser.new_page(viewport={"width": width, "height": HEIGHT}, color_scheme=scheme)
    page.goto(path.as_uri())
    return page


def taken(page: Page) -> Image.Image:
    """The picture of a page, which is closed."""
    shot = Image.open(BytesIO(page.screenshot())).convert("RGB")
    page.close()
    return shot


def side_by_side(shots: Sequence[Image.Image], gap: int) -> Image.Image:
    """The pictures in a row on grey paper, with a gap between them in pixels."""
    width = sum(shot.width for shot in shots) + gap * (len(shots) - 1) + 2 * _MARGIN
    sheet = Image.new("RGB", (width, HEIGHT + 2 * _MARGIN), _PAPER)
    x = _MARGIN
    for shot in shots:
        sheet.paste(shot, (x, _MARGIN))
        x += shot.width + gap
    return sheet
