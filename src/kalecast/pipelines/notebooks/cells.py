"""A notebook's cells, what each is called in messages, and the role that its tags give it."""

from collections.abc import Iterator
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


def where(number: int, cell: Any) -> str:
    """How messages name a cell: its place among all cells and its first line."""
    lines = cell.source.strip().splitlines()
    return f"cell {number} ({lines[0][:60] if lines else 'empty'})"


def has_code(cell: Any) -> bool:
    """Whether there is anything to run: JupyterLab adds an empty cell below the last that ran."""
    lines = (line.strip() for line in cell.source.splitlines())
    return cell.cell_type == "code" and any(line and not line.startswith("#") for line in lines)


def role_of(cell: Any) -> str:
    """A code cell's role: a step's name, one of `GLOBAL_ROLES`, or `""` without such a tag."""
    for tag in cell.metadata.get("tags", []):
        if tag in GLOBAL_ROLES:
            return str(tag)
        if tag.startswith(("step:", "notebook:")):
            return str(tag).partition(":")[2]
    return ""


def roles(notebook: Any) -> Iterator[tuple[int, Any, str]]:
    """Each code cell that is not skipped, with its number and its role."""
    for number, cell in enumerate(notebook.cells, start=1):
        if has_code(cell) and role_of(cell) != "skip":
            yield number, cell, role_of(cell)
