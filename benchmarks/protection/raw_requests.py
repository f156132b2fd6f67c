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
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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


class Client(contextlib.AbstractContextManager["Client"]):
    """Sends one request after another, over a connection that is kept where it can be.

    Args:
        port: where they are sent to, on loopback.
        address: the client's own.
        trust: for TLS, to the name `localhost`.
    """

    def __init__(self, port: int, address: str, trust: ssl.SSLContext | None = None) -> None:
        self._port, self._address, self._trust = port, address, trust
        self._connection: socket.socket | None = None

    def send(self, request: bytes) -> RawReply:
        """Send a request as it is; returns its answer."""
        try:
            self._connection = self._connection or self._connected()
            self._connection.sendall(request)
            # Answers to HEAD have no body, whatever length they tell.
            method = "HEAD" if request.lstrip().startswith(b"HEAD ") else None
            answer = http.client.HTTPResponse(self._connection, method=method)
            with contextlib.closing(answer):
                answer.begin()
                body = answer.read()
                if answer.will_close:
                    self._hang_up()
                return RawReply(answer.status, answer.getheader("Content-Type", ""), body)
        except (OSError, http.client.HTTPException):
            self._hang_up()
            return RawReply(None)

    def __exit__(self, *_: object) -> None:
        self._hang_up()

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> socket.socket:
        end = ("127.0.0.1", self._port)
        plain = socket.create_connection(end, ANSWER_SECONDS, (self._address, 0))
        # What takes it over closes it where the handshake fails.
        return self._trust.wrap_socket(plain, server_hostname="localhost") if self._trust else plain


def written(
    method: str, path: str, headers: dict[str, str], body: bytes = b"", kind: str = ""
) -> bytes:
    """A request to `localhost`, as it is sent; a body has a type and a length."""
    about = {"Content-Type": kind, "Content-Length": str(len(body))} if kind else {}
    lines = [
        f"{name}: {value}\r\n" for name, value in ({"Host": "localhost"} | headers | about).items()
    ]
    return f"{method} {path} HTTP/1.1\r\n{''.join(lines)}\r\n".encode(errors="replace") + body


def form(files: Mapping[str, bytes], boundary: str) -> bytes:
    """A form with tables to upload, by their names."""
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n'
        "Content-Type: text/csv\r\n\r\n".encode()
        + content
        + b"\r\n"
        for name, content in files.items()
    ]
    return b"".join(parts) + f"--{boundary}--\r\n".encode()


def send_all(
    port: int,
    requests: Sequence[bytes],
    addresses: Sequence[str],
    trust: ssl.SSLContext | None = None,
) -> list[RawReply]:
    """Send requests, several at a time, each from its client; answers in the same order."""

    def send(request: bytes, address: str) -> RawReply:
        with Client(port, address, trust) as client:
            return client.send(request)

    with ThreadPoolExecutor(AT_ONCE) as several:
        return list(several.map(send, requests, addresses))


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
