"""Ports for servers that tests start."""

import itertools
import os
import socket
from collections.abc import Iterator

FIRST, LAST = 10_000, 32_000
"""Below those that a system gives to outgoing connections."""


def _numbers() -> Iterator[int]:
    """Each process of tests has its own, and offers one again only after all others."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    own = range(FIRST + worker, LAST, workers)
    start = os.getpid() * 97 % len(own)  # beside tests that somebody else has started
    return itertools.cycle([*own[start:], *own[:start]])


_next = _numbers()


def free_ports(count: int) -> list[int]:
    """Different ports of loopback that were free a moment ago."""
    return list(itertools.islice(filter(_is_free, _next), count))


def _is_free(number: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", number))
        except OSError:
            return False
    return True
