"""Pictures of boxes and arrows, which Graphviz lays out from `diagrams/*.dot`."""

import os
import re
import subprocess
from pathlib import Path
from string import Template

from report.shown import BUILD, FONTS, GREY, INK

FOLDER = Path(__file__).parent / "diagrams"
FONT = "fontname=Report Serif"
SCALE = 4
"""Graphviz puts letters on whole points, so graphs are laid out larger by so much: files, too."""
LOOK = (
    *("-Gpad=0.1", f"-G{FONT}", "-Gfontsize=36", f"-Gfontcolor={GREY}", f"-Gcolor={GREY}"),
    *("-Gstyle=rounded,dashed", "-Gpenwidth=2.4", "-Gnodesep=1.2", "-Granksep=1.3"),
    "-Gnewrank=true",
    *("-Nshape=box", "-Nstyle=rounded,filled", "-Nfillcolor=white", f"-N{FONT}", "-Nfontsize=40"),
    *(f"-Nfontcolor={INK}", f"-Ncolor={INK}", "-Npenwidth=2.8", "-Nmargin=0.4,0.24"),
    *(f"-E{FONT} italic", "-Efontsize=36", f"-Ecolor={INK}", "-Epenwidth=3.2", "-Earrowsize=2.2"),
)
"""Graphviz's defaults for all of them; a file says what it has otherwise."""


def diagram(name: str, **values: object) -> Path:
    """Draw `diagrams/NAME.dot`, in which `$key` stands for a value; returns the SVG's path."""
    return drawn(name, Template((FOLDER / f"{name}.dot").read_text()).substitute(values))


def drawn(name: str, dot: str) -> Path:
    """Draw a graph in Graphviz's language, letters as outlines; returns the SVG's path."""
    folder = BUILD / "diagrams"
    folder.mkdir(parents=True, exist_ok=True)
    fonts = folder / "fonts.conf"
    fonts.write_text(
        f"<fontconfig><dir>{FONTS}</dir><cachedir>{folder / 'fonts'}</cachedir></fontconfig>\n"
    )
    svg = subprocess.run(
        ["dot", "-Tsvg:cairo", *LOOK],
        input=dot,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "FONTCONFIG_FILE": str(fonts)},
    ).stdout
    path = folder / f"{name}.svg"
    size = re.compile(r'(width|height)="(\d+)pt"')
    path.write_text(size.sub(lambda one: f'{one[1]}="{int(one[2]) / SCALE}pt"', svg, count=2))
    return path
