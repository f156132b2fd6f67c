"""The local stack: model servers, apps, a balancer and the load driver, as processes of their own.

All listen on free ports of this machine.
"""

import itertools
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from string import Template
from typing import Any

from benchmarks.load.job import SPARE_FILES, Job
from benchmarks.load.local_service import LocalService
from kalecast.lifetime import end, start
from kalecast.project import PROJECT
from kalecast.protocols.sockets import MOST_FILES, allow_many_connections

ROOT = PROJECT
SERVER_PYTHON = os.environ.get("KALECAST_SERVER_PYTHON", str(ROOT / ".venv/server/bin/python"))
PAGE_PYTHON = os.environ.get("KALECAST_PAGE_PYTHON", str(ROOT / ".venv/page/bin/python"))

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/bin")
"""Debian's package, where it is installed."""

MISSING = "nginx is not installed (Debian: apt-get install nginx-light)"


class LoadError(RuntimeError):
    """The driver could not do its job; it has said why."""


def free_ports(count: int) -> list[int]:
    """Different ports of loopback that were free a moment ago, and come again after all others."""
    return list(itertools.islice(filter(_is_free, _ports), count))


def _numbers() -> Iterator[int]:
    """Below those that a system gives to outgoing connections; each process begins elsewhere."""
    numbers = range(10_000, 32_000)
    first = os.getpid() * 97 % len(numbers)
    return itertools.cycle([*numbers[first:], *numbers[:first]])


_ports = _numbers()


def _is_free(number: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", number))
        except OSError:
            return False
    return True


def model_server(model: Path, folder: Path, name: str = "model server") -> LocalService:
    """Our model server, not started yet."""
    port, grpc_port, metrics_port = free_ports(3)
    return LocalService(
        name=name,
        command=[
            *(SERVER_PYTHON, "-m", "kalecast.serving.server"),
            *("--model-uri", str(model), "--port", str(port)),
            *("--grpc-port", str(grpc_port), "--metrics-port", str(metrics_port)),
        ],
        port=port,
        ready_path="/health/status",
        folder=folder,
    )


def app(servers: Sequence[LocalService], folder: Path, name: str = "app") -> LocalService:
    """The app, not started yet.

    Args:
        servers: the model servers that it calls.
        folder: for its log and temporary files.
        name: how it is called in messages.
    """
    port, metrics_port = free_ports(2)
    return LocalService(
        name=name,
        command=[PAGE_PYTHON, "-m", "kalecast.page.app"],
        port=port,
        ready_path="/ready",
        folder=folder,
        environment={
            "MODEL_SERVER_URL": ",".join(f"http://{server.address}" for server in servers),
            "KALECAST_PAGE_PORT": str(port),
            "KALECAST_METRICS_PORT": str(metrics_port),
            "GRADIO_TEMP_DIR": str(folder / f"uploads-{port}"),
        },
    )


def balancer(replicas: Sequence[LocalService], folder: Path) -> LocalService:
    """nginx before replicas, not started yet; whether they are ready it asks the first."""
    (port,) = free_ports(1)
    files = allow_many_connections(MOST_FILES)
    template = Template(Path(__file__).with_name("balancer.conf").read_text())
    configuration = folder / "nginx.conf"
    folder.mkdir(parents=True, exist_ok=True)
    configuration.write_text(
        template.substitute(
            folder=folder,
            files=files,
            connections=files - SPARE_FILES,
            port=port,
            servers=" ".join(f"server {replica.address} max_fails=0;" for replica in replicas),
        )
    )
    return LocalService(
        name="nginx",
        command=[NGINX or "", "-e", "stderr", "-p", str(folder), "-c", str(configuration)],
        port=port,
        ready_path=replicas[0].ready_path,
        folder=folder,
    )


def copied(model: Path, folder: Path) -> Path:
    """The model file in a store of its own, to be swapped there without harm."""
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(model, folder / "forecaster.onnx"))


def drive(job: Job, during: Callable[[], None] | None = None) -> list[dict[str, Any]]:
    """Do a job in a process of its own: no library of ours slows it or is slowed.

    Args:
        job: what to do.
        during: called meanwhile, in this process.

    Returns:
        A summary a round, as `driver.Record.summary` makes it.

    Raises:
        LoadError: it could not be done.
    """
    driver = start(
        [SERVER_PYTHON, "-m", "benchmarks.load.driver"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert driver.stdin is not None
        driver.stdin.write(job.to_json())
        driver.stdin.close()
        driver.stdin = None
        if during is not None:
            during()
        output, _ = driver.communicate()
    finally:
        end(driver, 0)
    if driver.returncode != 0:
        raise LoadError(f"The load driver ended with status {driver.returncode}.")
    outcome = json.loads(output)
    for warning in outcome["warnings"]:
        if warning not in _warned:
            print(f"    {warning}", flush=True)
            _warned.add(warning)
    rounds: list[dict[str, Any]] = outcome["rounds"]
    return rounds


_warned: set[str] = set()
"""What was said once."""
