"""What the report's cells show: figures, tables, and figures in the text.

Each is left as Markdown of the cell, which Sphinx sets; numbers and lists of figures come from it.
"""

import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd
from cycler import cycler
from IPython.display import display
from matplotlib import font_manager
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from report.making.plan import FONTS
from report.results import ResultFile, picture

INK = "#222222"
GREY = "#8a8a8a"
COLOURS = ("#1f4e79", "#c8602a", "#8db39a", "#5b3a5e", "#d8b24c", "#6b8cae", "#8c8c8c")
"""Muted; colour-blind people can tell them apart, and the first three stay apart in grey."""
TEXT_WIDTH = 6.3
"""Inches between the margins of a page."""

_build = Path(os.environ.get("KALECAST_REPORT_BUILD", "build/report"))
_chapter = ""


@dataclass(frozen=True)
class Shown:
    """A figure or table of the report, as it is registered."""

    chapter: str
    name: str
    caption: str
    results: list[str]
    """Names of the results files that it draws on."""


def figure(
    content: Figure | Path, name: str, caption: str, *sources: ResultFile, wide: bool = False
) -> None:
    """Show a picture with number, label and caption.

    `content` is a matplotlib figure, or the path of an SVG, PNG or WebP that a command left in
    `report/figures/`. `sources` are the results that it draws on: their command, date and machine
    end the caption.
    """
    _check_name(name, "fig-")
    pictures = _build / "source" / "pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    if isinstance(content, Figure):
        path = pictures / f"{name}.svg"
        with mpl.rc_context({"svg.hashsalt": name}):
            content.savefig(path, format="svg", bbox_inches="tight", metadata={"Date": None})
        plt.close(content)  # the kernel would show what is left open a second time
    else:
        found = picture(content)
        path = pictures / f"{name}{found.suffix}"
        shutil.copyfile(found, path)
    kind = "wide" if wide else "plain"
    _show(
        f":::{{figure}} /pictures/{path.name}\n:name: {name}\n:figclass: {kind}\n"
        f":alt: {_plain(caption)}\n\n{caption}{_provenance(sources)}\n:::\n"
    )
    _register(Shown(_chapter, name, caption, [source.name for source in sources]))


def table(
    frame: pd.DataFrame, name: str, caption: str, *sources: ResultFile, wide: bool = False
) -> None:
    """Show a frame of strings or numbers as a table with number, label and caption.

    Strings may hold Markdown. The index is shown where it has a name. Columns of numbers, also
    those already written as text, stand to the right.
    """
    _check_name(name, "tab-")
    if frame.index.name:
        frame = frame.reset_index()
    rows = [[_cell(value) for value in row] for row in frame.itertuples(index=False)]
    columns = list(zip(*rows, strict=True)) or [()] * len(frame.columns)
    rule = ["---:" if _numeric(column) else ":---" for column in columns]
    lines = [_line(map(_cell, frame.columns)), _line(rule), *map(_line, rows)]
    kind = "wide" if wide else "plain"
    _show(
        f":::{{table}} {caption}{_provenance(sources)}\n:name: {name}\n:class: {kind}\n\n"
        + "\n".join(lines)
        + "\n:::\n"
    )
    _register(Shown(_chapter, name, caption, [source.name for source in sources]))


def glue(**values: object) -> None:
    """Name what the text says: {glue:text}`name`. Names are unique in the whole report."""
    for name, value in values.items():
        # as myst-nb's glue() leaves it, without importing all of Sphinx
        key = "application/papermill.record/text/plain"
        about = {"scrapbook": {"name": name, "mime_prefix": "application/papermill.record/"}}
        display({key: repr(str(value))}, metadata=about, raw=True)


def registered() -> Iterator[Shown]:
    """All figures and tables of the other chapters, in the order in which they stand there.

    A chapter that asks is run after all others.
    """
    for path in sorted((_build / "shown").glob("*/*.json")):
        yield Shown(**json.loads(path.read_text()))


def begin(chapter: str, build: str) -> None:
    """Set style and place for a chapter, whose first cell calls this."""
    global _chapter, _build  # one chapter, one process
    _chapter, _build = chapter, Path(build)
    style()


def style() -> None:
    """Set how pictures look: the report's letters, muted colours, few lines."""
    # a weight between those that are there is no mistake
    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    for font in FONTS.glob("*.ttf"):
        font_manager.fontManager.addfont(font)
    mpl.rcParams.update(
        {
            "font.family": ["Report Serif", "STIXGeneral", "serif"],
            "mathtext.fontset": "stix",
            "font.size": 9.5,
            "axes.titlesize": 9.5,
            "axes.labelsize": 9.5,
            "xtick.labelsize": 8.5,
            "ytick.labelsize": 8.5,
            "legend.fontsize": 8.5,
            "figure.figsize": (TEXT_WIDTH, 3.2),
            "figure.constrained_layout.use": True,
            "axes.prop_cycle": cycler(color=COLOURS),
            "axes.edgecolor": INK,
            "axes.labelcolor": INK,
            "text.color": INK,
            "xtick.color": INK,
            "ytick.color": INK,
            "axes.linewidth": 0.6,
            "xtick.major.width": 0.6,
            "ytick.major.width": 0.6,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": False,
            "grid.color": "#d9d9d9",
            "grid.linewidth": 0.5,
            "lines.linewidth": 1.3,
            "legend.frameon": False,
            "svg.fonttype": "path",
            "savefig.transparent": True,
        }
    )


def _show(markdown: str) -> None:
    display({"text/markdown": markdown, "text/plain": markdown}, raw=True)


def _register(shown: Shown) -> None:
    folder = _build / "shown" / shown.chapter
    folder.mkdir(parents=True, exist_ok=True)
    number = len(list(folder.iterdir()))
    (folder / f"{number:03}.json").write_text(json.dumps(asdict(shown)))


def _provenance(sources: tuple[ResultFile, ...]) -> str:
    """Command, date and machine of all sources, in small print."""
    if not sources:
        return ""
    commands: dict[str, list[str]] = {}
    for source in sources:
        commands.setdefault(f"{source.date}, {source.machine}", []).append(f"`{source.command}`")
    listed = (f"{', '.join(dict.fromkeys(named))}, {where}" for where, named in commands.items())
    return f" [{'; '.join(listed)}.]{{.provenance}}"


def _check_name(name: str, start: str) -> None:
    if not re.fullmatch(rf"{start}[a-z0-9-]+", name):
        raise ValueError(f"Expected a name such as '{start}scores', received: '{name}'")


def _plain(caption: str) -> str:
    """A caption without marks, for who cannot see the picture."""
    without_roles = re.sub(r"\{[a-z:]+\}`[^`]*`", "", caption)
    return re.sub(r"\[([^]]*)\]\([^)]*\)|[`*]", r"\1", without_roles).replace("\n", " ").strip()


def _cell(value: Any) -> str:
    """A cell's text: its bars would end it."""
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return "–"
    return str(value).replace("|", r"\|").replace("\n", " ")


def _numeric(column: tuple[str, ...]) -> bool:
    number = re.compile(r"[~<≤≥>≈]?\s?[-−+]?\$?\d[\d,.  ]*\s?(%|×|s|ms|GiB|MiB|MB|kB|h|min)?|–|")
    return all(map(number.fullmatch, column)) and any(cell not in {"", "–"} for cell in column)


def _line(cells: Any) -> str:
    return "| " + " | ".join(cells) + " |"
