"""What the tags of a notebook's cells must keep to.

Kale merges a cell without a tag into the one before it, and drops some tags silently.
"""

import re
from typing import Any

from kalecast.pipelines.notebooks.cells import (
    GLOBAL_ROLES,
    NotebookError,
    has_code,
    role_of,
    roles,
    where,
)

PARAMETER_TAGS = ["pipeline-parameters", "parameters"]  # Kale's, then papermill's

# What `templates/` and Kale together take into the compiled pipeline.
RESOURCES = ("requests.cpu", "cpu", "requests.memory", "memory")
LIMITS = (*RESOURCES, "retries", "nvidia.com/gpu", "amd.com/gpu")
QUANTITY = r"\d+(\.\d+)?(m|k|K|M|G|Ki|Mi|Gi)?"
OF_ALL_STEPS = ("image:", *(f"limit:{name}:" for name in RESOURCES))


def check_tags(notebook: Any) -> None:
    """Raise a `NotebookError` for the first cell whose tags Kale would misread."""
    steps: list[str] = []
    role = ""
    for number, cell in enumerate(notebook.cells, start=1):
        tags = [str(tag) for tag in cell.metadata.get("tags", [])]
        problem = _executed(tags) or _bad_setting(tags)
        if has_code(cell) and not problem:
            problem = _bad_role(tags, role_of(cell), role) or _bad_step(tags, steps)
            if role_of(cell) != "skip":
                role = role_of(cell)
                steps.append(role)
        if problem:
            raise NotebookError(f"{where(number, cell)}: {problem}")
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


def _bad_role(tags: list[str], role: str, before: str) -> str | None:
    """What is wrong with the tag that says where a cell belongs."""
    more = f" and {len(tags) - 2} more" if len(tags) > 2 else ""
    received = f"received: {', '.join(map(repr, tags[:2])) or 'none'}{more}"
    if "parameters" in tags and tags[:2] != PARAMETER_TAGS:
        return f"expected the tags {PARAMETER_TAGS} in this order, {received}."
    if role:
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
    first_cell: dict[str, str] = {}
    for number, cell, role in roles(notebook):
        tags = set(cell.metadata.get("tags", []))
        if role in GLOBAL_ROLES or any(tag.startswith("notebook:") for tag in tags):
            continue
        first_cell.setdefault(role, where(number, cell))
        tags_of.setdefault(role, set()).update(tags)
    for start in OF_ALL_STEPS:
        having = {step for step, tags in tags_of.items() if any(t.startswith(start) for t in tags)}
        for step, place in first_cell.items():
            if having and step not in having:
                raise NotebookError(
                    f"{place}: expected a tag '{start}…' on step {step!r} as on the other steps, "
                    "received: none."
                )
