"""What a person sees of a training while it runs: a bar on a screen, a line an epoch in a log."""

import sys
import time
from types import TracebackType
from typing import Any


class Progress:
    """A bar with loss and time left in a terminal, and a line an epoch everywhere.

    Args:
        steps: steps of the whole training.
        done: steps done before this process.
        seconds: time spent before this process.
    """

    def __init__(self, steps: int, done: int = 0, seconds: float = 0.0) -> None:
        from tqdm.auto import tqdm

        self._began = time.monotonic() - seconds
        # A notebook shows the bar as a widget; a log, which is no terminal, gets lines alone.
        self._bar: Any = tqdm(
            total=steps, initial=done, desc="training", unit="step", disable=_unless_watched()
        )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.close()

    @property
    def seconds(self) -> float:
        """Time spent so far."""
        return time.monotonic() - self._began

    def step(self, loss: float) -> None:
        """Move on by a step."""
        self._bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
        self._bar.update()

    def say(self, line: str) -> None:
        """Print a line, above the bar where there is one."""
        self._bar.write(line, file=sys.stdout)
        sys.stdout.flush()

    def plan(self, steps: int) -> None:
        """Set another number of steps for the whole."""
        self._bar.total = steps


def _unless_watched() -> bool | None:
    """What tqdm calls `disable`: never in a notebook, else where standard error is no terminal."""
    from tqdm.auto import tqdm
    from tqdm.std import tqdm as plain

    return None if tqdm.__bases__[0] is plain or tqdm is plain else False
