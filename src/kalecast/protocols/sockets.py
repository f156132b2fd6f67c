"""Sockets of servers on this machine. Needs the standard library alone, and little of it."""

import resource
import socket
from contextlib import ExitStack, suppress

MOST_FILES = 65536
"""Open files that suffice where nginx or a load is started: some programs make room for all that
they may open."""


def bound(host: str, port: int) -> socket.socket:
    """An address, taken but not listened on yet: a server's slow start comes after it.

    Raises:
        OSError: it cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    # As servers do, so that connections of a server just ended are no hindrance.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could have a port, just now."""
    try:
        bound(host, port).close()
    except OSError:
        return False
    return True


def free_ports(count: int) -> list[int]:
    """Different ports of this machine that were free a moment ago."""
    with ExitStack() as stack:
        probes = [stack.enter_context(bound("127.0.0.1", 0)) for _ in range(count)]
        return [probe.getsockname()[1] for probe in probes]


def allow_many_connections(most: int | None = None) -> int:
    """A connection is a file: let this process and those it starts have as many as may be.

    Args:
        most: no more than so many, where the system would allow them; its own limit where left out.

    Returns:
        How many files may be open now.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = hard
    if most is not None:
        allowed = most if hard == resource.RLIM_INFINITY else min(hard, most)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]
