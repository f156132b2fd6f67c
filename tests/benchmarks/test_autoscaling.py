"""The simulation of autoscaling: against queueing theory, the HPA's documentation, and itself."""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from simpy import Environment

from benchmarks.autoscaling.autoscalers import Controller, Sample, from_cpu, from_total, largest
from benchmarks.autoscaling.reality import simulate_two
from benchmarks.autoscaling.scenario import DAY, HOUR, SCALINGS, Demand, Rush, Setup, simulate
from benchmarks.autoscaling.tiers import Batch, Law, Pod, PodKind, Queue, QueuedJob, Tier
from benchmarks.autoscaling.trials import (
    SHIPPED,
    hold,
    least_core_hours,
    work_seconds,
)
from kalecast.cluster.capacity import (
    AT_ONCE,
    KUBERNETES_BEHAVIOR,
    PAGE,
    WAIT_SECONDS,
    Behavior,
    Policy,
    Scaling,
    ScalingRules,
)
from kalecast.cluster.deployment import DeploymentSettings


def come(env: Environment, rate: float, jobs: int, offer: Callable[[QueuedJob], object]) -> None:
    """Poisson arrivals, until all have been served."""
    gaps = np.random.default_rng(3).exponential(1 / rate, jobs)

    def arrivals():
        for gap in gaps.tolist():
            yield env.timeout(gap)
            offer(QueuedJob(env.now))

    env.process(arrivals())
    env.run()


def mean_wait(rate: float, seconds: Callable[[int], float], max_batch: int = 1) -> float:
    """Of jobs in a queue, before their service."""
    env = Environment()
    took: deque[float] = deque()
    waits: list[float] = []

    def timed(count: int) -> float:
        took.append(seconds(count))
        return took[-1]

    def served(batch: Batch) -> None:
        began = env.now - took.popleft()
        waits.extend(began - job.requested for job in batch)

    queue = Queue(env, timed, served, max_batch=max_batch)
    come(env, rate, 120_000, queue.offer)
    assert len(waits) == 120_000
    return float(np.mean(waits))


def exponential(mean: float) -> Callable[[int], float]:
    chance = random.Random(7)
    return lambda count: chance.expovariate(1 / mean)


##### Queueing theory #####


def test_mm1_waits_as_theory_says():
    assert mean_wait(0.7, exponential(1.0)) == pytest.approx(0.7 / (1 - 0.7), rel=0.05)


def test_exponential_batches_wait_as_the_bulk_queue_does():
    """M/M(1,b)/1: whoever waits is served together, up to b (Neuts' general bulk service)."""
    rate, most = 3.0, 4
    roots = np.roots([1.0, *[0.0] * (most - 1), -(rate + 1.0), rate])
    (root,) = [r.real for r in roots if abs(r.imag) < 1e-9 and 0 < r.real < 0.999]
    busy = 1 / (1 / (1 - root) + 1 / rate)
    expected = busy * root / (1 - root) ** 2 / rate
    assert mean_wait(rate, exponential(1.0), most) == pytest.approx(expected, rel=0.05)


def test_replicas_chosen_at_random_are_as_many_single_queues():
    """A Poisson stream split at random is several: each pod is M/D/1 (Pollaczek-Khinchine)."""
    env, rate = Environment(), 3 * 0.7
    waits: list[float] = []

    def served(pod: Pod, batch: Batch) -> None:
        waits.extend(env.now - job.requested - 1.0 for job in batch)

    kind = PodKind(Law(1.0, 0.0), cold_start=0.0, max_batch=1)
    scaling = Scaling(1000, 3, 3, 70, 10)
    tier = Tier(env, kind, scaling, random.Random(3), served=served, lost=lambda pod, job: None)

    def offer(job: QueuedJob) -> None:
        tier.choose().queue.offer(job)

    come(env, rate, 150_000, offer)
    assert np.mean(waits) == pytest.approx(0.7 / (2 * 0.3), rel=0.05)


def test_a_full_queue_refuses_and_a_late_request_is_given_up():
    env = Environment()
    lost: list[QueuedJob] = []
    served: list[QueuedJob] = []
    queue = Queue(env, lambda n: 1.0, served.extend, lost=lost.append, max_waiting=3, timeout=2.5)
    assert [queue.offer(QueuedJob(0.0)) for _ in range(5)] == [True] * 4 + [False]
    env.run()
    assert (len(served), len(lost), queue.busy) == (3, 1, 3.0)


