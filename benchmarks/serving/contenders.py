"""Servers that are compared: ours, Seldon Core's own, and MLServer where it is installed."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load.local_service import LocalService
from benchmarks.load.routes import Floats, LoadRoute, open_inference_route, seldon_route
from benchmarks.load.stack import ROOT, free_ports, model_server

SELDON_PYTHON = Path(
    os.environ.get("KALECAST_SELDON_PYTHON", str(ROOT / ".venv/seldon/bin/python"))
)

OURS = "ours"
MODEL_CLASS = "kalecast.serving.stock_wrapper.ForecastModel"


@dataclass(frozen=True)
class Contender:
    """A server with its settings."""

    name: str
    start: Callable[[Path], LocalService]
    """Makes the service, not started yet, with a folder for what it writes."""
    route: Callable[[LocalService, Floats, Path], LoadRoute] = seldon_route
    """The way to its forecasts."""


def ours(model: Path) -> Contender:
    """Our model server as it starts by itself."""
    return Contender(OURS, lambda folder: model_server(model, folder))


def stock(model: Path, workers: int, threads: int) -> Contender:
    """Seldon Core's own command with the same model file."""

    def start(folder: Path) -> LocalService:
        port, grpc_port, metrics_port = free_ports(3)
        command = [
            *(str(SELDON_PYTHON.with_name("seldon-core-microservice")), MODEL_CLASS),
            *("--http-port", str(port), "--grpc-port", str(grpc_port)),
            *("--metrics-port", str(metrics_port)),
        ]
        environment = {
            "MODEL_URI": str(model),
            "GUNICORN_WORKERS": str(workers),
            "GUNICORN_THREADS": str(threads),
        }
        path = "/health/status"
        return LocalService("stock server", command, port, path, folder, environment)

    return Contender(f"stock, {workers} x {threads}", start)


def mlserver(model: Path, environment: Path) -> Contender:
    """MLServer with its adaptive batching.

    Args:
        model: the model file.
        environment: folder of the Python environment in which it and kalecast are installed.
    """

    def start(folder: Path) -> LocalService:
        folder.mkdir(parents=True, exist_ok=True)
        port, grpc_port, metrics_port = free_ports(3)
        settings = {
            "host": "127.0.0.1",
            "http_port": port,
            "grpc_port": grpc_port,
            "metrics_port": metrics_port,
            "metrics_dir": str(folder),
            "parallel_workers": 0,  # its queue to workers costs more than the model itself
            "debug": False,
        }
        model_settings = {
            "name": "forecaster",
            "implementation": "mlserver_runtime.ForecastRuntime",
            "parameters": {"uri": str(model)},
            "max_batch_size": 256,
            "max_batch_time": 0.002,
        }
        (folder / "settings.json").write_text(json.dumps(settings))
        (folder / "model-settings.json").write_text(json.dumps(model_settings))
        shutil.copy(Path(__file__).with_name("mlserver_runtime.py"), folder)
        command = [str(environment / "bin" / "mlserver"), "start", str(folder)]
        return LocalService("MLServer", command, port, "/v2/health/ready", folder)

    return Contender("MLServer", start, open_inference_route)
