"""The simulation of autoscaling: against queueing theory, the HPA's documentation, and itself."""

import random
from dataclasses import fields, replace
from itertools import pairwise
from math import factorial

import numpy as np
import pytest
from simpy import Environment

from benchmarks.autoscaling.arrivals import DAY, Demand, Rush
from benchmarks.autoscaling.burst_trials import SHIPPED, hold
from benchmarks.autoscaling.hpa import Controller, Sample, from_cpu, from_total, largest
from benchmarks.autoscaling.least_cost import least_core_hours, work_seconds
from benchmarks.autoscaling.scenario import MODEL_KIND, SCALINGS, SHIPPED_PAGE, Setup, simulate
from benchmarks.autoscaling.simulated_pods import Law, Pod, PodKind, StartUp, Tier
from benchmarks.autoscaling.simulated_service import SimulatedPage
from benchmarks.autoscaling.stations import Batch, QueuedJob, Station
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
from kalecast.page.settings import Settings
from kalecast.serving.configuration import Configuration

HOUR = 3600.0


def run_queue(
    rate: float, seconds, jobs: int = 120_000, seed: int = 0, **parameters
) -> tuple[Station, float]:
    """A station with Poisson arrivals until all have been served; and when that was."""
    env = Environment()
    station = Station(env, seconds, lambda batch: None, **parameters)
    gaps = np.random.default_rng(seed).exponential(1 / rate, jobs)

    def come():
        for gap in gaps.tolist():
            yield env.timeout(gap)
            station.offer(QueuedJob(env.now))

    env.process(come())
    env.run()
    return station, env.now


def exponential(mean: float, seed: int = 7):
    chance = random.Random(seed)
    return lambda count: chance.expovariate(1 / mean)


def erlang_c(servers: int, load: float) -> float:
    """The chance to wait in M/M/c; `load` is arrival rate over the rate of one server."""
    last = load**servers / factorial(servers) * servers / (servers - load)
    return last / (sum(load**k / factorial(k) for k in range(servers)) + last)


##### Queueing theory #####


def test_mm1_waits_as_theory_says():
    station, _ = run_queue(0.7, exponential(1.0))
    assert station.waited / station.served == pytest.approx(0.7 / (1 - 0.7), rel=0.05)


@pytest.mark.parametrize("servers", [2, 5])
def test_mmc_waits_as_erlang_says(servers: int):
    rate = 0.8 * servers
    station, _ = run_queue(rate, exponential(1.0), workers=servers)
    expected = erlang_c(servers, rate) / (servers - rate)
    assert station.waited / station.served == pytest.approx(expected, rel=0.05)


def test_md1_waits_as_pollaczek_and_khinchine_say():
    station, _ = run_queue(0.8, lambda count: 1.0)
    assert station.waited / station.served == pytest.approx(0.8 / (2 * (1 - 0.8)), rel=0.05)


def test_exponential_batches_wait_as_the_bulk_queue_does():
    """M/M(1,b)/1: whoever waits is served together, up to b (Neuts' general bulk service)."""
    rate, most = 3.0, 4
    station, _ = run_queue(rate, exponential(1.0), max_batch=most)
    roots = np.roots([1.0, *[0.0] * (most - 1), -(rate + 1.0), rate])
    (root,) = [r.real for r in roots if abs(r.imag) < 1e-9 and 0 < r.real < 0.999]
    busy = 1 / (1 / (1 - root) + 1 / rate)
    expected = busy * root / (1 - root) ** 2 / rate
    assert station.waited / station.served == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("batch", [1, 16])
def test_littles_law_holds_exactly(batch: int):
    law = Law(0.5, 0.1)
    station, end = run_queue(1.0, law.seconds, jobs=20_000, max_batch=batch, workers=2)
    assert station.is_idle and station.served == 20_000
    inside, rate = station.area / end, station.served / end
    assert inside == pytest.approx(rate * station.stayed / station.served, rel=1e-9)
    assert station.waited < station.stayed and station.busy <= 2 * end


def test_replicas_chosen_at_random_are_as_many_single_queues():
    """A Poisson stream that is split at random is several: each pod waits as M/D/1 does."""
    env, rate = Environment(), 3 * 0.7
    waits: list[float] = []

    def served(pod: Pod, batch: Batch) -> None:
        waits.extend(env.now - job.requested - 1.0 for job in batch)

    kind = PodKind(Law(1.0, 0.0), StartUp(0.0), max_batch=1)
    scaling = Scaling(1000, 3, 3, 70, 10)
    tier = Tier(env, kind, scaling, random.Random(3), served=served, lost=lambda pod, job: None)
    gaps = np.random.default_rng(3).exponential(1 / rate, 150_000)

    def come():
        for gap in gaps.tolist():
            yield env.timeout(gap)
            tier.choose().station.offer(QueuedJob(env.now))

    env.process(come())
    env.run()
    assert np.mean(waits) == pytest.approx(0.7 / (2 * 0.3), rel=0.05)


def test_a_full_queue_refuses_and_a_late_request_is_given_up():
    env = Environment()
    lost: list[QueuedJob] = []
    station = Station(
        env, lambda n: 1.0, lambda b: None, lost=lost.append, max_waiting=3, timeout=2.5
    )
    assert [station.offer(QueuedJob(0.0)) for _ in range(5)] == [True] * 4 + [False]
    env.run()
    assert station.served == 3 and len(lost) == 1 and station.is_idle


def test_a_batch_is_never_larger_than_allowed():
    env, sizes = Environment(), []
    station = Station(env, lambda n: 1.0, lambda b: sizes.append(len(b)), max_batch=256)
    for _ in range(1000):
        station.offer(QueuedJob(0.0))
    env.run()
    assert sizes == [1, 256, 256, 256, 231]


