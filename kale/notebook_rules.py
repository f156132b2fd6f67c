"""What a notebook must keep to, beyond what Kale itself checks, to compile the same everywhere.

Kale takes some things silently and breaks on others far from their cause. Each rule here names
the cell and says what to write instead.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

GLOBAL_ROLES = ("skip", "imports", "functions", "pipeline-parameters", "pipeline-metrics")
LITERALS = (bool, int, float, str)


class NotebookError(ValueError):
    """A notebook that cannot be compiled, told in one line."""


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


def roles(notebook: Any) -> Iterator[tuple[int, Any, str]]:
    """Each code cell with its number and role: a step's name or one of `GLOBAL_ROLES`.

    A cell without a tag belongs to the one before it, as Kale has it; `""` is a cell to which
    no role came.
    """
    role = ""
    for number, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type != "code":
            continue
        tags = cell.metadata.get("tags", [])
        own = next((tag for tag in tags if tag in GLOBAL_ROLES or tag.startswith("step:")), None)
        if own == "skip":
            continue
        role = own.removeprefix("step:") if own else role
        yield number, cell, role


def check_notebook(notebook: Any) -> None:
    """Raise a `NotebookError` for the first rule that the notebook breaks."""
    _check_metadata(notebook.metadata.get("kubeflow_notebook"))
    _check_tags(notebook)
    _check_syntax(notebook)
    _check_parameters(notebook)
    _check_images(notebook)


def _check_metadata(metadata: Any) -> None:
    if not metadata:
        raise NotebookError(
            "Expected a 'kubeflow_notebook' block in the notebook's metadata, received: none. "
            "Open the notebook in JupyterLab, enable Kale in its panel and save."
        )
    if not metadata.get("pipeline_name"):
        raise NotebookError("Expected a 'pipeline_name' in 'kubeflow_notebook', received: none.")
    description = metadata.get("pipeline_description", "")
    if set(description) & set("'\\\n"):
        raise NotebookError(
            "Expected a pipeline description of one line without apostrophe and backslash "
            f"(Kale pastes it into code), received: {description!r}."
        )
    # Kale's panel in JupyterLab drops both, so a click would compile something else.
    if metadata.get("steps_defaults") or metadata.get("base_image"):
        raise NotebookError(
            "Expected no 'base_image' and no 'steps_defaults' in 'kubeflow_notebook': Kale's "
            "panel in JupyterLab discards them. Tag each step instead, e.g. 'image:…'."
        )


def _check_tags(notebook: Any) -> None:
    for number, cell in enumerate(notebook.cells, start=1):
        tags = cell.metadata.get("tags", [])
        if "injected-parameters" in tags:
            raise NotebookError(
                f"{where(number, cell)}: this is an executed copy, papermill put the cell in. "
                "Compile the notebook it was made from, or delete the cell."
            )
        for tag in tags:
            if str(tag).startswith(("limit:cpu:", "limit:memory:")):
                raise NotebookError(
                    f"{where(number, cell)}: expected no tag {tag!r}, Kale 2.3.0 drops it "
                    "without a word."
                )


def _check_syntax(notebook: Any) -> None:
    for number, cell, _ in roles(notebook):
        try:
            ast.parse(cell.source)
        except SyntaxError as error:
            line = (error.text or "").strip()
            hint = "; Kale cannot read IPython's % and ! lines" if line[:1] in ("%", "!") else ""
            raise NotebookError(
                f"{where(number, cell)}: {error.msg} in line {error.lineno}: {line}{hint}"
            ) from error


def _check_parameters(notebook: Any) -> None:
    for number, cell, role in roles(notebook):
        if role != "pipeline-parameters":
            continue
        for statement in ast.parse(cell.source).body:
            reason = _parameter_problem(statement)
            if reason:
                raise NotebookError(
                    f"{where(number, cell)}: {reason}, received: "
                    f"{ast.get_source_segment(cell.source, statement)}"
                )


def _parameter_problem(statement: ast.stmt) -> str | None:
    """What keeps a statement from being a pipeline parameter."""
    if (
        not isinstance(statement, ast.Assign)
        or len(statement.targets) != 1
        or not isinstance(statement.targets[0], ast.Name)
    ):
        return "expected pipeline parameters of the form `name = literal`"
    value = statement.value
    if not isinstance(value, ast.Constant) or not isinstance(value.value, LITERALS):
        return (
            f"expected a bare int, float, str or bool literal for the pipeline parameter "
            f"{statement.targets[0].id!r} (nothing negative, no list, expression or None)"
        )
    if isinstance(value.value, str) and set(value.value) & set("'\"\\\n"):
        return (
            f"expected no quote, backslash or line break in the pipeline parameter "
            f"{statement.targets[0].id!r}"
        )
    return None


def _check_images(notebook: Any) -> None:
    """Either every step names its image or none does: a forgotten one fails in the cluster only."""
    with_image: set[str] = set()
    first_cell: dict[str, tuple[int, Any]] = {}
    for number, cell, role in roles(notebook):
        if role in GLOBAL_ROLES or not role:
            continue
        first_cell.setdefault(role, (number, cell))
        if any(tag.startswith("image:") for tag in cell.metadata.get("tags", [])):
            with_image.add(role)
    for step, (number, cell) in first_cell.items():
        if with_image and step not in with_image:
            raise NotebookError(
                f"{where(number, cell)}: expected a tag 'image:…' on step {step!r} as on the "
                "other steps, received: none."
            )


def check_packages(notebook: Any, guessed: set[str]) -> None:
    """Refuse a notebook from whose imports Kale would guess packages to install.

    The step image holds everything. A guessed name would be looked up, unpinned, in a package
    index, where the name of a private package can belong to anyone.
    """
    if not guessed:
        return
    from kale.common.imports import get_packages_to_install

    for number, cell, role in roles(notebook):
        here = sorted(get_packages_to_install(cell.source) & guessed)
        if role in ("imports", "functions") and here:
            raise NotebookError(
                f"{where(number, cell)}: Kale would have every step install "
                f"{', '.join(here)} from a package index, because a cell tagged {role!r} "
                "imports it. Import it in the step that uses it."
            )
    raise NotebookError(f"Kale would have every step install {', '.join(sorted(guessed))}.")
