"""5,000 at once out of quiet, many times: what sizes and numbers of pods hold the promise."""

from dataclasses import dataclass

from benchmarks.autoscaling.arrivals import Demand, Rush
from benchmarks.autoscaling.scenario import SCALINGS, ScenarioOutcome, Setup, simulate, sized
from benchmarks.autoscaling.simulated_service import SimulatedPage
from kalecast.cluster.capacity import AT_ONCE, MODEL_SERVER, PAGE, UPSTREAM_REQUESTS


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
    Shape(SHIPPED.page, SHIPPED.model, upstream_requests=2),
    Shape((2, 600), (2, 260)),
    Shape((3, 400), (3, 175)),
    Shape((5, 250), (5, 110)),
    Shape((2, 1000), (2, 500)),
    Shape((4, 250), (4, 110)),
)
"""The shipped one first; what could be shipped instead."""


@dataclass(frozen=True)
class Trial:
    """What many bursts came to: the worst of them."""

    shape: Shape
    p50: float
    """Seconds, of all bursts the median."""
    p99: float
    p99_one_away: float
    """With a replica of each tier away, as while a node is drained."""
    refused: int
    """In all bursts together, all replicas there."""
    trials: int


def hold(shape: Shape, trials: int) -> Trial:
    """Have 5,000 ask at once, with other chances each time."""
    whole = [_burst(shape, 0, seed) for seed in range(1, trials + 1)]
    short = [_burst(shape, 1, seed) for seed in range(1, trials + 1)]
    medians = sorted(outcome.wait(50, BURST) for outcome in whole)
    return Trial(
        shape=shape,
        p50=medians[len(medians) // 2],
        p99=max(outcome.wait(99, BURST) for outcome in whole),
        p99_one_away=max(outcome.wait(99, BURST) for outcome in short),
        refused=sum(len(outcome.refused) for outcome in whole),
        trials=trials,
    )


NIGHT = 3 * 3600.0
BURST = Rush(NIGHT + 10.0, AT_ONCE)


def _burst(shape: Shape, away: int, seed: int) -> ScenarioOutcome:
    scalings = (
        sized(SCALINGS[0], shape.page[1] / 1000, shape.page[0] - away),
        sized(SCALINGS[1], shape.model[1] / 1000, shape.model[0] - away),
    )
    page = SimulatedPage(upstream_requests=shape.upstream_requests)
    demand = Demand(begin=NIGHT, end=NIGHT + 15, bursts=(BURST,))
    return simulate(Setup(demand, "fixed", scalings, page, seed=seed))