##### The HPA, as documented #####


def of(*usages: float | None) -> list[Sample]:
    return [Sample(usage) for usage in usages]


def test_the_documentations_first_example():
    """200m where 100m are desired doubles the replicas, 50m halves them."""
    assert from_cpu(3, of(2.0, 2.0, 2.0), 1.0) == 6
    assert from_cpu(4, of(0.5, 0.5, 0.5, 0.5), 1.0) == 2
    assert from_cpu(3, of(0.8, 0.8, 0.8), 0.7) == 4


@pytest.mark.parametrize(("usage", "wanted"), [(0.91, 10), (1.09, 10), (0.89, 9), (1.11, 12)])
def test_within_the_tolerance_nothing_changes(usage: float, wanted: int):
    assert from_cpu(10, of(*[usage] * 10), 1.0) == wanted


def test_missing_metrics_count_as_nothing_upwards_and_as_all_downwards():
    assert from_cpu(4, of(2.0, 2.0, 2.0, None), 1.0) == 6
    assert from_cpu(4, of(0.5, 0.5, 0.5, None), 1.0) == 3
    assert from_cpu(2, of(1.2, None), 1.0) == 2  # would turn the direction round
    assert from_cpu(2, of(None, None), 1.0) is None


def test_pods_that_are_not_ready_dampen_upwards_only():
    unready = [Sample(None, counts=False)] * 2
    assert from_cpu(4, [*of(3.0, 3.0), *unready], 1.0) == 6
    assert from_cpu(4, [*of(1.5, 1.5), *unready], 1.0) == 4
    assert from_cpu(4, [*of(0.5, 0.5), *unready], 1.0) == 1


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
def test_nothing_is_lost_and_the_same_seed_gives_the_same(autoscaler: str):
    first, again = (simulate(Setup(SHORT, autoscaler)) for _ in range(2))
    assert len(first.arrivals) == len(first.answers.seconds) + len(first.refused) + first.inside
    assert first.inside == 0 and min(first.answers.seconds) > 0
    assert np.array_equal(first.answers.seconds, again.answers.seconds)
    assert first.histories == again.histories and first.pod_seconds == again.pod_seconds
    other = simulate(Setup(SHORT, autoscaler, seed=2))
    assert not np.array_equal(first.arrivals, other.arrivals)


def test_a_rush_brings_replicas_and_quiet_takes_them_away():
    for autoscaler in ("hpa", "keda"):
        outcome = simulate(Setup(SHORT, autoscaler))
        assert outcome.most_replicas[0] > PAGE.minimum_replicas, autoscaler
        assert outcome.histories[0][-1][1:] == (PAGE.minimum_replicas,) * 2, autoscaler
        minimum = sum(s.minimum_replicas * s.cores for s in SCALINGS)
        assert minimum < outcome.cores < 3 * minimum
    assert simulate(Setup(SHORT, "fixed")).cores == pytest.approx(minimum)


def test_pods_with_the_fewest_requests_get_the_next_evenly():
    outcome = simulate(Setup(SHORT, "fixed", least=True))
    assert len(outcome.arrivals) == len(outcome.answers.seconds) + len(outcome.refused)
    assert outcome.wait(99, SHORT.bursts[0]) < WAIT_SECONDS


def test_cost_is_what_the_replicas_were_there_for():
    outcome = simulate(Setup(SHORT, "keda"))
    for history, paid in zip(outcome.histories, outcome.pod_seconds, strict=True):
        times = [*(at for at, _, _ in history), SHORT.begin + outcome.seconds]
        wanted = sum(
            n * (b - a) for (_, n, _), a, b in zip(history, times, times[1:], strict=False)
        )
        assert wanted <= paid <= wanted * 1.1


##### The figures #####


def test_5000_at_once_out_of_quiet_are_answered_in_time():
    trial = hold(SHIPPED, 10)
    assert trial.refused == 0
    assert trial.p99 < WAIT_SECONDS


def test_with_two_connections_a_page_loads_the_model_servers_pods_unevenly():
    few = hold(replace(SHIPPED, upstream_requests=2), 8)
    assert few.p99_one_away > 1.3 * hold(SHIPPED, 8).p99_one_away


def test_a_shortened_day_costs_less_than_one_and_a_half_of_the_least_possible():
    demand = Demand(begin=6 * HOUR, end=7 * HOUR, bursts=(Rush(6.5 * HOUR, AT_ONCE),))
    for autoscaler in ("hpa", "keda"):
        day = simulate(Setup(demand, autoscaler))
        assert len(day.refused) == 0 and day.wait(99, demand.bursts[0]) < WAIT_SECONDS
        least = least_core_hours(demand)
        assert work_seconds(day.arrivals) / HOUR < least < day.core_hours < 1.5 * least


def test_the_deployment_is_the_one_that_was_simulated():
    settings, (_, server) = DeploymentSettings(), SCALINGS
    assert settings.minimum_replicas == server.minimum_replicas
    assert settings.maximum_replicas == server.maximum_replicas
    assert settings.cpu == server.cpu
    assert SHIPPED_PAGE.upstream_windows == 64


def defaults(settings: type) -> dict[str, object]:
    return {field.name: field.default for field in fields(settings)}


def test_simulated_limits_are_those_of_page_and_server():
    page = {name: field.default for name, field in Settings.model_fields.items()}
    server = defaults(Configuration)
    simulated = {field.name: field.default for field in fields(SimulatedPage)}
    shared = simulated.keys() & page.keys()
    assert len(shared) == 5
    assert {name: simulated[name] for name in shared} == {name: page[name] for name in shared}
    assert MODEL_KIND.max_batch == server["max_batch"]
    assert MODEL_KIND.max_waiting == server["max_queue"]
