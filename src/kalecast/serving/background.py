"""Tasks in the background, none of which ends unseen."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

logger = logging.getLogger(__name__)


class Background:
    """Tasks that run beside the requests.

    Args:
        on_failure: is called where one fails, or ends that should not.
    """

    def __init__(self, on_failure: Callable[[], None]) -> None:
        self._on_failure = on_failure
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_closed = False

    def start(self, name: str, work: Coroutine[Any, Any, Any]) -> None:
        """Start what comes to an end by itself."""
        self._start(name, work, is_kept=False)

    def keep(self, name: str, work: Coroutine[Any, Any, Any]) -> None:
        """Start what must go on until `close`."""
        self._start(name, work, is_kept=True)

    def close(self) -> None:
        """End all of them."""
        self._is_closed = True
        for task in self._tasks:
            task.cancel()

    def _start(self, name: str, work: Coroutine[Any, Any, Any], is_kept: bool) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, is_kept))

    def _ended(self, is_kept: bool, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if not self._is_closed and (is_kept or error):
            logger.critical("%s ended, and the server with it", task.get_name(), exc_info=error)
            self._on_failure()
