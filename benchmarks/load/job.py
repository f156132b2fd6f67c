"""What the load driver is to do, as it is handed from one process to the other."""

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

SHAPES = ("burst", "plateau", "steady")


@dataclass(frozen=True)
class Job:
    """A load.

    `burst`: every client sends one request at the same moment, `rounds` times.
    `plateau`: every client keeps a connection open for `seconds`, and sends a request after a pause
    that is exponentially distributed around `think` seconds: `clients / think` requests a second.
    `steady`: every client sends its next request after each answer, for `seconds`.
    """

    shape: str
    addresses: tuple[str, ...]
    """`host:port`. Clients are spread over them; one that retries goes on to the next."""
    path: str
    bodies: str
    """A file with a JSON body a line; clients take them in turn."""
    clients: int
    forecast_at: tuple[str | int, ...]
    """Where in an answer's JSON a forecast must be: a list or text that is not empty."""
    rounds: int = 1
    connect_first: bool = False
    """Whether connections are opened before a burst, or belong to it."""
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

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise ValueError(f"Expected a shape among {SHAPES}, received: {self.shape!r}")
        if self.clients < 1 or not self.addresses:
            raise ValueError(
                "Expected at least one client and one address, received "
                f"{self.clients} and {len(self.addresses)}"
            )

    def to_json(self) -> str:
        """For `from_json`."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Job":
        """Rebuild a job.

        Raises:
            ValueError: it is none.
        """
        content: dict[str, Any] = json.loads(text)
        known = {field.name for field in fields(cls)}
        if unknown := sorted(content.keys() - known):
            raise ValueError(f"Expected fields among {sorted(known)}, received: {unknown}")
        for name in ("addresses", "forecast_at"):
            content[name] = tuple(content[name])
        return cls(**content)
