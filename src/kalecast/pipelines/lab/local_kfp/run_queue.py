"""Runs one after another: a laptop has no cores for two at once."""

import asyncio
import contextlib
import sys
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from kalecast.lifetime import end_child, start_child
from kalecast.pipelines.local.run_folder import full_disk, is_full_disk

RUN_PIPELINE = "kalecast.pipelines.local.run_pipeline"
PACKAGE = "pipeline.yaml"  # in the run's folder
TERMINAL = "terminal.txt"  # beside it: what `make pipeline` would have shown
GRACE_SECONDS = 15.0  # a run needs ten at most to end its steps


@dataclass
class QueuedRun:
    """A run that waits or works."""

    folder: Path
    parameters: list[str]
    process: asyncio.Task[asyncio.subprocess.Process] | None = None
    ending: asyncio.Task[None] | None = None

    @property
    def run_id(self) -> str:
        """The run's id is its folder's name."""
        return self.folder.name

    async def start(self) -> asyncio.subprocess.Process:
        """Start the run's process."""
        command = [sys.executable, "-m", RUN_PIPELINE, str(self.folder / PACKAGE)]
        command += ["--run-folder", str(self.folder)]
        if self.parameters:
            command += ["--param", *self.parameters]
        with (self.folder / TERMINAL).open("wb") as terminal:
            return await start_child(command, stdout=terminal, stderr=terminal)

    async def end(self) -> None:
        """End the run's process."""
        if self.process is not None:
            with contextlib.suppress(OSError):  # it could not be started
                await end_child(await self.process, GRACE_SECONDS)


class RunQueue:
    """Starts `run_pipeline.py` for each run, in the order in which they come."""

    def __init__(self) -> None:
        self._waiting: deque[QueuedRun] = deque()
        self._working: QueuedRun | None = None
        self._more = asyncio.Event()
        self.failed: dict[str, str] = {}
        """Why a run could not be started, by its id: its folder may not take the reason."""
        self._worker = asyncio.create_task(self._work())
        self._worker.add_done_callback(_report_its_end)

    @property
    def is_working(self) -> bool:
        """Whether runs are begun at all."""
        return not self._worker.done()

    def add(self, folder: Path, parameters: list[str]) -> None:
        """Queue the run of the package in a folder."""
        self._waiting.append(QueuedRun(folder, parameters))
        self._more.set()

    def state(self, run_id: str) -> str | None:
        """KFP's word for the state of a run that waits or works."""
        if self._working and self._working.run_id == run_id:
            return "CANCELING" if self._working.ending else "RUNNING"
        return "PENDING" if self.place(run_id) is not None else None

    def place(self, run_id: str) -> int | None:
        """How many runs come before a waiting one."""
        waiting = [run.run_id for run in self._waiting]
        return waiting.index(run_id) + bool(self._working) if run_id in waiting else None

    def drop(self, run_id: str) -> bool:
        """Take a waiting run out; whether it was there."""
        before = len(self._waiting)
        self._waiting = deque(run for run in self._waiting if run.run_id != run_id)
        return len(self._waiting) < before

    def end(self, run_id: str) -> bool:
        """Begin to end the run that works, which takes it seconds; whether it was this one."""
        run = self._working
        if run is None or run.run_id != run_id:
            return False
        run.ending = run.ending or asyncio.create_task(run.end())
        return True

    async def close(self) -> None:
        """End what works and begin nothing more."""
        self._waiting.clear()
        if self._working and self.end(self._working.run_id) and self._working.ending:
            await self._working.ending
        self._worker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._worker

    async def _work(self) -> None:
        while True:
            await self._more.wait()
            self._more.clear()
            while self._waiting:
                self._working = self._waiting.popleft()
                try:
                    await self._see_through(self._working)
                except Exception as error:  # of any kind: the runs after it are to start
                    self._give_up(self._working, error)
                finally:
                    self._working = None

    async def _see_through(self, run: QueuedRun) -> None:
        run.process = asyncio.create_task(run.start())
        process = await run.process
        await process.wait()
        if run.ending:
            await run.ending

    def _give_up(self, run: QueuedRun, error: Exception) -> None:
        """Report a run that could not be started: no memory, no room on the disk."""
        reason = full_disk(error) if is_full_disk(error) else str(error)
        self.failed[run.run_id] = f"It could not be started: {reason}"
        print(f"run {run.run_id} did not start: {reason}", file=sys.stderr, flush=True)


def _report_its_end(worker: asyncio.Task[None]) -> None:
    if not worker.cancelled() and (error := worker.exception()):
        print(f"The queue of runs has ended: {error!r}", file=sys.stderr, flush=True)
