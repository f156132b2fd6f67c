"""Turns: few at once where many wait, first come, first served, and none for who is gone."""

import asyncio

import pytest

from kalecast.serving.service import Turns

pytestmark = pytest.mark.anyio


async def test_where_few_wait_there_is_a_turn_at_once() -> None:
    turns = Turns(2)
    for _ in range(3):
        assert [turns.take(), turns.take()] == [None, None]
        await asyncio.sleep(0)


async def test_where_many_wait_the_loop_gets_round_between_them() -> None:
    order: list[int | str] = []
    turns = Turns(2)

    async def one(number: int) -> None:
        if turn := turns.take():
            await turn
        order.append(number)

    tasks = [asyncio.create_task(one(number)) for number in range(7)]
    tasks[4].cancel()
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        order.append("round")
    assert [number for number in order if number != "round"] == [0, 1, 2, 3, 5, 6]
    assert all(order[at : at + 3].count("round") for at in range(len(order) - 3))
