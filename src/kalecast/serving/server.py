"""Serve forecasts from a model file, over HTTP and gRPC.

    kalecast serve --model-uri models/forecaster.onnx

| what      | Seldon protocol                     | Open Inference Protocol v2               |
|-----------|-------------------------------------|------------------------------------------|
| forecasts | `POST /api/v1.0/predictions`        | `POST /v2/models/NAME/infer`             |
| alive     | `GET /health/ping`                  | `GET /v2/health/live`                    |
| ready     | `GET /health/status`                | `GET /v2/health/ready`                   |
| contract  | `GET /metadata`: `custom.contract`  | `GET /v2/models/NAME`: `properties`      |
| gRPC      | `seldon.protos.Seldon` and `.Model` | `inference.GRPCInferenceService`         |
| metrics   | `GET /metrics` on the metrics port, for Prometheus                             |
| OpenAPI   | `GET /openapi.json`                                                            |

`--help` lists the settings with their variables of the environment, those among them that Seldon
Core's operator sets.

A new file at the model URI is taken up by itself, or on SIGHUP; a bad one is left alone. SIGTERM
takes readiness away first, then lets new requests come for a while, then answers what is in
flight; Ctrl-C and a closed terminal leave out the while. Exit code 0: ended by a signal; 1: a
part of it failed, and the rest ended with it; 2: it could not start with these settings.
"""

import asyncio
import gc
import os
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

# Before NumPy is imported, which reads it then.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from kalecast import lifetime
from kalecast.serving import logs
from kalecast.serving.configuration import Configuration, ConfigurationError, read
from kalecast.serving.refusals import PREDICTIONS

if TYPE_CHECKING:
    from kalecast.artifact.contract import Contract
    from kalecast.serving.reloading import Serving
    from kalecast.serving.service import Service


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, start, wait for the end; returns the exit code."""
    try:
        configuration = read(arguments)
        logs.configure(configuration.log_level)
        listeners = [
            _bind(configuration, name, port)
            for name, port in (
                ("HTTP", configuration.port),
                ("metrics", configuration.metrics_port),
            )
        ]
        _bind(configuration, "gRPC", configuration.grpc_port).close()  # gRPC binds by itself
        serving = _open(configuration.model_uri)
    except ConfigurationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    _allow_many_files()
    import uvloop

    status: int = uvloop.run(_serve(configuration, serving, *listeners))
    return status


def _bind(configuration: Configuration, name: str, port: int) -> socket.socket:
    """An address of ours, taken before the slow part of the start.

    Raises:
        ConfigurationError: it cannot be had.
    """
    family = socket.AF_INET6 if ":" in configuration.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    # As servers do, so that connections of a server just ended are no hindrance.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((configuration.host, port))
    except OSError as error:
        reason = error.strerror or error
        raise ConfigurationError(
            f"Expected a free {name} port, received {port}: {reason} ({configuration.host})"
        ) from None
    return listener


def _open(uri: str) -> "Serving":
    from kalecast.artifact.contract import ContractError
    from kalecast.artifact.store import StoreError
    from kalecast.serving.reloading import Serving

    try:
        return Serving.open(uri)
    except ContractError as error:
        raise ConfigurationError(_one_line(f"'{uri}': {error}")) from None
    except StoreError as error:
        raise ConfigurationError(_one_line(str(error))) from None


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _allow_many_files() -> None:
    """A connection is a file: take as many as this process may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _serve(
    configuration: Configuration, serving: "Serving", http: socket.socket, metrics: socket.socket
) -> int:
    """Serve until the end; the exit code."""
    from kalecast.serving.background import Background
    from kalecast.serving.grpc_services import GRPCServer
    from kalecast.serving.http_app import HTTPApp
    from kalecast.serving.http_server import HTTPServer
    from kalecast.serving.metrics import Metrics
    from kalecast.serving.metrics_app import MetricsApp
    from kalecast.serving.service import Service

    ends: asyncio.Queue[signal.Signals | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ends.put_nowait, number)
    service = Service(configuration, serving, Metrics())
    background = Background(lambda: ends.put_nowait(None))
    in_terminal = signal.SIGHUP in lifetime.ends() and lifetime.has_terminal()

    def hang_up() -> None:
        if in_terminal and not lifetime.has_terminal():
            ends.put_nowait(signal.SIGINT)
        else:
            background.start("The reload", serving.reload())

    loop.add_signal_handler(signal.SIGHUP, hang_up)
    if configuration.watch_seconds:
        background.keep("The watch", serving.watch(configuration.watch_seconds))
    servers: list[GRPCServer | HTTPServer] = [
        GRPCServer(service),
        HTTPServer(HTTPApp(service), http, configuration),
        HTTPServer(MetricsApp(service.metrics), metrics, configuration),
    ]
    for server in servers:
        await server.start()
        background.keep(type(server).__name__, server.ended())
    # Requests leave no cycles behind, but thousands of them are many objects to look through.
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    _announce(service.model.contract, configuration)
    reason = await ends.get()
    if reason == signal.SIGTERM:
        await _drain(service, ends)
    service.is_ending = True
    background.close()
    await asyncio.gather(*(server.stop() for server in servers), return_exceptions=True)
    service.close()
    return 1 if reason is None else 0


async def _drain(service: "Service", ends: "asyncio.Queue[signal.Signals | None]") -> None:
    """Not ready any more, but answering, until its clients have noticed."""
    service.is_ending = True
    with suppress(TimeoutError):
        async with asyncio.timeout(service.configuration.drain_seconds):
            await ends.get()  # a second signal ends it at once


def _announce(contract: "Contract", configuration: Configuration) -> None:
    host = "127.0.0.1" if configuration.host == "0.0.0.0" else configuration.host
    base = f"http://{host}:{configuration.port}"
    print(f"Serving {contract.name} {contract.version}")
    print(f"  forecasts  {base}{PREDICTIONS}")
    print(f"             {base}/v2/models/{contract.name}/infer")
    print(f"  health     {base}/health/status")
    print(f"  metadata   {base}/metadata")
    print(f"  metrics    http://{host}:{configuration.metrics_port}/metrics")
    print(f"  gRPC       {host}:{configuration.grpc_port}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
