"""Run a compiled pipeline on this machine, with KFP's local runner.

    kalecast pipeline [kale/<name>.pipeline.yaml | --notebook NOTEBOOK]
        [--param name=value …] [--runs-dir runs]

Every run gets a folder of its own with logs, reports, what passed between the steps, how far it
is (progress.json) and how it went (summary.json). The last line on standard output is one JSON
object. The exit code is 0, 1 when a step failed, 2 for a wrong argument, or 128 and
the signal's number when stopped.
"""

import argparse
import contextlib
import io
import json
import shutil
import signal
import sys
import time
import types
import warnings
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit
from urllib.request import url2pathname

from kalecast import lifetime
from kalecast.pipelines.compiled_pipeline import (
    CompiledPipeline,
    NoPipelineError,
    ParameterError,
    compiled_from,
    parse_parameters,
    step_name,
    task_names,
)
from kalecast.pipelines.local import run_folder
from kalecast.pipelines.local.step_launcher import StepLauncher, StepRecord
from kalecast.pipelines.local.terminal_text import plain
from kalecast.project import PROJECT

# Python's own start and the imports above count too: they took this process's CPU time.
STARTED = time.perf_counter() - time.process_time()

PIPELINE = PROJECT / "kale" / "forecast-pipeline.pipeline.yaml"


class PipelineStopped(BaseException):
    """A signal stopped this run."""


def run_pipeline(pipeline_file: Path, given: list[str], folder: Path, keep: bool = True) -> int:
    """Run, print the summary and return the exit code.

    Args:
        pipeline_file: a compiled pipeline.
        given: parameters as `name=value`.
        folder: where the run keeps everything.
        keep: whether the folder stays if nothing runs because of a wrong parameter.
    """
    run_folder.make_subfolders(folder)
    held = run_folder.hold(folder)
    progress: dict[str, Any] = {
        "pipeline": pipeline_file.name,
        "parameters": {},
        "started": time.time(),
    }

    def write_progress(steps: list[dict[str, Any]]) -> None:
        run_folder.write_json(folder / run_folder.PROGRESS, {**progress, "steps": steps})

    launcher = StepLauncher(folder, PROJECT, sys.stdout, write_progress)
    # Data frames between steps make Kale import pandas, which takes seconds, in every step.
    source = pipeline_file.read_text(encoding="utf-8")
    launcher.start(["pandas"] if "pandas" in source or "kalecast" in source else [])
    exit_code = 0
    try:
        pipeline = CompiledPipeline(pipeline_file)
        parameters = parse_parameters(given, pipeline.parameters)
        pipeline.check(parameters)
        names = [step_name(task) for task in task_names(pipeline.spec)]
        progress |= {"parameters": parameters, "defaults": pipeline.defaults, "step_names": names}
        write_progress([])
        launcher.step_count = len(names)
        _run_locally(pipeline_file, parameters, launcher)
    except (ParameterError, NoPipelineError):
        if not keep:
            shutil.rmtree(folder)
        raise
    except PipelineStopped as stopped:
        exit_code = 128 + int(stopped.args[0])
    except Exception:
        if not any(record.error for record in launcher.records):
            raise
        exit_code = 1
    finally:
        lifetime.ignore_ends()
        launcher.end()
    _summarize(launcher, pipeline_file, progress["parameters"], exit_code)
    held.close()
    return exit_code


def _run_locally(pipeline_file: Path, parameters: dict[str, Any], launcher: StepLauncher) -> None:
    # The client, which talks to a server, takes three of KFP's four seconds of import.
    sys.modules["kfp.client"] = types.SimpleNamespace(Client=None)  # type: ignore[assignment]
    from kfp import components, local
    from kfp.local import subprocess_task_handler

    pipeline = components.load_component_from_file(str(pipeline_file))

    subprocess_task_handler.run_local_subprocess = launcher.run_command
    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=str(launcher.run_folder / "artifacts"),
        workspace_root=str(launcher.run_folder / "workspace"),
    )
    reported_by_kfp = io.StringIO()  # what the launcher reports, in other words
    try:
        with contextlib.redirect_stdout(reported_by_kfp), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="You may be attemping to run a task")
            # CPU, memory and retries are for pods.
            warnings.filterwarnings(
                "ignore", message=".*have no effect in the current local runner"
            )
            pipeline(**parameters)
    finally:
        kfp_log = launcher.run_folder / "logs" / "kfp.txt"
        kfp_log.write_text(plain(reported_by_kfp.getvalue()), encoding="utf-8")


