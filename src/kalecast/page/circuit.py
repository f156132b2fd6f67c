"""Circuit breaker: whether an address gets requests, by how it has answered lately."""

import random
import time
from dataclasses import dataclass, field

MOST_FAILURES = 5
"""Failures in a row after which an address is left alone."""

MOMENT = 1.0
"""Seconds for which it is left alone, then one request tries it."""


@dataclass
class Circuit:
    """The state of one address; all times are `time.monotonic()`.

    Closed while it answers. Open, without requests, for a moment after several failures in a row;
    then one request goes through, and its outcome closes or opens the circuit again.
    """

    in_flight: int = 0
    """Requests sent and not answered yet."""
    busy_until: float = 0.0
    """The address itself requested a pause until then (Retry-After)."""
    _failures: int = field(default=0, init=False)
    _open_until: float = field(default=0.0, init=False)
    _on_trial: bool = field(default=False, init=False)

    @property
    def is_open(self) -> bool:
        """Whether it should get no request now."""
        if self._failures < MOST_FAILURES:
            return False
        return self._on_trial or time.monotonic() < self._open_until

    def sent(self) -> None:
        """A request is being sent; while the circuit is to be tried, it is the one."""
        self.in_flight += 1
        self._on_trial = self._failures >= MOST_FAILURES

    def answered(self) -> None:
        """The address did what it is there for."""
        self.in_flight -= 1
        self._failures = 0
        self._on_trial = False

    def failed(self) -> None:
        """The address did not answer, or not as it should."""
        self.in_flight -= 1
        self._failures += 1
        self._on_trial = False
        self._open_until = time.monotonic() + MOMENT * random.uniform(0.8, 1.2)

    def left(self) -> None:
        """The request was given up here: it says nothing of the address."""
        self.in_flight -= 1
        self._on_trial = False
