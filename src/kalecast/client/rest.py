"""HTTP client of a model server; its errors say in a sentence why there is no forecast.

Needs NumPy alone. A server is named by its address, `http://127.0.0.1:9000`, or by that under which
an ingress has it, `https://models.example.org/seldon/NAMESPACE/NAME`.
"""

import contextlib
import http.client
import json
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from kalecast.artifact.contract import Contract
from kalecast.client import messages
from kalecast.client.http import opener
from kalecast.client.messages import AnswerError
from kalecast.client.messages import Floats as Floats  # noqa: PLC0414

SECONDS = 30.0
REFUSED = 400
WRONG_PORT = "a model server's port for HTTP is 9000, that for gRPC 9500."


class RequestError(RuntimeError):
    """There is no forecast; the text says why, and what to do.

    Args:
        text: for the user.
        status: of the HTTP answer, where there was one.
    """

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


class UnreachableError(RequestError):
    """Nothing answers at the address, now."""


@dataclass(frozen=True)
class ServerAddress:
    """Where a model server is, and the headers that authenticate the client.

    Args:
        url: its address, without a path of the protocol.
        headers: sent with each request.
        ca_file: certificate authorities to trust in place of the system's.
        seconds: that an answer may take.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    ca_file: str | None = None
    seconds: float = SECONDS


def read_contract(address: ServerAddress) -> Contract:
    """The contract of the model that is served.

    Raises:
        RequestError: none is.
    """
    answer = request_json(address, messages.METADATA)
    try:
        return messages.contract_of(answer)
    except AnswerError as error:
        raise RequestError(
            f"Expected a Kalecast model server at {address.url}, another program answers there."
        ) from error


def forecast_over_http(address: ServerAddress, window: Floats) -> tuple[Floats, str]:
    """A forecast in Seldon's protocol.

    Args:
        address: of the server.
        window: the history, newest value last, NaN where unknown.

    Returns:
        Shape `(horizon, quantiles)`, and the version of the model that made it.

    Raises:
        RequestError: the server refuses the history, or does not answer.
    """
    request = messages.seldon_request([messages.listed(window)])
    answer = request_json(address, messages.PREDICTIONS, request)
    try:
        forecasts, version = messages.seldon_forecasts(answer)
    except AnswerError as error:
        raise RequestError(f"{address.url} answers, but not with a forecast.") from error
    if version is None or not len(forecasts):
        raise RequestError(f"{address.url} answers, but not with a forecast.")
    return forecasts[0], version


def grpc_error(server: str, detail: str) -> RequestError:
    """Why there is no answer over gRPC, out of what the library `grpc` says.

    Args:
        server: host and port.
        detail: the details of its error.
    """
    if "http1.x server" in detail or "Failed parsing HTTP/2" in detail:
        return RequestError(f"{server} speaks HTTP, not gRPC: {WRONG_PORT}")
    if "failed to connect" in detail or "Socket closed" in detail:
        reason = "connection refused" if "refused" in detail else "no connection"
        return UnreachableError(f"No model server answers gRPC at {server} ({reason}).")
    found = re.search(r'details = "(.*)"', detail)
    return RequestError(
        f"The model server at {server} answers over gRPC: {found[1] if found else detail}"
    )


def request_json(address: ServerAddress, path: str, content: object = None) -> Any:
    """The JSON at a path, or what the server answers to JSON sent there.

    Raises:
        RequestError: it refuses, does not answer, or answers with something else.
    """
    url = address.url.rstrip("/") + path
    body = None if content is None else json.dumps(content).encode()
    headers = {"Content-Type": "application/json", **address.headers}
    context = _tls(address)
    try:
        request = urllib.request.Request(url, body, headers)
        with opener(context).open(request, timeout=address.seconds) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise RequestError(_refusal(address.url, error), error.code) from error
    except json.JSONDecodeError as error:
        raise RequestError(
            f"{url} answers with something other than JSON: a login page, or another program."
        ) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _no_answer(address.url, error) from error


def _tls(address: ServerAddress) -> ssl.SSLContext | None:
    # Reading all authorities that the system trusts takes longer than a forecast.
    if not address.url.startswith("https:"):
        return None
    try:
        return ssl.create_default_context(cafile=address.ca_file)
    except OSError as error:
        raise RequestError(
            f"Expected a file with certificates in KALECAST_CA, received: {address.ca_file}."
        ) from error


def _refusal(url: str, error: urllib.error.HTTPError) -> str:
    detail = ""
    # Where no words can be read, the status says enough.
    with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
        detail = messages.reason_of(json.loads(error.read()))
    if error.code in (401, 403):
        return f"{url} does not let you in (HTTP {error.code}): is KALECAST_TOKEN set, and valid?"
    if error.code == 404 and not detail:
        return f"{url} has no model server (HTTP 404): is the path of the ingress right?"
    if error.code == REFUSED:
        return f"The model server refuses this history: {detail}"
    return f"{url} answers with HTTP {error.code}: {detail or error.reason}"


def _no_answer(url: str, error: Exception) -> RequestError:
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLCertVerificationError):
        return RequestError(
            f"The certificate of {url} is not one that is trusted here "
            f"({reason.verify_message}): KALECAST_CA names a file with your own authority."
        )
    parts = urlsplit(url)
    if isinstance(reason, ssl.SSLError):
        return RequestError(f"{url} does not speak TLS: is it http://{parts.netloc}?")
    # gRPC greets with a frame, which begins with the three bytes of its length.
    if isinstance(error, http.client.BadStatusLine) and str(error.args[0]).startswith("\0\0"):
        return RequestError(f"{parts.netloc} speaks gRPC, not HTTP: {WRONG_PORT}")
    detail = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return UnreachableError(f"No model server answers at {url} ({detail}).")
