"""The real model server for tests: started in its own environment, queried, ended."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import requests
from memory_limit import MemoryLimit
from ports import free_ports

from kalecast.lifetime import answers, await_ready

SUPPORT = Path(__file__).resolve().parent
ROOT = SUPPORT.parents[1]
SERVE = ("-m", "kalecast.serving.server")
PYTHON = ROOT / ".venv" / "server" / "bin" / "python"
REFERENCE = ROOT / ".venv" / "seldon" / "bin" / "python"
"""The environment of Seldon Core's own client and wrapper."""

MODEL_CLASS = "kalecast.serving.stock_wrapper.ForecastModel"
PREDICTIONS = "/api/v1.0/predictions"


@dataclass(frozen=True)
class Ports:
    """Three ports that were free a moment ago."""

    http: int
    grpc: int
    metrics: int

    @classmethod
    def free(cls) -> "Ports":
        return cls(*free_ports(3))

    def options(self) -> list[str]:
        return [
            *("--port", str(self.http)),
            *("--grpc-port", str(self.grpc)),
            *("--metrics-port", str(self.metrics)),
        ]


class Server:
    """A server that runs."""

    def __init__(self, process: subprocess.Popen[str], ports: Ports, announced: str) -> None:
        self.process, self.ports, self.announced = process, ports, announced
        self.url = f"http://127.0.0.1:{ports.http}"

    def predict(self, message: Any, **changes: Any) -> requests.Response:
        """POST a message, given as what JSON shall hold or as the body's own text."""
        body = message if isinstance(message, str | bytes) else json.dumps(message)
        settings: dict[str, Any] = {"headers": {"Content-Type": "application/json"}, "timeout": 30}
        return requests.post(self.url + PREDICTIONS, data=body, **{**settings, **changes})

    def call_grpc(self, *jobs: dict[str, Any]) -> list[dict[str, Any]]:
        """Run jobs of `seldon_client.py` with Seldon's own client."""
        done = subprocess.run(
            [REFERENCE, SUPPORT / "seldon_client.py", f"127.0.0.1:{self.ports.grpc}"],
            input=json.dumps(jobs),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        answers: list[dict[str, Any]] = json.loads(done.stdout)
        return answers

    def metrics(self) -> str:
        return requests.get(f"http://127.0.0.1:{self.ports.metrics}/metrics", timeout=10).text

    def counted(self, name: str) -> float:
        """A figure of the metrics page, 0 where it was never counted."""
        lines = [line.rpartition(" ") for line in self.metrics().splitlines()]
        return sum(float(value) for found, _, value in lines if found == name)

    def processes(self) -> list[psutil.Process]:
        """The server's process and all that descend from it."""
        first = psutil.Process(self.process.pid)
        return [first, *first.children(recursive=True)]


def start(
    *arguments: str, limit: MemoryLimit | None = None, **environment: str
) -> subprocess.Popen[str]:
    """Start `kalecast serve`; nothing of this shell's settings of the server reaches it."""
    command: list[str | Path] = [PYTHON, *SERVE, *arguments]
    ours = ("PREDICTIVE_UNIT_", "MODEL_URI", "KALECAST_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    environment = {"KALECAST_DRAIN_SECONDS": "0", **environment}
    return subprocess.Popen(
        limit.command(command) if limit else command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**kept, **environment},
        start_new_session=True,
    )


@contextmanager
def serving(
    model_file: Path, limit: MemoryLimit | None = None, **environment: str
) -> Iterator[Server]:
    """A server that is ready, ended afterwards whatever happened."""
    ports = Ports.free()
    process = start("--model-uri", str(model_file), *ports.options(), limit=limit, **environment)
    try:
        yield Server(process, ports, _until_ready(process))
    finally:
        end(process)


def _until_ready(process: subprocess.Popen[str]) -> str:
    """What it announces; its last line names the gRPC address."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "gRPC" in line:
            return "".join(lines)
    assert process.stderr is not None
    raise AssertionError(f"The server did not become ready: {process.stderr.read()}")


def end(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> tuple[int, str]:
    """End it; returns its exit code and what it logged."""
    if process.poll() is None:
        process.send_signal(number)
    try:
        _, logged = process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        _, logged = process.communicate()
    return process.returncode, logged


@contextmanager
def stock_serving(model_file: Path) -> Iterator[Server]:
    """The same model under Seldon Core's own, unchanged command."""
    ports = Ports.free()
    parameters = [{"name": "model_uri", "type": "STRING", "value": str(model_file)}]
    process = subprocess.Popen(
        [
            *(REFERENCE.with_name("seldon-core-microservice"), MODEL_CLASS),
            *("--http-port", str(ports.http), "--grpc-port", str(ports.grpc)),
            *("--metrics-port", str(ports.metrics), "--parameters", json.dumps(parameters)),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        is_ready = partial(answers, ports.http, "/health/status")
        await_ready({"stock server": process}, is_ready, 60)
        yield Server(process, ports, "")
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # it does not end on SIGTERM
        process.wait()
