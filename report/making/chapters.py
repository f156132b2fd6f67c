"""Run chapters: jupytext reads the Markdown, papermill runs its cells."""

import re
import shutil
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

import jupytext
import nbformat
import papermill
from nbformat import NotebookNode
from papermill.exceptions import PapermillExecutionError
from papermill.execute import remove_error_markers

from kalecast.lifetime import die_with_parent
from report.making.gaps import boxes, glued_in, result_in
from report.making.plan import REPORT, BuildPlan
from report.results import REGISTRY

PROCESSES = 2
QUIET = ["--log-level=CRITICAL"]
"""Kernels would tell on the terminal that they speak over loopback, and that they were ended."""
OWN = {"parameters", "injected-parameters", "use-parameters"}
"""Tags of the cells that stand before a chapter's own."""


@dataclass
class Run:
    """A chapter that was run."""

    name: str
    seconds: float = 0.0
    errors: list[str] = field(default_factory=list)
    """Of cells, each with its place; those that follow from a missing result are left out."""
    missing: list[str] = field(default_factory=list)
    """Results that must be there."""
    boxes: list[str] = field(default_factory=list)
    """Results that only a cluster gives, for which a box stands in the document."""


def run_all(plan: BuildPlan) -> Iterator[Run]:
    """Run chapters side by side, and leave them in `plan.sources` as notebooks.

    Those that list the figures of the others are run after them.
    """
    late = [chapter for chapter in plan.chosen if "registered(" in plan.text(chapter)]
    for wave in ([chapter for chapter in plan.chosen if chapter not in late], late):
        with ProcessPoolExecutor(PROCESSES, initializer=die_with_parent) as pool:
            waiting = [pool.submit(run, chapter, plan) for chapter in wave]
            for done in waiting:
                yield done.result()


def run(chapter: str, plan: BuildPlan) -> Run:
    """Run one chapter."""
    began = time.monotonic()
    shutil.rmtree(plan.build / "shown" / chapter, ignore_errors=True)
    target = plan.sources / f"{chapter}.ipynb"
    given = plan.build / "given" / target.name
    for path in (target, given):
        path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(prepared(plan.text(chapter)), given)
    parameters = {
        "results_folder": str(plan.results),
        "build_folder": str(plan.build),
        "chapter": chapter,
    }
    # where a cell fails the others are run all the same: all that is missing is reported at once
    with suppress(PapermillExecutionError):
        papermill.execute_notebook(
            given,
            target,
            parameters,
            cwd=REPORT.parent,
            kernel_name="python3",
            progress_bar=False,
            allow_errors=True,
            extra_arguments=QUIET,
        )
    notebook = remove_error_markers(nbformat.read(target, as_version=4))
    notebook.cells = [
        cell for cell in notebook.cells if not OWN & set(cell.metadata.get("tags", []))
    ]
    done = judged(chapter, notebook)
    nbformat.write(notebook, target)
    done.seconds = time.monotonic() - began
    return done


def prepared(text: str) -> NotebookNode:
    """A chapter as a notebook, with the cells before it that take papermill's parameters."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        notebook: NotebookNode = jupytext.reads(text, fmt="md:myst")
    parameters = nbformat.v4.new_code_cell(
        'results_folder = "figures"\nbuild_folder = "build"\nchapter = ""',
        metadata={"tags": ["parameters"]},
    )
    use = nbformat.v4.new_code_cell(
        "from report import results, shown\n"
        "results.read_from(results_folder)\n"
        "shown.begin(chapter, build_folder)",
        metadata={"tags": ["use-parameters"]},
    )
    notebook.cells = [parameters, use, *notebook.cells]
    return notebook


def judged(chapter: str, notebook: NotebookNode) -> Run:
    """What went wrong in a chapter that was run; boxes are put in place of cluster results."""
    done = Run(chapter)
    for cell in notebook.cells:
        failures = [one for one in cell.get("outputs", []) if one.output_type == "error"]
        for failure in failures:
            name = result_in(failure.evalue)
            if failure.ename != "MissingResult":
                done.errors.append(f"{place(chapter, notebook, cell)}: {_described(failure)}")
            elif name in REGISTRY and REGISTRY[name].needs_cluster:
                done.boxes.append(name)
                cell.outputs = list(_boxes(name, cell.source))
            else:
                done.missing.append(f"{failure.evalue} (asked for in {chapter}.md)")
    if done.missing or done.boxes:
        # names that the cell without its result did not make
        done.errors = [error for error in done.errors if "NameError" not in error]
    return done


def glued_names(notebook: NotebookNode) -> list[str]:
    """Names that a chapter's cells tell for the text."""
    return [
        output.metadata.scrapbook.name
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "scrapbook" in output.get("metadata", {})
    ]


def place(chapter: str, notebook: NotebookNode, cell: NotebookNode) -> str:
    """Which cell, in words: 'Chapter 3-model, cell 4 (`scores = …`)'."""
    kind = [one for one in notebook.cells if one.cell_type == cell.cell_type]
    lines = [line for line in cell.source.splitlines() if line and not line.endswith(")=")]
    first = (lines or [""])[0][:60]
    number = next((at for at, one in enumerate(kind, start=1) if one is cell), 0)
    word = "cell" if cell.cell_type == "code" else "text"
    return f"Chapter {chapter}, {word} {number} ({first})"


def _described(output: NotebookNode) -> str:
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in output.traceback]
    at = re.findall(r"^-+> *(\d+) (.*)$", "\n".join(lines), flags=re.MULTILINE)
    where = f" at `{at[-1][1].strip()}`" if at else ""
    return f"{output.ename}: {output.evalue}{where}"


def _boxes(name: str, cell: str) -> Iterator[NotebookNode]:
    for markdown in boxes(name, cell):
        yield nbformat.v4.new_output("display_data", {"text/markdown": markdown})
    for glued in glued_in(cell):
        yield nbformat.v4.new_output(
            "display_data",
            {"application/papermill.record/text/plain": "'(not measured yet)'"},
            metadata={"scrapbook": {"name": glued, "mime_prefix": "application/papermill.record/"}},
        )
