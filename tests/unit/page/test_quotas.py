"""Quotas: how many forecasts a minute, how many at once, and how replicas share them."""

import asyncio

import pytest

from kalecast.page.quotas import KEPT, Buckets, Quota, Replicas

SIX = Quota(per_minute=6, burst=2)


def test_at_once_as_many_as_the_burst_then_one_by_one() -> None:
    buckets = Buckets()
    assert [buckets.take("a", SIX, 100.0) for _ in range(3)] == [0, 0, pytest.approx(10)]
    assert buckets.take("a", SIX, 107.0) == pytest.approx(3)
    assert buckets.take("a", SIX, 110.0) == 0
    assert buckets.take("a", SIX, 110.0) == pytest.approx(10)


def test_a_refusal_costs_nothing() -> None:
    buckets = Buckets()
    for _ in range(50):
        buckets.take("a", SIX, 0.0)
    assert buckets.take("a", SIX, 10.0) == 0


def test_a_minute_brings_what_was_promised() -> None:
    buckets = Buckets()
    taken = sum(not buckets.take("a", Quota(600, 10), at / 100) for at in range(60_00))
    assert 600 <= taken <= 610


def test_an_idle_hour_saves_up_no_more_than_the_burst() -> None:
    buckets = Buckets()
    buckets.take("a", SIX, 0.0)
    assert sum(not buckets.take("a", SIX, 3600.0) for _ in range(100)) == 2


def test_everybody_has_their_own() -> None:
    buckets = Buckets()
    while not buckets.take("a", SIX, 0.0):
        pass
    assert buckets.take("b", SIX, 0.0) == 0


def test_another_quota_counts_at_once() -> None:
    buckets = Buckets()
    for _ in range(1000):
        buckets.take("a", Quota(1, 1000), 0.0)
    assert buckets.take("a", Quota(60, 1), 0.0) == pytest.approx(1)
    assert buckets.take("a", Quota(60, 1), 1.0) == 0


def test_replicas_share() -> None:
    count = 4
    buckets = Buckets(lambda: count)
    assert [buckets.take("a", Quota(60, 8), 0.0) for _ in range(3)] == [0, 0, pytest.approx(4)]
    count = 1
    assert buckets.take("a", Quota(60, 8), 1.0) == 0


def test_a_small_burst_still_lets_one_through() -> None:
    assert Buckets(lambda: 50).take("a", SIX, 0.0) == 0


def test_many_names_do_not_pile_up() -> None:
    buckets = Buckets()
    for at in range(5 * KEPT):
        buckets.take(f"person {at}", Quota(600, 1), float(at))
    assert len(buckets) <= KEPT


def test_replicas_as_a_number_or_a_name() -> None:
    assert Replicas("3").count == 3
    named = Replicas("localhost")
    assert named.count == 1
    asyncio.run(named.look())
    assert named.count == 1


def test_replicas_stay_where_a_name_is_not_known() -> None:
    unknown = Replicas("page.invalid")
    unknown.count = 5
    asyncio.run(unknown.look())
    assert unknown.count == 5
