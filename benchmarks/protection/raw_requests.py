"""Requests over raw sockets, byte for byte as they are written, and who answered.

A request comes from an address of its own: nginx tells it with every line of its error log,
whichever of its workers writes it, and nothing has to be added to the request. Loopback has 16
million addresses.
"""

import contextlib
import http.client
import json
import re
import socket
import ssl
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

AT_ONCE = 8
"""Clients that send at the same time."""

ANSWER_SECONDS = 15.0
"""Longer than nginx waits for the rest of a request that never comes."""

BY_SIGNATURES, BY_LIST, BY_LIMITS, HUNG_UP = "signatures", "positive list", "limits", "hung up"
PASSED = "passed"

CLIENT = re.compile(r"client: (127\.\d+\.\d+\.\d+)")
# nginx cuts a line after 2,048 bytes, and with it the client, but never the process and the
# connection's number in it.
CONNECTION = re.compile(r"^\S+ \S+ \[\w+\] (\d+#\d+: \*\d+) ")
NONCE = re.compile(rb'nonce="[0-9a-f]+"')


@dataclass(frozen=True)
class RawReply:
    """What came back."""

    status: int | None
    """None where the connection was closed without an answer."""
    kind: str = ""
    """Its content type."""
    body: bytes = b""

    @property
    def verdict(self) -> str:
        """What the gateway did with the request: one of the words above."""
        if self.status is None:
            return HUNG_UP
        if not self.is_of_gateway:
            return PASSED
        return {403: BY_SIGNATURES, 429: BY_LIMITS}.get(self.status, BY_LIST)

    @property
    def is_of_gateway(self) -> bool:
        """Whether it is one of the gateway's sentences, or a page of nginx's own.

        The gateway says each of its sentences under two names, for a page's scripts and for
        programs.
        """
        if b"<center>nginx" in self.body or b"<h1>Kalecast</h1><p>" in self.body:
            return True
        if (self.status or 0) < 400:
            return False
        if not self.body:
            return True  # the answer to HEAD; none of them reaches more than the page
        try:
            answer = json.loads(self.body)
        except ValueError:
            return False
        is_sentence = isinstance(answer, dict) and "detail" in answer
        return is_sentence and answer["detail"] == answer.get("error")

    def is_same_page(self, page: "RawReply") -> bool:
        """Whether it is the page that everybody gets, but for the number that is new in each."""
        return NONCE.sub(b"", self.body) == NONCE.sub(b"", page.body)


@dataclass(frozen=True)
class Place:
    """Where requests are sent to."""

    port: int
    trust: ssl.SSLContext | None = None
    """For TLS, to the name `localhost`."""

    def send(self, request: bytes, client: str) -> RawReply:
        """Send one request as it is; returns its answer."""
        with contextlib.closing(Visit(self, client)) as visit:
            return visit.send(request)

    def send_all(self, requests: Sequence[bytes], clients: Sequence[str]) -> list[RawReply]:
        """Send requests, several at a time, each from its client; answers in the same order."""
        with ThreadPoolExecutor(AT_ONCE) as several:
            return list(several.map(self.send, requests, clients))

    def connected(self, client: str) -> socket.socket:
        """A connection from an address.

        Raises:
            OSError: there is none to be had.
        """
        plain = socket.create_connection(("127.0.0.1", self.port), ANSWER_SECONDS, (client, 0))
        if self.trust is None:
            return plain
        try:
            return self.trust.wrap_socket(plain, server_hostname="localhost")
        except OSError:
            plain.close()
            raise


@dataclass
class Visit:
    """One client's requests, one after another, over a connection that is kept where it can be."""

    place: Place
    client: str
    _connection: socket.socket | None = field(default=None, init=False)

    def send(self, request: bytes) -> RawReply:
        """Send a request as it is; returns its answer."""
        try:
            self._connection = self._connection or self.place.connected(self.client)
            self._connection.sendall(request)
            return self._reply(self._connection, request)
        except (OSError, http.client.HTTPException):
            self.close()
            return RawReply(None)

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _reply(self, connection: socket.socket, request: bytes) -> RawReply:
        # Answers to HEAD have no body, whatever length they tell.
        method = "HEAD" if request.lstrip().startswith(b"HEAD ") else None
        answer = http.client.HTTPResponse(connection, method=method)
        with contextlib.closing(answer):
            answer.begin()
            body = answer.read()
            if answer.will_close:
                self.close()
            return RawReply(answer.status, answer.getheader("Content-Type", ""), body)


def clients(network: int) -> Iterator[str]:
    """Addresses of loopback, `127.network.0.1` and those after it."""
    for at in range((network << 16) + 1, 1 << 24):
        yield f"127.{at >> 16}.{at >> 8 & 255}.{at & 255}"


def lines_by_client(log: Path) -> dict[str, list[str]]:
    """The lines of nginx's error log by the client that each is about."""
    owners: dict[str, str] = {}
    by_connection: dict[str, list[str]] = defaultdict(list)
    for line in log.read_text(errors="replace").splitlines():
        if number := CONNECTION.match(line):
            by_connection[number.group(1)].append(line)
            if client := CLIENT.search(line):
                owners[number.group(1)] = client.group(1)
    lines: dict[str, list[str]] = defaultdict(list)
    for connection, logged in by_connection.items():
        lines[owners.get(connection, "")] += logged
    return lines
