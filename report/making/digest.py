"""A digest of all that the report is made from, so that a stale report is noticed."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from report.making.plan import REPORT

SOURCES = (
    "chapters/*.md",
    "*.py",
    "making/*.py",
    "theme/*.*",
    "theme/page/*",
    "facts/*.yaml",
    "*.bib",
    "threat-model.md",
)
RESULTS = ("*.json", "*.svg", "*.png", "*.webp")
NAME = "kalecast-sources"
"""Of the page's meta element that has it."""


def digest(report: Path = REPORT, results: Path | None = None) -> str:
    """Of names and contents of chapters, modules, theme, facts, references and results."""
    sha = hashlib.sha256()
    for name, path in sorted(_files(report, results or report / "figures")):
        sha.update(f"{name}\0{len(path.read_bytes())}\0".encode())
        sha.update(path.read_bytes())
    return sha.hexdigest()


def digest_of_page(page: str) -> str | None:
    """The digest that a rendered page says it was made from."""
    found = re.search(rf'<meta name="{NAME}" content="([0-9a-f]+)"', page)
    return found and found[1]


def _files(report: Path, results: Path) -> Iterator[tuple[str, Path]]:
    for pattern in SOURCES:
        for path in report.glob(pattern):
            if path.is_file():
                yield str(path.relative_to(report)), path
    for pattern in RESULTS:
        for path in results.glob(pattern):
            yield f"figures/{path.name}", path
