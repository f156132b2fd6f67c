"""Background tasks: what one of them does for as long as the page serves.

One that ends by itself leaves the page with old keys or without what it looked after, and
unnoticed: so it is logged and counted, and `/health` says so, at which Kubernetes starts the
page anew.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from kalecast.page import metrics

logger = logging.getLogger(__name__)

ended: list[str] = []
"""Names of the tasks that have ended although the page serves."""


def started(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """A task that is to go on until it is cancelled; its starter keeps it."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(note_end)
    return task


def repeated(
    look: Callable[[], Awaitable[object]], seconds: float, name: str
) -> asyncio.Task[None]:
    """A task that looks after something for ever; a look that fails is logged and counted."""

    async def looking() -> None:
        while True:
            try:
                await look()
            except Exception:
                logger.exception("The background task %s failed, and goes on", name)
                metrics.BACKGROUND_FAILED.labels(name).inc()
            await asyncio.sleep(seconds)

    return started(looking(), name)


def note_failure(task: asyncio.Task[None]) -> None:
    """Log and count the error of a task whose end alone would be no news."""
    if not task.cancelled() and task.exception():
        note_end(task)


def note_end(task: asyncio.Task[None]) -> None:
    """Log and count that a task has ended, unless it was cancelled."""
    if task.cancelled():
        return
    logger.critical("The background task %s has ended", task.get_name(), exc_info=task.exception())
    metrics.BACKGROUND_ENDED.labels(task.get_name()).inc()
    ended.append(task.get_name())
