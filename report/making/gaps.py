"""Results that are not there: which may be missing, and what then stands in their place."""

import ast
import re
from collections.abc import Iterator

from report.making.plan import BuildPlan
from report.results import REGISTRY, missing_file


def missing_files(plan: BuildPlan) -> list[str]:
    """Results files that chapters name and that must be there, before anything is run."""
    named = {
        name
        for chapter in plan.chosen
        for name in re.findall(r"\bresult\(\s*[\"']([\w-]+)[\"']", plan.text(chapter))
    }
    return [
        missing_file(f"{name}.json", REGISTRY[name])
        for name in sorted(named & set(REGISTRY))
        if not REGISTRY[name].needs_cluster and not (plan.results / f"{name}.json").is_file()
    ]


def result_in(text: str) -> str:
    """The name of the results file of which an error tells; empty where it tells of none."""
    found = re.search(r"report/figures/([\w-]+)\.json", text)
    return found[1] if found else ""


def boxes(name: str, cell: str) -> list[str]:
    """Markdown in place of what a cell would show, with its labels, so that references hold."""
    text = (
        f"Not measured yet: needs a cluster; `{REGISTRY[name].command}` writes "
        f"`report/figures/{name}.json`."
    )
    labels = [one for one in _texts(cell) if re.fullmatch(r"(fig|tab)-[a-z0-9-]+", one)]
    if not labels:
        return [f":::{{admonition}} Not measured yet\n:class: missing\n\n{text}\n:::\n"]
    return [_figure(one, text) if one.startswith("fig-") else _table(one, text) for one in labels]


def glued_in(cell: str) -> list[str]:
    """The names that a cell would tell for the text."""
    return [
        keyword.arg
        for call in ast.walk(ast.parse(cell))
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "glue"
        for keyword in call.keywords
        if keyword.arg
    ]


def _texts(cell: str) -> Iterator[str]:
    for one in ast.walk(ast.parse(cell)):
        if isinstance(one, ast.Constant) and isinstance(one.value, str):
            yield one.value


def _figure(label: str, text: str) -> str:
    return (
        f":::{{figure}} /pictures/missing.svg\n:name: {label}\n:figclass: missing\n"
        f":alt: Not measured yet\n\n{text}\n:::\n"
    )


def _table(label: str, text: str) -> str:
    return (
        f":::{{table}} {text}\n:name: {label}\n:class: missing\n\n"
        "| Not measured yet |\n|---|\n| – |\n:::\n"
    )
