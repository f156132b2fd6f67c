"""What is to be built, from what, and where."""

import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

REPORT = Path(__file__).parent.parent
FONTS = Path(sys.prefix) / "share" / "report-fonts"
"""Where the letters are, once cut; they belong to the environment that brings them."""


class ReportError(Exception):
    """The report cannot be built; says what to do."""


@dataclass(frozen=True)
class BuildPlan:
    """The folders of a build, and the chapters that are run."""

    results: Path
    build: Path
    chapters: Path = REPORT / "chapters"
    only: tuple[str, ...] = ()
    """Chapters to run; all where empty. The others are there with their titles alone."""

    @cached_property
    def names(self) -> list[str]:
        """All chapters in order, such as '3-model'."""
        return sorted(path.stem for path in self.chapters.glob("[0-9]*-*.md"))

    @property
    def chosen(self) -> list[str]:
        """The chapters that are run."""
        if unknown := set(self.only) - set(self.names):
            raise ReportError(f"Expected one of {', '.join(self.names)}, received: {unknown.pop()}")
        return [name for name in self.names if not self.only or name in self.only]

    @property
    def sources(self) -> Path:
        """The folder that Sphinx reads."""
        return self.build / "source"

    def text(self, chapter: str) -> str:
        """A chapter's text."""
        return (self.chapters / f"{chapter}.md").read_text()
