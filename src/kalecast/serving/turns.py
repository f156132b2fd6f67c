"""Turns: the event loop's time, shared between reading requests and looking into them.

When thousands of requests arrive at the same moment, a server that reads them all first, and only
then begins to work, can refuse in time what there is no room for. So a request that was read
waits for its turn here, and only a few get theirs each time the loop has been through its sockets.
"""

import asyncio
from collections import deque


class Turns:
    """Turns for all callers, first come, first served.

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
        """A turn to wait for; None where few wait, as there is one at once."""
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
