"""HTTP/2 by hand, for gRPC clients that do what no library does: stop half-way, or never read."""

import socket
import struct
from contextlib import suppress

DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW = 0, 1, 3, 4, 6, 7, 8
LARGEST_FRAME = 16384
FIRST_WINDOW = 65535


class Connection:
    """A connection whose streams are calls of one method.

    Args:
        port: the gRPC server's, on loopback.
        path: the method's.
        window: bytes of each answer that this client takes.
    """

    def __init__(self, port: int, path: bytes, window: int = FIRST_WINDOW) -> None:
        self._path = path
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._unread = b""
        self._room = FIRST_WINDOW
        self._rooms: dict[int, int] = {}
        self._first_room = FIRST_WINDOW
        self.ended: set[int] = set()
        """Streams that the server has ended."""
        self.is_closed = False
        settings = struct.pack(">HI", 4, window)
        self._socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(SETTINGS, 0, 0, settings))

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def open(self) -> int:
        """Begin a call; its stream's number."""
        stream = 2 * len(self._rooms) + 1
        self._rooms[stream] = self._first_room
        fields = {
            b":method": b"POST",
            b":scheme": b"http",
            b":path": self._path,
            b":authority": b"x",
            b"content-type": b"application/grpc",
            b"te": b"trailers",
        }
        self._write(_frame(HEADERS, 4, stream, b"".join(_field(*one) for one in fields.items())))
        return stream

    def send(self, stream: int, content: bytes, *, ends: bool = False) -> int:
        """Send as much of it as the server takes now; how much that was."""
        count = max(min(len(content), self._room, self._rooms[stream], LARGEST_FRAME), 0)
        if count and not self.is_closed:
            self._room -= count
            self._rooms[stream] -= count
            last = ends and count == len(content)
            self._write(_frame(DATA, 1 if last else 0, stream, content[:count]))
        return count

    def call(self, message: bytes) -> None:
        """A whole call, whose answer may come or not."""
        stream, left = self.open(), struct.pack(">BI", 0, len(message)) + message
        while left and not self.is_closed and stream not in self.ended:
            left = left[self.send(stream, left, ends=True) :]
            self.listen(0.001)

    def listen(self, seconds: float) -> None:
        """Take what the server sends in that time, and answer as HTTP/2 requires."""
        with suppress(TimeoutError):
            while not self.is_closed:
                self._socket.settimeout(seconds)
                try:
                    came = self._socket.recv(65536)
                except ConnectionError:
                    came = b""
                self.is_closed = not came
                self._unread += came
                self._take_frames()

    def _take_frames(self) -> None:
        while len(self._unread) >= 9:
            size = int.from_bytes(self._unread[:3], "big")
            if len(self._unread) < 9 + size:
                return
            kind, flags = self._unread[3], self._unread[4]
            stream = int.from_bytes(self._unread[5:9], "big")
            self._frame_came(kind, flags, stream, self._unread[9 : 9 + size])
            self._unread = self._unread[9 + size :]

    def _frame_came(self, kind: int, flags: int, stream: int, content: bytes) -> None:
        if kind == SETTINGS and not flags & 1:
            for at in range(0, len(content), 6):
                key, value = struct.unpack_from(">HI", content, at)
                if key == 4:
                    for open_stream in self._rooms:
                        self._rooms[open_stream] += value - self._first_room
                    self._first_room = value
            self._write(_frame(SETTINGS, 1, 0, b""))
        elif kind == PING and not flags & 1:
            self._write(_frame(PING, 1, 0, content))
        elif kind == WINDOW and stream:
            self._rooms[stream] += int.from_bytes(content, "big")
        elif kind == WINDOW:
            self._room += int.from_bytes(content, "big")
        elif kind == RESET or (kind in (HEADERS, DATA) and flags & 1):
            self.ended.add(stream)

    def _write(self, content: bytes) -> None:
        try:
            self._socket.settimeout(20)
            self._socket.sendall(content)
        except ConnectionError:
            self.is_closed = True


def _frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    return struct.pack(">I", len(content))[1:] + struct.pack(">BBI", kind, flags, stream) + content


def _field(name: bytes, value: bytes) -> bytes:
    """A header as HPACK has it where neither its name nor its value is in a table."""
    return b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value
