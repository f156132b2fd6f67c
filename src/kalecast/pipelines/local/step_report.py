"""A step's report: its cells and what they showed, as one HTML page that runs nothing.

Text is escaped. Tables and other HTML are reduced to harmless tags, and the page's own policy
forbids scripts and anything from elsewhere.
"""

import html
from html.parser import HTMLParser
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from kalecast.pipelines.local.terminal_text import plain

if TYPE_CHECKING:
    from kalecast.pipelines.local.cell_shell import ExecutedCell

PAGE = Template(Path(__file__).with_suffix(".html").read_text(encoding="utf-8"))
KEPT_TAGS = frozenset(
    {
        *("table", "thead", "tbody", "tfoot", "tr", "th", "td", "caption", "colgroup", "col"),
        *("h1", "h2", "h3", "h4", "h5", "h6", "p", "div", "span", "br", "hr", "pre", "code"),
        *("b", "i", "em", "strong", "small", "sub", "sup", "ul", "ol", "li", "dl", "dt", "dd"),
    }
)
KEPT_ATTRIBUTES = frozenset(("class", "colspan", "rowspan", "align", "border", "title"))
DROPPED_WITH_CONTENT = frozenset(("script", "style", "template", "iframe", "object", "svg", "math"))


def render_report(step: str, cells: "list[ExecutedCell]", error: str = "") -> str:
    """The page for one step, with the text of the error that ended it."""
    parts = [_cell(cell) for cell in cells]
    if error:
        parts.append(_pre(error, "error"))
    return PAGE.substitute(title=html.escape(step), body="\n".join(parts))


def _cell(cell: "ExecutedCell") -> str:
    outputs = "\n".join(_output(output) for output in cell.outputs)
    return f"{_pre(cell.source, 'code')}\n{outputs}"


def _pre(text: str, kind: str) -> str:
    return f'<pre class="{kind}">{html.escape(plain(text))}</pre>'


def _output(output: dict[str, Any]) -> str:
    if output["output_type"] == "stream":
        return _pre(output["text"], output["name"])
    data = output["data"]
    for mime in ("image/png", "image/jpeg"):
        if mime in data:
            return f'<img src="data:{mime};base64,{html.escape("".join(data[mime].split()))}">'
    if "text/html" in data:
        return harmless_html(data["text/html"])
    return _pre(str(data.get("text/plain", "")), "stdout")


def harmless_html(text: str) -> str:
    """`text` with nothing left but the tags and attributes of tables and running text."""
    keeper = _Keeper()
    keeper.feed(text)
    keeper.close()
    return "<div>" + "".join(keeper.parts + keeper.open_tags()) + "</div>"


class _Keeper(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._open: list[str] = []
        self._dropping: str | None = None
        self._depth = 0

    def open_tags(self) -> list[str]:
        """The end tags that the text forgot."""
        return [f"</{tag}>" for tag in reversed(self._open)]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._dropping:
            self._depth += tag == self._dropping
        elif tag in DROPPED_WITH_CONTENT:
            self._dropping, self._depth = tag, 1
        elif tag in KEPT_TAGS:
            kept = "".join(
                f' {name}="{html.escape(value or "")}"'
                for name, value in attrs
                if name in KEPT_ATTRIBUTES
            )
            self.parts.append(f"<{tag}{kept}>")
            if tag not in ("br", "hr", "col"):
                self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._dropping:
            self._depth -= tag == self._dropping
            self._dropping = self._dropping if self._depth else None
        elif tag in self._open:
            while self._open:
                last = self._open.pop()
                self.parts.append(f"</{last}>")
                if last == tag:
                    break

    def handle_data(self, data: str) -> None:
        if not self._dropping:
            self.parts.append(html.escape(data))