def _model_of(records: list[StepRecord]) -> str | None:
    """Where the model is: the value of `model_uri`, a path if it is a `file:` URI."""
    uri = next((r.model_uri for r in reversed(records) if r.model_uri), None)
    parts = urlsplit(uri or "")
    return url2pathname(parts.path) if parts.scheme == "file" else uri


def _summarize(
    launcher: StepLauncher, pipeline_file: Path, parameters: dict[str, Any], exit_code: int
) -> None:
    """Print the summary, keep it as summary.json, and end with the line for machines."""
    records, folder = launcher.records, launcher.run_folder
    failed = next((record for record in records if record.error), None)
    seconds = time.perf_counter() - STARTED
    outcome: dict[str, Any] = {
        "seconds": round(seconds, 3),
        "overhead_seconds": round(seconds - sum(r.cell_seconds for r in records), 3),
        "model": _model_of(records),
        "scores": {name: value for record in records for name, value in record.scores.items()},
    }
    if failed and failed.error:
        outcome["error"] = {"step": failed.name, **failed.error}
    elif exit_code:
        outcome["error"] = {
            "step": records[-1].name if records else None,
            "type": signal.Signals(exit_code - 128).name,
            "message": "stopped",
        }
    details = {
        "pipeline": pipeline_file.name,
        "parameters": parameters,
        "steps": [record.summary() for record in records],
    }
    try:
        run_folder.write_json(folder / run_folder.SUMMARY, outcome | details)
    except OSError as error:
        print(f"{run_folder.SUMMARY} could not be written: {error.strerror}")
    print("\n".join(_table(records)))
    for name, value in outcome["scores"].items():
        print(f"score    {name} = {value:g}")
    if outcome["model"]:
        print(f"model    {outcome['model']}")
    print(f"reports  {folder / 'reports'}")
    if "error" in outcome:
        print("FAILED   step {step}: {type}: {message}".format_map(outcome["error"]))
    print(json.dumps(outcome), flush=True)


def _table(records: list[StepRecord]) -> list[str]:
    width = max([len(record.name) for record in records] + [4])
    lines = ["", f"{'step':<{width}}  {'seconds':>8}  {'in cells':>8}"]
    for record in records:
        remark = "" if record.status == "done" else f"  {record.status}"
        lines.append(
            f"{record.name:<{width}}  {record.seconds:8.1f}  {record.cell_seconds:8.1f}{remark}"
        )
    return [*lines, ""]


def _pipeline_file(options: argparse.Namespace) -> Path:
    if options.notebook:
        return compiled_from(options.notebook, PROJECT / "kale")
    pipeline_file: Path = options.pipeline or PIPELINE
    if not pipeline_file.is_file():
        raise ParameterError(f"Expected a compiled pipeline, received: {pipeline_file}.")
    return pipeline_file


def _stop(number: int, frame: object) -> NoReturn:
    raise PipelineStopped(number)


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Run a compiled pipeline on this machine.")
    parser.add_argument("pipeline", nargs="?", type=Path, help=f"else {PIPELINE.name}")
    parser.add_argument("--notebook", type=Path, help="a notebook whose pipeline is run")
    parser.add_argument("--param", action="extend", nargs="+", default=[], metavar="NAME=VALUE")
    parser.add_argument("--runs-dir", type=Path, default=PROJECT / "runs")
    parser.add_argument("--run-folder", type=Path, help="an existing folder for the run")
    options = parser.parse_args(arguments)
    lifetime.on_end(_stop)
    try:
        pipeline_file = _pipeline_file(options)
        if options.run_folder:
            return run_pipeline(pipeline_file, options.param, options.run_folder.resolve())
        folder = run_folder.new_run_folder(options.runs_dir)
        return run_pipeline(pipeline_file, options.param, folder, keep=False)
    except (ParameterError, NoPipelineError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if not run_folder.is_full_disk(error):
            raise
        print(f"error: {run_folder.full_disk(error)}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
