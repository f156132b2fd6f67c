"""Run the pipeline on Kubeflow Pipelines and follow it, or have it run again and again.

    kalecast cluster-run [--param name=value …]      compile, upload, run, follow
    kalecast cluster-run --run ID [--stop]           follow a run, or stop it
    kalecast cluster-run --every 24h | --cron '0 0 3 * * *' [--param …]
    kalecast cluster-run --stop-recurring

`KFP_HOST` and the variables beside it say where (`connection.py`). The last line says the
run's state. The exit code is 0 where that is SUCCEEDED, 1 for another, 2 where KFP or an argument
cannot be used, 130 when interrupted: the run goes on.
"""

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path

from kalecast.lifetime import on_end
from kalecast.pipelines.compile_notebook import NOTEBOOK, PANEL_DEFAULTS, compile_notebook
from kalecast.pipelines.compiled_pipeline import (
    CompiledPipeline,
    NoPipelineError,
    ParameterError,
    parse_parameters,
)
from kalecast.pipelines.kubeflow.connection import KfpConnection, KfpError, usable_connection
from kalecast.pipelines.kubeflow.recurring import ScheduleError, read_schedule
from kalecast.pipelines.kubeflow.runs import RemoteRuns
from kalecast.pipelines.notebooks.cells import NotebookError, read_notebook

NAMESPACE_PARAMETER = "namespace"
POLL_SECONDS = 3.0


def cluster_run(options: argparse.Namespace, connection: KfpConnection) -> int:
    """Run the command that the options give; the exit code."""
    if options.run:
        return _runs(connection, options).follow_again(options.run, options.stop)
    schedule = read_schedule(options.every, options.cron) if options.every or options.cron else None
    with tempfile.TemporaryDirectory() as folder:
        compiled = options.pipeline or _compile(options.notebook, Path(folder))
        pipeline = CompiledPipeline(compiled)
        parameters = parse_parameters(options.param, pipeline.parameters)
        # The model server is to be where the pipeline runs.
        if connection.namespace and NAMESPACE_PARAMETER in pipeline.parameters:
            parameters.setdefault(NAMESPACE_PARAMETER, connection.namespace)
        pipeline.check(parameters)
        experiment = _experiment(options.notebook)
        runs = _runs(connection, options)
        if options.stop_recurring:
            return runs.stop_repeating(pipeline, experiment)
        if schedule:
            return runs.repeat(pipeline, experiment, parameters, schedule)
        return runs.run_once(pipeline, experiment, parameters)


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def _experiment(notebook: Path) -> str:
    block = read_notebook(notebook).metadata["kubeflow_notebook"]
    return str(block.get("experiment_name", PANEL_DEFAULTS["experiment_name"]))


def _compile(notebook: Path, folder: Path) -> Path:
    made = compile_notebook(notebook, folder)
    return next(file for file in made if file.suffix == ".yaml")


def _runs(connection: KfpConnection, options: argparse.Namespace) -> RemoteRuns:
    # KFP's client takes seconds to import, in which a wrong argument would wait for its answer.
    from kalecast.pipelines.kubeflow.client import RemoteKfp

    kfp = RemoteKfp(connection, os.environ, say)
    return RemoteRuns(kfp, say, options.poll_seconds, options.results)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run the pipeline on Kubeflow Pipelines.")
    parser.add_argument("--param", action="extend", nargs="+", default=[], metavar="NAME=VALUE")
    parser.add_argument("--notebook", type=Path, default=NOTEBOOK, help="whose pipeline is run")
    parser.add_argument("--pipeline", type=Path, help="a compiled pipeline, else the notebook's")
    parser.add_argument("--run", help="follow this run")
    parser.add_argument("--stop", action="store_true", help="with --run: stop it")
    parser.add_argument("--every", help="interval of the recurring run: 30m, 24h, 7d")
    parser.add_argument("--cron", help="its times as six cron fields, seconds first")
    parser.add_argument("--stop-recurring", action="store_true", help="disable the recurring run")
    parser.add_argument("--results", type=Path, help="file for the figures of a run that succeeds")
    parser.add_argument("--poll-seconds", type=float, default=POLL_SECONDS)
    options = parser.parse_args(arguments)
    if options.stop and not options.run:
        parser.error("--stop needs --run ID")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    options = _options(arguments)
    on_end(signal.default_int_handler)
    try:
        return cluster_run(options, usable_connection(os.environ))
    except (KfpError, NoPipelineError, ParameterError, ScheduleError, NotebookError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
