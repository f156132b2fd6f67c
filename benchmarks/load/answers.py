"""HTTP/1.1 answers out of the bytes of a connection, with as little work as is right.

Lengths that are declared, chunks, and bodies that end with the connection; no pipelining,
because a client of ours sends its next request after the answer.
"""

from dataclasses import dataclass

LARGEST_HEAD = 64 * 1024
BODILESS = (204, 304)


class MalformedResponse(ValueError):
    """What came is no HTTP/1.1 answer."""


@dataclass(frozen=True, slots=True)
class Response:
    """One whole answer."""

    status: int
    body: bytes
    retry_after: float = 0.0
    """Seconds that the server asks to wait."""
    closes: bool = False
    """Whether the connection ends with it."""


@dataclass(frozen=True, slots=True)
class _Head:
    status: int
    length: int | None
    chunked: bool
    retry_after: float
    closes: bool


class ResponseReader:
    """Collects one answer after another.

    Example:
        >>> AnswerReader().feed(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\n{}")
        Answer(status=200, body=b'{}', retry_after=0.0, closes=False)
    """

    _head: _Head | None
    _at: int
    """Where the body, or its next chunk, begins."""
    _chunks: list[bytes]

    def __init__(self) -> None:
        """Nothing has come yet."""
        self._begin()

    def feed(self, data: bytes) -> Response | None:
        """Take what has come; returns the answer once it is whole.

        Raises:
            MalformedAnswer: it cannot become an answer any more.
        """
        self._received += data
        while self._head is None:
            end = self._received.find(b"\r\n\r\n")
            if end < 0:
                if len(self._received) > LARGEST_HEAD:
                    raise MalformedResponse(f"Expected headers within {LARGEST_HEAD} bytes")
                return None
            head = _read_head(bytes(self._received[:end]))
            self._at = end + 4
            if 100 <= head.status < 200:  # the real one follows
                del self._received[: self._at]
            else:
                self._head = head
        return self._body(self._head)

    def end(self) -> Response | None:
        """The connection has ended; returns the answer if that completes it."""
        head = self._head
        if head is None or head.chunked or head.length is not None:
            return None
        return self._whole(head, bytes(self._received[self._at :]))

    def _begin(self) -> None:
        self._received = bytearray()
        self._head, self._at, self._chunks = None, 0, []

    def _body(self, head: _Head) -> Response | None:
        if head.status in BODILESS:
            return self._whole(head, b"")
        if head.chunked:
            return self._chunked_body(head)
        if head.length is None or len(self._received) < self._at + head.length:
            return None
        if len(self._received) > self._at + head.length:
            raise MalformedResponse(f"Expected a body of {head.length} bytes, received more")
        return self._whole(head, bytes(self._received[self._at :]))

    def _chunked_body(self, head: _Head) -> Response | None:
        received = self._received
        while (line := received.find(b"\r\n", self._at)) >= 0:
            size = _chunk_size(bytes(received[self._at : line]))
            if size == 0:
                # Two line ends in a row, after the trailers if there are any.
                ended = received.find(b"\r\n\r\n", line) >= 0
                return self._whole(head, b"".join(self._chunks)) if ended else None
            begin = line + 2
            if len(received) < begin + size + 2:
                return None
            self._chunks.append(bytes(received[begin : begin + size]))
            self._at = begin + size + 2
        return None

    def _whole(self, head: _Head, body: bytes) -> Response:
        self._begin()
        return Response(head.status, body, head.retry_after, head.closes)


def _read_head(head: bytes) -> _Head:
    first, *lines = head.lower().split(b"\r\n")
    if not first.startswith(b"http/1.") or not first[9:12].isdigit():
        raise MalformedResponse(f"Expected 'HTTP/1.1' and a status, received: {first[:40]!r}")
    headers = dict(line.split(b":", 1) for line in lines if b":" in line)
    length = headers.get(b"content-length", b"").strip()
    if length and not length.isdigit():
        raise MalformedResponse(f"Expected Content-Length as a number, received: {length[:40]!r}")
    retry_after = headers.get(b"retry-after", b"").strip()
    return _Head(
        status=int(first[9:12]),
        length=int(length) if length else None,
        chunked=b"chunked" in headers.get(b"transfer-encoding", b""),
        retry_after=float(retry_after) if retry_after.isdigit() else 0.0,
        closes=b"close" in headers.get(b"connection", b"") or first.startswith(b"http/1.0"),
    )


def _chunk_size(line: bytes) -> int:
    try:
        return int(line.partition(b";")[0], 16)
    except ValueError:
        raise MalformedResponse(f"Expected a chunk's size, received: {line[:40]!r}") from None
