"""A server that a benchmark starts: waited for, measured, ended, killed, started again."""

import contextlib
import http.client
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from kalecast.lifetime import kill_group, start

START_SECONDS = 120
END_SECONDS = 30
POLL_SECONDS = 0.02
LOG_LINES = 30


class ServiceError(RuntimeError):
    """A server did not start, or ended by itself; the text has the end of its log."""


@dataclass
class LocalService:
    """A command that serves on an address of this machine, in a process group of its own.

    Nothing of the developer's environment reaches it, but for the limit on open files, which is
    raised as far as it may be, as container runtimes do.
    """

    name: str
    command: list[str]
    port: int
    ready_path: str
    """GET of it is answered with 200 by a server that is ready."""
    folder: Path
    """Its working directory, in which its log and temporary files lie."""
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "LocalService":
        """Start, and wait until it is ready."""
        self.start()
        try:
            self.wait()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End it, whatever happened."""
        self.end()

    @property
    def address(self) -> str:
        """As `host:port`."""
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        """What it says, from its first start on."""
        return self.folder / f"{self.name.replace(' ', '-')}.log"

    def start(self) -> None:
        """Start it; `wait` waits until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        clean = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder),
        }
        with self.log.open("ab") as log:
            self.process = start(
                self.command,
                cwd=self.folder,
                env=clean | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait(self, answers: Callable[[], bool] | None = None) -> None:
        """Wait until it answers.

        Args:
            answers: tries it; where left out, `ready_path` is requested.

        Raises:
            ServiceError: it ended, or does not answer.
        """
        deadline = time.monotonic() + START_SECONDS
        answers = answers or (lambda: self.request("GET", self.ready_path)[0] == 200)
        while time.monotonic() < deadline:
            self.check()
            with contextlib.suppress(OSError, http.client.HTTPException):
                if answers():
                    return
            time.sleep(POLL_SECONDS)
        raise ServiceError(
            f"The {self.name} is not ready after {START_SECONDS} s.{self._last_output()}"
        )

    def request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """One request over a connection of its own; returns status and body.

        Raises:
            OSError: it does not answer.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()

    def check(self) -> None:
        """Make sure that it runs.

        Raises:
            ServiceError: it ended by itself.
        """
        if self.process is not None and (code := self.process.poll()) is not None:
            raise ServiceError(f"The {self.name} ended with status {code}.{self._last_output()}")

    def processes(self) -> list[psutil.Process]:
        """The first one and all its descendants, as long as that one runs."""
        if self.process is None or self.process.poll() is not None:
            return []
        first = psutil.Process(self.process.pid)
        return [first, *first.children(recursive=True)]

    def peak_memory(self) -> int:
        """Resident memory of its processes, in MiB, each at its peak.

        Pages that processes share are counted in each, and the peaks may not have been at the same
        time: the sum is never less than it is.
        """
        kilobytes = 0
        for process in self.processes():
            # A process can end while it is looked at.
            with contextlib.suppress(OSError):
                status = Path(f"/proc/{process.pid}/status").read_text()
                fields = dict(line.split(":", 1) for line in status.splitlines())
                kilobytes += int(fields.get("VmHWM", "0 kB").split()[0])
        return round(kilobytes / 1024)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to its first process."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def kill(self) -> None:
        """Kill all its processes at once."""
        self._kill(self.processes())

    def end(self) -> None:
        """Have it end in order; kill what is left of it."""
        processes = self.processes()
        self.send(signal.SIGTERM)
        if self.process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(END_SECONDS)
        self._kill(processes)

    def _kill(self, processes: list[psutil.Process]) -> None:
        """Kill these and all of its group, and wait: their ports are needed again."""
        if self.process is None:
            return
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        kill_group(self.process.pid)
        self.process.wait()
        deadline = time.monotonic() + END_SECONDS
        while any(map(_runs, processes)) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)

    def _last_output(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        return "".join(f"\n    {line}" for line in ["Its log ends:", *lines])


def _runs(process: psutil.Process) -> bool:
    """Whether it does anything any more: nobody may have collected its exit code yet."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
