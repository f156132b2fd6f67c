"""When customers come: a day of 50,000 of them, with bursts of 5,000 at once.

A non-homogeneous Poisson process, made by thinning's cheaper sibling for rates that are constant
by the minute: as many as a minute's mean says, at random moments of it. Times are seconds since
midnight.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]

DAY = 86_400.0

HOURS = (
    *(0.12, 0.08, 0.06, 0.05, 0.06, 0.12),
    *(0.30, 0.70, 1.30, 1.75, 1.90, 1.85),
    *(1.65, 1.60, 1.70, 1.75, 1.70, 1.55),
    *(1.35, 1.20, 1.05, 0.85, 0.55, 0.28),
)
"""How busy each hour's beginning is beside the average, straight lines between: an assumption, of
customers in one part of the world who plan their day in the morning. The busiest hour has 36 times
the quietest one's requests."""


@dataclass(frozen=True)
class Rush:
    """Customers who ask at once, and again: `count` of them every `every` seconds."""

    at: float
    count: int
    rounds: int = 1
    every: float = 1.0

    def times(self) -> Times:
        """When they ask."""
        moments = self.at + self.every * np.arange(self.rounds)
        return np.repeat(moments, self.count)

    @property
    def end(self) -> float:
        """When its last round asks."""
        return self.at + self.every * (self.rounds - 1)


@dataclass(frozen=True)
class Demand:
    """What a day brings."""

    customers: int = 50_000
    requests: float = 40.0
    """Forecasts that a customer asks for in a day, on average: an assumption."""
    bursts: tuple[Rush, ...] = ()
    begin: float = 0.0
    end: float = DAY
    """The part of the day that is looked at."""

    def rate(self, at: Times) -> Times:
        """Requests a second that are expected at these times, bursts aside."""
        hours = np.asarray([*HOURS, HOURS[0]])
        shape = np.interp(np.asarray(at) / 3600 % 24, np.arange(25), hours)
        return self.customers * self.requests / DAY * shape / ((hours[:-1] + hours[1:]).mean() / 2)

    def times(self, seed: int) -> Times:
        """When each request comes, ascending; the same for the same seed."""
        chance = np.random.default_rng(seed)
        edges = np.append(np.arange(self.begin, self.end, 60.0), self.end)
        widths = np.diff(edges)
        counts = chance.poisson(self.rate(edges[:-1] + widths / 2) * widths)
        starts = np.repeat(edges[:-1], counts)
        quiet = starts + chance.random(counts.sum()) * np.repeat(widths, counts)
        return np.sort(np.concatenate([quiet, *(burst.times() for burst in self.bursts)]))
