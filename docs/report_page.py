"""Write `report.png`: the first screen of a search's report, at a desk and on a telephone.

Run it as `python docs/report_page.py REPORT_HTML`, with the report of a search on drawn faces.
"""

import sys
from pathlib import Path

from page_pictures import open_browser, open_page, side_by_side, taken
from PIL import Image
from playwright.sync_api import Browser

_COLORS = 128


def main() -> None:
    """Take both pictures and write them side by side, beside this file."""
    path = Path(sys.argv[1]).absolute()
    with open_browser() as browser:
        shots = [
            picture(browser, path, "#verdict", width=1180, is_dark=False),
            picture(browser, path, "#curves", width=390, is_dark=True),
        ]
    small = side_by_side(shots, 32).quantize(_COLORS, dither=Image.Dither.NONE)
    small.save(Path(__file__).with_name("report.png"), optimize=True)


def picture(browser: Browser, path: Path, part: str, *, width: int, is_dark: bool) -> Image.Image:
    """The page at one of its parts; the result is seen from the top of the page."""
    page = open_page(browser, path, width=width, is_dark=is_dark)
    page.wait_for_selector("#kept .main-svg, #progress .main-svg")
    if part != "#verdict":
        page.evaluate("part => document.querySelector(part).scrollIntoView()", part)
    page.wait_for_timeout(500)
    return taken(page)


if __name__ == "__main__":
    main()
