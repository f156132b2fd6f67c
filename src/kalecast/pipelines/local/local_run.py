"""Run the compiled pipeline on this machine, from a notebook: line by line, and stoppable."""

import json
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kalecast import lifetime
from kalecast.artifact.store import SERVED, check_name, fetch, publish
from kalecast.evaluation.backtest import EXACT
from kalecast.project import project_path

RUNNER = ("-m", "kalecast.pipelines.local.run_pipeline")
GRACE_SECONDS = 15.0
"""What a stopped pipeline has to end its steps."""

Log = Callable[[str], None]


class PipelineError(RuntimeError):
    """The pipeline failed; the text is the failed step's own, and says so of a published model."""


@dataclass(frozen=True)
class Outcome:
    """What a run of the pipeline gave."""

    model_uri: str
    scores: Mapping[str, float]
    seconds: float

    def verdict(self) -> str:
        """How good the model is, beside the better one of the two seasonal naive forecasts."""
        ours, naive = self.scores["mase"], self.scores["mase_seasonal_naive"]
        better = 100 * (naive - ours) / (naive or EXACT)
        return (
            f"On the held-out steps the model's mean absolute scaled error is {ours:.3f}, that of "
            f"the seasonal naive forecast {naive:.3f}: {abs(better):.0f} % "
            f"{'less' if better > 0 else 'more'}. The 80 % interval held "
            f"{100 * self.scores['coverage_80']:.0f} % of the values, the 95 % interval "
            f"{100 * self.scores['coverage_95']:.0f} %."
        )


def run_here(
    parameters: Mapping[str, object], log: Log = print, runner: Sequence[str] = RUNNER
) -> Outcome:
    """Run the compiled pipeline and wait for it.

    An interruption ends the pipeline with all its processes before it goes on to the caller.

    Args:
        parameters: the pipeline's, by name; those left out have the notebook's values.
        log: is given each line that the run prints, as it comes.
        runner: what Python is given to run it.

    Raises:
        PipelineError: a step failed, or a parameter is none of the pipeline's.
        StoreError: the model's name is none.
    """
    check_name(str(parameters.get("model_name", SERVED)))
    given = [item for pair in parameters.items() for item in ("--param", "{}={}".format(*pair))]
    process = lifetime.start(
        [
            sys.executable,
            *runner,
            "--runs-dir",
            str(project_path("runs")),
            *given,
        ],
        cwd=project_path("."),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    try:
        assert process.stdout is not None
        last = _pass_on(process.stdout, log)
        process.wait()
    except BaseException:
        lifetime.end(process, GRACE_SECONDS)
        raise
    return _outcome(last)


def overrides(text: str) -> dict[str, str]:
    """Parameters out of a text such as `epochs=2 width=32`, quoted as in a shell.

    Raises:
        ValueError: it is none.
    """
    pairs = [item.partition("=") for item in shlex.split(text)]
    wrong = next((name for name, equals, value in pairs if not (name and equals and value)), None)
    if wrong is not None:
        raise ValueError(f"Expected parameters such as 'epochs=2 width=32', received: '{wrong}'.")
    return {name: value for name, _, value in pairs}


def publish_to_serve(outcome: Outcome) -> str:
    """Publish a run's model beside itself under the name that `make run` serves; its URI."""
    from kalecast.artifact.runtime import Forecaster

    model_file = fetch(outcome.model_uri)
    store, _, _ = outcome.model_uri.rpartition("/")
    return publish(model_file, store, SERVED, Forecaster(model_file).contract.version)


def _pass_on(lines: Iterable[str], log: Log) -> str:
    """Log all lines but the last, which is for machines and is returned."""
    last: str | None = None
    for line in lines:
        if last is not None:
            log(last)
        last = line.rstrip("\n")
    return last or ""


def _outcome(last: str) -> Outcome:
    try:
        found: dict[str, Any] = json.loads(last)
    except json.JSONDecodeError as error:
        reason = last.removeprefix("error: ") or "It ended without a word."
        raise PipelineError(reason) from error
    if "error" in found:
        failed = found["error"]
        message = f"Step {failed['step']}: {failed['type']}: {failed['message']}"
        if found.get("model"):
            message += f" (Before it failed it had published its model: {found['model']}.)"
        raise PipelineError(message)
    return Outcome(found["model"], found["scores"], found["seconds"])
