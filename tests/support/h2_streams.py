"""HTTP/2 for gRPC clients that do what no library of gRPC does: stop half-way, or never read."""

import socket
import struct
from contextlib import suppress

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import StreamEnded, StreamReset
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

FIRST_WINDOW = 65535


class Connection:
    """A connection whose streams are calls of one method.

    Args:
        port: the gRPC server's, on loopback.
        path: the method's.
        window: bytes of each answer that this client takes.
    """

    def __init__(self, port: int, path: str, window: int = FIRST_WINDOW) -> None:
        fields = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "x"}
        self._head = [*fields.items(), ("content-type", "application/grpc"), ("te", "trailers")]
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._state = H2Connection(H2Configuration(client_side=True))
        self._state.initiate_connection()
        self._state.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.ended: set[int] = set()
        """Streams that the server has ended."""
        self.is_closed = False
        self._write()

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def open(self) -> int:
        """Begin a call; its stream's number."""
        stream = self._state.get_next_available_stream_id()
        self._state.send_headers(stream, self._head)
        self._write()
        return stream

    def send(self, stream: int, content: bytes, *, ends: bool = False) -> int:
        """Send as much of it as the server takes now; how much that was."""
        if self.is_closed or stream in self.ended:
            return 0
        room = self._state.local_flow_control_window(stream)
        count = max(min(len(content), room, self._state.max_outbound_frame_size), 0)
        if count:
            last = ends and count == len(content)
            self._state.send_data(stream, content[:count], end_stream=last)
            self._write()
        return count

    def call(self, message: bytes) -> None:
        """A whole call, whose answer may come or not."""
        # A server that has said goodbye takes no more of them.
        with suppress(ProtocolError):
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
                for event in self._state.receive_data(came):
                    if isinstance(event, StreamEnded | StreamReset):
                        self.ended.add(event.stream_id)
                self._write()

    def _write(self) -> None:
        try:
            self._socket.settimeout(20)
            self._socket.sendall(self._state.data_to_send())
        except ConnectionError:
            self.is_closed = True
