"""Micro-batches: windows that wait together are forecast together.

One forward pass of 64 windows takes a fraction of 64 passes of one. No timer holds requests
back: whatever has queued while the last batch ran is the next one. So a lone request is forecast
at once, and batches grow with the load by themselves.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any, Protocol

import numpy as np

from kalecast.artifact.runtime import Windows
from kalecast.serving.refusals import Failed, ServerOverloaded, TooLate

logger = logging.getLogger(__name__)


class Model(Protocol):
    """Whatever forecasts windows."""

    def forecast_windows(self, windows: Windows) -> Windows:
        """From `(batch, input_length)` to `(batch, horizon, quantiles)`."""
        ...


@dataclass(slots=True, eq=False)
class _Waiting:
    """A request's windows; the future gets its forecast, or is cancelled if its client has gone."""

    model: Model
    windows: Windows
    answer: asyncio.Future[Windows]
    since: float
    deadline: float


class Batcher:
    """A bounded queue of windows before the threads that forecast them.

    Lives in one event loop. A caller that loses interest cancels the future; what is cancelled or
    late when its turn comes is not computed.

    Args:
        max_batch: windows a forward pass. A request that brings more is one batch of its own.
        max_queue: windows that may wait.
        threads: forward passes at the same time.
    """

    def __init__(self, max_batch: int, max_queue: int, threads: int) -> None:
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="forecast")
        self._queue: deque[_Waiting] = deque()
        self._running = 0
        self.waiting = 0
        """Windows that wait."""
        self.on_batch: Callable[[int], None] = lambda windows: None
        """Called with the size of each batch."""
        self.on_forecast: Callable[[Any, Windows, Windows], None] = lambda *_: None
        """Called with each batch's model, windows and forecast, in the thread that made it."""

    @property
    def age(self) -> float:
        """Seconds that the oldest of the queue has waited."""
        return monotonic() - self._queue[0].since if self._queue else 0.0

    @property
    def is_deep(self) -> bool:
        """Whether what comes now will wait longer than for the batch that runs."""
        return self.waiting > self._max_batch

    def submit(self, model: Model, windows: Windows, deadline: float) -> asyncio.Future[Windows]:
        """Queue a request's windows.

        Args:
            model: forecasts them; requests for different models never share a batch.
            windows: `(batch, input_length)`, checked.
            deadline: in the clock's `monotonic` seconds.

        Returns:
            A future of the forecast; it may end with `TooLate` or `Failed`.

        Raises:
            ServerOverloaded: too many wait already.
        """
        # An idle server takes a request of any size that passed its limits.
        if self.waiting and self.waiting + len(windows) > self._max_queue:
            raise ServerOverloaded
        answer = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(model, windows, answer, monotonic(), deadline))
        self.waiting += len(windows)
        self._start()
        return answer

    def close(self) -> None:
        """End the threads; nothing may be waiting."""
        self._pool.shutdown()

    def _start(self) -> None:
        """Start as many batches as there are threads and work for."""
        loop = asyncio.get_running_loop()
        while self._running < self._threads and (batch := self._take()):
            self._running += 1
            self.on_batch(sum(len(waiting.windows) for waiting in batch))
            done = loop.run_in_executor(self._pool, self._forecast, batch)
            done.add_done_callback(partial(self._answer, batch))

    def _take(self) -> list[_Waiting]:
        """The next batch, out of the queue: the longest-waiting first."""
        batch: list[_Waiting] = []
        size, now = 0, monotonic()
        while self._queue:
            head = self._queue[0]
            count = len(head.windows)
            if batch and (size + count > self._max_batch or head.model is not batch[0].model):
                break
            self._queue.popleft()
            self.waiting -= count
            if head.answer.done():
                continue
            if now > head.deadline:
                head.answer.set_exception(TooLate())
                continue
            batch.append(head)
            size += count
        return batch

    def _answer(self, batch: list[_Waiting], done: asyncio.Future[Windows]) -> None:
        """Hand a batch's forecasts to those who wait for them, and go on."""
        self._running -= 1
        self._start()
        error = done.exception()
        if error is not None:
            logger.error("The forecast failed", exc_info=error)
        at = 0
        for waiting in batch:
            count = len(waiting.windows)
            if not waiting.answer.done():
                if error is not None:
                    waiting.answer.set_exception(Failed())
                else:
                    waiting.answer.set_result(done.result()[at : at + count])
            at += count

    def _forecast(self, batch: list[_Waiting]) -> Windows:
        """In a thread: NumPy and ONNX Runtime let the event loop go on meanwhile."""
        model = batch[0].model
        several = [waiting.windows for waiting in batch]
        windows = several[0] if len(several) == 1 else np.concatenate(several)
        forecast = model.forecast_windows(windows)
        try:
            self.on_forecast(model, windows, forecast)
        except Exception:  # an observer must not cost a client its forecast
            logger.exception("A forecast could not be looked at")
        return forecast
