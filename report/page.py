"""The rendered page: made to need nothing but itself, checked, and marked with its sources."""

import base64
import hashlib
import re
from collections import Counter
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from report.fonts import faces

REPORT = Path(__file__).parent
SOURCES = (
    *("chapters/*.md", "diagrams/*", "*.py", "theme/*", "theme/page/*", "theme/kernels/*/*"),
    *("facts/*.yaml", "*.bib", "threat-model.md"),
)
RESULTS = ("*.json", "*.svg", "*.png", "*.webp")
MARK = "kalecast-sources"
"""Of the page's meta element that has the digest."""
TYPES = {".svg": "svg+xml", ".png": "png", ".webp": "webp"}
SCHEMES = {"", "http", "https", "mailto"}


def digest(report: Path = REPORT, results: Path | None = None) -> str:
    """Of names and contents of all that the report is made from, so that a stale one is noticed."""
    folders = ((report, SOURCES, ""), (results or report / "figures", RESULTS, "figures/"))
    files = {
        f"{prefix}{path.relative_to(folder)}": path.read_bytes()
        for folder, patterns, prefix in folders
        for pattern in patterns
        for path in folder.glob(pattern)
        if path.is_file()
    }
    sha = hashlib.sha256()
    for name, content in sorted(files.items()):
        sha.update(f"{name}\0{len(content)}\0".encode() + content)
    return sha.hexdigest()


def digest_of_page(page: str) -> str | None:
    """The digest that a rendered page says it was made from."""
    found = re.search(rf'<meta name="{MARK}" content="([0-9a-f]+)"', page)
    return found and found[1]


def self_contained(page: Path, css: str, sources: str) -> str:
    """Sphinx's page as text with style, letters and pictures inside it."""
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
    return text.replace("<!-- style -->", f'<meta name="{MARK}" content="{sources}">\n{style}')


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


class _Parsed(HTMLParser):
    """Ids, links and loaded resources of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.loaded = re.findall(r"(?:url\(\s*|@import\s+)['\"]?([^)'\"]+)", text)
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if given.get("id"):
            self.ids.append(given["id"])
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        loading = ("href",) if tag == "link" else ("src", "srcset", "data", "poster")
        self.loaded += [given[name] for name in loading if name in given and tag != "a"]


def problems(text: str, folder: Path) -> list[str]:
    """What is wrong with a page that is to lie in a folder; empty where all is well."""
    page = _Parsed(text)
    inside = {unquote(link[1:]) for link in page.links if link.startswith("#") and link != "#"}
    found = [
        f"The id '{name}' is there {n} times." for name, n in Counter(page.ids).items() if n > 1
    ]
    found += [f"The link to '#{one}' leads nowhere." for one in sorted(inside - set(page.ids))]
    for link in dict.fromkeys(page.links):
        parts = urlsplit(link)
        if not parts.scheme and parts.path and not (folder / unquote(parts.path)).exists():
            found.append(f"The link to '{link}' leads to no file of the repository.")
        if parts.scheme not in SCHEMES:
            found.append(f"The link to '{link[:60]}' has an unknown scheme.")
    found += [
        f"The text does not refer to '{one}': write {{numref}}`{one}` where it is spoken of."
        for one in page.ids
        if one.startswith(("fig-", "tab-")) and one not in inside
    ]
    found += [
        f"The page would load '{one[:80]}' from elsewhere."
        for one in page.loaded
        if not one.startswith(("data:", "#"))
    ]
    return found
