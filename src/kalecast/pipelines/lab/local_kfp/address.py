"""Where the stand-in listens, and the secret that each request needs."""

import secrets
import socket
from dataclasses import dataclass

import tornado.netutil

HOST = "127.0.0.1"
PORT = 8780
"""The default, fixed so that a tunnel or a bookmark can use it."""


@dataclass(frozen=True)
class LocalAddress:
    """A port of loopback and a secret, new with each start."""

    port: int
    token: str


def open_address(port: int | None) -> tuple[list[socket.socket], LocalAddress]:
    """Listen on a port: 0 is a free one, None is `PORT`, or a free one where that is taken."""
    try:
        sockets = tornado.netutil.bind_sockets(PORT if port is None else port, HOST)
    except OSError:
        if port is not None:
            raise SystemExit(
                f"Expected a free port for the stand-in for KFP, received: {port}. Choose another: "
                "make lab KFP_PORT=8781"
            ) from None
        sockets = tornado.netutil.bind_sockets(0, HOST)
    return sockets, LocalAddress(sockets[0].getsockname()[1], secrets.token_urlsafe(24))
