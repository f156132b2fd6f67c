"""Follow a run on Kubeflow Pipelines in the terminal, with the lines of `run_pipeline.py`."""

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from kalecast.pipelines.kubeflow.remote_kfp import Log, RemoteKfp
from kalecast.pipelines.local.step_launcher import step_name

ENDED = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
BEGUN = ("RUNNING", "PAUSED", "CANCELING", *ENDED)


def follow(
    kfp: RemoteKfp,
    run_id: str,
    tasks: Iterable[str],
    log: Log,
    poll_seconds: float,
) -> Any:
    """Log each step as it starts and ends, until the run has ended; returns the run.

    Args:
        kfp: where it runs.
        run_id: the run.
        tasks: the names of the pipeline's steps as KFP knows them.
        log: is given each line.
        poll_seconds: between two looks.
    """
    progress = _Progress(list(tasks), log)
    while True:
        run = kfp.query(lambda: kfp.client.get_run(run_id))
        progress.note(run)
        if run.state in ENDED:
            return run
        time.sleep(poll_seconds)


def seconds_of(thing: Any, begin: str, end: str) -> float | None:
    """How long a run or step took, by the names of its timestamps; None where KFP has not said.

    KFP writes a timestamp that it does not have as the year 1 or 1970.
    """
    timestamps = [getattr(thing, name) for name in (begin, end)]
    if any(timestamp is None or timestamp.year < 2000 for timestamp in timestamps):
        return None
    return float((timestamps[1] - timestamps[0]).total_seconds())


def reason_of(run: Any) -> str:
    """Why a run failed, where KFP says it."""
    history = [status.error for status in run.state_history or []]
    messages = [
        error.message for error in (run.error, *reversed(history)) if error and error.message
    ]
    return " ".join(str(messages[0]).split()) if messages else ""


class _Progress:
    """What was logged of the steps so far."""

    def __init__(self, tasks: list[str], log: Log) -> None:
        self._tasks = tasks
        self._log = log
        self._state = ""
        self._numbers: dict[str, int] = {}
        self._ended: set[str] = set()

    def note(self, run: Any) -> None:
        """Log what has changed."""
        details = run.run_details.task_details if run.run_details else []
        steps = [task for task in details or [] if task.display_name in self._tasks]
        for task in sorted(steps, key=_start):
            if task.state in BEGUN:
                self._note_start(task)
            if task.state in ENDED:
                self._note_end(task)
        if run.state != self._state and run.state in ("PENDING", "CANCELING", "PAUSED"):
            self._log(f"the run is {run.state.lower()}")
        self._state = run.state

    def _note_start(self, task: Any) -> None:
        if task.display_name not in self._numbers and task.state != "SKIPPED":
            self._numbers[task.display_name] = len(self._numbers) + 1
            self._log(self._title(task))

    def _note_end(self, task: Any) -> None:
        if task.display_name not in self._numbers or task.display_name in self._ended:
            return
        self._ended.add(task.display_name)
        seconds = seconds_of(task, "start_time", "end_time")
        took = f" {seconds:.1f} s" if seconds is not None else ""
        state = "" if task.state == "SUCCEEDED" else f" {task.state}"
        self._log(f"{self._title(task)} ...{took}{state}")

    def _title(self, task: Any) -> str:
        name = step_name(task.display_name.replace("-", "_"))
        return f"[{self._numbers[task.display_name]}/{len(self._tasks)}] {name}"


def _start(task: Any) -> datetime:
    return task.start_time or datetime.now(UTC)
