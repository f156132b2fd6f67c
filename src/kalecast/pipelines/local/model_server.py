"""The model server on this machine, for as long as it is needed."""

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO

from kalecast.lifetime import ChildError, answers, await_ready, end, start
from kalecast.project import PROJECT
from kalecast.protocols.sockets import free_ports

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
    http, grpc, metrics = free_ports(3)
    ports = {"--port": http, "--grpc-port": grpc, "--metrics-port": metrics}
    command = [str(PYTHON), "-m", "kalecast.serving.server", "--model-uri", str(model)]
    for option, port in ports.items():
        command += [option, str(port)]
    with tempfile.TemporaryFile() as log:
        process = start(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            _await(process, http, log)
            yield {"server": f"127.0.0.1:{http}", "grpc_server": f"127.0.0.1:{grpc}"}
        finally:
            end(process, END_SECONDS)


def _await(process: subprocess.Popen[bytes], port: int, log: IO[bytes]) -> None:
    is_ready = partial(answers, port, "/health/status")
    try:
        await_ready({"model server": process}, is_ready, READY_SECONDS)
    except ChildError as error:
        log.seek(0)
        last = log.read().decode(errors="replace").strip().rpartition("\n")[2]
        raise ServerError(f"{error}: {last or 'it logged nothing'}") from None
