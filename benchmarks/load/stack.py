"""The local stack: model servers, apps and a balancer, each on free ports of this machine."""

import itertools
import os
import shutil
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.load.balancer import NGINX, write_configuration
from benchmarks.load.local_service import LocalService
from kalecast.project import PROJECT

ROOT = PROJECT
SERVER_PYTHON = os.environ.get("KALECAST_SERVER_PYTHON", str(ROOT / ".venv/server/bin/python"))
PAGE_PYTHON = os.environ.get("KALECAST_PAGE_PYTHON", str(ROOT / ".venv/page/bin/python"))


def free_ports(count: int) -> list[int]:
    """Different ports of loopback that were free a moment ago, and come again after all others."""
    return list(itertools.islice(filter(_is_free, _ports), count))


def _numbers() -> Iterator[int]:
    """Below those that a system gives to outgoing connections; each process begins elsewhere."""
    numbers = range(10_000, 32_000)
    start = os.getpid() * 97 % len(numbers)
    return itertools.cycle([*numbers[start:], *numbers[:start]])


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
    addresses = [replica.address for replica in replicas]
    configuration = write_configuration(folder, port, addresses)
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
