"""Make Sphinx's page self-contained: style, letters and pictures inside it."""

import base64
import re
from html import unescape
from pathlib import Path

from report.making.digest import NAME
from report.making.fonts import faces

TYPES = {".svg": "svg+xml", ".png": "png", ".webp": "webp", ".jpg": "jpeg"}


def self_contained(page: Path, css: str, digest: str) -> str:
    """The page as text that asks nothing of anyone."""
    text = page.read_text()
    text = re.sub(
        r'(<img\b[^>]*?\bsrc=")(?!data:)([^"]+)(")',
        lambda found: found[1] + _inline(page.parent / unescape(found[2])) + found[3],
        text,
    )
    # the page has a title of its own
    text = re.sub(r"<h1>Kalecast</h1>\n(?=<div class=\"toctree-wrapper)", "", text)
    # a chapter's mark goes into its chapter, which begins on a page of its own
    text = re.sub(r'(<span id="document-[^"]+"></span>)(<section [^>]+>)', r"\2\1", text)
    # Sphinx names the document, too, where all are on one page
    text = re.sub(r'(href="#)document-[^"#]+#', r"\1", text)
    words = unescape(re.sub(r"<[^>]+>|base64,[^\"]+", "", text)) + "‐-…–—“”‘’•0123456789"
    style = f"<style>\n{faces(words)}\n{css}</style>"
    meta = f'<meta name="{NAME}" content="{digest}">'
    return text.replace("<!-- style -->", f"{meta}\n{style}")


def _inline(picture: Path) -> str:
    content = picture.read_bytes()
    if picture.suffix == ".svg":
        content = re.sub(rb"<metadata>.*?</metadata>", b"", content, flags=re.DOTALL)
        content = re.sub(rb'\bd="[^"]+"', _shorter, content)
    encoded = base64.b64encode(content).decode()
    return f"data:image/{TYPES[picture.suffix]};base64,{encoded}"


def _shorter(path: re.Match[bytes]) -> bytes:
    """A path with a hundredth of a point as its finest step, which is half its size."""
    return re.sub(rb"(\.\d\d)\d+", rb"\1", path[0])
