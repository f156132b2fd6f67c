"""What the report's cells show: figures, tables, and figures in the text.

Each is left as Markdown of the cell, which Sphinx sets; numbers and lists of figures come from it.
"""

import json
import logging
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import pandas as pd
from IPython.display import display
from matplotlib import font_manager
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from report.results import REGISTRY, ResultFile, picture, result_path

INK = "#222222"
GREY = "#8a8a8a"
COLOURS: list[str] = mpl.rcParams["axes.prop_cycle"].by_key()["color"]
"""Of `theme/matplotlibrc`."""
TEXT_WIDTH = 6.3
"""Inches between the margins of a page."""

FONTS = Path(sys.prefix) / "share" / "report-fonts"
"""Where the letters are, once cut; they belong to the environment that brings them."""
BUILD = Path(os.environ.get("KALECAST_REPORT_BUILD", "build/report"))
"""Where a build leaves pictures, and what was shown."""
REGISTER = "shown.jsonl"
MISSING = Path(__file__).parent / "theme" / "missing.svg"

# a weight between those that are there is no mistake
logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
for _font in FONTS.glob("*.ttf"):
    font_manager.fontManager.addfont(_font)


class Shown(NamedTuple):
    """A figure or table of the report, as it is registered."""

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
    pictures = BUILD / "pictures"
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
    # from the chapters' folder, in which cells run
    _show(
        f":::{{figure}} {os.path.relpath(path)}\n:name: {name}\n:figclass: {kind}\n"
        f":alt: {_plain(caption)}\n\n{caption}{_provenance(sources)}\n:::\n"
    )
    _register(Shown(name, caption, [source.name for source in sources]))


def measured(name: str, label: str) -> bool:
    """Whether a result that only a cluster gives is there; else a box with that label is shown."""
    if result_path(name).is_file():
        return True
    _show(
        f":::{{figure}} {os.path.relpath(MISSING)}\n:name: {label}\n:figclass: missing\n"
        f":alt: Not measured yet\n\nNot measured yet: needs a cluster; "
        f"`{REGISTRY[name].command}` writes `report/figures/{name}.json`.\n:::\n"
    )
    return False


def rows(items: Iterable[Mapping[str, Any]], columns: Mapping[str, str]) -> pd.DataFrame:
    """A row an item: for each column's title a pattern such as "{ok:,}" of the item's keys."""
    return pd.DataFrame(
        {title: pattern.format_map(item) for title, pattern in columns.items()} for item in items
    )


def table(
    content: pd.DataFrame | str, name: str, caption: str, *sources: ResultFile, wide: bool = False
) -> None:
    """Show a table with number, label and caption: a frame of strings or numbers, or Markdown.

    Strings in a frame may hold Markdown. Its columns of numbers, also those already written as
    text, stand to the right.
    """
    _check_name(name, "tab-")
    if isinstance(content, str):
        lines = content.strip().splitlines()
    else:
        cells = [[_cell(value) for value in row] for row in content.itertuples(index=False)]
        columns = list(zip(*cells, strict=True)) or [()] * len(content.columns)
        rule = ["---:" if _numeric(column) else ":---" for column in columns]
        lines = [_line(map(_cell, content.columns)), _line(rule), *map(_line, cells)]
    kind = "wide" if wide else "plain"
    _show(
        f":::{{table}} {caption}{_provenance(sources)}\n:name: {name}\n:class: {kind}\n\n"
        + "\n".join(lines)
        + "\n:::\n"
    )
    _register(Shown(name, caption, [source.name for source in sources]))


def glue(**values: object) -> None:
    """Name what the text says: {glue:text}`name`. Names are unique in the whole report."""
    for name, value in values.items():
        # as myst-nb's glue() leaves it, without importing all of Sphinx
        key = "application/papermill.record/text/plain"
        about = {"scrapbook": {"name": name, "mime_prefix": "application/papermill.record/"}}
        display({key: repr(str(value))}, metadata=about, raw=True)


def registered() -> Iterator[Shown]:
    """All figures and tables shown so far in this build, in their order."""
    path = BUILD / REGISTER
    return (Shown(*json.loads(line)) for line in path.read_text().splitlines())


def _show(markdown: str) -> None:
    display({"text/markdown": markdown, "text/plain": markdown}, raw=True)


def _register(shown: Shown) -> None:
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / REGISTER).open("a") as file:
        file.write(json.dumps(shown) + "\n")


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
