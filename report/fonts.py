"""The report's letters: static cuts of fonts that packages bring, and subsets for the page.

Source Serif 4 and IBM Plex Mono, both under the SIL Open Font License 1.1, which lets them be cut
and embedded; a cut may not bear the reserved name, hence "Report Serif" and "Report Mono".
"""

import base64
import io
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import NamedTuple

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont
from fontTools.varLib.instancer import instantiateVariableFont

from kalecast.lifetime import die_with_parent
from report.shown import FONTS

SERIF = "fontpkg_source_serif_4"
MONO = "fontpkg_ibm_plex_mono"
WESTERN = [
    *range(0x20, 0x100),
    *range(0x391, 0x3CA),
    *range(0x2010, 0x2040),
    *range(0x2190, 0x2270),
]
"""Latin and Greek letters, punctuation, arrows and signs."""


class Cut(NamedTuple):
    """One weight and slope of a family."""

    family: str
    package: str
    file: str
    weight: int = 400
    style: str = "Regular"
    optical_size: float | None = None
    """Points for which the letters are drawn; None where the font is static."""

    @property
    def path(self) -> Path:
        """Where it is, once cut."""
        slope = "-italic" if self.style == "Italic" else ""
        family = self.family.replace(" ", "-").lower()
        released = version(self.package.replace("_", "-"))
        return FONTS / f"{family}-{self.weight}{slope}-{released}.ttf"


CUTS = (
    Cut("Report Serif", SERIF, "SourceSerif4[opsz,wght].ttf", optical_size=11),
    Cut("Report Serif", SERIF, "SourceSerif4-Italic[opsz,wght].ttf", 400, "Italic", 11),
    Cut("Report Serif", SERIF, "SourceSerif4[opsz,wght].ttf", 600, "Bold", 11),
    Cut("Report Display", SERIF, "SourceSerif4[opsz,wght].ttf", 600, "Bold", 28),
    Cut("Report Mono", MONO, "IBMPlexMono-Regular.ttf"),
    Cut("Report Mono", MONO, "IBMPlexMono-SemiBold.ttf", 600, "Bold"),
)


def cut() -> None:
    """Leave every cut as a file of its own, unless it is there."""
    FONTS.mkdir(parents=True, exist_ok=True)
    missing = [one for one in CUTS if not one.path.is_file()]
    with ProcessPoolExecutor(2, initializer=die_with_parent) as pool:
        list(pool.map(_cut, missing))


def _cut(one: Cut) -> None:
    path = Path(str(files(one.package))) / "files" / one.file
    font = TTFont(path, recalcTimestamp=False)  # the same font on any day
    _keep(font, WESTERN)  # the rest would be cut for minutes, and not be used
    if one.optical_size is not None:
        axes = {"wght": one.weight, "opsz": one.optical_size}
        font = instantiateVariableFont(font, axes, inplace=True)
    _rename(font, one)
    # whole or not at all, as builds may run side by side
    with NamedTemporaryFile(dir=FONTS, suffix=".part", delete=False) as part:
        font.save(part)
    Path(part.name).rename(one.path)


def faces(text: str) -> str:
    """CSS that embeds every cut with the letters of a text alone."""
    return "\n".join(_face(one, sorted(set(text))) for one in CUTS)


def _face(one: Cut, letters: Iterable[str]) -> str:
    font = TTFont(one.path, recalcTimestamp=False)
    _keep(font, map(ord, letters))
    font.flavor = "woff2"
    written = io.BytesIO()
    font.save(written)
    return (
        f"@font-face {{ font-family: '{one.family}'; font-weight: {one.weight}; "
        f"font-style: {'italic' if one.style == 'Italic' else 'normal'}; "
        f"src: url(data:font/woff2;base64,{base64.b64encode(written.getvalue()).decode()}) "
        "format('woff2'); }"
    )


def _keep(font: TTFont, letters: Iterable[int]) -> None:
    """Drop all letters but some."""
    features = ["kern", "liga", "mark", "tnum", "onum"]
    subsetter = Subsetter(Options(layout_features=features, notdef_outline=True, hinting=False))
    subsetter.populate(unicodes=letters)
    subsetter.subset(font)


def _rename(font: TTFont, one: Cut) -> None:
    whole = f"{one.family} {one.style}"
    names = {1: one.family, 2: one.style, 4: whole, 16: one.family, 17: one.style}
    names[6] = f"{one.family}-{one.style}".replace(" ", "")
    for number, text in names.items():
        font["name"].removeNames(nameID=number)
        font["name"].setName(text, number, 3, 1, 0x409)
    font["OS/2"].usWeightClass = one.weight
