"""The three servers of a model: REST, gRPC and metrics.

They are Seldon Core's own parts (its Flask applications, gRPC servicer and metrics), put
together as its command `seldon-core-microservice` does, with what that command gives no setting
for: the address to listen on, gRPC status codes, gRPC's queue and largest message, an end
without losing requests in flight, no control socket, exact counters under threads.

Each function blocks until its process gets SIGTERM.
"""

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, NoReturn

import grpc
from ForecastModel import ForecastModel
from grpc_reflection.v1alpha import reflection
from logs import GunicornLogger
from refusals import LARGEST_REQUEST
from seldon_core.flask_utils import SeldonMicroserviceException
from seldon_core.gunicorn_utils import (
    StandaloneApplication,
    UserModelApplication,
    post_worker_init,
    worker_exit,
)
from seldon_core.metrics import SeldonMetrics
from seldon_core.proto import prediction_pb2, prediction_pb2_grpc
from seldon_core.wrapper import (
    SeldonModelGRPC,
    get_metrics_microservice,
    get_rest_microservice,
)

GRACE_SECONDS = 10
"""How long requests in flight may take to end."""

KEEP_ALIVE_SECONDS = 75
"""Longer than proxies and clients keep idle connections: with the wrapper's 2 s they send
requests into connections that were just closed."""

MOST_CONNECTIONS = 4096
MOST_WAITING_CALLS = 16384
"""gRPC refuses calls beyond its queue, by default about a thousand, as CANCELLED."""

GRPC_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
}


@dataclass(frozen=True)
class Settings:
    """Where the servers listen, and with how many workers and threads."""

    host: str
    http_port: int
    grpc_port: int
    metrics_port: int
    workers: int
    threads: int


class ExactMetrics(SeldonMetrics):
    """Seldon's metrics, exact under threads: reading, adding and writing are one step.

    The stock class keys its counts by process, so that two threads of one lose counts.
    """

    def __init__(self) -> None:
        """Start the process that holds the counts."""
        super().__init__(worker_id_func=os.getpid)
        self._threads = Lock()

    def update(self, custom_metrics: list[dict[str, Any]], method: str) -> None:
        """Add to the counts; nothing to add costs no round trip."""
        if custom_metrics:
            with self._threads:
                super().update(custom_metrics, method)


def serve_rest(model: ForecastModel, metrics: SeldonMetrics, settings: Settings) -> None:
    """REST: forecasts, health and metadata."""
    options = {
        **_gunicorn_options(settings.host, settings.http_port),
        "workers": settings.workers,
        "threads": settings.threads,
        "worker_exit": partial(worker_exit, seldon_metrics=metrics),
    }
    app = get_rest_microservice(model, metrics)
    UserModelApplication(app, model, False, None, type(model).__name__, options=options).run()


def serve_metrics(model: ForecastModel, metrics: SeldonMetrics, settings: Settings) -> None:
    """The page that Prometheus reads."""
    # Threads, because one idle connection would keep a worker without them from answering.
    options = {**_gunicorn_options(settings.host, settings.metrics_port), "threads": 2}
    StandaloneApplication(get_metrics_microservice(metrics), options=options).run()


def serve_grpc(model: ForecastModel, metrics: SeldonMetrics, settings: Settings) -> None:
    """gRPC: forecasts and metadata, with reflection."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    server = grpc.server(
        ThreadPoolExecutor(settings.threads),
        interceptors=[StatusCodes()],
        options=[
            ("grpc.so_reuseport", 0),  # or a second server would share the port in silence
            ("grpc.max_receive_message_length", LARGEST_REQUEST),
            ("grpc.server.max_pending_requests", MOST_WAITING_CALLS),
            ("grpc.server.max_pending_requests_hard_limit", MOST_WAITING_CALLS),
        ],
    )
    servicer = SeldonModelGRPC(model, metrics)
    prediction_pb2_grpc.add_ModelServicer_to_server(servicer, server)
    prediction_pb2_grpc.add_SeldonServicer_to_server(servicer, server)
    services = prediction_pb2.DESCRIPTOR.services_by_name
    names = [services["Model"].full_name, services["Seldon"].full_name, reflection.SERVICE_NAME]
    reflection.enable_server_reflection(names, server)
    model.load()
    server.add_insecure_port(f"{settings.host}:{settings.grpc_port}")
    server.start()
    signal.sigwait({signal.SIGTERM})
    server.stop(GRACE_SECONDS).wait()


class StatusCodes(grpc.ServerInterceptor):  # type: ignore[misc]
    """Gives refusals a gRPC status of their own; the stock servicer ends them as UNKNOWN."""

    def intercept_service(self, continuation: Callable[..., Any], details: Any) -> Any:
        """Wrap the method that answers a call."""
        handler = continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler
        return grpc.unary_unary_rpc_method_handler(
            partial(_answer, handler.unary_unary),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


def _answer(method: Callable[..., Any], request: Any, context: grpc.ServicerContext) -> Any:
    try:
        return method(request, context)
    except SeldonMicroserviceException as error:
        _abort(context, GRPC_CODES.get(error.status_code, grpc.StatusCode.INTERNAL), error.message)
    except NotImplementedError as error:
        _abort(context, grpc.StatusCode.UNIMPLEMENTED, str(error))


def _abort(context: grpc.ServicerContext, code: grpc.StatusCode, message: str) -> NoReturn:
    context.abort(code, message)
    raise AssertionError("context.abort raises")


def _gunicorn_options(host: str, port: int) -> dict[str, Any]:
    shared_memory = Path("/dev/shm")  # workers' heartbeats; a container's disk may be read-only
    return {
        "bind": f"{host}:{port}",
        "loglevel": "warning",
        "logger_class": GunicornLogger,
        "keepalive": KEEP_ALIVE_SECONDS,
        "graceful_timeout": GRACE_SECONDS,
        "worker_connections": MOST_CONNECTIONS,
        "backlog": MOST_CONNECTIONS,
        "worker_tmp_dir": str(shared_memory) if shared_memory.is_dir() else None,
        "control_socket_disable": True,
        "post_worker_init": post_worker_init,
    }
