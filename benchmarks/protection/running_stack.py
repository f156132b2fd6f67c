"""What every part of the protection's proof works on: model server, app and gateway, running.

A part is a module with `measure(stack: ProtectedStack) -> ProofPart`.
"""

import http.client
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.load.gateway import NAME, Protected, gateway
from benchmarks.load.local_service import LocalService
from benchmarks.load.stack import app, model_server

ANSWER_SECONDS = 60.0
"""After which an answer counts as lost."""


@dataclass(frozen=True)
class Answer:
    """What a client got."""

    status: int
    headers: Mapping[str, str]
    """By their names in small letters."""
    body: bytes


@dataclass(frozen=True)
class ProtectedStack:
    """A running stack, its gateway as shipped."""

    model: Path
    folder: Path
    """For the files of the parts; each makes folders of its own below it."""
    server: LocalService
    app: LocalService
    protected: Protected
    whole: bool = False
    """Whether parts do all that they can, and not a selection of some minutes."""

    @cached_property
    def trust(self) -> ssl.SSLContext:
        """What a client needs to take the gateway's certificate."""
        return ssl.create_default_context(cafile=str(self.protected.certificate))

    def send(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        address: str | None = None,
    ) -> Answer:
        """One request through the gateway, over TLS and a connection of its own.

        Args:
            method: such as `POST`.
            path: with its query.
            headers: besides Host, Accept-Encoding and Content-Length.
            body: what is sent after them.
            address: the client's own, such as `127.3.0.9`: each is a client of its own to the
                gateway's limits.

        Raises:
            OSError, http.client.HTTPException: no answer came.
        """
        connection = http.client.HTTPSConnection(
            NAME,
            self.protected.port,
            timeout=ANSWER_SECONDS,
            source_address=(address, 0) if address else None,
            context=self.trust,
        )
        with closing(connection):
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            received = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, received, answer.read())


@dataclass(frozen=True)
class ProofPart:
    """What a part found."""

    name: str
    rows: Sequence[Sequence[str]]
    """Its table for people; the first row names the columns."""
    figures: dict[str, Any]
    """For the JSON, by the names that they have there."""
    notes: Sequence[str] = field(default_factory=tuple)
    """Sentences below the table."""


@contextmanager
def standing(model: Path, folder: Path, whole: bool = False) -> Iterator[ProtectedStack]:
    """Model server, app and the gateway as shipped, on free ports; ended afterwards."""
    server = model_server(model, folder / "server")
    page = app([server], folder / "app")
    page.environment["KALECAST_DRAIN_SECONDS"] = "0"  # nobody is served any more when it ends
    with server, page:
        protected = gateway(page, folder / "gateway")
        with protected.service:
            yield ProtectedStack(model, folder, server, page, protected, whole)
