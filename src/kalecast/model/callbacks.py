"""What training does beside its steps, as Keras callbacks.

They are called in the order in which they are defined here: the validation error is that of the
averaged weights, and the time that of the validation too.
"""

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from kalecast.data.examples import Example
from kalecast.model.backend import keras, ops
from kalecast.model.network import predict
from kalecast.model.quantiles import Pinball

LONGEST_MEAN = 500
"""What is judged and kept is the running mean of the weights over about so many steps, and over
the newer nine in ten where there were fewer."""

Logs = dict[str, Any]


class LearningRate(keras.callbacks.Callback):
    """Sets the learning rate of each step.

    Keras' `LearningRateScheduler` sets it once an epoch, and a `LearningRateSchedule` is compiled
    and cannot follow a time budget.

    Args:
        rate: the learning rate of a step; steps count from 0, through all of a training.
    """

    def __init__(self, rate: Callable[[int], float]) -> None:
        super().__init__()
        self._rate = rate

    def on_train_batch_begin(self, batch: int, logs: Logs) -> None:
        """Set it."""
        optimizer = self.model.optimizer
        optimizer.learning_rate = self._rate(int(optimizer.iterations.numpy()))


class AverageWeights(keras.callbacks.Callback):
    """Averages the weights over steps, and puts the average into the network between epochs.

    Keras' `SwapEMAWeights` has one momentum from the first step on: an average of a few hundred
    steps would still hold much of the untrained weights.

    Between epochs `newest` has the weights that the average has taken the place of; `steps` are
    those that it is of.
    """

    def on_train_begin(self, logs: Logs | None) -> None:
        """Begin with the present weights, whose share is soon next to nothing."""
        self.mean, self.steps = values(self.model.trainable_variables), 0
        self.newest: list[Any] = []

    def on_epoch_begin(self, epoch: int, logs: Logs) -> None:
        """Train on from the newest weights."""
        if self.newest:
            assign(self.model.trainable_variables, self.newest)

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        """Take the newest weights into the mean."""
        self.steps += 1
        share = max(1.0 / LONGEST_MEAN, 9.0 / (9.0 + self.steps))
        pairs = zip(self.mean, values(self.model.trainable_variables), strict=True)
        self.mean = [mean + share * (value - mean) for mean, value in pairs]

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Put the mean into the network."""
        self.newest = values(self.model.trainable_variables)
        assign(self.model.trainable_variables, self.mean)


class Validation(keras.callbacks.Callback):
    """Adds an epoch's validation loss and the error of its median alone to its logs.

    Keras' own validation compiles the network once more, for two batches an epoch.

    Args:
        held_out: windows `(batch, input_length)`, targets `(batch, horizon)`, weights `(batch,)`.
        quantiles: the network's.
    """

    def __init__(self, held_out: Example, quantiles: tuple[float, ...]) -> None:
        super().__init__()
        self._held_out = held_out
        self._quantiles = quantiles

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Add `val_loss` and `val_error`."""
        losses = validation_losses(self.model, self._held_out, self._quantiles)
        logs["val_loss"], logs["val_error"] = losses


def validation_losses(
    network: keras.Model, held_out: Example, quantiles: tuple[float, ...]
) -> tuple[float, float]:
    """A network's mean pinball loss on held-out windows, and the error of its median alone."""
    history, target, weight = held_out
    forecast = predict(network, history)
    losses = Pinball(quantiles).call(target, ops.convert_to_tensor(forecast))
    missed = np.abs(target - forecast[:, :, quantiles.index(0.5)])
    informative = (weight > 0) & ~np.isnan(missed).all(axis=1)
    error = np.nanmean(missed[informative], axis=1) * weight[informative]
    loss = float(np.mean(ops.convert_to_numpy(losses) * weight))
    return loss, float(np.mean(error)) if informative.any() else 0.0


class TimeBudget(keras.callbacks.Callback):
    """Adds the seconds so far to an epoch's logs, and ends training where the next has no time.

    Args:
        seconds: that all epochs may take.
        most: epochs where time does not matter.
        spent: seconds after each epoch that an interrupted training has done.
    """

    def __init__(self, seconds: float, most: int, spent: Sequence[float] = ()) -> None:
        super().__init__()
        self._seconds = seconds
        self._most = most
        self._began = time.monotonic() - (spent[-1] if spent else 0.0)
        self.epochs = self._affordable(len(spent), spent[-1]) if spent else most
        """How many there will be, as far as is known."""

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Plan anew by what an epoch takes."""
        logs["seconds"] = time.monotonic() - self._began
        self.epochs = self._affordable(epoch + 1, logs["seconds"])
        if self.epochs == epoch + 1:
            self.model.stop_training = True

    def _affordable(self, done: int, spent: float) -> int:
        return min(self._most, max(done, int(self._seconds * done / spent)))


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


def values(variables: Iterable[Any]) -> list[Any]:
    """Variables as arrays."""
    return [variable.numpy() for variable in variables]


def assign(variables: Iterable[Any], arrays: Iterable[Any]) -> None:
    """Give variables the values that `values` returned."""
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)


def _unless_watched() -> bool | None:
    """What tqdm calls `disable`: never in a notebook, else where standard error is no terminal."""
    from tqdm.auto import tqdm
    from tqdm.std import tqdm as plain

    return None if tqdm.__bases__[0] is plain or tqdm is plain else False
