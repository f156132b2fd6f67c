"""Coalescing: forecasts requested one by one are sent to the model server together.

There is no timer: what came while earlier requests were under way goes with the next one, so a
lone forecast waits for no other and a rush fills each request. How much that gains is measured in
`README.md`.
"""

import asyncio
import copy
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from kalecast.page import background, metrics
from kalecast.page.outcomes import Overloaded, Refused

logger = logging.getLogger(__name__)

LEAST_TIME = 0.5
"""Seconds that a forecast needs: with less left it is not requested any more."""

GONE_AFTER = 0.5
"""Seconds of waiting after which it is worth a look whether the customer is still there."""


async def never() -> bool:
    """For a customer of whom nothing is known: still there."""
    return False


@dataclass(frozen=True)
class Caller:
    """Who waits for a forecast, and until when."""

    deadline: float
    """In `time.monotonic()`."""
    is_gone: Callable[[], Awaitable[bool]] = never
    client: str = ""
    """The address that the request came from, of whom there may be many."""

    @classmethod
    def within(
        cls, seconds: float, is_gone: Callable[[], Awaitable[bool]] = never, client: str = ""
    ) -> "Caller":
        """Someone who waits for so long from now on."""
        return cls(time.monotonic() + seconds, is_gone, client)


@dataclass(eq=False, slots=True)
class _Waiting[Item, Answer]:
    item: Item
    caller: Caller
    answer: "asyncio.Future[Answer]"
    since: float = field(default_factory=time.monotonic)


class Coalescer[Item, Answer]:
    """Gathers what is requested at the same time into few requests.

    Example:
        >>> async def send(items, deadline):
        ...     return [item + 1 for item in items]
        >>> await Coalescer(send, requests=2, most_items=64, most_waiting=100).get(1, caller)
        2
    """

    def __init__(
        self,
        send: Callable[[Sequence[Item], float], Awaitable[Sequence[Answer]]],
        *,
        requests: int,
        most_items: int,
        most_waiting: int,
    ) -> None:
        """A coalescer with nothing to do.

        Args:
            send: answers several items until a deadline, in their order. Where it raises
                `Refused`, each of them is requested alone: one must not spoil the others.
            requests: requests under way at a time, at most.
            most_items: items in one request, at most.
            most_waiting: items that may wait.
        """
        self._send = send
        self._most_requests = requests
        self._most_items = most_items
        self._most_waiting = most_waiting
        self._queue: deque[_Waiting[Item, Answer]] = deque()
        self._requests: set[asyncio.Task[None]] = set()
        metrics.WAITING.set_function(lambda: len(self._queue))

    async def get(self, item: Item, caller: Caller) -> Answer:
        """The answer to one item.

        Raises:
            Overloaded: too many wait already, or its time is over.
        """
        if len(self._queue) >= self._most_waiting:
            raise _refusal("queue full")
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(item, caller, answer)
        self._queue.append(waiting)
        if len(self._requests) < self._most_requests:
            task = asyncio.create_task(self._work(), name="coalescer")
            task.add_done_callback(background.note_failure)
            self._requests.add(task)
        return await answer

    async def _work(self) -> None:
        """Send requests, one after another, until none waits."""
        try:
            while self._queue:
                if batch := await self._batch():
                    await self._answer(batch)
        finally:
            # Here and not in a callback: the next caller must find that no task works.
            self._requests.discard(asyncio.current_task())

    async def _batch(self) -> list[_Waiting[Item, Answer]]:
        """The longest-waiting items that are still wanted."""
        batch: list[_Waiting[Item, Answer]] = []
        while self._queue and len(batch) < self._most_items:
            waiting = self._queue.popleft()
            if waiting.answer.done():  # its request was cancelled
                continue
            now = time.monotonic()
            if now + LEAST_TIME > waiting.caller.deadline:
                waiting.answer.set_exception(_refusal("too late"))
            elif now - waiting.since > GONE_AFTER and await _is_gone(waiting.caller):
                waiting.answer.set_exception(_refusal("customer gone"))
            else:
                batch.append(waiting)
        return batch

    async def _answer(self, batch: list[_Waiting[Item, Answer]]) -> None:
        metrics.UPSTREAM_WINDOWS.observe(len(batch))
        deadline = min(waiting.caller.deadline for waiting in batch)
        try:
            answers = await self._send([waiting.item for waiting in batch], deadline)
        except Refused as error:
            if len(batch) == 1:
                _fail(batch, error)
                return
            for waiting in batch:
                await self._answer([waiting])
        except Exception as error:  # it belongs to those who wait, whatever it is
            _fail(batch, error)
        else:
            for waiting, answer in zip(batch, answers, strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result(answer)


async def _is_gone(caller: Caller) -> bool:
    try:
        return await caller.is_gone()
    except Exception:  # one of whom nothing can be learned must not end the work for all
        logger.exception("Whether a customer is still there is unknown")
        return True


def _fail(batch: Sequence[_Waiting[Any, Any]], error: Exception) -> None:
    for waiting in batch:
        if not waiting.answer.done():
            # One each: a raised exception collects the traceback of each raise.
            waiting.answer.set_exception(copy.copy(error))


def _refusal(reason: str) -> Overloaded:
    metrics.REFUSALS.labels(reason).inc()
    return Overloaded(reason)
