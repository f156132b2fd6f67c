"""Check notebooks as they are committed, without running them.

    kalecast check-notebooks [NOTEBOOK …]

Each problem is reported with its notebook and its cell. A notebook with a
`kubeflow_notebook` block must compile, and what `kale/` holds must be what it compiles to; in every
other one each cell may use only what cells above it make. The exit code is 1 where one has
problems.
"""

import argparse
import ast
import copy
import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kalecast.pipelines.compile_notebook import check_compile, pipeline_notebooks, remedy
from kalecast.pipelines.notebooks.cells import Cell, NotebookError, cells_of, read_notebook
from kalecast.pipelines.notebooks.names import check_names_in_order
from kalecast.pipelines.notebooks.rules import PARAMETER_TAGS, check_notebook, check_syntax
from kalecast.project import PROJECT

CLEAR = "Clear it with: jupyter nbconvert --clear-output --inplace, and the notebook's name"
# Paths of one person's machine, in prose too.
HOME = r"(?<![\w.-])(?:~/|/(?:home|Users|root)/|[A-Za-z]:[\\/]+Users\b)[\w.\\/-]*"
# Any folder of one machine, in the strings of code. `/api/…` is a route.
MACHINE_PATH = re.compile(
    rf"{HOME}|(?<![\w.:/-])/(?:tmp|var|opt|mnt|media|srv|usr|etc|private|Volumes|work|workspace"
    r"|scratch|nfs|dbfs|kaggle)/[\w./-]*|(?<![\w./-])/(?:data|content)/[\w./-]*\.\w+"
    r"|(?<!\w)[A-Za-z]:\\\w\w[\w.\\-]*|\\\\\w+\\[\w.\\-]+"
)
HOME_IN_PROSE = re.compile(HOME)

# Magics that run the Python behind them in the notebook.
TIMED_CELL = re.compile(r"\A%%(?:time|capture|prun)\b.*\n")
TIMED_LINE = re.compile(r"^%(?:time|prun)\s+", re.MULTILINE)


def problems(path: Path, compiled: Path = PROJECT / "kale") -> list[str]:
    """The problems of one notebook; each text names the cell.

    Args:
        path: the notebook.
        compiled: the folder with what pipelines compile to.
    """
    try:
        notebook = read_notebook(path)
    except NotebookError as error:
        return [str(error)]
    found = [
        *_left_from_a_run(notebook),
        *_machine_paths(notebook),
        *_unknown_to_papermill(notebook),
    ]
    if "kubeflow_notebook" in notebook.metadata:
        errors = _errors_of(check_notebook, notebook)
        return found + (errors or _stale(path, compiled))
    if not _is_python(notebook):
        return found
    plain = _without_magics(notebook)
    return found + (_errors_of(check_syntax, plain) or _errors_of(check_names_in_order, plain))


def _is_python(notebook: Any) -> bool:
    metadata = notebook.metadata
    languages = (
        metadata.get("language_info", {}).get("name"),
        metadata.get("kernelspec", {}).get("language"),
    )
    return next((language for language in languages if language), "python").lower() == "python"


def _errors_of(check: Callable[[Any], object], notebook: Any) -> list[str]:
    try:
        check(notebook)
    except NotebookError as error:
        return [str(error)]
    return []


def _stale(path: Path, compiled: Path) -> list[str]:
    try:
        report = check_compile(path, compiled)
    except NotebookError as error:
        return [str(error)]
    if not report:
        return []
    message = f"has changed since it was compiled. Mend it with: {remedy(path)}, then git add kale"
    return ["\n  ".join([message, *report])]


def _left_from_a_run(notebook: Any) -> Iterator[str]:
    for cell in cells_of(notebook):
        if cell.node.get("outputs"):
            yield f"{cell}: has an output. {CLEAR}"
        elif cell.node.get("execution_count") is not None:
            yield f"{cell}: has a run's number. {CLEAR}"


def _unknown_to_papermill(notebook: Any) -> Iterator[str]:
    for cell in cells_of(notebook):
        if PARAMETER_TAGS[0] in cell.tags and PARAMETER_TAGS[1] not in cell.tags:
            yield (
                f"{cell}: expected the tags {PARAMETER_TAGS}: without the second "
                f"papermill cannot set parameters, received: {cell.tags}."
            )


def _machine_paths(notebook: Any) -> Iterator[str]:
    for cell in cells_of(notebook):
        for text in _texts(cell):
            pattern = MACHINE_PATH if cell.node.cell_type == "code" else HOME_IN_PROSE
            if found := pattern.search(text):
                yield (
                    f"{cell}: names a path of one machine, {found[0].strip()!r}. "
                    "Paths are relative to the project's folder."
                )


def _texts(cell: Cell) -> Iterator[str]:
    """A cell's prose, or the strings of its code; comments and operators are no paths."""
    if cell.node.cell_type != "code":
        yield cell.source if cell.node.cell_type == "markdown" else ""
        return
    try:
        tree = ast.parse(cell.source)
    except SyntaxError:
        yield cell.source  # magics, or broken; what is broken is reported elsewhere
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _without_magics(notebook: Any) -> Any:
    """The notebook with IPython's % and ! lines as the Python that they stand for."""
    from IPython.core.inputtransformer2 import TransformerManager

    plain = copy.deepcopy(notebook)
    for cell in plain.cells:
        if cell.cell_type == "code":
            bare = TIMED_LINE.sub("", TIMED_CELL.sub("\n", cell.source))
            cell.source = TransformerManager().transform_cell(bare).rstrip("\n")
    return plain


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Check notebooks without running them.")
    parser.add_argument("notebooks", nargs="*", type=Path)
    options = parser.parse_args(arguments)
    found = (PROJECT / "notebooks").rglob("*.ipynb")
    paths = options.notebooks or sorted(p for p in found if ".ipynb_checkpoints" not in p.parts)
    wrong = {path: errors for path in paths if (errors := problems(path))}
    if not options.notebooks and (same := _errors_of(pipeline_notebooks, PROJECT / "notebooks")):
        wrong[PROJECT / "notebooks"] = same
    for path, errors in wrong.items():
        for problem in errors:
            print(f"{os.path.relpath(path)}: {problem}")
    print(f"{len(paths)} notebooks, {len(wrong)} with problems.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
