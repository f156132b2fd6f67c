"""Which pods hold the promise when 5,000 ask at once out of quiet, and what that costs at least.

The promise: were 5,000 to come at this moment, none would be refused and 99 of 100 would be
answered within 2 s. No autoscaler starts a pod in that time, so the CPU for it must be there
beforehand, at every moment. The least possible cost is then what a planner pays who

- knows when each request comes,
- buys CPU in any amount (one pod a tier, of any size, with the same software) and changes it at any
  moment, at once and for nothing,
- keeps no replica for the case that another one fails,
- and pays in the minutes of a rush only for the work itself, spread evenly.

Whoever also knew when the bursts come, and need not hold the promise at other moments, could do
with little more than the CPU time of the work (`work_seconds`); no reactive scheme comes near.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from benchmarks.autoscaling.scenario import (
    HOUR,
    KINDS,
    PAGE_KIND,
    SCALINGS,
    Demand,
    Rush,
    ScenarioOutcome,
    Setup,
    simulate,
    sized,
)
from benchmarks.autoscaling.simulated_service import Times
from kalecast.cluster.capacity import (
    AT_ONCE,
    MODEL_SERVER,
    PAGE,
    UPSTREAM_REQUESTS,
    WAIT_SECONDS,
)

NIGHT = 3 * HOUR
BURST = Rush(NIGHT + 10.0, AT_ONCE)

##### Sizes of pods #####


@dataclass(frozen=True)
class Shape:
    """Pods in quiet: how many of which size in each tier."""

    page: tuple[int, float]
    """Replicas, millicores."""
    model: tuple[int, float]
    upstream_requests: int = UPSTREAM_REQUESTS

    @property
    def cores(self) -> float:
        """Requested by all of them."""
        return (self.page[0] * self.page[1] + self.model[0] * self.model[1]) / 1000


SHIPPED = Shape(
    (PAGE.minimum_replicas, PAGE.millicores),
    (MODEL_SERVER.minimum_replicas, MODEL_SERVER.millicores),
)

SHAPES = (
    SHIPPED,
    replace(SHIPPED, upstream_requests=2),
    Shape((2, 600), (2, 260)),
    Shape((3, 400), (3, 175)),
    Shape((5, 250), (5, 110)),
    Shape((2, 1000), (2, 500)),
    Shape((4, 250), (4, 110)),
)
"""The shipped one first; what could be shipped instead."""


def hold(shape: Shape, trials: int) -> dict[str, Any]:
    """Have 5,000 ask at once, with other chances each time.

    Returns:
        The shape, and what customers waited, in seconds: of all bursts' medians the median, the
        worst `p99`, and the worst with a replica of each tier away, as while a node is drained;
        and how many were refused in all, with all replicas there.
    """
    whole = [_burst(shape, 0, seed) for seed in range(1, trials + 1)]
    short = [_burst(shape, 1, seed) for seed in range(1, trials + 1)]
    medians = sorted(outcome.wait(50, BURST) for outcome in whole)
    page, model = (f"{count} x {size:g}m" for count, size in (shape.page, shape.model))
    return {
        "page": page,
        "model_server": model,
        "upstream_requests": shape.upstream_requests,
        "cores": round(shape.cores, 3),
        "refused": sum(len(outcome.refused) for outcome in whole),
        "p50": round(medians[len(medians) // 2], 3),
        "p99": round(max(outcome.wait(99, BURST) for outcome in whole), 3),
        "p99_one_away": round(max(outcome.wait(99, BURST) for outcome in short), 3),
    }


def _burst(shape: Shape, away: int, seed: int) -> ScenarioOutcome:
    scalings = (
        sized(SCALINGS[0], shape.page[1] / 1000, shape.page[0] - away),
        sized(SCALINGS[1], shape.model[1] / 1000, shape.model[0] - away),
    )
    demand = Demand(begin=NIGHT, end=NIGHT + 15, bursts=(BURST,))
    return simulate(Setup(demand, "fixed", scalings, shape.upstream_requests, seed))


##### The least possible cost #####

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
    least = 0.99 * AT_ONCE * PAGE_KIND.law.each / WAIT_SECONDS
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
    edges = demand.minutes()
    widths = np.diff(edges)
    rates = demand.rate(edges[:-1] + widths / 2)
    # What a rate needs is nearly a straight line: three points of it are enough.
    known = np.linspace(rates.min(), rates.max(), 3)
    needs = np.interp(rates, known, [cores_for_promise(float(rate), seed) for rate in known])
    cores = np.maximum(needs, _rush_cores(edges, demand.bursts))
    return float((cores * widths).sum() / HOUR)


def work_seconds(requests: int) -> float:
    """CPU seconds that the work itself takes, in the largest batches: no one can do with less."""
    return requests * sum(kind.law.seconds(64) / 64 for kind in KINDS)


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
    demand = Demand(begin=0.0, end=QUIET + WAIT_SECONDS, bursts=(burst,))
    # Another number of customers, so that the night's rate is the one asked for.
    customers = round(demand.customers * rate / float(demand.rate(np.array([QUIET / 2]))[0]))
    scalings = (sized(SCALINGS[0], page), sized(SCALINGS[1], model))
    outcome = simulate(Setup(replace(demand, customers=customers), "fixed", scalings, seed=seed))
    return len(outcome.refused) == 0 and outcome.wait(99, burst) <= WAIT_SECONDS


def _rush_cores(edges: Times, bursts: Iterable[Rush]) -> Times:
    """CPU that the work of each rush takes, minute by minute."""
    cores = np.zeros(len(edges) - 1)
    for rush in bursts:
        if rush.rounds > 1:
            lasts = rush.end - rush.at + WAIT_SECONDS
            touched = (edges[1:] > rush.at) & (edges[:-1] < rush.end + WAIT_SECONDS)
            work = work_seconds(rush.rounds * rush.count)
            cores[touched] = np.maximum(cores[touched], work / lasts)
    return cores
