"""The address of the last start, so that an open page finds the next one there again."""

import json
import os
import secrets
import socket
from dataclasses import dataclass
from pathlib import Path

import tornado.netutil

HOST = "127.0.0.1"
FILE = ".lab.json"


@dataclass(frozen=True)
class Address:
    """A port of loopback and the secret without which nothing is answered there."""

    port: int
    token: str


def open_address(runs_dir: Path, port: int) -> tuple[list[socket.socket], Address]:
    """Listen on the port, or where it is 0 on that of the last start, or on a free one."""
    last = _last(runs_dir)
    try:
        sockets = tornado.netutil.bind_sockets(port or (last.port if last else 0), HOST)
    except OSError:
        if port:
            raise SystemExit(
                f"Expected a free port for the stand-in for KFP, received: {port}."
            ) from None
        sockets = tornado.netutil.bind_sockets(0, HOST)
    token = last.token if last else secrets.token_urlsafe(24)
    address = Address(sockets[0].getsockname()[1], token)
    _keep(runs_dir, address)
    return sockets, address


def _last(runs_dir: Path) -> Address | None:
    try:
        return Address(**json.loads((runs_dir / FILE).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _keep(runs_dir: Path, address: Address) -> None:
    runs_dir.mkdir(parents=True, exist_ok=True)
    draft = runs_dir / f"{FILE}.{os.getpid()}"
    draft.touch(mode=0o600)  # who knows the secret can run code as the user
    draft.write_text(json.dumps(vars(address)))
    draft.replace(runs_dir / FILE)
