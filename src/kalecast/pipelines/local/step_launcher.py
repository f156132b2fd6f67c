"""Have the steps of one run done, and pass on what they print.

KFP's local runner decides what runs when and with which inputs; `StepLauncher.run_command`
stands in for the function by which it starts a step's process. The steps themselves are forks
of one process, `step_process`.
"""

import contextlib
import itertools
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

from kalecast import lifetime
from kalecast.pipelines.local.run_folder import NO_ROOM_CODE, full_disk, is_full_disk
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
    model_uri_file: str | None = None
    is_final: bool = False

    def summary(self) -> dict[str, Any]:
        """The record as it stands in summary.json."""
        inner = ("model_uri_file", "is_final")
        return {key: value for key, value in asdict(self).items() if key not in inner}


def step_name(function: str) -> str:
    """The name of a step in the notebook, from that of its function."""
    return function.removesuffix("_step")


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
        self._exit_codes = -1

    def start(self, warm_imports: list[str]) -> None:
        """Start the process from which steps are forked; it gets ready by itself.

        Args:
            warm_imports: modules that it imports, once for all later steps, while the first works.
        """
        self._exit_codes, write_end = os.pipe()
        self._parent = lifetime.start(
            [sys.executable, "-P", "-m", STEP_PROCESS, str(write_end), *warm_imports],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=self._project,
            env=self._environment(),
            pass_fds=[write_end],
        )
        os.close(write_end)

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
            "result_file": str(self.run_folder / "results" / f"{record.name}.json"),
        }
        start = time.perf_counter()
        try:
            exit_code = self._run(job)
        except BaseException:
            record.status = "stopped"
            raise
        finally:
            record.seconds = time.perf_counter() - start
        self._finish(record, job, exit_code)
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

    def _run(self, job: dict[str, Any]) -> int:
        """Hand a job over, pass on what it prints and return its exit code."""
        process = self._parent
        assert process is not None and process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(job).encode() + b"\n")
            process.stdin.flush()
        log = self.run_folder / "logs" / f"{job['step']}.log"
        with log.open("w", encoding="utf-8") as log_file:

            def emit(line: str) -> None:
                log_file.write(line + "\n")
                log_file.flush()
                self._say(f"{job['step']} | {line}")

            return self._pass_on_output(process, LineSplitter(emit))

    def _pass_on_output(self, process: subprocess.Popen[bytes], lines: LineSplitter) -> int:
        assert process.stdout is not None
        output = process.stdout.fileno()
        ended = b""
        while True:
            # The exit code comes last, but what the step printed may still be in the other pipe.
            readable, _, _ = select.select([output, self._exit_codes], [], [], 0 if ended else None)
            if output in readable and (data := os.read(output, 65536)):
                lines.feed(data)
            elif self._exit_codes in readable and not ended:
                ended = os.read(self._exit_codes, 16) or b"-9"  # none: it was killed
            else:
                lines.feed(b"", final=True)
                return int(ended or b"-9")

    def _finish(self, record: StepRecord, job: dict[str, Any], exit_code: int) -> None:
        result = _result(Path(job["result_file"]))
        if result:
            record.cell_seconds, record.error = result["cell_seconds"], result["error"]
            record.is_final = result.get("final", False)
        elif exit_code == NO_ROOM_CODE:
            record.error = {"type": "OSError", "message": full_disk()}
        else:
            ending = f"signal {-exit_code}" if exit_code < 0 else f"exit code {exit_code}"
            record.error = {
                "type": "ProcessDied",
                "message": f"the step's process ended by itself with {ending}",
            }
        record.status = "failed" if record.error else "done"
        output_file = Path(job["executor_input"]["outputs"]["outputFile"])
        if output_file.is_file():
            _read_outputs(record, json.loads(output_file.read_text()))

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


def _result(file: Path) -> dict[str, Any]:
    """The result that a step wrote at its end; empty where it could not."""
    try:
        result: dict[str, Any] = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return result


def _read_outputs(record: StepRecord, output: dict[str, Any]) -> None:
    """Take the metrics and the whereabouts of `model_uri` from what KFP's executor wrote."""
    for name, artifacts in output.get("artifacts", {}).items():
        metadata = artifacts["artifacts"][0].get("metadata", {})
        if name == "kale_metrics_artifact":
            # Kale writes the underscores of a variable's name as hyphens.
            record.scores = {name.replace("-", "_"): value for name, value in metadata.items()}
        elif name == "model_uri_output_artifact":
            record.model_uri_file = metadata.get("marshal_path")
