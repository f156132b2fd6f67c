"""What the report needs beyond Sphinx's extensions: formulas as pictures, unique ids."""

import base64
import io
import re
from html import escape
from typing import Any

from docutils import nodes
from matplotlib import mathtext, rc_context
from matplotlib.font_manager import FontProperties
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

POINTS = 10.0
LARGER = 1.08
"""The letters of formulas are smaller than those of the text at the same size."""


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_html_math_renderer("picture", (visit_math, None), (visit_displaymath, None))
    app.connect("doctree-read", distinguish_ids, priority=10)
    return {"version": "1", "parallel_read_safe": True}


def visit_math(self: HTML5Translator, node: nodes.math) -> None:
    """A formula in the text, set by matplotlib: no script, and the same on paper."""
    self.body.append(f'<span class="math">{formula(node.astext())}</span>')
    raise nodes.SkipNode


def visit_displaymath(self: HTML5Translator, node: nodes.math_block) -> None:
    """A formula on a line of its own."""
    self.body.append(f'<p class="math">{formula(node.astext())}</p>')
    raise nodes.SkipNode


def formula(text: str) -> str:
    """A formula as an image that stands on the line; raises ValueError where it cannot be read."""
    drawn = io.BytesIO()
    with rc_context(
        {"mathtext.fontset": "stix", "savefig.transparent": True, "svg.hashsalt": text}
    ):
        depth = mathtext.math_to_image(
            f"${text.strip()}$", drawn, prop=FontProperties(size=POINTS), format="svg"
        )
    # without what changes from day to day
    svg = re.sub(rb"<metadata>.*?</metadata>", b"", drawn.getvalue(), flags=re.DOTALL)
    size = dict(re.findall(r'(width|height)="([\d.]+)pt"', svg.decode()))
    image = base64.b64encode(svg).decode()
    width, height, below = (
        f"{float(points) * LARGER / POINTS:.3f}em"
        for points in (size["width"], size["height"], -depth)
    )
    return (
        f'<img alt="{escape(text)}" src="data:image/svg+xml;base64,{image}" '
        f'style="width: {width}; height: {height}; vertical-align: {below}">'
    )


def distinguish_ids(app: Sphinx, doctree: nodes.document) -> None:
    """Give ids that docutils made up the document's name: all documents become one page.

    Labels that an author wrote stay as they are. The bibliography keeps its ids, by which it is
    found; there is one in the report.
    """
    docname = app.env.current_document.docname
    if docname == "references":
        return
    written = {doctree.nameids[name] for name, by_hand in doctree.nametypes.items() if by_hand}

    def apart(one: str) -> str:
        return one if one in written else f"{docname}-{one}"

    for node in doctree.findall(nodes.Element):
        for name in ("ids", "backrefs"):
            if name in node:
                node[name] = [apart(one) for one in node[name]]
        if "refid" in node:
            node["refid"] = apart(node["refid"])
