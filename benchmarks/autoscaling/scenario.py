"""One simulated run: when customers come, the service as it is set, an autoscaler; what came of it.

Customers come in a non-homogeneous Poisson process, made by thinning's cheaper sibling for rates
that are constant by the minute: as many as a minute's mean says, at random moments of it. Times are
seconds since midnight.
"""

from dataclasses import dataclass, replace

import numpy as np
from simpy import Environment

from benchmarks.autoscaling.autoscalers import AUTOSCALERS
from benchmarks.autoscaling.simulated_service import (
    DEADLINE,
    UPSTREAM_WINDOWS,
    SimulatedService,
    Times,
)
from benchmarks.autoscaling.tiers import Law, PodKind
from kalecast.cluster.capacity import AT_ONCE, MODEL_SERVER, PAGE, UPSTREAM_REQUESTS, Scaling
from kalecast.serving.configuration import Configuration

PAGE_KIND = PodKind(
    law=Law(fixed=1230e-6, each=315e-6),
    cold_start=2.5,
    max_batch=UPSTREAM_WINDOWS,
    timeout=DEADLINE,
)
"""Measured by `make benchmark-autoscaling REAL=1`: 1,546 µs a forecast where customers come one by
one, 332 µs where 5,000 come at once and 64 go to the model server together; 2.5 s of CPU until it
answers. Of three measurements beside other work the middle one: 1,336 to 1,753 and 286 to 348.
"""

MODEL_KIND = PodKind(
    law=Law(fixed=1020e-6, each=118e-6),
    cold_start=0.25,
    max_batch=Configuration.max_batch,
    max_waiting=Configuration.max_queue,
    timeout=10.0,
)
"""The same way: 1,134 µs, the middle one of 856 to 1,203, and 134 µs, the highest of 63 to 134."""

KINDS = (PAGE_KIND, MODEL_KIND)
SCALINGS = (PAGE, MODEL_SERVER)

SLACK = 30.0
"""Seconds after the last arrival until which a run goes on."""

##### Customers #####

HOUR, DAY = 3600.0, 86_400.0

BY_HOUR = (
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
    """Customers who ask at once, and again: `count` of them every second."""

    at: float
    count: int
    rounds: int = 1

    @property
    def moments(self) -> Times:
        """When each round asks."""
        return np.array([self.at + number for number in range(self.rounds)])

    @property
    def end(self) -> float:
        """When its last round asks."""
        return self.at + self.rounds - 1


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

    def minutes(self) -> Times:
        """Where each minute of it begins, and where the last one ends."""
        return np.append(np.arange(self.begin, self.end, 60.0), self.end)

    def rate(self, at: Times) -> Times:
        """Requests a second that are expected at these times, bursts aside."""
        hours = np.asarray([*BY_HOUR, BY_HOUR[0]])
        shape = np.interp(np.asarray(at) / HOUR % 24, np.arange(25), hours)
        return self.customers * self.requests / DAY * shape / ((hours[:-1] + hours[1:]).mean() / 2)

    def times(self, seed: int) -> Times:
        """When each request comes, ascending; the same for the same seed."""
        chance = np.random.default_rng(seed)
        edges = self.minutes()
        widths = np.diff(edges)
        counts = chance.poisson(self.rate(edges[:-1] + widths / 2) * widths)
        starts = np.repeat(edges[:-1], counts)
        quiet = starts + chance.random(counts.sum()) * np.repeat(widths, counts)
        bursts = (np.repeat(burst.moments, burst.count) for burst in self.bursts)
        return np.sort(np.concatenate([quiet, *bursts]))


BURSTS = tuple(
    Rush(hour * HOUR + 11.0 * number, AT_ONCE)
    for number, hour in enumerate((3, 6.5, 8, 12, 13, 17, 20, 23))
)
"""5,000 at once out of quiet, at other moments between two looks of the autoscalers each time."""

RUSH = Rush(10.25 * HOUR, AT_ONCE, rounds=120)
"""5,000 at once every second for two minutes: more than the replicas of a quiet day can do."""

DAY_DEMAND = Demand(bursts=(*BURSTS, RUSH))

##### Runs #####


@dataclass(frozen=True)
class Setup:
    """What is simulated."""

    demand: Demand
    autoscaler: str = "keda"
    scalings: tuple[Scaling, Scaling] = SCALINGS
    """Of the page, of the model server."""
    upstream_requests: int = UPSTREAM_REQUESTS
    seed: int = 1


@dataclass
class ScenarioOutcome:
    """What came of it."""

    setup: Setup
    arrivals: Times
    requested: Times
    """When those who were answered had asked, in the order of the answers."""
    waits: Times
    """Seconds that they waited."""
    refused: Times
    """When those who were refused had asked."""
    inside: int
    """Requests that were still being answered at the end."""
    histories: tuple[list[tuple[float, int, int]], list[tuple[float, int, int]]]
    """Of both tiers: time, replicas wanted, replicas that get requests."""
    pod_seconds: tuple[float, float]
    end: float
    """Of the simulation."""

    @property
    def core_hours(self) -> float:
        """CPU requested by all pods, over time."""
        pairs = zip(self.pod_seconds, self.setup.scalings, strict=True)
        return sum(seconds * scaling.cores for seconds, scaling in pairs) / HOUR

    @property
    def most_replicas(self) -> tuple[int, int]:
        """Of both tiers."""
        page, model = (max(wanted for _, wanted, _ in history) for history in self.histories)
        return page, model

    def waits_in(self, rush: Rush) -> Times:
        """Seconds that a burst's customers waited."""
        return self.waits[(self.requested >= rush.at) & (self.requested <= rush.end)]

    def wait(self, percent: float, rush: Rush | None = None) -> float:
        """Seconds that so many per cent did not exceed: of all, or of a burst's customers."""
        waits = self.waits if rush is None else self.waits_in(rush)
        return float(np.percentile(waits, percent, method="inverted_cdf")) if len(waits) else 0.0

    def refused_in(self, rush: Rush) -> int:
        """How many of a burst's customers were refused."""
        return int(((self.refused >= rush.at) & (self.refused <= rush.end)).sum())


def simulate(setup: Setup) -> ScenarioOutcome:
    """Run it; the same setup gives the same outcome."""
    demand = setup.demand
    env = Environment(initial_time=demand.begin)
    service = SimulatedService(env, KINDS, setup.scalings, setup.upstream_requests, setup.seed)
    # Controllers begin at some moment, not together with the day.
    for tier, phase in ((service.page, 4.7), (service.model, 11.3)):
        AUTOSCALERS[setup.autoscaler](tier, phase)
    arrivals = demand.times(setup.seed)
    env.process(service.come(arrivals))
    end = max(demand.end, float(arrivals[-1]) if len(arrivals) else 0.0) + SLACK
    env.run(until=end)
    return ScenarioOutcome(
        setup=setup,
        arrivals=arrivals,
        requested=np.array(service.requested),
        waits=np.array(service.took),
        refused=np.array(service.refused),
        inside=service.page.in_flight,
        histories=(service.page.history, service.model.history),
        pod_seconds=(service.page.pod_seconds(), service.model.pod_seconds()),
        end=end,
    )


def sized(scaling: Scaling, cores: float, replicas: int = 1) -> Scaling:
    """The same tier with so many pods of another size."""
    return replace(
        scaling,
        millicores=cores * 1000,
        minimum_replicas=replicas,
        maximum_replicas=max(replicas, scaling.maximum_replicas),
    )
