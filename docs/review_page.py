"""Write `review.png`: the page to review faces on, at a desk and on a telephone.

Run it as `python docs/review_page.py REVIEW_HTML`, with the page of an audit of drawn faces.
"""

import sys
from pathlib import Path

from page_pictures import open_browser, open_page, side_by_side, taken
from PIL import Image
from playwright.sync_api import Browser


def main() -> None:
    """Take both pictures and write them side by side, beside this file."""
    path = Path(sys.argv[1]).absolute()
    with open_browser() as browser:
        shots = [
            picture(browser, path, width=900, is_dark=False),
            picture(browser, path, width=390, is_dark=True),
        ]
    side_by_side(shots, 40).save(Path(__file__).with_name("review.png"), optimize=True)


def picture(browser: Browser, path: Path, *, width: int, is_dark: bool) -> Image.Image:
    """The page after a few answers."""
    page = open_page(browser, path, width=width, is_dark=is_dark)
    page.click("#start")
    for key in "2131674250231":
        page.keyboard.press(key)
    return taken(page)


if __name__ == "__main__":
    main()
