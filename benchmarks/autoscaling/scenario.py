"""One simulated run: a demand, the service as it is set, an autoscaler; and what came of it."""

from dataclasses import dataclass, field, replace

import numpy as np
from simpy import Environment

from benchmarks.autoscaling.arrivals import Demand, Rush, Times
from benchmarks.autoscaling.autoscalers import AUTOSCALERS
from benchmarks.autoscaling.simulated_pods import Law, PodKind, StartUp
from benchmarks.autoscaling.simulated_service import Answers, SimulatedPage, SimulatedService
from kalecast.cluster.capacity import AT_ONCE, MODEL_SERVER, PAGE, UPSTREAM_REQUESTS, Scaling

PAGE_KIND = PodKind(
    law=Law(fixed=1230e-6, each=315e-6),
    start_up=StartUp(cold_start=2.5),
    max_batch=64,
    timeout=20.0,
)
"""Measured by `make benchmark-autoscaling REAL=1`: 1,546 µs a forecast where customers come one by
one, 332 µs where 5,000 come at once and 64 go to the model server together; 2.5 s of CPU until it
answers. Of three measurements beside other work the middle one: 1,336 to 1,753 and 286 to 348.
"""

MODEL_KIND = PodKind(
    law=Law(fixed=1020e-6, each=118e-6),
    start_up=StartUp(cold_start=0.25),
    max_batch=256,
    max_waiting=8192,
    timeout=10.0,
)
"""The same way: 1,134 µs, the middle one of 856 to 1,203, and 134 µs, the highest of 63 to 134;
limits as in `kalecast.serving.configuration`."""

KINDS = (PAGE_KIND, MODEL_KIND)
SCALINGS = (PAGE, MODEL_SERVER)
SHIPPED_PAGE = SimulatedPage(upstream_requests=UPSTREAM_REQUESTS)

BURSTS = tuple(
    Rush(hour * 3600.0 + 11.0 * number, AT_ONCE)
    for number, hour in enumerate((3, 6.5, 8, 12, 13, 17, 20, 23))
)
"""5,000 at once out of quiet, at other moments between two looks of the autoscalers each time."""

RUSH = Rush(10.25 * 3600, AT_ONCE, rounds=120)
"""5,000 at once every second for two minutes: more than the replicas of a quiet day can do."""

DAY_DEMAND = Demand(bursts=(*BURSTS, RUSH))

SLACK = 30.0
"""Seconds after the last arrival until which a run goes on."""


@dataclass(frozen=True)
class Setup:
    """What is simulated."""

    demand: Demand
    autoscaler: str = "keda"
    scalings: tuple[Scaling, Scaling] = SCALINGS
    """Of the page, of the model server."""
    page: SimulatedPage = SHIPPED_PAGE
    least: bool = False
    seed: int = 1


@dataclass
class ScenarioOutcome:
    """What came of it."""

    setup: Setup
    arrivals: Times
    answers: Answers
    refused: Times
    """When those who were refused had asked."""
    inside: int
    """Requests that were still being answered at the end."""
    histories: tuple[list[tuple[float, int, int]], list[tuple[float, int, int]]]
    """Of both tiers: time, replicas wanted, replicas that get requests."""
    pod_seconds: tuple[float, float]
    seconds: float
    """How long was simulated."""
    extra: dict[str, float] = field(default_factory=dict)

    @property
    def core_hours(self) -> float:
        """CPU requested by all pods, over time."""
        pairs = zip(self.pod_seconds, self.setup.scalings, strict=True)
        return sum(seconds * scaling.cores for seconds, scaling in pairs) / 3600

    @property
    def cores(self) -> float:
        """The same, on average."""
        return self.core_hours * 3600 / self.seconds

    @property
    def most_replicas(self) -> tuple[int, int]:
        """Of both tiers."""
        page, model = (max(wanted for _, wanted, _ in history) for history in self.histories)
        return page, model

    def wait(self, percent: float, rush: Rush | None = None) -> float:
        """Seconds that so many per cent did not exceed: of all, or of a burst's customers."""
        waits = self.answers.seconds if rush is None else self.answers.waits(rush.at, rush.end)
        return float(np.percentile(waits, percent, method="inverted_cdf")) if len(waits) else 0.0

    def refused_in(self, rush: Rush) -> int:
        """How many of a burst's customers were refused."""
        return int(((self.refused >= rush.at) & (self.refused <= rush.end)).sum())


def simulate(setup: Setup) -> ScenarioOutcome:
    """Run it; the same setup gives the same outcome."""
    demand = setup.demand
    env = Environment(initial_time=demand.begin)
    service = SimulatedService(env, KINDS, setup.scalings, setup.page, setup.seed, setup.least)
    # Controllers begin at some moment, not together with the day.
    for tier, phase in ((service.page, 4.7), (service.model, 11.3)):
        AUTOSCALERS[setup.autoscaler](tier, phase)
    arrivals = demand.times(setup.seed)
    env.process(service.come(arrivals))
    end = max(demand.end, float(arrivals[-1]) if len(arrivals) else 0.0) + SLACK
    env.run(until=end)
    tiers = service.page, service.model
    return ScenarioOutcome(
        setup=setup,
        arrivals=arrivals,
        answers=service.answers,
        refused=np.array(service.refused),
        inside=service.inside,
        histories=(tiers[0].history, tiers[1].history),
        pod_seconds=(tiers[0].pod_seconds(), tiers[1].pod_seconds()),
        seconds=end - demand.begin,
    )


def sized(scaling: Scaling, cores: float, replicas: int = 1) -> Scaling:
    """The same tier with so many pods of another size."""
    return replace(
        scaling,
        millicores=cores * 1000,
        minimum_replicas=replicas,
        maximum_replicas=max(replicas, scaling.maximum_replicas),
    )
