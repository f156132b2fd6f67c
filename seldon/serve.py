"""Serve forecasts from a model file in the Seldon protocol, over REST and gRPC.

    python seldon/serve.py --model-uri models/forecaster.onnx

| what      | where                                                                      |
|-----------|----------------------------------------------------------------------------|
| forecasts | `POST /api/v1.0/predictions` on the HTTP port; gRPC `Predict` of           |
|           | `seldon.protos.Seldon` and `seldon.protos.Model` on the gRPC port          |
| alive     | `GET /health/ping`: the HTTP server answers                                |
| ready     | `GET /health/status`: a forecast was made                                  |
| contract  | `GET /metadata`, under `custom.contract`; gRPC `ModelMetadata`             |
| metrics   | `GET /metrics` on the metrics port, for Prometheus                         |
| OpenAPI   | `GET /seldon.json`                                                         |

Options left out are taken from the environment as Seldon Core's operator sets it
(`PREDICTIVE_UNIT_PARAMETERS` with `model_uri`, `PREDICTIVE_UNIT_HTTP_SERVICE_PORT`,
`PREDICTIVE_UNIT_GRPC_SERVICE_PORT`, `PREDICTIVE_UNIT_METRICS_SERVICE_PORT`), from `MODEL_URI`,
and from `GUNICORN_WORKERS` and `GUNICORN_THREADS`.

Ends on SIGTERM and Ctrl-C, after the requests in flight, with exit code 0. Exit code 2: it could
not start as asked; 1: one of its processes ended by itself.
"""

import argparse
import json
import multiprocessing
import os
import signal
import socket
import sys
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.process import BaseProcess
from time import monotonic
from typing import TYPE_CHECKING, Any

# Before NumPy and seldon-core are imported, which read them then.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("INCLUDE_METRICS_IN_CLIENT_RESPONSE", "false")

if TYPE_CHECKING:
    from ForecastModel import ForecastModel
    from servers import Settings

START_SECONDS = 60
END_SECONDS = 15
END_SIGNALS = {signal.SIGTERM, signal.SIGINT}

Server = Callable[..., None]


class StartError(Exception):
    """The server cannot start as asked; the text is one line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, start, wait for the end; returns the exit code."""
    # Taken with sigtimedwait, so that none can arrive between two steps.
    signal.pthread_sigmask(signal.SIG_BLOCK, END_SIGNALS)
    try:
        options = _options(arguments)
        _check_ports(options)
        model = _open_model(options.model_uri)
    except StartError as error:
        print(f"serve.py: {error}", file=sys.stderr)
        return 2
    return _serve(model, options)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Serve forecasts from a model file in the Seldon protocol."
    )
    add = parser.add_argument
    add("--model-uri", default=_default_model_uri(), help="path, file: or s3: URI")
    add("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for all")
    for name, default, variable in (
        ("--port", 9000, "PREDICTIVE_UNIT_HTTP_SERVICE_PORT"),
        ("--grpc-port", 9500, "PREDICTIVE_UNIT_GRPC_SERVICE_PORT"),
        ("--metrics-port", 6000, "PREDICTIVE_UNIT_METRICS_SERVICE_PORT"),
        ("--workers", 1, "GUNICORN_WORKERS"),
        ("--threads", 16, "GUNICORN_THREADS"),
    ):
        # argparse converts defaults that are texts, and reports those that it cannot.
        add(name, type=_positive, default=os.environ.get(variable, str(default)), metavar="N")
    options = parser.parse_args(arguments)
    if not options.model_uri:
        raise StartError("Expected --model-uri, or MODEL_URI in the environment, received none")
    return options


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError("not positive")
    return number


def _default_model_uri() -> str:
    """The graph's parameter `model_uri`, else `MODEL_URI`."""
    variable = "PREDICTIVE_UNIT_PARAMETERS"
    try:
        parameters = json.loads(os.environ.get(variable) or "[]")
        named = {parameter["name"]: str(parameter["value"]) for parameter in parameters}
    except (ValueError, TypeError, KeyError):
        raise StartError(
            f"Expected {variable} to be a JSON list of objects with 'name' and 'value', "
            f"received: {os.environ[variable][:60]!r}"
        ) from None
    return named.get("model_uri", os.environ.get("MODEL_URI", ""))


