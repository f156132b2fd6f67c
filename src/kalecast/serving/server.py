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
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

# Before NumPy is imported, which reads it then.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from kalecast import lifetime
from kalecast.protocols.sockets import allow_many_connections, bound
from kalecast.serving.configuration import Configuration, ConfigurationError, read
from kalecast.serving.refusals import PREDICTIONS

if TYPE_CHECKING:
    from kalecast.artifact.contract import Contract
    from kalecast.protocols.http1 import LoopServer
    from kalecast.serving.reloading import Serving
    from kalecast.serving.service import Service

PLAIN = set(logging.makeLogRecord({}).__dict__) | {"message", "color_message"}
"""What every log record has; anything else was given as `extra`."""

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, start, wait for the end; returns the exit code."""
    try:
        configuration = read(arguments)
        configure_logs(configuration.log_level)
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
    allow_many_connections()
    import uvloop

    status: int = uvloop.run(_serve(configuration, serving, *listeners))
    return status


def _bind(configuration: Configuration, name: str, port: int) -> socket.socket:
    """An address of ours, taken before the slow part of the start.

    Raises:
        ConfigurationError: it cannot be had.
    """
    try:
        return bound(configuration.host, port)
    except OSError as error:
        reason = error.strerror or error
        raise ConfigurationError(
            f"Expected a free {name} port, received {port}: {reason} ({configuration.host})"
        ) from None


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


async def _serve(
    configuration: Configuration, serving: "Serving", http: socket.socket, metrics: socket.socket
) -> int:
    """Serve until the end; the exit code."""
    from kalecast.protocols.counters import counters_app
    from kalecast.protocols.http1 import LoopServer
    from kalecast.serving.grpc import GRPCServer
    from kalecast.serving.http import HTTPApp
    from kalecast.serving.metrics import Metrics
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
        background.start("The watch", serving.watch(configuration.watch_seconds), is_kept=True)
    servers: dict[str, GRPCServer | LoopServer] = {
        "The gRPC server": GRPCServer(service),
        "The HTTP server": _http_server(HTTPApp(service), http, configuration),
        "The metrics server": _http_server(
            counters_app(service.metrics.registry), metrics, configuration
        ),
    }
    for name, server in servers.items():
        await server.start()
        background.start(name, server.ended(), is_kept=True)
    # Requests leave no cycles behind, but thousands of them are many objects to look through.
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)
    _announce(service.model.contract, configuration)
    reason = await ends.get()
    if reason == signal.SIGTERM:
        await _drain(service, ends)
    service.is_ending = True
    background.close()
    await asyncio.gather(*(server.stop() for server in servers.values()), return_exceptions=True)
    service.close()
    return 1 if reason is None else 0


def _http_server(app: Any, listener: socket.socket, configuration: Configuration) -> "LoopServer":
    from kalecast.protocols.http1 import LoopServer, limited_config

    config = limited_config(
        app,
        configuration.request_seconds,
        loop="none",
        lifespan="off",
        log_config=None,
        proxy_headers=False,
        backlog=configuration.backlog,
        timeout_keep_alive=round(configuration.keep_alive_seconds),
        timeout_graceful_shutdown=round(configuration.grace_seconds),
    )
    return LoopServer(config, listener)


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


class Background:
    """Tasks that run beside the requests, none of which ends unseen.

    Args:
        on_failure: is called where one fails, or ends that should not.
    """

    def __init__(self, on_failure: Callable[[], None]) -> None:
        self._on_failure = on_failure
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_closed = False

    def start(self, name: str, work: Coroutine[Any, Any, Any], is_kept: bool = False) -> None:
        """Start what comes to an end by itself, or (`is_kept`) must go on until `close`."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, is_kept))

    def close(self) -> None:
        """End all of them."""
        self._is_closed = True
        for task in self._tasks:
            task.cancel()

    def _ended(self, is_kept: bool, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if not self._is_closed and (is_kept or error):
            logger.critical("%s ended, and the server with it", task.get_name(), exc_info=error)
            self._on_failure()


class JSONFormatter(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, logger, process, message and extras; the stack where there is one."""
        content = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": record.process,
            "message": record.getMessage(),
            **{key: value for key, value in vars(record).items() if key not in PLAIN},
        }
        if record.exc_info:
            content["stack"] = self.formatException(record.exc_info)
        return json.dumps(content, ensure_ascii=False, default=str)


def configure_logs(level: str) -> None:
    """Set up the root logger; uvicorn's own loggers pass their records on to it."""
    handler = logging.StreamHandler()
    handler.setFormatter(JSONFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.captureWarnings(True)
    # It warns of each request that is no HTTP, which anyone can send at will.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    # gRPC logs the stack of each answer whose client has hung up.
    logging.getLogger("grpc._cython.cygrpc").addFilter(
        lambda record: not record.getMessage().startswith("ExecuteBatchError")
    )


if __name__ == "__main__":
    sys.exit(main())
