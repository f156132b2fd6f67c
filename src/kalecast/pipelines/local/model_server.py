"""The model server on this machine, for as long as it is needed."""

import contextlib
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from kalecast.lifetime import end, start
from kalecast.project import PROJECT

PYTHON = PROJECT / ".venv" / "server" / "bin" / "python"
READY_SECONDS = 60
END_SECONDS = 20


class ServerError(RuntimeError):
    """The model server did not start; the text says why."""


@contextlib.contextmanager
def serving(model: Path) -> Iterator[dict[str, str]]:
    """Serve a model file; gives the addresses by name: `server` and `grpc_server`."""
    if not model.is_file():
        raise ServerError(f"Expected a published model at {model}: none there.")
    http, grpc, metrics = _free_ports(3)
    ports = {"--port": http, "--grpc-port": grpc, "--metrics-port": metrics}
    command = [str(PYTHON), "-m", "kalecast.serving.server", "--model-uri", str(model)]
    for option, port in ports.items():
        command += [option, str(port)]
    with tempfile.TemporaryFile() as log:
        process = start(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait(process, log, f"http://127.0.0.1:{http}/health/status")
            yield {"server": f"127.0.0.1:{http}", "grpc_server": f"127.0.0.1:{grpc}"}
        finally:
            end(process, END_SECONDS)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def _wait(process: subprocess.Popen[bytes], log: IO[bytes], url: str) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            log.seek(0)
            lines = log.read().decode(errors="replace").strip().splitlines()
            raise ServerError(
                f"The model server ended at once: {lines[-1] if lines else 'no word'}"
            )
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            urllib.request.urlopen(url, timeout=5).close()
            return
        time.sleep(0.1)
    raise ServerError(f"The model server is not ready after {READY_SECONDS} s.")
