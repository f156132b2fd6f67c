"""A request and its answer, as the handlers of either protocol see them."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from kalecast.serving.refusals import NotDecoded, Refusal

Receive = Callable[[], Awaitable[dict[str, Any]]]

REASONS = {
    500: "MICROSERVICE_INTERNAL_ERROR",
    503: "MICROSERVICE_NOT_READY",
    504: "MICROSERVICE_TIMEOUT",
}
UNREAD = (408, 413)
"""Refused with a part of the body still to come: the connection is of no more use."""


@dataclass(slots=True)
class Request:
    """What a handler needs to know of a request."""

    method: str
    path: str
    query: bytes
    headers: dict[bytes, bytes]
    receive: Receive
    id: bytes

    @property
    def content_type(self) -> str:
        """As it was sent, empty where it was not."""
        return self.headers.get(b"content-type", b"").decode("latin-1")


@dataclass(slots=True)
class Answer:
    """What goes back."""

    body: bytes
    status: int = 200
    kind: bytes = b"application/json"
    headers: Iterable[tuple[bytes, bytes]] = ()


class ClientGone(Exception):
    """The client does not wait for the answer any more."""


def refused(refusal: Refusal, is_v2: bool) -> Answer:
    """A refusal as its protocol has it: Seldon's status, or the Open Inference Protocol's error."""
    headers = []
    if refusal.retry_after is not None:
        headers.append((b"retry-after", str(refusal.retry_after).encode()))
    if refusal.allowed:
        headers.append((b"allow", ", ".join(refusal.allowed).encode()))
    is_encoded = isinstance(refusal, NotDecoded)
    if is_encoded:
        headers.append((b"accept-encoding", b"identity"))
    if is_encoded or refusal.status in UNREAD:
        headers.append((b"connection", b"close"))
    content = {"error": str(refusal)} if is_v2 else {"status": _seldon_status(refusal)}
    return Answer(orjson.dumps(content), refusal.status, headers=headers)


def _seldon_status(refusal: Refusal) -> dict[str, Any]:
    reason = REASONS.get(refusal.status, "MICROSERVICE_BAD_DATA")
    return {"status": 1, "info": str(refusal), "code": -1, "reason": reason}
