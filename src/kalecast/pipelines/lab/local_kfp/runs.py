"""The runs of this machine: those requested here, and those of `make pipeline`."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kalecast.pipelines.lab.local_kfp.api_errors import ApiError
from kalecast.pipelines.lab.local_kfp.catalogue import now
from kalecast.pipelines.lab.local_kfp.packages import write_package
from kalecast.pipelines.lab.local_kfp.run_queue import PACKAGE, RunQueue
from kalecast.pipelines.lab.local_kfp.run_view import REQUEST, view_run
from kalecast.pipelines.local import run_folder

LOG_TAIL_BYTES = 64 * 1024
LISTED_RUNS = 200
MARKS = (REQUEST, run_folder.PROGRESS, run_folder.SUMMARY)


class Runs:
    """All runs whose folders lie in `runs_dir`."""

    def __init__(self, runs_dir: Path, queue: RunQueue) -> None:
        self._runs_dir = runs_dir
        self._queue = queue

    def add(
        self, request: dict[str, Any], package: list[dict[str, Any]], parameters: list[str]
    ) -> str:
        """Queue a run and return its id, which is the name of its folder."""
        folder = run_folder.new_run_folder(self._runs_dir)
        try:
            run_folder.write_json(folder / REQUEST, {**request, "created_at": now()})
            (folder / PACKAGE).write_text(write_package(package), encoding="utf-8")
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        self._queue.add(folder, parameters)
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
            raise ApiError(404, f"Run {run_id} has no report of a step {step!r}.")
        return reports[step]

    def stop(self, run_id: str) -> None:
        """Take a run that waits out of the queue, or begin to end one that works."""
        folder = self._folder(run_id)
        if self._queue.drop(run_id):
            _write_off(folder)
        elif not self._queue.end(run_id):
            raise ApiError(400, f"Run {run_id} cannot be stopped: it has ended or runs elsewhere.")

    def check(self) -> None:
        """Raise an `ApiError` where no run would be begun any more."""
        if not self._queue.is_working:
            raise ApiError(503, "No new runs are started. End `make lab` and start it again.")

    async def close(self) -> None:
        """End the run that works and write off those that wait."""
        waiting = [folder for folder in self._folders() if self._queue.drop(folder.name)]
        for folder in waiting:
            _write_off(folder)
        await self._queue.close()

    def _folder(self, run_id: str) -> Path:
        # One of those that are there: no path is made of what a request says.
        for folder in self._folders():
            if folder.name == run_id:
                return folder
        raise ApiError(404, f"Run {run_id} not found.")

    def _folders(self) -> Iterator[Path]:
        if self._runs_dir.is_dir():
            for folder in self._runs_dir.iterdir():
                if any((folder / mark).is_file() for mark in MARKS):
                    yield folder

    def _view(self, folder: Path) -> dict[str, Any]:
        queued = self._queue.state(folder.name)
        view = {**view_run(folder, queued), "place": self._queue.place(folder.name)}
        if reason := self._queue.failed.get(folder.name):
            error = {"step": None, "type": "NotStarted", "message": reason}
            view |= {"state": "FAILED", "error": error}
        return view


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
