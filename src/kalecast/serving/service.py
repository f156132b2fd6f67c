"""What every protocol shares: admission, the forecast, readiness.

When thousands of requests arrive at the same moment, a server that reads them all first, and only
then begins to work, can refuse in time what there is no room for. So a request that was read
waits for its turn here, and only a few get theirs each time the loop has been through its sockets.
"""

import asyncio
import logging
from collections import deque
from time import monotonic
from typing import Any

from kalecast.artifact.runtime import HistoryError, Windows, as_windows
from kalecast.serving.batching import Batcher
from kalecast.serving.configuration import Configuration
from kalecast.serving.metrics import Metrics
from kalecast.serving.model import ServedModel
from kalecast.serving.refusals import Failed, Refusal, ServerOverloaded
from kalecast.serving.reloading import Serving

LARGE = 256 * 1024
"""Bytes of a request which takes so long to look into that others come in between two."""

logger = logging.getLogger(__name__)


def refusal_of(error: Exception, described: str) -> Refusal:
    """What the sender of a request gets to know of an error; the log has what none should see.

    Args:
        error: whatever was raised.
        described: what failed, for the log.
    """
    if isinstance(error, Refusal):
        return error
    if isinstance(error, HistoryError | RecursionError):
        return Refusal(str(error))
    logger.error(described, exc_info=error)
    return Failed()


class Turns:
    """The event loop's time, shared between reading requests and looking into them.

    Args:
        each: turns that there are at a time.
        rounds: rounds of the event loop until there are as many again.
    """

    def __init__(self, each: int = 32, rounds: int = 1) -> None:
        self._each, self._rounds = each, rounds
        self._left, self._rounds_left = each, rounds
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_due = False

    def take(self) -> asyncio.Future[None] | None:
        """A turn to wait for, first come, first served; None where there is one at once."""
        loop = asyncio.get_running_loop()
        if not self._is_due:
            self._is_due = True
            loop.call_soon(self._next_round)
        if self._left and not self._waiting:
            self._left -= 1
            return None
        turn = loop.create_future()
        self._waiting.append(turn)
        return turn

    def _next_round(self) -> None:
        self._rounds_left -= 1
        if self._rounds_left:
            asyncio.get_running_loop().call_soon(self._next_round)
            return
        self._left, self._rounds_left = self._each, self._rounds
        while self._waiting and self._left:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                self._left -= 1
        self._is_due = bool(self._waiting)
        if self._is_due:
            asyncio.get_running_loop().call_soon(self._next_round)


class Room:
    """Room for so many requests at the same time; `with room:` takes one's place.

    Args:
        most: the places.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.taken = 0

    def __enter__(self) -> None:
        if self.taken >= self._most:
            raise ServerOverloaded
        self.taken += 1

    def __exit__(self, *_: object) -> None:
        self.taken -= 1


class Service:
    """Forecasts for all clients, as long as there is room.

    Args:
        configuration: the limits.
        serving: the model in use.
        metrics: count what happens.
    """

    def __init__(self, configuration: Configuration, serving: Serving, metrics: Metrics) -> None:
        self.configuration = configuration
        self.serving = serving
        self.metrics = metrics
        self.is_ending = False
        """Whether readiness is gone, so that new requests should go elsewhere."""
        self.room = Room(configuration.max_in_flight)
        self._turns, self._large_turns = Turns(), Turns(1, rounds=8)
        self._batcher = Batcher(
            configuration.max_batch, configuration.max_queue, configuration.threads
        )
        self._batcher.on_batch = metrics.batched
        self._batcher.on_forecast = self._look_at
        serving.on_reload = self._reloaded
        self._describe_model()
        for name, description, figure in (
            ("kalecast_in_flight", "Requests being answered", lambda: self.room.taken),
            ("kalecast_queue_windows", "Windows that wait", lambda: self._batcher.waiting),
            (
                "kalecast_queue_age_seconds",
                "How long the oldest of them has waited",
                lambda: self._batcher.age,
            ),
        ):
            metrics.watches(name, description, figure)
        if configuration.watch_seconds:
            metrics.watches(
                "kalecast_model_look_age_seconds",
                "Seconds since the model URI was last looked at",
                lambda: serving.look_age,
            )

    @property
    def model(self) -> ServedModel:
        """The model that the next request meets."""
        return self.serving.model

    @property
    def is_ready(self) -> bool:
        """Whether new requests should come here: not at the end, nor with forecasts stuck."""
        return not self.is_ending and self._batcher.age < self.configuration.request_seconds

    @property
    def is_deep(self) -> bool:
        """Whether a request now will wait noticeably."""
        return self._batcher.is_deep

    def turn(self, size: int) -> asyncio.Future[None] | None:
        """A turn to wait for before a request of so many bytes is looked into, as of `Turns`."""
        return (self._large_turns if size > LARGE else self._turns).take()

    def submit(
        self, histories: Any, seconds: float | None = None
    ) -> tuple[ServedModel, asyncio.Future[Windows]]:
        """Check histories and queue them.

        Args:
            histories: as for `as_windows`.
            seconds: how long the sender will wait, where it said so.

        Returns:
            The model that will forecast, and a future of shape `(series, horizon, quantiles)`.
            Cancel the future where its client has gone.

        Raises:
            HistoryError: they cannot be forecast from.
            ServerOverloaded: there is no room.
        """
        model = self.model
        windows = as_windows(histories, model.contract)
        most = self.configuration.request_seconds
        deadline = monotonic() + (most if seconds is None else min(seconds, most))
        future = self._batcher.submit(model, windows, deadline)
        self.metrics.forecast(len(windows))
        return model, future

    def close(self) -> None:
        """End the threads."""
        self._batcher.close()

    def _reloaded(self, succeeded: bool) -> None:
        self.metrics.reloaded(succeeded)
        self._describe_model()

    def _describe_model(self) -> None:
        contract = self.model.contract
        self.metrics.serves(contract.name, contract.version, contract.created)

    def _look_at(self, model: ServedModel, windows: Windows, forecast: Windows) -> None:
        self.metrics.drift.observe(windows, forecast, model.contract)
