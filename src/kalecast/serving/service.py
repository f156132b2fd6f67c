"""What every protocol shares: admission, the forecast, readiness."""

import asyncio
from time import monotonic
from typing import Any

from kalecast.artifact.runtime import HistoryError, Windows, as_windows
from kalecast.serving.batching import Batcher
from kalecast.serving.configuration import Configuration
from kalecast.serving.metrics import Metrics
from kalecast.serving.refusals import Refusal, ServerOverloaded
from kalecast.serving.reloading import Serving
from kalecast.serving.served_model import ServedModel
from kalecast.serving.turns import Turns

LARGE = 256 * 1024
"""Bytes of a request which takes so long to look into that others come in between two."""


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
            Refusal: they cannot be forecast from, or there is no room.
        """
        model = self.model
        try:
            windows = as_windows(histories, model.contract)
        except HistoryError as error:
            raise Refusal(str(error)) from None
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
