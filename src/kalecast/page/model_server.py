"""The client of the model server: its contract, and forecasts of one history each.

Forecasts requested one by one are sent together. There is no timer: what came while earlier
requests were under way goes with the next one, so a lone forecast waits for no other and a rush
fills each request (how much that gains is in gradio_app/README.md). Which replica answers, and what
happens when one does not, is the matter of `upstream.py`.
"""

import asyncio
import contextlib
import copy
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from kalecast.artifact.contract import Contract
from kalecast.client.messages import (
    METADATA,
    PREDICTIONS,
    AnswerError,
    contract_of,
    reason_of,
    seldon_forecasts,
    seldon_request,
)
from kalecast.page import background, metrics
from kalecast.page.outcomes import Overloaded, Refused, ServiceDown
from kalecast.page.settings import Settings
from kalecast.page.upstream import Replica, Upstream

logger = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]

CONTRACT_AGE = 60.0
"""Seconds after which the contract is requested again, even if no answer named another one."""

PAUSE = 1.0
"""Seconds between two requests for the contract, while old and new models answer in turn."""

CONTRACT_SECONDS = 5.0
"""Seconds that such a request may take."""

REFUSALS = (400, 413, 422)
"""Statuses that speak of the history; another 4xx is the installation's fault."""

MOST_CONTRACTS = 8
"""Contracts of models that answered lately; more than ever serve at the same time."""

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


class ModelServer:
    """A model server: its contract, and its forecasts.

    Example:
        >>> async with ModelServer(settings) as server:
        ...     contract = await server.contract()
        ...     contract, forecast = await server.forecast(values, Caller.within(20))
    """

    def __init__(self, settings: Settings) -> None:
        self._upstream = Upstream(settings.model_servers)
        self._coalescer = Coalescer(
            self._forecast_all,
            requests=settings.upstream_requests * len(settings.model_servers),
            most_items=settings.upstream_windows,
            most_waiting=settings.most_waiting,
        )
        self._contracts: dict[str, Contract] = {}
        self._newest: Contract | None = None
        self._fetched = 0.0
        self._fetching = asyncio.Lock()

    async def __aenter__(self) -> "ModelServer":
        await self._upstream.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._upstream.__aexit__(*error)

    async def contract(self, age: float = CONTRACT_AGE) -> Contract:
        """The contract of the model that is being served.

        Args:
            age: seconds for which what is known of it counts as known.

        Raises:
            ServiceDown, Overloaded: the server does not answer.
        """
        return self._known(age) or await self._fetch_contract(age)

    async def forecast(self, values: Floats, caller: Caller) -> tuple[Contract, Floats]:
        """Forecast one history.

        Args:
            values: newest value last, NaN where unknown.
            caller: who waits for it.

        Returns:
            The contract of the model that answered, and its forecast of shape
            `(horizon, quantiles)`.

        Raises:
            ServiceDown: the server does not answer.
            Overloaded: more is requested than it can answer in time.
            Refused: it refuses this history.
        """
        answer = await self._coalescer.get(values, caller)
        metrics.FORECASTS.inc()
        return answer

    async def _forecast_all(
        self, histories: Sequence[Floats], deadline: float
    ) -> Sequence[tuple[Contract, Floats]]:
        reply = await self._upstream.request(
            "POST",
            PREDICTIONS,
            # NaN leaves orjson as null, which is the protocol's value for unknown.
            orjson.dumps(seldon_request(histories), option=orjson.OPT_SERIALIZE_NUMPY),
            deadline=deadline,
            forecasts=len(histories),
        )
        if reply.status in REFUSALS:
            raise Refused(_reason(reply.content))
        if reply.status != 200:
            raise ServiceDown(f"a forecast was answered with {reply.status}")
        forecasts, version = _forecasts(reply.content, len(histories))
        contract = await self._contract_of(version, forecasts, reply.replica)
        return [(contract, forecast) for forecast in forecasts]

    async def _contract_of(
        self, version: str | None, forecasts: Floats, replica: Replica
    ) -> Contract:
        """The contract of the model that made these forecasts.

        Another model may have come meanwhile, to all replicas or to this one first.
        """
        if (contract := self._contracts.get(version or "")) is None:
            contract = await self.contract()
        if not _fits(forecasts, contract):
            contract = await self._fetch_contract(0.0, replica)
        elif version not in (None, contract.version):
            contract = await self._fetch_contract(PAUSE, replica)
        if not _fits(forecasts, contract):
            raise ServiceDown(f"forecasts of shape {forecasts.shape} against the contract")
        self._newest = contract
        return contract

    def _known(self, age: float) -> Contract | None:
        return self._newest if time.monotonic() - self._fetched < age else None

    async def _fetch_contract(self, age: float, replica: Replica | None = None) -> Contract:
        async with self._fetching:
            # Others may have waited here while the first one requested it.
            if (known := self._known(age)) is not None:
                return known
            deadline = time.monotonic() + CONTRACT_SECONDS
            reply = await self._upstream.request("GET", METADATA, deadline=deadline, only=replica)
            if reply.status != 200:
                raise ServiceDown(f"the metadata were answered with {reply.status}")
            contract = _read_contract(reply.content)
            self._newest, self._fetched = contract, time.monotonic()
            self._contracts[contract.version] = contract
            if len(self._contracts) > MOST_CONTRACTS:
                del self._contracts[next(iter(self._contracts))]
            return contract


def _fits(forecasts: Floats, contract: Contract) -> bool:
    return forecasts.shape[1:] == (contract.horizon, len(contract.quantiles))


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


def _forecasts(content: bytes, count: int) -> tuple[Floats, str | None]:
    """So many forecasts out of an answer, finite, and the version of the model that made them.

    Raises:
        ServiceDown: the answer holds something else.
    """
    try:
        forecasts, version = seldon_forecasts(_json(content))
    except AnswerError as error:
        raise ServiceDown(str(error)) from error
    if len(forecasts) != count or not np.isfinite(forecasts).all():
        raise ServiceDown(f"{count} forecasts of shape {forecasts.shape}, or not finite")
    return forecasts, version


def _read_contract(content: bytes) -> Contract:
    """The contract out of the server's metadata.

    Raises:
        ServiceDown: there is none.
    """
    try:
        return contract_of(_json(content))
    except AnswerError as error:
        raise ServiceDown(str(error)) from error


def _reason(content: bytes) -> str:
    """Why the server refused a history, in its own words."""
    with contextlib.suppress(orjson.JSONDecodeError):
        if reason := reason_of(orjson.loads(content)):
            return reason[:300]
    return "The forecasting service refused this history."


def _json(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise ServiceDown("an answer that is no JSON") from error
