"""A notebook's cells: what each is called in messages, its tags and the role that they give it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GLOBAL_ROLES = ("skip", "imports", "functions", "pipeline-parameters", "pipeline-metrics")


class NotebookError(ValueError):
    """A notebook that cannot be compiled, with a message of one line."""


def read_notebook(path: Path) -> Any:
    """The notebook at `path`, or a `NotebookError` that says what is there instead."""
    import nbformat

    if not path.is_file():
        raise NotebookError(f"Expected a notebook, received: {path} (no such file).")
    try:
        notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
    except Exception as error:  # nbformat raises whatever its JSON or schema library raises
        reason = str(error).strip().splitlines()[0]
        raise NotebookError(f"Expected a Jupyter notebook, received: {path} ({reason}).") from error
    if notebook.get("nbformat") != 4 or "cells" not in notebook:
        raise NotebookError(
            f"Expected a notebook of format 4, received: {path} of format "
            f"{notebook.get('nbformat', 'unknown')}."
        )
    return notebook


@dataclass(frozen=True)
class Cell:
    """A cell with its place among all cells."""

    number: int
    node: Any

    def __str__(self) -> str:
        """How messages name it: its number and its first line."""
        lines = self.source.strip().splitlines()
        return f"cell {self.number} ({lines[0][:60] if lines else 'empty'})"

    @property
    def source(self) -> str:
        """Its text."""
        return str(self.node.source)

    @property
    def tags(self) -> list[str]:
        """Its tags."""
        return [str(tag) for tag in self.node.metadata.get("tags", [])]

    @property
    def has_code(self) -> bool:
        """Whether there is anything to run: JupyterLab adds an empty cell below the last one."""
        lines = (line.strip() for line in self.source.splitlines())
        is_code = self.node.cell_type == "code"
        return is_code and any(line and not line.startswith("#") for line in lines)

    @property
    def role(self) -> str:
        """A step's name, one of `GLOBAL_ROLES`, or `""` without such a tag."""
        for tag in self.tags:
            if tag in GLOBAL_ROLES:
                return tag
            if tag.startswith(("step:", "notebook:")):
                return tag.partition(":")[2]
        return ""


def cells_of(notebook: Any) -> Iterator[Cell]:
    """All cells, those with prose too."""
    for number, node in enumerate(notebook.cells, start=1):
        yield Cell(number, node)


def code_of(notebook: Any) -> Iterator[Cell]:
    """Each cell with code that is not skipped."""
    return (cell for cell in cells_of(notebook) if cell.has_code and cell.role != "skip")
