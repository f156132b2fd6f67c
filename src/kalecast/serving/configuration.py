"""What decides how the server runs: options, else the environment, else defaults that are right.

Each setting is a field of `Configuration`, an option of `kalecast serve` (`--max-batch`) and a
variable of the environment (`KALECAST_MAX_BATCH`, or the name that Seldon Core's operator gives
it), and is checked before anything starts.

A dataclass and argparse, where other settings are pydantic's: that would take the CPU time of a
cold start from 0.75 to 1.02 s and the memory from 91 to 100 MB (medians of ten, on a busy machine).
"""

import argparse
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any

PARAMETERS = "PREDICTIVE_UNIT_PARAMETERS"
LOG_LEVELS = ("debug", "info", "warning", "error")
ACCESS_LOGS = ("off", "errors", "all")


class ConfigurationError(Exception):
    """The server cannot start with these settings; the text is one line."""


def _setting(default: Any, description: str, variable: str = "", **bounds: Any) -> Any:
    """A field with what its option and its variable need to know."""
    return field(
        default=default, metadata={"description": description, "variable": variable, **bounds}
    )


@dataclass(frozen=True)
class Configuration:
    """A running server's settings."""

    model_uri: str = _setting("", "path, file: or s3: URI of the model file", "MODEL_URI")
    host: str = _setting("127.0.0.1", "address to listen on; 0.0.0.0 for all")
    port: int = _setting(9000, "HTTP", "PREDICTIVE_UNIT_HTTP_SERVICE_PORT", most=65535)
    grpc_port: int = _setting(9500, "gRPC", "PREDICTIVE_UNIT_GRPC_SERVICE_PORT", most=65535)
    metrics_port: int = _setting(
        6000, "page for Prometheus", "PREDICTIVE_UNIT_METRICS_SERVICE_PORT", most=65535
    )
    max_batch: int = _setting(256, "windows that one forward pass forecasts at most")
    threads: int = _setting(1, "forward passes at the same time; one a core that the pod may use")
    max_queue: int = _setting(8192, "windows that wait; more are refused with 503")
    max_in_flight: int = _setting(8192, "requests at the same time; more are refused with 503")
    max_histories: int = _setting(1024, "histories a request")
    max_body: int = _setting(4 * 2**20, "bytes of a request")
    max_bodies: int = _setting(128 * 2**20, "bytes of all requests that are being answered")
    request_seconds: float = _setting(10.0, "after which a request that still waits is given up")
    keep_alive_seconds: float = _setting(75.0, "that idle connections stay open")
    backlog: int = _setting(16384, "connections that wait to be accepted (the kernel may cap it)")
    drain_seconds: float = _setting(
        5.0, "between SIGTERM, when it stops being ready, and the end of listening", least=0
    )
    grace_seconds: float = _setting(10.0, "that requests in flight get at the end")
    watch_seconds: float = _setting(
        5.0, "between two looks for a new file at the model URI; 0: only on SIGHUP", least=0
    )
    log_level: str = _setting("info", "|".join(LOG_LEVELS), choices=LOG_LEVELS)
    access_log: str = _setting("errors", "which requests are logged", choices=ACCESS_LOGS)

    def __post_init__(self) -> None:
        if not self.model_uri:
            raise ConfigurationError(
                "Expected --model-uri, or MODEL_URI in the environment, received none"
            )
        ports = {"HTTP": self.port, "gRPC": self.grpc_port, "metrics": self.metrics_port}
        if len(set(ports.values())) < len(ports):
            raise ConfigurationError(f"Expected three different ports, received: {ports}")


def read(
    arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ
) -> Configuration:
    """The configuration of a command line and an environment.

    Raises:
        ConfigurationError: a setting holds what it must not.
    """
    parser = argparse.ArgumentParser(
        description="Serve forecasts from a model file in the Seldon protocol and in the Open "
        "Inference Protocol v2, over HTTP and gRPC."
    )
    for setting in fields(Configuration):
        option = "--" + setting.name.replace("_", "-")
        description = (
            f"{setting.metadata['description']} (default {setting.default!r}, {_variable(setting)})"
        )
        parser.add_argument(option, metavar="…", help=description.replace("%", "%%"))
    given = vars(parser.parse_args(arguments))
    graph = _graph_parameters(environment)
    values = {}
    for setting in fields(Configuration):
        named = _variable(setting)
        for source, text in (
            ("--" + setting.name.replace("_", "-"), given[setting.name]),
            (PARAMETERS, graph.get(setting.name)),
            (named, environment.get(named)),
        ):
            if text not in (None, ""):
                values[setting.name] = _checked(setting, source, str(text))
                break
    return Configuration(**values)


def _variable(setting: Field[Any]) -> str:
    return setting.metadata["variable"] or f"KALECAST_{setting.name.upper()}"


def _graph_parameters(environment: Mapping[str, str]) -> dict[str, Any]:
    """Parameters of the SeldonDeployment's graph, as the operator passes them."""
    text = environment.get(PARAMETERS) or "[]"
    try:
        return {parameter["name"]: parameter["value"] for parameter in json.loads(text)}
    except (ValueError, TypeError, KeyError):
        raise ConfigurationError(
            f"Expected {PARAMETERS} to be a JSON list of objects with 'name' and 'value', "
            f"received: {text[:60]!r}"
        ) from None


def _checked(setting: Field[Any], source: str, text: str) -> Any:
    assert setting.default is not MISSING
    kind, bounds = type(setting.default), setting.metadata
    if choices := bounds.get("choices"):
        if text not in choices:
            raise ConfigurationError(
                f"Expected {source} {' or '.join(choices)}, received: {text!r}"
            )
        return text
    if kind is str:
        return text
    return _number(kind, source, text, bounds.get("least", 1 if kind is int else 0.001), bounds)


def _number(
    kind: Callable[[str], float], source: str, text: str, least: float, bounds: Mapping[str, Any]
) -> float:
    most = bounds.get("most", math.inf)
    try:
        number = kind(text)
    except ValueError:
        number = math.nan
    if not least <= number <= most or math.isinf(number):
        whole = "a whole number" if kind is int else "a number"
        upper = f" to {most:g}" if most < math.inf else " or more"
        raise ConfigurationError(
            f"Expected {source} {whole} from {least:g}{upper}, received: {text!r}"
        )
    return number
