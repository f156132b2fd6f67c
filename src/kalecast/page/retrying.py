"""Retrying: how often and how soon a request may be sent again, and which addresses get any.

Only load is limited: a request that reached no replica may be sent again without a check here.
"""

import random
import time
from dataclasses import dataclass, field

MOST_ATTEMPTS = 6
"""Where a balancer stands before the replicas, several may lead to the one that is down."""

FIRST_PAUSE = 0.05

SHARE = 0.2
"""Forecasts that may be requested again, to all that are requested."""

RESERVE = 1000.0
"""Forecasts that may be requested again at once: what is under way when a replica dies."""

MOST_FAILURES = 5
"""Failures in a row after which an address is left alone."""

MOMENT = 1.0
"""Seconds for which it is left alone, then one request tries it."""


def pause(attempt: int) -> float:
    """Seconds after an attempt, longer each time, and never the same for two requests."""
    return FIRST_PAUSE * 2.0 ** (attempt - 1) * random.uniform(0.5, 1.5)


class RetryBudget:
    """Keeps retries from multiplying an overload: they may be a fixed share of all requests."""

    def __init__(self) -> None:
        self._left = RESERVE

    def earn(self, forecasts: int) -> None:
        """So many are requested for the first time."""
        self._left = min(self._left + SHARE * forecasts, RESERVE)

    def spend(self, forecasts: int) -> bool:
        """Take as many as are to be requested again; False where that would be too many."""
        if self._left < forecasts:
            return False
        self._left -= forecasts
        return True


@dataclass
class Circuit:
    """A circuit breaker: the state of one address; all times are `time.monotonic()`.

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
