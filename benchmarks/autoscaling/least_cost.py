"""The least possible cost: what the promise costs someone who knows all and may do all.

The promise: were 5,000 to come at this moment, none would be refused and 99 of 100 would be
answered within 2 s. No autoscaler starts a pod in that time, so the CPU for it must be there
beforehand, at every moment. The least possible is then what a planner pays who

- knows when each request comes,
- buys CPU in any amount (one pod a tier, of any size, with the same software) and changes it at any
  moment, at once and for nothing,
- keeps no replica for the case that another one fails,
- and pays in the minutes of a rush only for the work itself, spread evenly.

Whoever also knew when the bursts come, and need not hold the promise at other moments, could do
with little more than the CPU time of the work (`work_seconds`); no reactive scheme comes near.
"""

from collections.abc import Iterable
from functools import cache

import numpy as np

from benchmarks.autoscaling.arrivals import Demand, Rush, Times
from benchmarks.autoscaling.scenario import KINDS, SCALINGS, Setup, simulate, sized
from kalecast.cluster.capacity import AT_ONCE, WAIT_SECONDS

STEP = 0.01
"""Cores; the search is that fine."""

QUIET = 5.0
"""Seconds of customers who come one by one before a burst in a trial."""


@cache
def cores_for_promise(rate: float, seed: int = 1) -> float:
    """The fewest cores, of both tiers together, that hold the promise at such a rate.

    Args:
        rate: requests a second that come one by one meanwhile.
        seed: of their moments.
    """
    page_law = KINDS[0].law
    least = 0.99 * AT_ONCE * page_law.each / WAIT_SECONDS
    totals: list[float] = []
    for page in np.arange(np.ceil(least / STEP) * STEP, 1.0 + STEP / 2, 2 * STEP):
        if totals and page > min(totals):
            break
        model = _least_model(float(page), rate, seed)
        if model is not None:
            totals.append(float(page) + model)
    return min(totals)


def least_core_hours(demand: Demand, seed: int = 1) -> float:
    """What the planner pays for a part of a day."""
    edges = np.append(np.arange(demand.begin, demand.end, 60.0), demand.end)
    widths = np.diff(edges)
    rates = demand.rate(edges[:-1] + widths / 2)
    # What a rate needs is nearly a straight line: three points of it are enough.
    known = np.linspace(rates.min(), rates.max(), 3)
    needs = np.interp(rates, known, [cores_for_promise(float(rate), seed) for rate in known])
    cores = np.maximum(needs, _rush_cores(edges, demand.bursts))
    return float((cores * widths).sum() / 3600)


def work_seconds(arrivals: Times) -> float:
    """CPU seconds that the work itself takes, in the largest batches: no one can do with less."""
    return len(arrivals) * sum(kind.law.seconds(64) / 64 for kind in KINDS)


def _least_model(page: float, rate: float, seed: int) -> float | None:
    """Cores of the model server that go with so many of the page, by bisection."""
    low, high = 0, round(1.0 / STEP)
    if not _holds(page, high * STEP, rate, seed):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _holds(page, middle * STEP, rate, seed) else (middle, high)
    return high * STEP


def _holds(page: float, model: float, rate: float, seed: int) -> bool:
    """Whether the promise is held with so many cores in one pod of each tier."""
    burst = Rush(QUIET, AT_ONCE)
    # Another number of customers, so that the night's rate is the one asked for.
    demand = Demand(begin=0.0, end=QUIET + WAIT_SECONDS, bursts=(burst,))
    customers = round(demand.customers * rate / float(demand.rate(np.array([QUIET / 2]))[0]))
    scalings = (sized(SCALINGS[0], page), sized(SCALINGS[1], model))
    trial = Demand(customers, demand.requests, demand.bursts, demand.begin, demand.end)
    outcome = simulate(Setup(trial, "fixed", scalings, seed=seed))
    return len(outcome.refused) == 0 and outcome.wait(99, burst) <= WAIT_SECONDS


def _rush_cores(edges: Times, bursts: Iterable[Rush]) -> Times:
    """CPU that the work of each rush takes, minute by minute."""
    cores = np.zeros(len(edges) - 1)
    for rush in bursts:
        if rush.rounds > 1:
            lasts = rush.end - rush.at + WAIT_SECONDS
            touched = (edges[1:] > rush.at) & (edges[:-1] < rush.end + WAIT_SECONDS)
            cores[touched] = np.maximum(cores[touched], work_seconds(rush.times()) / lasts)
    return cores
