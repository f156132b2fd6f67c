"""The report's letters: static cuts of fonts that packages bring, and subsets for the page.

Source Serif 4 and IBM Plex Mono, both under the SIL Open Font License 1.1, which lets them be cut
and embedded; a cut may not bear the reserved name, hence "Report Serif" and "Report Mono".
"""

import base64
import io
from collections.abc import Iterable, Iterator
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
    weight: int
    italic: bool
    optical_size: float | None = None
    """Points for which the letters are drawn; None where the font is static."""


CUTS = (
    Cut("Report Serif", SERIF, "SourceSerif4[opsz,wght].ttf", 400, False, 11),
    Cut("Report Serif", SERIF, "SourceSerif4-Italic[opsz,wght].ttf", 400, True, 11),
    Cut("Report Serif", SERIF, "SourceSerif4[opsz,wght].ttf", 600, False, 11),
    Cut("Report Display", SERIF, "SourceSerif4[opsz,wght].ttf", 600, False, 28),
    Cut("Report Mono", MONO, "IBMPlexMono-Regular.ttf", 400, False),
    Cut("Report Mono", MONO, "IBMPlexMono-SemiBold.ttf", 600, False),
)


def cut() -> None:
    """Leave every cut as a file of its own, unless it is there."""
    FONTS.mkdir(parents=True, exist_ok=True)
    missing = [one for one in CUTS if not (FONTS / _name(one)).is_file()]
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
    Path(part.name).rename(FONTS / _name(one))


def faces(text: str) -> str:
    """CSS that embeds every cut with the letters of a text alone."""
    return "\n".join(_faces("".join(sorted(set(text)))))


def _faces(letters: str) -> Iterator[str]:
    for one in CUTS:
        font = TTFont(FONTS / _name(one), recalcTimestamp=False)
        _keep(font, map(ord, letters))
        font.flavor = "woff2"
        written = io.BytesIO()
        font.save(written)
        yield (
            f"@font-face {{ font-family: '{one.family}'; font-weight: {one.weight}; "
            f"font-style: {'italic' if one.italic else 'normal'}; "
            f"src: url(data:font/woff2;base64,{base64.b64encode(written.getvalue()).decode()}) "
            "format('woff2'); }"
        )


def _keep(font: TTFont, letters: Iterable[int]) -> None:
    """Drop all letters but some."""
    features = ["kern", "liga", "mark", "tnum", "onum"]
    subsetter = Subsetter(Options(layout_features=features, notdef_outline=True, hinting=False))
    subsetter.populate(unicodes=letters)
    subsetter.subset(font)


def _name(one: Cut) -> str:
    slope = "-italic" if one.italic else ""
    family = one.family.replace(" ", "-").lower()
    return f"{family}-{one.weight}{slope}-{version(one.package.replace('_', '-'))}.ttf"


def _rename(font: TTFont, one: Cut) -> None:
    style = {(400, False): "Regular", (400, True): "Italic", (600, False): "Bold"}.get(
        (one.weight, one.italic), "Bold Italic"
    )
    for number, text in {
        1: one.family,
        2: style,
        4: f"{one.family} {style}",
        6: f"{one.family}-{style}".replace(" ", ""),
        16: one.family,
        17: style,
    }.items():
        font["name"].removeNames(nameID=number)
        font["name"].setName(text, number, 3, 1, 0x409)
    font["OS/2"].usWeightClass = one.weight
