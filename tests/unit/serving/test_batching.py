"""Micro-batches: who waits together is answered together, and only who still waits."""

import asyncio
import threading
from time import monotonic

import numpy as np
import pytest

from kalecast.serving.batching import Batcher
from kalecast.serving.refusals import Failed, ServerOverloaded, TooLate

pytestmark = pytest.mark.anyio


class Doubler:
    """A model that doubles, when it may; remembers its batches."""

    def __init__(self) -> None:
        self.may_run = threading.Event()
        self.may_run.set()
        self.batches: list[int] = []
        self.fails = False

    def forecast_windows(self, windows: np.ndarray) -> np.ndarray:
        self.may_run.wait(10)
        self.batches.append(len(windows))
        if self.fails:
            raise RuntimeError("broken")
        return windows[:, :, None] * 2


def windows(*values: float) -> np.ndarray:
    return np.array([[value] for value in values])


def soon() -> float:
    return monotonic() + 30


async def test_a_lone_request_is_forecast_at_once() -> None:
    model, batcher = Doubler(), Batcher(8, 100, 1)
    answer = await batcher.submit(model, windows(1, 2), soon())
    assert answer.tolist() == [[[2]], [[4]]]
    assert (model.batches, batcher.waiting) == ([2], 0)


async def test_what_queues_while_a_batch_runs_is_the_next_one() -> None:
    model, batcher = Doubler(), Batcher(4, 100, 1)
    model.may_run.clear()
    answers = [batcher.submit(model, windows(value), soon()) for value in range(8)]
    assert (batcher.waiting, batcher.is_deep) == (7, True)
    assert batcher.age > 0
    model.may_run.set()
    for value, answer in enumerate(await asyncio.gather(*answers)):
        assert answer.tolist() == [[[2 * value]]]
    assert model.batches == [1, 4, 3]


async def test_a_request_larger_than_a_batch_is_one_of_its_own() -> None:
    model, batcher = Doubler(), Batcher(2, 100, 1)
    first, large, last = (
        batcher.submit(model, windows(*range(count)), soon()) for count in (1, 5, 1)
    )
    assert [len(answer) for answer in await asyncio.gather(first, large, last)] == [1, 5, 1]
    assert model.batches == [1, 5, 1]


async def test_requests_for_different_models_share_no_batch() -> None:
    old, new, batcher = Doubler(), Doubler(), Batcher(8, 100, 1)
    old.may_run.clear()
    answers = [batcher.submit(model, windows(1), soon()) for model in (old, old, new, new, old)]
    old.may_run.set()
    await asyncio.gather(*answers)
    assert (old.batches, new.batches) == ([1, 1, 1], [2])


async def test_who_is_gone_or_late_is_not_computed() -> None:
    model, batcher = Doubler(), Batcher(8, 100, 1)
    model.may_run.clear()
    first, gone, late, last = (
        batcher.submit(model, windows(1), monotonic() if at == 2 else soon()) for at in range(4)
    )
    gone.cancel()
    await asyncio.sleep(0.01)
    model.may_run.set()
    await asyncio.gather(first, last)
    with pytest.raises(TooLate):
        await late
    assert model.batches == [1, 1]


async def test_the_queue_is_bounded() -> None:
    model, batcher = Doubler(), Batcher(8, 10, 1)
    model.may_run.clear()
    answers = [batcher.submit(model, windows(*range(count)), soon()) for count in (1, 9)]
    with pytest.raises(ServerOverloaded):
        batcher.submit(model, windows(1, 2), soon())
    answers.append(batcher.submit(model, windows(1), soon()))
    model.may_run.set()
    await asyncio.gather(*answers)
    # Whatever a request may hold is answered where nothing waits.
    assert len(await batcher.submit(model, windows(*range(20)), soon())) == 20


async def test_a_failure_is_reported_to_its_batch_alone() -> None:
    model, batcher = Doubler(), Batcher(8, 100, 1)
    model.fails = True
    with pytest.raises(Failed):
        await batcher.submit(model, windows(1), soon())
    model.fails = False
    assert (await batcher.submit(model, windows(1), soon())).tolist() == [[[2]]]


async def test_threads_run_batches_side_by_side() -> None:
    model, batcher = Doubler(), Batcher(1, 100, 2)
    model.may_run.clear()
    answers = [batcher.submit(model, windows(1), soon()) for _ in range(3)]
    assert batcher.waiting == 1
    model.may_run.set()
    await asyncio.gather(*answers)


async def test_who_looks_on_sees_each_batch_and_spoils_none() -> None:
    model, batcher, seen = Doubler(), Batcher(8, 100, 1), []

    def look(queried: object, taken: np.ndarray, forecast: np.ndarray) -> None:
        seen.append((queried, taken.tolist(), forecast.tolist()))
        raise RuntimeError("who looks on has a fault")

    batcher.on_forecast = look
    assert (await batcher.submit(model, windows(1), soon())).tolist() == [[[2]]]
    assert seen == [(model, [[1]], [[[2]]])]
