"""Opens pages in headless Chromium, as their readers do, and fails on what these would not see.

A page must raise no error, log no error and ask nobody for anything: only `file:`, `data:` and
`blob:` are requested.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, Request, sync_playwright

EXECUTABLE = Path("/usr/bin/chromium")
"""Debian's; browsers that Playwright would download are not looked for."""
WIDE, NARROW = 1440, 390
"""Widths in pixels of a desk and of a telephone."""
_OWN = ("file:", "data:", "blob:")

OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium; tests are skipped, with the reason, where it cannot start.

    It lives no longer than the tests of a module: an event loop runs in the thread of the tests
    meanwhile, which others would find.
    """
    if not EXECUTABLE.exists():
        pytest.skip(f"{EXECUTABLE}: there is no Chromium (apt-get install chromium)")
    with sync_playwright() as playwright:
        try:
            chromium = playwright.chromium.launch(executable_path=EXECUTABLE)
        except Error as error:
            pytest.skip(f"{EXECUTABLE}: it does not start: {str(error).splitlines()[0]}")
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Opens a file: `open_page(path, width=390, dark=True)`; complaints fail the test at its end.

    Every page has a context of its own, and thus a storage of its own. Another `page` given as
    `like` shares its context.
    """
    complaints: list[str] = []

    def open_file(
        path: Path,
        *,
        width: int = WIDE,
        height: int = 900,
        dark: bool = False,
        like: Page | None = None,
    ) -> Page:
        if like is None:
            context = browser.new_context(
                viewport={"width": width, "height": height},
                color_scheme="dark" if dark else "light",
                accept_downloads=True,
            )
            context.set_default_timeout(10_000)
        else:
            context = like.context
        page = context.new_page()
        watch(page, complaints)
        page.goto(path.absolute().as_uri())
        return page

    yield open_file
    for context in browser.contexts:
        context.close()
    assert complaints == []


def watch(page: Page, complaints: list[str]) -> None:
    """Note what a page does that no page of ours may do."""

    def said(message: ConsoleMessage) -> None:
        if message.type == "error":
            complaints.append(f"console: {message.text}")

    def asked(request: Request) -> None:
        if not request.url.startswith(_OWN):
            complaints.append(f"request: {request.url}")

    page.on("console", said)
    page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    page.on("request", asked)


def overflow(page: Page) -> int:
    """Pixels by which a page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - window.innerWidth"))
