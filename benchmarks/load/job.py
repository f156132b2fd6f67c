"""A load, what this machine allows of it, and percentiles: what the driver and its callers share.

Needs what the model server's image has: the driver runs in it, too.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from kalecast.protocols.sockets import MOST_FILES, allow_many_connections

SPARE_FILES = 64
"""For all that is no connection."""

Shape = Literal["burst", "plateau", "steady"]


@dataclass(frozen=True)
class Job:
    """A load.

    `burst`: every client sends one request at the same moment, `rounds` times, each time over a
    new connection.
    `plateau`: every client keeps a connection open for `seconds`, and sends a request after a pause
    that is exponentially distributed around `think` seconds: `clients / think` requests a second.
    `steady`: every client sends its next request after each answer, for `seconds`.
    """

    shape: Shape
    addresses: tuple[str, ...]
    """`host:port`. Clients are spread over them; one that retries goes on to the next."""
    path: str
    bodies: str
    """A file with a JSON body a line; clients take them in turn."""
    clients: int
    forecast_at: tuple[str | int, ...]
    """Where in an answer's JSON a forecast must be: a list or text that is not empty."""
    rounds: int = 1
    seconds: float = 0.0
    think: float = 1.0
    timeout: float = 60.0
    """Seconds after which an answer no longer counts, other tries included."""
    retry: bool = False
    """Whether clients try again after a lost connection or 503."""
    mark: str = ""
    """Answers that hold this text are counted apart, such as those of a new model."""
    certificate: str = ""
    """A PEM file that vouches for the server; with one, clients speak TLS."""
    name: str = ""
    """What clients call the server, where that is not its address: `host:port`."""
    headers: str = ""
    """Further lines of each request's head, each with its line end."""
    own_addresses: bool = False
    """Whether each client comes from an address of its own, of loopback's sixteen million."""

    def to_json(self) -> str:
        """For `from_json`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Job":
        """Rebuild a job."""
        content = json.loads(text)
        for name in ("addresses", "forecast_at"):
            content[name] = tuple(content[name])
        return cls(**content)


class LimitError(RuntimeError):
    """This machine does not allow so many clients; the text says what to do."""


def allow_connections(count: int) -> None:
    """Make sure that so many connections can be open.

    Raises:
        LimitError: this machine does not allow it.
    """
    needed, allowed = count + SPARE_FILES, allow_many_connections(MOST_FILES)
    if allowed < needed:
        raise LimitError(
            f"Expected a limit of at least {needed:,} open files a process, received {allowed:,}: "
            "choose fewer clients, or raise the hard limit as root (`ulimit -Hn 20000` in the "
            "shell that starts this, or a line 'nofile' in /etc/security/limits.conf)."
        )


def percentile(ascending: Sequence[float], percent: float) -> float | None:
    """The smallest value that so many per cent do not exceed; none of nothing."""
    if not ascending:
        return None
    rank = -(-len(ascending) * percent // 100)
    return round(ascending[max(0, int(rank) - 1)], 4)
