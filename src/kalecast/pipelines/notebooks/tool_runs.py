"""Command-line tools that run side by side and end together, however this process ends."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from kalecast.lifetime import start
from kalecast.project import PROJECT


class ToolsStopped(Exception):
    """The tools were stopped."""


class ToolRuns:
    """Runs tools of this environment in the project's own surroundings."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run one to its end; raises `ToolsStopped` if it was ended before."""
        tools = str(Path(sys.executable).parent)
        environment = os.environ | {
            "PATH": f"{tools}{os.pathsep}{os.environ.get('PATH', '')}",
            "KALECAST_HOME": str(PROJECT),
        }
        with self._lock:
            if self._stopped:
                raise ToolsStopped
            process = start(  # in a group of its own, to be ended with all that it starts
                command,
                env=environment,
                cwd=PROJECT,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
            )
            self._running.add(process)
        output, errors = process.communicate()
        with self._lock:
            self._running.discard(process)
        if self._stopped:
            raise ToolsStopped
        return subprocess.CompletedProcess(command, process.returncode, output, errors)

    def stop(self) -> None:
        """End those that run, and let no other begin."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
