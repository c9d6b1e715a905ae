"""Write `report.png`: the first screen of a search's report, at a desk and on a telephone.

Run it as `python docs/report_page.py REPORT_HTML`, with the report of a search on drawn faces.
"""

import sys
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

_CHROMIUM = "/usr/bin/chromium"
_HEIGHT = 844
_GAP, _MARGIN = 32, 24
_PAPER = (232, 234, 237)
_COLORS = 128


def main() -> None:
    """Take both pictures and write them side by side, beside this file."""
    path = Path(sys.argv[1]).absolute()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM)
        shots = [
            picture(browser, path, "#verdict", width=1180, is_dark=False),
            picture(browser, path, "#curves", width=390, is_dark=True),
        ]
        browser.close()
    width = sum(shot.width for shot in shots) + _GAP + 2 * _MARGIN
    sheet = Image.new("RGB", (width, _HEIGHT + 2 * _MARGIN), _PAPER)
    x = _MARGIN
    for shot in shots:
        sheet.paste(shot, (x, _MARGIN))
        x += shot.width + _GAP
    small = sheet.quantize(_COLORS, dither=Image.Dither.NONE)
    small.save(Path(__file__).with_name("report.png"), optimize=True)


def picture(browser: Browser, path: Path, part: str, *, width: int, is_dark: bool) -> Image.Image:
    """The page at one of its parts; the result is seen from the top of the page."""
    page = browser.new_page(
        viewport={"width": width, "height": _HEIGHT}, color_scheme="dark" if is_dark else "light"
    )
    page.goto(path.as_uri())
    page.wait_for_selector("#kept .main-svg, #progress .main-svg")
    if part != "#verdict":
        page.evaluate("part => document.querySelector(part).scrollIntoView()", part)
    page.wait_for_timeout(500)
    shot = Image.open(BytesIO(page.screenshot())).convert("RGB")
    page.close()
    return shot


if __name__ == "__main__":
    main()
