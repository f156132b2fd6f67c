"""Reading: a process of its own for uploaded files, so that the page goes on meanwhile.

A table of 20 MB takes one and a half seconds, in which a thread would keep Python's lock from the
page for tenths of a second at a time. A file that takes more memory than there is ends this process
and not the page.
"""

import asyncio
import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from upload_token import problem_token, token_of

FILES_A_PROCESS = 50
"""After which a new one begins: what a large table took of memory is not all given back."""

GAVE_UP = "This file could not be read here. Please try again, or choose a smaller one."


class Reader:
    """The process; it is started by the first file."""

    def __init__(self) -> None:
        self._pool = self._new()
        self._files = 0

    async def token(self, file: str, content: bytes, most: int) -> str:
        """The token of a file, as `upload_token.token_of` makes it; one file at a time."""
        self._renew()
        pool = self._pool
        try:
            return await asyncio.get_running_loop().run_in_executor(
                pool, token_of, file, content, most
            )
        except BrokenProcessPool:
            # Of those who waited for it the first one starts another.
            if pool is self._pool:
                self._pool = self._new()
            return problem_token(GAVE_UP)

    def _renew(self) -> None:
        # Not by the pool's own max_tasks_per_child: Python 3.12 may wait for ever then (gh-115634).
        self._files += 1
        if self._files % FILES_A_PROCESS == 0:
            self._pool.shutdown(wait=False)
            self._pool = self._new()

    @staticmethod
    def _new() -> ProcessPoolExecutor:
        # Not forked: this process has threads and connections.
        spawned = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(1, spawned, initializer=_begin)


LESS_URGENT = 10
"""Of the scheduler's niceness: who waits for a forecast comes first."""


def _begin() -> None:
    os.nice(LESS_URGENT)
    # Ctrl-C is for the page, which ends this process in order, or dies and takes it along.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_page, daemon=True).start()


def _end_with_the_page() -> None:
    if page := multiprocessing.parent_process():
        page.join()
        os._exit(1)
