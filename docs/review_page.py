"""Write `review.png`: the page to review faces on, at a desk and on a telephone.

Run it as `python docs/review_page.py REVIEW_HTML`, with the page of an audit of drawn faces.
"""

import sys
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

_CHROMIUM = "/usr/bin/chromium"
_HEIGHT = 844
_GAP, _MARGIN = 40, 24
_PAPER = (232, 234, 237)


def main() -> None:
    """Take both pictures and write them side by side, beside this file."""
    path = Path(sys.argv[1]).absolute()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM)
        shots = [
            picture(browser, path, width=900, is_dark=False),
            picture(browser, path, width=390, is_dark=True),
        ]
        browser.close()
    width = sum(shot.width for shot in shots) + _GAP + 2 * _MARGIN
    sheet = Image.new("RGB", (width, _HEIGHT + 2 * _MARGIN), _PAPER)
    x = _MARGIN
    for shot in shots:
        sheet.paste(shot, (x, _MARGIN))
        x += shot.width + _GAP
    sheet.save(Path(__file__).with_name("review.png"), optimize=True)


def picture(browser: Browser, path: Path, *, width: int, is_dark: bool) -> Image.Image:
    """The page after a few answers."""
    page = browser.new_page(
        viewport={"width": width, "height": _HEIGHT}, color_scheme="dark" if is_dark else "light"
    )
    page.goto(path.as_uri())
    page.click("#start")
    for key in "2131674250231":
        page.keyboard.press(key)
    shot = Image.open(BytesIO(page.screenshot())).convert("RGB")
    page.close()
    return shot


if __name__ == "__main__":
    main()
