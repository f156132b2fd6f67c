"""What a person sees of a training while it runs: a bar on a screen, a line an epoch in a log."""

import sys
from typing import Any

from kalecast.model.backend import keras
from kalecast.model.callbacks import Logs


class Progress(keras.callbacks.Callback):
    """A bar with loss and time left in a terminal, and a widget in a notebook.

    Keras' `ProgbarLogger` fills a log, which is no terminal, with control characters.

    Args:
        steps: steps of the whole training.
        done: steps done before this process.
    """

    def __init__(self, steps: int, done: int = 0) -> None:
        from tqdm.auto import tqdm

        super().__init__()
        self._bar: Any = tqdm(
            total=steps, initial=done, desc="training", unit="step", disable=_unless_watched()
        )

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        """Move on by a step."""
        self._bar.set_postfix(loss=f"{logs['loss']:.4f}", refresh=False)
        self._bar.update()

    def say(self, line: str) -> None:
        """Print a line, above the bar where there is one."""
        self._bar.write(line, file=sys.stdout)
        sys.stdout.flush()

    def plan(self, steps: int) -> None:
        """Set another number of steps for the whole."""
        self._bar.total = steps

    def close(self) -> None:
        """Leave the bar as it is, after an interruption too."""
        self._bar.close()


def _unless_watched() -> bool | None:
    """What tqdm calls `disable`: never in a notebook, else where standard error is no terminal."""
    from tqdm.auto import tqdm
    from tqdm.std import tqdm as plain

    return None if tqdm.__bases__[0] is plain or tqdm is plain else False
