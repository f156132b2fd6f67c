"""What a notebook must keep to, beyond what Kale itself checks, to compile the same everywhere.

Kale takes some things silently and breaks on others far from their cause. Each rule here names
the cell and says what to write instead.
"""

import ast
import warnings
from typing import Any

from kalecast.pipelines.notebooks.cells import NotebookError, roles, where
from kalecast.pipelines.notebooks.names import check_names_in_pipeline
from kalecast.pipelines.notebooks.tags import check_tags

LITERALS = (bool, int, float, str)


def check_notebook(notebook: Any) -> None:
    """Raise a `NotebookError` for the first rule that a pipeline's notebook breaks."""
    _check_metadata(notebook.metadata.get("kubeflow_notebook"))
    check_tags(notebook)
    check_syntax(notebook)
    _check_parameters(notebook)
    _check_packages(notebook)
    check_names_in_pipeline(notebook)


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


def check_syntax(notebook: Any) -> None:
    """Raise a `NotebookError` for the first code cell that is no Python."""
    for number, cell, _ in roles(notebook):
        try:
            _compile(cell.source)
        except ValueError as error:  # such as a null byte
            raise NotebookError(f"{where(number, cell)}: {error}") from error
        except SyntaxError as error:
            line = (error.text or "").strip()
            hint = "; Kale cannot read IPython's % and ! lines" if line[:1] in ("%", "!") else ""
            raise NotebookError(
                f"{where(number, cell)}: {error.msg} in line {error.lineno}: {line}{hint}"
            ) from error


def _compile(source: str) -> None:
    """What IPython does with a cell before it runs it; parsing alone lets `return` pass."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compile(source, "cell", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


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


def _check_packages(notebook: Any) -> None:
    """Refuse imports from which Kale would guess packages to install.

    The step image holds everything. A guessed name would be looked up, unpinned, in a package
    index, where the name of a private package can belong to anyone.
    """
    from kale.common.imports import get_packages_to_install

    for number, cell, role in roles(notebook):
        guessed = role in ("imports", "functions") and get_packages_to_install(cell.source)
        if guessed:
            raise NotebookError(
                f"{where(number, cell)}: Kale would have every step install "
                f"{', '.join(sorted(guessed))} from a package index, because a cell tagged "
                f"{role!r} imports it. Import it in the step that uses it."
            )
