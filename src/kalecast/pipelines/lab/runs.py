"""The runs of this machine: those started here, one after another, and those of `make pipeline`."""

import asyncio
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tornado.web import HTTPError

from kalecast.lifetime import end_child, start_child
from kalecast.pipelines.lab.run_view import REQUEST, TERMINAL, view_run
from kalecast.pipelines.local import run_folder
from kalecast.pipelines.local.run_folder import full_disk, is_full_disk

RUN_PIPELINE = "kalecast.pipelines.local.run_pipeline"
PACKAGE = "pipeline.yaml"  # in the run's folder
GRACE_SECONDS = 15.0  # a run needs ten at most to end its steps
LOG_TAIL_BYTES = 64 * 1024
LISTED_RUNS = 200
MARKS = (REQUEST, run_folder.PROGRESS, run_folder.SUMMARY)


class Runs:
    """All runs whose folders lie in `runs_dir`; those started here are its tasks."""

    def __init__(self, runs_dir: Path) -> None:
        self._runs_dir = runs_dir.resolve()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        # A laptop has no cores for two at once. The lock goes to whoever has waited longest.
        self._turn = asyncio.Lock()
        self._not_started: dict[str, str] = {}
        """Why a run could not be started, by its id: its folder may not take the reason."""

    def add(self, name: str, package: str) -> str:
        """Queue a run and return its id, which is the name of its folder.

        Args:
            name: the pipeline's.
            package: the compiled pipeline.
        """
        folder = run_folder.new_run_folder(self._runs_dir)
        try:
            created = datetime.now(UTC).isoformat()
            run_folder.write_json(folder / REQUEST, {"pipeline": name, "created_at": created})
            (folder / PACKAGE).write_text(package, encoding="utf-8")
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self._tasks[folder.name] = asyncio.create_task(self._run(folder))
        return folder.name

    def newest(self) -> list[dict[str, Any]]:
        """The runs to list, the newest first."""
        folders = sorted(self._folders(), key=lambda folder: folder.name, reverse=True)
        views = [self._view(folder) for folder in folders[:LISTED_RUNS]]
        return sorted(views, key=lambda view: str(view["created_at"]), reverse=True)

    def view(self, run_id: str) -> dict[str, Any]:
        """All about one run."""
        return self._view(self._folder(run_id))

    def log(self, run_id: str, step: str) -> dict[str, Any]:
        """The end of what a step printed."""
        logs = {file.stem: file for file in (self._folder(run_id) / "logs").glob("*.log")}
        text, is_cut = _tail(logs[step]) if step in logs else ("", False)
        return {"step": step, "text": text, "cut": is_cut}

    def report(self, run_id: str, step: str) -> Path:
        """A step's HTML report."""
        reports = {file.stem: file for file in (self._folder(run_id) / "reports").glob("*.html")}
        if step not in reports:
            raise HTTPError(404, f"Run {run_id} has no report of this step.")
        return reports[step]

    def stop(self, run_id: str) -> None:
        """Take a run that waits out of the queue, or begin to end one that works."""
        self._folder(run_id)
        task = self._tasks.get(run_id)
        if task is None or task.done():
            raise HTTPError(400, f"Run {run_id} cannot be stopped: it has ended or runs elsewhere.")
        if not task.cancelling():  # a second time would cut short the end of its steps
            task.cancel()

    async def close(self) -> None:
        """End the run that works and write off those that wait."""
        for run_id in self._open():
            self.stop(run_id)
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _run(self, folder: Path) -> None:
        """Wait for the turn of a run and run it; cancelled, it ends."""
        try:
            async with self._turn:
                await _run_alone(folder)
        except asyncio.CancelledError:
            if not (folder / run_folder.SUMMARY).exists():
                _write_off(folder)
            raise
        except Exception as error:  # of any kind: the runs after it are to start
            reason = full_disk(error) if is_full_disk(error) else str(error)
            self._not_started[folder.name] = f"It could not be started: {reason}"
            print(f"run {folder.name} did not start: {reason}", file=sys.stderr, flush=True)

    def _open(self) -> list[str]:
        """The run that works, then those that wait for it."""
        return [run_id for run_id, task in self._tasks.items() if not task.done()]

    def _folder(self, run_id: str) -> Path:
        # One of those that are there: no path is made of what a request says.
        for folder in self._folders():
            if folder.name == run_id:
                return folder
        raise HTTPError(404, "No such run.")

    def _folders(self) -> Iterator[Path]:
        if self._runs_dir.is_dir():
            for folder in self._runs_dir.iterdir():
                if any((folder / mark).is_file() for mark in MARKS):
                    yield folder

    def _view(self, folder: Path) -> dict[str, Any]:
        run_id, queue = folder.name, self._open()
        place = queue.index(run_id) if run_id in queue else None
        state = None
        if place is not None:
            state = "PENDING" if place else "RUNNING"
            state = "CANCELING" if self._tasks[run_id].cancelling() else state
        view = {**view_run(folder, state), "place": place or None}
        if reason := self._not_started.get(run_id):
            error = {"step": None, "type": "NotStarted", "message": reason}
            view |= {"state": "FAILED", "error": error}
        return view


async def _run_alone(folder: Path) -> None:
    command = [sys.executable, "-m", RUN_PIPELINE, str(folder / PACKAGE)]
    with (folder / TERMINAL).open("wb") as terminal:
        process = await start_child(
            [*command, "--run-folder", str(folder)], stdout=terminal, stderr=terminal
        )
    try:
        await process.wait()
    except asyncio.CancelledError:
        await end_child(process, GRACE_SECONDS)
        raise


def _write_off(folder: Path) -> None:
    """End a run that has not begun."""
    error = {"step": None, "type": "SIGTERM", "message": "stopped before it began"}
    nothing: dict[str, Any] = {"seconds": 0.0, "model": None, "scores": {}, "steps": []}
    run_folder.write_json(folder / run_folder.SUMMARY, {**nothing, "error": error})


def _tail(file: Path) -> tuple[str, bool]:
    """The last lines of a file, and whether it has more before them."""
    with file.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(size - LOG_TAIL_BYTES, 0))
        data = stream.read()
    if size <= LOG_TAIL_BYTES:
        return data.decode("utf-8", "replace"), False
    return data.partition(b"\n")[2].decode("utf-8", "replace"), True
