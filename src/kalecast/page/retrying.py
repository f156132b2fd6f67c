"""Retrying: how often and how soon a request may be sent again.

Only load is limited: a request that reached no replica may be sent again without a check here.
"""

import random

MOST_ATTEMPTS = 6
"""Where a balancer stands before the replicas, several may lead to the one that is down."""

FIRST_PAUSE = 0.05

SHARE = 0.2
"""Forecasts that may be requested again, to all that are requested."""

RESERVE = 1000.0
"""Forecasts that may be requested again at once: what is under way when a replica dies."""


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
