"""Screenshots for the report: tests that drive a browser leave them where KALECAST_SCREENSHOTS
names a folder, as `make report SCREENSHOTS=1` does.
"""

import io
import os
from pathlib import Path

from PIL import Image
from playwright.sync_api import Locator, Page

COLOURS = 128
"""Of a picture's palette: pages are plain, and a picture is to stay below 150 KB."""

MARGIN = 28
"""Pixels that a picture ends before what is left out: the frame of a card and the gap above it."""


def screenshot(tab: Page, name: str, whole: bool = False, above: Locator | None = None) -> None:
    """Leave `screenshot-NAME.png` of what a tab shows, where somebody wants pictures.

    Args:
        tab: as a person would see it now.
        name: of the picture.
        whole: with what one would have to scroll to.
        above: what the picture ends before.
    """
    folder = os.environ.get("KALECAST_SCREENSHOTS")
    if not folder:
        return
    tab.wait_for_timeout(800)  # Plotly's and Gradio's fading in
    picture = Image.open(io.BytesIO(tab.screenshot(full_page=whole))).convert("RGB")
    if above is not None and (box := above.bounding_box()):
        picture = picture.crop((0, 0, picture.width, round(box["y"]) - MARGIN))
    palette = picture.quantize(COLOURS, dither=Image.Dither.NONE)
    palette.save(Path(folder) / f"screenshot-{name}.png", optimize=True)