def test_a_batch_is_never_larger_than_allowed():
    env, sizes = Environment(), []
    queue = Queue(env, lambda n: 1.0, lambda batch: sizes.append(len(batch)), max_batch=256)
    for _ in range(1000):
        queue.offer(QueuedJob(0.0))
    env.run()
    assert sizes == [1, 256, 256, 256, 231]


##### The HPA, as documented #####


@pytest.mark.parametrize(
    ("usages", "unready", "target", "wanted"),
    [
        # The documentation's first example: 200m where 100m are desired double the replicas.
        ([2.0, 2.0, 2.0], 0, 1.0, 6),
        ([0.5, 0.5, 0.5, 0.5], 0, 1.0, 2),
        ([0.8, 0.8, 0.8], 0, 0.7, 4),
        # Within the tolerance nothing changes.
        ([0.91] * 10, 0, 1.0, 10),
        ([1.09] * 10, 0, 1.0, 10),
        ([0.89] * 10, 0, 1.0, 9),
        ([1.11] * 10, 0, 1.0, 12),
        # Missing metrics count as nothing upwards and as all downwards.
        ([2.0, 2.0, 2.0, None], 0, 1.0, 6),
        ([0.5, 0.5, 0.5, None], 0, 1.0, 3),
        ([1.2, None], 0, 1.0, 2),  # would turn the direction round
        ([None, None], 0, 1.0, None),
        # Pods that are not ready dampen upwards only.
        ([3.0, 3.0], 2, 1.0, 6),
        ([1.5, 1.5], 2, 1.0, 4),
        ([0.5, 0.5], 2, 1.0, 1),
    ],
)
def test_cpu_wants_the_replicas_that_the_documentation_says(
    usages: list[float | None], unready: int, target: float, wanted: int | None
):
    samples = [*map(Sample, usages), *[Sample(None, counts=False)] * unready]
    assert from_cpu(len(samples), samples, target) == wanted


def test_an_average_value_divides_the_whole():
    assert from_total(2, 1000, 128) == 8
    assert from_total(8, 1000, 128) == 8
    assert from_total(4, 0, 128) == 0


def test_of_several_metrics_the_one_that_wants_most_decides():
    assert largest(4, [6, 3]) == 6
    assert largest(4, [3, 2]) == 3
    assert largest(4, [None, 6]) == 6
    assert largest(4, [None, 3]) is None
    assert largest(4, [None]) is None


def test_upwards_the_default_doubles_or_adds_four():
    controller = Controller(1, 100, KUBERNETES_BEHAVIOR)
    replicas = [1]
    for step in range(5):
        replicas.append(controller.decide(15.0 * step, replicas[-1], 100))
    assert replicas == [1, 5, 10, 20, 40, 80]


def test_downwards_the_highest_of_five_minutes_counts():
    controller = Controller(2, 100, KUBERNETES_BEHAVIOR)
    assert controller.decide(0, 10, 10) == 10
    assert [controller.decide(15.0 * step, 10, 3) for step in range(1, 20)] == [10] * 19
    assert controller.decide(300.0, 10, 3) == 3


def test_the_documentations_policies_downwards():
    """80 replicas of which 10 are wanted: 8, then 8 (7.2 rounded up), then 4 at a time below 40."""
    down = ScalingRules(0, (Policy("Pods", 4, 60), Policy("Percent", 10, 60)))
    controller = Controller(1, 100, Behavior(KUBERNETES_BEHAVIOR.up, down))
    replicas = [80]
    for step in range(12):
        replicas.append(controller.decide(61.0 * step, replicas[-1], 10))
    assert replicas[:3] == [80, 72, 64]
    below = [count for count in replicas if count <= 40]
    assert all(a - b == 4 for a, b in pairwise(below) if b > 10)


def test_within_a_period_a_policy_holds_once():
    down = ScalingRules(0, (Policy("Pods", 5, 60), Policy("Percent", 10, 60)), "Min")
    controller = Controller(1, 100, Behavior(KUBERNETES_BEHAVIOR.up, down))
    assert controller.decide(0, 100, 1) == 95
    assert controller.decide(15, 95, 1) == 95
    assert controller.decide(60, 95, 1) == 90


