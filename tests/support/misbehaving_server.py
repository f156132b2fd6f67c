"""A small HTTP server that answers, misbehaves or says nothing, as a test wants it."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

FORECAST = b'{"forecast": [1, 2, 3]}'
SILENCE = b""
"""Has the connection stay open, and says nothing."""
CLOSE = "Connection: close\r\n"

Behaviour = Callable[[int, bytes], bytes | None]
"""From a request's number and body to what is answered; None ends the connection."""


def reply(body: bytes = FORECAST, status: int = 200, more: str = "") -> bytes:
    head = f"HTTP/1.1 {status} Ok\r\n{more}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@dataclass
class Received:
    """What the server was sent."""

    address: str
    connections: int = 0
    bodies: list[bytes] = field(default_factory=list)


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[Received]:
    """A server in a thread, on a free port."""
    loop = asyncio.new_event_loop()
    listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
    received = Received(f"127.0.0.1:{listener.getsockname()[1]}")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
                received.bodies.append(await reader.readexactly(length))
                content = behaviour(len(received.bodies), received.bodies[-1])
                if content is None:
                    break
                writer.write(content)
                if CLOSE.encode() in content:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    server = loop.run_until_complete(asyncio.start_server(answer, sock=listener))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield received
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
