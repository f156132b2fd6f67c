"""Run all notebooks with papermill, then again with nbval, which compares what their cells print.

    kalecast execute-notebooks [NOTEBOOK …] [--output-dir build/notebooks] [--jobs 2]

`notebooks/ci.yaml` has the parameters that make each one small, `notebooks/nbval.cfg` what may
differ between two runs. The executed notebooks are left in the output folder, as notebooks and as
HTML pages. The last line on standard output is one JSON object; the exit code is 1 where a notebook
failed, and 130 where it was stopped.
"""

import argparse
import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml

from kalecast.lifetime import end_child, on_end, start_child
from kalecast.pipelines.local.model_server import ServerError, serving
from kalecast.pipelines.local.run_folder import full_disk, is_full_disk
from kalecast.pipelines.notebooks.cells import Cell, NotebookError, cells_of, read_notebook
from kalecast.project import PROJECT

NOTEBOOKS = PROJECT / "notebooks"
CELL_SECONDS = "600"
GRACE_SECONDS = 10.0
# The page must show without a network.
PAGE_OPTIONS = (
    "--HTMLExporter.mathjax_url=",
    "--HTMLExporter.require_js_url=",
    "--log-level=ERROR",
)
COLOUR = re.compile(r"(?:\x1b|#x1B)\[[0-9;]*m")  # as it is, and as it stands in XML


@dataclass
class NotebookPlan:
    """How one notebook is run."""

    path: Path
    parameters: dict[str, Any] = field(default_factory=dict)
    serves: str = ""
    """The notebook whose published model a server must answer from."""

    @property
    def name(self) -> str:
        """The notebook's name without its ending."""
        return self.path.stem


@dataclass
class NotebookResult:
    """How it went: the seconds of both runs, and what is wrong."""

    name: str
    seconds: float = 0.0
    again_seconds: float = 0.0
    problems: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        times = f"{self.seconds:.1f} s, again {self.again_seconds:.1f} s"
        return f"{self.name} ... {times}{' FAILED' if self.problems else ''}"


def read_plans(paths: list[Path]) -> list[NotebookPlan]:
    """The plan of each notebook; one that `ci.yaml` does not name runs with its own parameters."""
    written = yaml.safe_load((NOTEBOOKS / "ci.yaml").read_text(encoding="utf-8")) or {}
    strange = sorted(set(written) - {path.stem for path in NOTEBOOKS.glob("*.ipynb")})
    if strange:
        raise NotebookError(f"Expected in ci.yaml names of notebooks, received: {strange[0]!r}.")
    return [NotebookPlan(path.resolve(), **written.get(path.stem, {})) for path in paths]


async def execute(plans: list[NotebookPlan], output_dir: Path, jobs: int) -> list[NotebookResult]:
    """Run notebooks side by side, each after the one whose model it needs.

    An interruption ends all of them.
    """
    turns = asyncio.Semaphore(jobs)
    tasks: dict[str, asyncio.Task[NotebookResult]] = {}

    async def run(plan: NotebookPlan) -> NotebookResult:
        if plan.serves in tasks:
            await tasks[plan.serves]
        async with turns:
            result = await _execute(plan, output_dir)
        print(f"[{plans.index(plan) + 1}/{len(plans)}] {result}", flush=True)
        for problem in result.problems:
            print(f"    {plan.name}.ipynb: {problem}", flush=True)
        return result

    for plan in plans:
        tasks[plan.name] = asyncio.create_task(run(plan))
    return await asyncio.gather(*tasks.values())


async def _execute(plan: NotebookPlan, output_dir: Path) -> NotebookResult:
    result = NotebookResult(plan.name)
    executed, models = output_dir / plan.path.name, output_dir / "models"
    values = {"models": str(models)}
    try:
        with _server(plan, models) as addresses:
            start = time.perf_counter()
            result.problems += await _papermill(plan, values | addresses, executed)
            result.seconds = time.perf_counter() - start
            if not result.problems:
                result.problems += await _nbval(executed)
                result.again_seconds = time.perf_counter() - start - result.seconds
    except ServerError as error:
        result.problems.append(str(error))
    if executed.is_file():
        await _run("jupyter", "nbconvert", "--to", "html", *PAGE_OPTIONS, str(executed))
    return result


async def _run(*command: str) -> tuple[int, str]:
    """Run a tool of this environment to its end; its exit code and what it printed."""
    tools = str(Path(sys.executable).parent)
    environment = os.environ | {
        "PATH": f"{tools}{os.pathsep}{os.environ.get('PATH', '')}",
        "KALECAST_HOME": str(PROJECT),
    }
    with tempfile.TemporaryFile() as printed:
        tool = await start_child(list(command), printed, printed, PROJECT, environment)
        try:
            code = await tool.wait()
        except asyncio.CancelledError:
            await end_child(tool, GRACE_SECONDS)
            raise
        printed.seek(0)
        return code, printed.read().decode(errors="replace")


def _server(plan: NotebookPlan, models: Path) -> contextlib.AbstractContextManager[dict[str, str]]:
    if not plan.serves:
        return contextlib.nullcontext({})
    return serving(models / "forecaster.onnx")