def _check_ports(options: argparse.Namespace) -> None:
    ports = {"HTTP": options.port, "gRPC": options.grpc_port, "metrics": options.metrics_port}
    if len(set(ports.values())) < len(ports):
        raise StartError(f"Expected three different ports, received: {ports}")
    for name, port in ports.items():
        with socket.socket() as probe:
            # As servers do, so that connections of a server just ended are no hindrance.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((options.host, port))
            except (OSError, OverflowError) as error:
                reason = getattr(error, "strerror", None) or error
                raise StartError(
                    f"Expected a free {name} port, received {port}: {reason} ({options.host})"
                ) from None


def _open_model(uri: str) -> "ForecastModel":
    from ForecastModel import ForecastModel

    from kalecast.bundle import BundleError
    from kalecast.store import StoreError

    try:
        return ForecastModel(uri)
    except BundleError as error:
        raise StartError(_one_line(f"'{uri}': {error}")) from None
    except StoreError as error:
        raise StartError(_one_line(str(error))) from None


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _serve(model: "ForecastModel", options: argparse.Namespace) -> int:
    import logs
    from servers import ExactMetrics, Settings, serve_grpc, serve_metrics, serve_rest

    logs.configure()
    settings = Settings(
        options.host,
        options.port,
        options.grpc_port,
        options.metrics_port,
        options.workers,
        options.threads,
    )
    metrics = ExactMetrics()
    processes = [
        _start(server, model, metrics, settings)
        for server in (serve_grpc, serve_rest, serve_metrics)
    ]
    try:
        return _watch(processes, model, settings)
    finally:
        _end(processes)


def _start(server: Server, *arguments: Any) -> BaseProcess:
    """Run a server in a process and a process group of its own.

    The group keeps Ctrl-C in a terminal from its workers, which would drop what they are
    answering, and lets `_end` reach workers whose parent is gone.
    """
    process = multiprocessing.get_context("fork").Process(
        target=_run_in_group, args=(server, *arguments), name=server.__name__
    )
    process.start()
    return process


def _run_in_group(server: Server, *arguments: Any) -> None:
    os.setpgid(0, 0)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, END_SIGNALS)
    server(*arguments)


def _watch(processes: list[BaseProcess], model: "ForecastModel", settings: "Settings") -> int:
    """Wait for a signal to end, or for the end of a process, which is a failure."""
    deadline, ready = monotonic() + START_SECONDS, False
    while signal.sigtimedwait(END_SIGNALS, 0.5 if ready else 0.05) is None:
        ended = [process.name for process in processes if not process.is_alive()]
        if ended:
            print(f"serve.py: ended unexpectedly: {', '.join(ended)}", file=sys.stderr)
            return 1
        if not ready:
            ready = _is_ready(settings)
            if ready:
                _announce(model, settings)
            elif monotonic() > deadline:
                print(f"serve.py: not ready after {START_SECONDS} s", file=sys.stderr)
                return 1
    return 0


def _is_ready(settings: "Settings") -> bool:
    host = _reachable(settings.host)
    try:
        for port in (settings.grpc_port, settings.metrics_port):
            socket.create_connection((host, port), timeout=1).close()
        # Not through a proxy that the environment may name.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{host}:{settings.http_port}/health/status", timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def _reachable(host: str) -> str:
    return "127.0.0.1" if host == "0.0.0.0" else host


def _announce(model: "ForecastModel", settings: "Settings") -> None:
    from refusals import PREDICTIONS
    from seldon_core.wrapper import METRICS_ENDPOINT

    host = _reachable(settings.host)
    base = f"http://{host}:{settings.http_port}"
    print(f"Serving {model.contract.name} {model.contract.version}")
    print(f"  forecasts  {base}{PREDICTIONS}")
    print(f"  health     {base}/health/status")
    print(f"  metadata   {base}/metadata")
    print(f"  metrics    http://{host}:{settings.metrics_port}{METRICS_ENDPOINT}")
    print(f"  gRPC       {host}:{settings.grpc_port}", flush=True)


def _end(processes: list[BaseProcess]) -> None:
    """Let every process finish what it is answering, then sweep its group."""
    for process in processes:
        process.terminate()
    deadline = monotonic() + END_SECONDS
    for process in processes:
        process.join(max(0.0, deadline - monotonic()))
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid or 0, signal.SIGKILL)
        process.join()


if __name__ == "__main__":
    sys.exit(main())
