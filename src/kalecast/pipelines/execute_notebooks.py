"""Run all notebooks with papermill, then again with nbval, which compares what their cells print.

    kalecast execute-notebooks [NOTEBOOK …] [--output-dir build/notebooks] [--jobs 2]

`notebooks/ci.yaml` has the parameters that make each one small, `notebooks/nbval.cfg` what may
differ between two runs. The executed notebooks are left in the output folder, as notebooks and as
HTML pages. The last line on standard output is one JSON object; the exit code is 1 where a notebook
failed, and 130 where it was stopped.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml

from kalecast.lifetime import on_end
from kalecast.pipelines.local.model_server import ServerError, serving
from kalecast.pipelines.local.run_folder import full_disk, is_full_disk
from kalecast.pipelines.notebooks.cells import NotebookError, read_notebook, where
from kalecast.pipelines.notebooks.tool_runs import ToolRuns, ToolsStopped
from kalecast.project import PROJECT

NOTEBOOKS = PROJECT / "notebooks"
CELL_SECONDS = "600"
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


def execute(plans: list[NotebookPlan], output_dir: Path, jobs: int) -> list[NotebookResult]:
    """Run notebooks side by side, each after the one whose model it needs.

    An interruption ends all of them.
    """
    tools = ToolRuns()
    models = output_dir / "models"
    done: dict[str, Future[NotebookResult]] = {}
    # A notebook that waits for another is behind it in the queue: two workers never both wait.
    in_order = sorted(plans, key=lambda plan: bool(plan.serves))
    with ThreadPoolExecutor(jobs) as pool:

        def run(plan: NotebookPlan) -> NotebookResult:
            if plan.serves and plan.serves in done:
                done[plan.serves].result()
            result = _execute(plan, tools, models, output_dir)
            print(f"[{plans.index(plan) + 1}/{len(plans)}] {result}", flush=True)
            for problem in result.problems:
                print(f"    {plan.name}.ipynb: {problem}", flush=True)
            return result

        try:
            for plan in in_order:
                done[plan.name] = pool.submit(run, plan)
            return [done[plan.name].result() for plan in plans]
        except BaseException:
            tools.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _execute(plan: NotebookPlan, tools: ToolRuns, models: Path, output_dir: Path) -> NotebookResult:
    result = NotebookResult(plan.name)
    executed = output_dir / plan.path.name
    values = {"models": str(models)}
    try:
        with _server(plan, models) as addresses:
            start = time.perf_counter()
            result.problems += _papermill(plan, tools, values | addresses, executed)
            result.seconds = time.perf_counter() - start
            if not result.problems:
                result.problems += _nbval(tools, executed)
                result.again_seconds = time.perf_counter() - start - result.seconds
    except ServerError as error:
        result.problems.append(str(error))
    if executed.is_file():
        tools.run("jupyter", "nbconvert", "--to", "html", *PAGE_OPTIONS, str(executed))
    return result


def _server(plan: NotebookPlan, models: Path) -> contextlib.AbstractContextManager[dict[str, str]]:
    if not plan.serves:
        return contextlib.nullcontext({})
    return serving(models / "forecaster.onnx")


def _papermill(
    plan: NotebookPlan, tools: ToolRuns, values: dict[str, str], executed: Path
) -> list[str]:
    """Run a notebook, leave the executed copy, and say which cell failed."""
    given = executed.with_suffix(".parameters.yaml")
    filled = {
        name: value.format_map(values) if isinstance(value, str) else value
        for name, value in plan.parameters.items()
    }
    given.write_text(yaml.safe_dump(filled), encoding="utf-8")
    done = tools.run(
        *("papermill", str(plan.path), str(executed), "--parameters_file", str(given)),
        *("--cwd", str(NOTEBOOKS), "--execution-timeout", CELL_SECONDS, "--no-progress-bar"),
    )
    given.unlink()
    if done.returncode == 0:
        return []
    errors = list(_errors(executed, done.stderr)) if executed.is_file() else []
    return errors or [_last_line(done.stderr) or f"papermill ended with {done.returncode}"]


def _nbval(tools: ToolRuns, executed: Path) -> list[str]:
    """Run the executed copy again, and say which cells print something else."""
    report = executed.with_suffix(".nbval.xml")
    done = tools.run(
        *(sys.executable, "-m", "pytest", "-q", "-p", "nbval.plugin", "--nbval"),
        *("-p", "no:cacheprovider", "--disable-plugin-autoload"),
        *("--nbval-sanitize-with", str(NOTEBOOKS / "nbval.cfg"), f"--junitxml={report}"),
        *("--nbval-cell-timeout", CELL_SECONDS, f"--rootdir={executed.parent}", str(executed)),
    )
    if done.returncode == 0 or not report.is_file():
        report.unlink(missing_ok=True)
        return [] if done.returncode == 0 else [_last_line(done.stdout + done.stderr)]
    errors = []
    for case in ElementTree.parse(report).iter("testcase"):
        failure = case.find("failure")
        if failure is not None:
            name = case.get("name", "").removeprefix("Cell ")
            errors.append(f"{_code_cell(executed, int(name))}: {_difference(failure.text or '')}")
    report.unlink()
    return errors


def _errors(executed: Path, stderr: str) -> Iterator[str]:
    """The cells that raised or did not end, numbered as in the notebook that was run."""
    for number, cell in _numbered(executed):
        if "CellTimeoutError" in stderr and _was_interrupted(cell):
            yield f"{where(number, cell)}: did not end within {CELL_SECONDS} s"
            return
        if "DeadKernelError" in stderr and _was_running(cell):
            yield f"{where(number, cell)}: the kernel died while this cell ran"
            return
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                yield f"{where(number, cell)}: {output.ename}: {output.evalue.strip()}"


def _was_running(cell: Any) -> bool:
    """Whether papermill began it and no kernel replied."""
    replied = "shell.execute_reply" in cell.metadata.get("execution", {})
    return cell.cell_type == "code" and "papermill" in cell.metadata and not replied


def _was_interrupted(cell: Any) -> bool:
    errors = [o for o in cell.get("outputs", []) if o.output_type == "error"]
    return any(output.ename == "KeyboardInterrupt" for output in errors)


def _numbered(executed: Path) -> Iterator[tuple[int, Any]]:
    """An executed copy's cells with their numbers in the original: papermill put some in."""
    number = 0
    for cell in read_notebook(executed).cells:
        if not {"injected-parameters", "papermill-error-cell-tag"} & set(
            cell.metadata.get("tags", [])
        ):
            number += 1
        yield number, cell


def _code_cell(executed: Path, index: int) -> str:
    code = [(number, cell) for number, cell in _numbered(executed) if cell.cell_type == "code"]
    return where(*code[index])


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
        results = execute(read_plans(paths), output_dir, options.jobs)
    except NotebookError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, ToolsStopped):
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