async def _papermill(plan: NotebookPlan, values: dict[str, str], executed: Path) -> list[str]:
    """Run a notebook, leave the executed copy, and say which cell failed."""
    given = executed.with_suffix(".parameters.yaml")
    filled = {
        name: value.format_map(values) if isinstance(value, str) else value
        for name, value in plan.parameters.items()
    }
    given.write_text(yaml.safe_dump(filled), encoding="utf-8")
    code, printed = await _run(
        *("papermill", str(plan.path), str(executed), "--parameters_file", str(given)),
        *("--cwd", str(NOTEBOOKS), "--execution-timeout", CELL_SECONDS, "--no-progress-bar"),
    )
    given.unlink()
    if code == 0:
        return []
    errors = list(_errors(executed, printed)) if executed.is_file() else []
    return errors or [_last_line(printed) or f"papermill ended with {code}"]


async def _nbval(executed: Path) -> list[str]:
    """Run the executed copy again, and say which cells print something else."""
    report = executed.with_suffix(".nbval.xml")
    code, printed = await _run(
        *(sys.executable, "-m", "pytest", "-q", "-p", "nbval.plugin", "--nbval"),
        *("-p", "no:cacheprovider", "--disable-plugin-autoload"),
        *("--nbval-sanitize-with", str(NOTEBOOKS / "nbval.cfg"), f"--junitxml={report}"),
        *("--nbval-cell-timeout", CELL_SECONDS, f"--rootdir={executed.parent}", str(executed)),
    )
    if code == 0 or not report.is_file():
        report.unlink(missing_ok=True)
        return [] if code == 0 else [_last_line(printed)]
    errors = []
    for case in ElementTree.parse(report).iter("testcase"):
        failure = case.find("failure")
        if failure is not None:
            name = case.get("name", "").removeprefix("Cell ")
            errors.append(f"{_code_cell(executed, int(name))}: {_difference(failure.text or '')}")
    report.unlink()
    return errors


def _errors(executed: Path, printed: str) -> Iterator[str]:
    """The cells that raised or did not end, numbered as in the notebook that was run."""
    for cell in _numbered(executed):
        errors = [o for o in cell.node.get("outputs", []) if o.output_type == "error"]
        interrupted = any(output.ename == "KeyboardInterrupt" for output in errors)
        if "CellTimeoutError" in printed and interrupted:
            yield f"{cell}: did not end within {CELL_SECONDS} s"
            return
        if "DeadKernelError" in printed and _was_running(cell.node):
            yield f"{cell}: the kernel died while this cell ran"
            return
        for output in errors:
            yield f"{cell}: {output.ename}: {output.evalue.strip()}"


def _was_running(node: Any) -> bool:
    """Whether papermill began it and no kernel replied."""
    replied = "shell.execute_reply" in node.metadata.get("execution", {})
    return node.cell_type == "code" and "papermill" in node.metadata and not replied


def _numbered(executed: Path) -> Iterator[Cell]:
    """An executed copy's cells with their numbers in the original: papermill put some in."""
    added = 0
    for cell in cells_of(read_notebook(executed)):
        added += bool({"injected-parameters", "papermill-error-cell-tag"} & set(cell.tags))
        yield Cell(cell.number - added, cell.node)


def _code_cell(executed: Path, index: int) -> Cell:
    return [cell for cell in _numbered(executed) if cell.node.cell_type == "code"][index]


def _difference(report: str) -> str:
    """nbval's comparison of the two outputs, without its colours and the cell's own lines."""
    plain = COLOUR.sub("", report)
    _, found, difference = plain.partition("Traceback:")
    lines = [line for line in (difference if found else plain).splitlines() if line.strip()]
    return "printed something else when it ran again\n      " + "\n      ".join(lines[:20])


def _last_line(text: str) -> str:
    lines = [line for line in COLOUR.sub("", text).splitlines() if line.strip()]
    return lines[-1] if lines else ""


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Run all notebooks, twice.")
    parser.add_argument("notebooks", nargs="*", type=Path)
    parser.add_argument("--output-dir", type=Path, default=PROJECT / "build" / "notebooks")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(arguments)
    paths = options.notebooks or sorted(NOTEBOOKS.glob("*.ipynb"))
    output_dir = options.output_dir.resolve()
    shutil.rmtree(output_dir, ignore_errors=True)
    on_end(signal.default_int_handler)
    start = time.perf_counter()
    try:
        output_dir.mkdir(parents=True)
        results = asyncio.run(execute(read_plans(paths), output_dir, options.jobs))
    except NotebookError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except OSError as error:
        if not is_full_disk(error):
            raise
        print(f"error: {full_disk(error)}", file=sys.stderr)
        return 1
    failed = sum(bool(result.problems) for result in results)
    seconds = round(time.perf_counter() - start, 1)
    print(f"executed copies and pages: {os.path.relpath(output_dir)}")
    print(json.dumps({"notebooks": len(results), "failed": failed, "seconds": seconds}))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
