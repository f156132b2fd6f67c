"""What a notebook must keep to, beyond what Kale itself checks, to compile the same everywhere.

Kale takes some things silently and breaks on others far from their cause. Each rule here names
the cell and says what to write instead.
"""

import ast
import re
import warnings
from typing import Any

from kalecast.pipelines.notebooks.cells import GLOBAL_ROLES, Cell, NotebookError, cells_of, code_of
from kalecast.pipelines.notebooks.names import check_names_in_pipeline

LITERALS = (bool, int, float, str)
PARAMETER_TAGS = ["pipeline-parameters", "parameters"]  # Kale's, then papermill's

# What `templates/` and Kale together take into the compiled pipeline.
RESOURCES = ("requests.cpu", "cpu", "requests.memory", "memory")
LIMITS = (*RESOURCES, "retries", "nvidia.com/gpu", "amd.com/gpu")
QUANTITY = r"\d+(\.\d+)?(m|k|K|M|G|Ki|Mi|Gi)?"
OF_ALL_STEPS = ("image:", *(f"limit:{name}:" for name in RESOURCES))


def check_notebook(notebook: Any) -> None:
    """Raise a `NotebookError` for the first rule that a pipeline's notebook breaks."""
    _check_metadata(notebook.metadata.get("kubeflow_notebook"))
    _check_tags(notebook)
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


def _check_tags(notebook: Any) -> None:
    """Raise for a cell whose tags Kale would misread.

    Kale merges a cell without a tag into the one before it, and drops some tags silently.
    """
    steps: list[str] = []
    role = ""
    for cell in cells_of(notebook):
        problem = _executed(cell.tags) or _bad_setting(cell.tags)
        if cell.has_code and not problem:
            problem = _bad_role(cell, role) or _bad_step(cell.tags, steps)
            if cell.role != "skip":
                role = cell.role
                steps.append(role)
        if problem:
            raise NotebookError(f"{cell}: {problem}")
    _check_alike(notebook)


def _executed(tags: list[str]) -> str | None:
    if "injected-parameters" in tags:
        return (
            "this is an executed copy, papermill put the cell in. "
            "Compile the notebook it was made from, or delete the cell."
        )
    return None


def _bad_setting(tags: list[str]) -> str | None:
    """What is wrong with a step's limits and retries."""
    for tag in tags:
        kind, _, rest = tag.partition(":")
        key, _, value = rest.rpartition(":")
        if kind == "limit" and key not in LIMITS:
            return (
                f"expected a limit of {', '.join(LIMITS)}, received: {tag!r}, "
                "which Kale would drop silently."
            )
        if key == "retries" and not value.isdecimal():
            return f"expected a number of retries such as 'limit:retries:2', received: {tag!r}."
        if kind == "limit" and not re.fullmatch(QUANTITY, value):
            return f"expected a quantity such as 2, 500m or 4Gi, received: {tag!r}."
    return None


def _bad_role(cell: Cell, before: str) -> str | None:
    """What is wrong with the tag that says where a cell belongs, below one of role `before`."""
    tags = cell.tags
    more = f" and {len(tags) - 2} more" if len(tags) > 2 else ""
    received = f"received: {', '.join(map(repr, tags[:2])) or 'none'}{more}"
    if "parameters" in tags and tags[:2] != PARAMETER_TAGS:
        return f"expected the tags {PARAMETER_TAGS} in this order, {received}."
    if cell.role:
        return None
    hint = "" if before in ("", *GLOBAL_ROLES) else f"'step:{before}' as the cell before it, "
    return (
        f"expected a tag that says where it belongs: {hint}a step of its own, or 'skip', "
        f"{received}. Kale would silently add it to the cell before it."
    )


def _bad_step(tags: list[str], steps: list[str]) -> str | None:
    """What is wrong with the tags of a step below the given ones."""
    from kale.processors.constants import TAGS_LANGUAGE

    if any(tag in GLOBAL_ROLES for tag in tags):
        return None  # Kale reads no further
    for tag in tags:
        if not any(re.match(pattern, tag) for pattern in TAGS_LANGUAGE):
            return f"Kale does not know the tag {tag!r}."
        kind, _, name = tag.partition(":")
        if kind == "prev" and name not in steps:
            above = sorted({step for step in steps if step not in GLOBAL_ROLES})
            return (
                f"expected after 'prev:' a step above it ({', '.join(above) or 'there is none'}), "
                f"received: {tag!r}."
            )
    return None


def _check_alike(notebook: Any) -> None:
    """Image and resources: all steps name them or none; a forgotten one fails in a cluster only."""
    tags_of: dict[str, set[str]] = {}
    first_cell: dict[str, Cell] = {}
    for cell in code_of(notebook):
        if cell.role in GLOBAL_ROLES or any(tag.startswith("notebook:") for tag in cell.tags):
            continue
        first_cell.setdefault(cell.role, cell)
        tags_of.setdefault(cell.role, set()).update(cell.tags)
    for start in OF_ALL_STEPS:
        having = {step for step, tags in tags_of.items() if any(t.startswith(start) for t in tags)}
        for step, place in first_cell.items():
            if having and step not in having:
                raise NotebookError(
                    f"{place}: expected a tag '{start}…' on step {step!r} as on the other steps, "
                    "received: none."
                )


def check_syntax(notebook: Any) -> None:
    """Raise a `NotebookError` for the first code cell that is no Python."""
    for cell in code_of(notebook):
        try:
            _compile(cell.source)
        except ValueError as error:  # such as a null byte
            raise NotebookError(f"{cell}: {error}") from error
        except SyntaxError as error:
            line = (error.text or "").strip()
            hint = "; Kale cannot read IPython's % and ! lines" if line[:1] in ("%", "!") else ""
            raise NotebookError(
                f"{cell}: {error.msg} in line {error.lineno}: {line}{hint}"
            ) from error


def _compile(source: str) -> None:
    """What IPython does with a cell before it runs it; parsing alone lets `return` pass."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compile(source, "cell", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


def _check_parameters(notebook: Any) -> None:
    for cell in code_of(notebook):
        if cell.role != "pipeline-parameters":
            continue
        for statement in ast.parse(cell.source).body:
            reason = _parameter_problem(statement)
            if reason:
                raise NotebookError(
                    f"{cell}: {reason}, received: {ast.get_source_segment(cell.source, statement)}"
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

    for cell in code_of(notebook):
        guessed = cell.role in ("imports", "functions") and get_packages_to_install(cell.source)
        if guessed:
            raise NotebookError(
                f"{cell}: Kale would have every step install "
                f"{', '.join(sorted(guessed))} from a package index, because a cell tagged "
                f"{cell.role!r} imports it. Import it in the step that uses it."
            )
