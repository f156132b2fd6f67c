"""Have the steps of one run done, and pass on what they print.

KFP's local runner decides what runs when and with which inputs; `StepLauncher.run_command`
stands in for the function by which it starts a step's process. The steps themselves are forks
of one process, `step_process`.
"""

import contextlib
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, TextIO

from kalecast import lifetime
from kalecast.pipelines.compiled_pipeline import step_name
from kalecast.pipelines.local.run_folder import full_disk, is_full_disk
from kalecast.pipelines.local.terminal_text import LineSplitter

STEP_PROCESS = "kalecast.pipelines.local.step_process"
GRACE_SECONDS = 5.0  # longer than a step gets


@dataclass
class StepRecord:
    """How a step went."""

    name: str
    started: float = field(default_factory=time.time)
    seconds: float = 0.0
    cell_seconds: float = 0.0
    status: str = "running"
    error: dict[str, str] | None = None
    scores: dict[str, float] = field(default_factory=dict)
    model_uri: str | None = None
    is_final: bool = False

    def summary(self) -> dict[str, Any]:
        """The record as it stands in summary.json."""
        inner = ("model_uri", "is_final")
        return {key: value for key, value in asdict(self).items() if key not in inner}


class PermanentStepError(Exception):
    """A step failed for a reason that another try would not change."""


class StepLauncher:
    """Runs one step after another.

    Args:
        run_folder: where the run keeps everything.
        project: the working directory of the steps.
        terminal: where lines go as steps start, print and end.
        report_progress: is called with how each step went so far, as one starts and as it ends.
    """

    def __init__(
        self,
        run_folder: Path,
        project: Path,
        terminal: TextIO,
        report_progress: Callable[[list[dict[str, Any]]], None],
    ) -> None:
        self.run_folder = run_folder
        self.records: list[StepRecord] = []
        self.step_count = 0
        self._project = project
        self._terminal = terminal
        self._report_progress = report_progress
        self._parent: subprocess.Popen[bytes] | None = None
        self._channel: Connection[Any, Any]

    def start(self, warm_imports: list[str]) -> None:
        """Start the process from which steps are forked; it gets ready by itself.

        Args:
            warm_imports: modules that it imports, once for all later steps, while the first works.
        """
        self._channel, theirs = Pipe()
        self._parent = lifetime.start(
            [sys.executable, "-P", "-m", STEP_PROCESS, str(theirs.fileno()), *warm_imports],
            stdin=subprocess.DEVNULL,  # cells have no terminal to read from
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self._project,
            env=self._environment(),
            pass_fds=[theirs.fileno()],
        )
        theirs.close()

    def run_command(self, full_command: list[str], env_vars: dict[str, str] | None = None) -> int:
        """Run the step of one KFP command and return 0 or 1.

        KFP tries a step again that returned 1, as often as its tag `limit:retries` says.

        Of the command only the component's source and the executor's arguments matter: the
        shell, the pip installation and the temporary file around them are for pods.
        """
        try:
            return self._run_step(full_command, env_vars)
        except OSError as error:  # a log or the progress cannot be written
            said = full_disk(error) if is_full_disk(error) else str(error)
            for record in self.records[-1:]:
                record.status, record.error = "failed", {"type": "OSError", "message": said}
            raise

    def _run_step(self, full_command: list[str], env_vars: dict[str, str] | None) -> int:
        source = full_command[full_command.index("--executor_input") - 1]
        arguments = dict(itertools.pairwise(full_command))
        executor_input = json.loads(arguments["--executor_input"])
        function = arguments["--function_to_execute"]
        record = StepRecord(self._unused_name(step_name(function)))
        self.records.append(record)
        self._note_progress()
        self._say(f"[{len(self.records)}/{self.step_count}] {record.name}")
        job = {
            "step": record.name,
            "run_folder": str(self.run_folder),
            "source": source,
            "function": function,
            "executor_input": executor_input,
            # Kale sets HOME for pods, whose user has none.
            "environment": {k: v for k, v in (env_vars or {}).items() if k != "HOME"},
        }
        start = time.perf_counter()
        try:
            result = self._run(job)
        except BaseException:
            record.status = "stopped"
            raise
        finally:
            record.seconds = time.perf_counter() - start
        _finish(record, result)
        self._note_progress()
        self._say(
            f"[{len(self.records)}/{self.step_count}] {record.name} ... "
            f"{record.seconds:.1f} s{' FAILED' if record.error else ''}"
        )
        if record.is_final:
            raise PermanentStepError(record.name)
        return 1 if record.error else 0

    def end(self) -> None:
        """End every process of the run that is still there."""
        if self._parent is not None:
            lifetime.end(self._parent, GRACE_SECONDS)

    def _run(self, job: dict[str, Any]) -> dict[str, Any]:
        """Hand a job over, pass on what it prints and return how it went."""
        with contextlib.suppress(ConnectionError):
            self._channel.send(job)
        log = self.run_folder / "logs" / f"{job['step']}.log"
        with log.open("w", encoding="utf-8") as log_file:

            def emit(line: str) -> None:
                log_file.write(line + "\n")
                log_file.flush()
                self._say(f"{job['step']} | {line}")

            return self._pass_on_output(LineSplitter(emit))

    def _pass_on_output(self, lines: LineSplitter) -> dict[str, Any]:
        assert self._parent is not None and self._parent.stdout is not None
        output = self._parent.stdout.fileno()
        result: dict[str, Any] = {}
        while True:
            # The exit code comes last, but what the step printed may still be in the pipe.
            has_ended = "exit_code" in result
            readable = wait([output, self._channel], 0 if has_ended else None)
            if output in readable and (data := os.read(output, 65536)):
                lines.feed(data)
            elif self._channel in readable and not has_ended:
                try:
                    result |= self._channel.recv()
                except (EOFError, ConnectionError):  # it was killed
                    result["exit_code"] = -9
            else:
                lines.feed(b"", final=True)
                return result

    def _note_progress(self) -> None:
        self._report_progress([record.summary() for record in self.records])

    def _unused_name(self, name: str) -> str:
        taken = [record.name for record in self.records]
        return name if name not in taken else f"{name}-{len(taken) + 1}"

    def _environment(self) -> dict[str, str]:
        return os.environ | {
            "KALECAST_HOME": str(self._project),
            "KALECAST_RUN_DIR": str(self.run_folder),
            "IPYTHONDIR": str(self.run_folder / "ipython"),
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
            "PYTHONUNBUFFERED": "1",
            "PYTHONIOENCODING": "utf-8",
        }

    def _say(self, line: str) -> None:
        print(line, file=self._terminal, flush=True)


def _finish(record: StepRecord, result: dict[str, Any]) -> None:
    """Take into a record how its step went: what it said itself, or that it could not."""
    exit_code = result.pop("exit_code")
    if not result:
        ending = f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
        message = f"the step's process ended by itself with {ending}"
        result = {"error": {"type": "ProcessDied", "message": message}}
    vars(record).update(result)
    record.status = "failed" if record.error else "done"