def test_disabled_and_bounds():
    never = ScalingRules(0, (), "Disabled")
    controller = Controller(2, 6, Behavior(KUBERNETES_BEHAVIOR.up, never))
    assert controller.decide(0, 5, 1) == 5
    assert controller.decide(15, 5, 50) == 6
    assert controller.decide(30, 1, 1) == 2
    assert controller.decide(45, 2, None) == 2


##### Customers, and the whole #####


def test_a_day_brings_what_was_asked_for():
    demand = Demand(bursts=(Rush(HOUR, 5000, rounds=2),))
    times = demand.times(1)
    assert len(times) == pytest.approx(50_000 * 40 + 10_000, rel=0.005)
    assert np.all(np.diff(times) >= 0) and times[0] >= 0 and times[-1] <= DAY
    assert np.count_nonzero(times == HOUR) == np.count_nonzero(times == HOUR + 1) == 5000
    assert not np.array_equal(times, demand.times(2))


SHORT = Demand(
    begin=3 * HOUR,
    end=3 * HOUR + 650,
    bursts=(Rush(3 * HOUR + 30, AT_ONCE), Rush(3 * HOUR + 100, AT_ONCE, rounds=15)),
)


@pytest.mark.parametrize("autoscaler", ["fixed", "hpa", "keda"])
def test_a_rush_brings_replicas_and_quiet_takes_them_away(autoscaler: str):
    first, again = (simulate(Setup(SHORT, autoscaler)) for _ in range(2))
    assert len(first.arrivals) == len(first.waits) + len(first.refused) + first.inside
    assert first.inside == 0 and min(first.waits) > 0
    assert np.array_equal(first.waits, again.waits)
    assert first.histories == again.histories and first.pod_seconds == again.pod_seconds
    assert (first.most_replicas[0] > PAGE.minimum_replicas) == (autoscaler != "fixed")
    assert first.histories[0][-1][1:] == (PAGE.minimum_replicas,) * 2
    for history, paid in zip(first.histories, first.pod_seconds, strict=True):
        times = [*(at for at, _, _ in history), first.end]
        wanted = sum(
            n * (b - a) for (_, n, _), (a, b) in zip(history, pairwise(times), strict=True)
        )
        assert wanted <= paid <= wanted * 1.1
    other = simulate(Setup(SHORT, autoscaler, seed=2))
    assert not np.array_equal(first.arrivals, other.arrivals)


##### The figures #####


def test_5000_at_once_out_of_quiet_are_answered_in_time():
    trial = hold(SHIPPED, 10)
    assert trial["refused"] == 0
    assert trial["p99"] < WAIT_SECONDS


def test_with_two_connections_a_page_loads_the_model_servers_pods_unevenly():
    few = hold(replace(SHIPPED, upstream_requests=2), 8)
    assert few["p99_one_away"] > 1.3 * hold(SHIPPED, 8)["p99_one_away"]


def test_a_shortened_day_costs_less_than_one_and_a_half_of_the_least_possible():
    demand = Demand(begin=6 * HOUR, end=7 * HOUR, bursts=(Rush(6.5 * HOUR, AT_ONCE),))
    for autoscaler in ("hpa", "keda"):
        day = simulate(Setup(demand, autoscaler))
        assert len(day.refused) == 0 and day.wait(99, demand.bursts[0]) < WAIT_SECONDS
        least = least_core_hours(demand)
        assert work_seconds(len(day.arrivals)) / HOUR < least < day.core_hours < 1.5 * least


def test_two_replicas_need_the_time_of_their_work():
    alone = simulate_two(Law(0.0, 200e-6), cores=2.0)
    assert alone["seconds"] == pytest.approx(AT_ONCE * 200e-6 / 2, rel=0.01)
    assert 0 < alone["p50"] < alone["p99"] <= alone["seconds"]


def test_the_deployment_is_the_one_that_was_simulated():
    settings, (_, server) = DeploymentSettings(), SCALINGS
    assert settings.minimum_replicas == server.minimum_replicas
    assert settings.maximum_replicas == server.maximum_replicas
    assert settings.cpu == server.cpu
