"""Training: one network on windows drawn from all series."""

import time
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pandas as pd
from keras import ops

from kalecast.network import NetworkSettings, build_network
from kalecast.windows import Cutoffs, Floats, Integers, SeriesStore, split_cutoffs

VALIDATION_WINDOWS = 2048


@dataclass(frozen=True)
class TrainingSettings:
    """What decides how a network is trained."""

    epochs: int = 40
    steps_per_epoch: int = 100
    batch_size: int = 256
    learning_rate: float = 1e-3
    patience: int = 10
    """Epochs without a better validation loss after which training stops."""
    minutes: float = 10.0
    """Time budget; what is best by then is kept."""
    seed: int = 1
    minimum_history: int = 48
    validation_steps: int = 168
    """The newest steps of each series that choose the best epoch and are never trained on."""

    def __post_init__(self) -> None:
        for name in ("epochs", "steps_per_epoch", "batch_size", "patience", "minimum_history"):
            if getattr(self, name) < 1:
                raise ValueError(f"Expected {name} of at least 1, received: {getattr(self, name)}")
        for name in ("learning_rate", "minutes"):
            if not getattr(self, name) > 0:
                raise ValueError(f"Expected {name} above 0, received: {getattr(self, name)}")


def train(
    frame: pd.DataFrame, shape: NetworkSettings, settings: TrainingSettings
) -> tuple[keras.Model, pd.DataFrame]:
    """Train a network on tidy series.

    The same seed and series give the same network on a CPU, unless the time budget ends it.

    Args:
        frame: tidy series, without the hours held out for evaluation.
        shape: the network's.
        settings: the training's.

    Returns:
        The network with the weights of its best epoch, and a table `epoch, loss, val_loss,
        seconds`. Losses are the mean pinball loss in units of each window's mean absolute
        seasonal difference.

    Raises:
        SeriesError: no series is long enough.
    """
    keras.utils.set_random_seed(settings.seed)
    store = SeriesStore.from_frame(frame, shape.input_length)
    training, validation = split_cutoffs(
        store, shape.horizon, settings.validation_steps, settings.minimum_history
    )
    examples = Examples(store, shape, settings.batch_size)
    network = build_network(shape)
    network.compile(
        optimizer=keras.optimizers.AdamW(
            keras.optimizers.schedules.CosineDecay(
                settings.learning_rate, settings.epochs * settings.steps_per_epoch
            ),
            weight_decay=1e-4,
            clipnorm=1.0,
        ),
        loss=Pinball(shape.quantiles),
    )
    progress = Progress(settings)
    each = max(1, VALIDATION_WINDOWS // len(validation.series))
    network.fit(
        DrawnBatches(examples, training, settings.steps_per_epoch, settings.seed),
        validation_data=examples.cut(*validation.spread(each)),
        validation_batch_size=VALIDATION_WINDOWS,
        epochs=settings.epochs,
        callbacks=[
            keras.callbacks.EarlyStopping(
                patience=settings.patience, restore_best_weights=True, start_from_epoch=0
            ),
            progress,
        ],
        verbose=0,
    )
    return network, pd.DataFrame(progress.rows)


@dataclass(frozen=True)
class Examples:
    """Cuts windows, targets and weights out of a store."""

    store: SeriesStore
    shape: NetworkSettings
    batch_size: int

    def cut(self, series: Integers, cutoffs: Integers) -> tuple[Floats, Floats, Floats]:
        """Histories, targets, and weights that make series of any unit count alike."""
        history = self.store.windows(series, cutoffs)
        target = self.store.targets(series, cutoffs, self.shape.horizon)
        return history, target, 1.0 / _seasonal_difference(history, target, self.shape.season)


class DrawnBatches(keras.utils.PyDataset):
    """Fresh random windows in every epoch, the same ones for the same seed."""

    def __init__(self, examples: Examples, cutoffs: Cutoffs, batches: int, seed: int) -> None:
        super().__init__(workers=1)
        self._examples = examples
        self._cutoffs = cutoffs
        self._batches = batches
        self._seed = seed
        self._epoch = 0

    def __len__(self) -> int:
        """Batches an epoch."""
        return self._batches

    def __getitem__(self, index: int) -> tuple[Floats, Floats, Floats]:
        """One batch; depends on seed, epoch and index alone."""
        rng = np.random.default_rng((self._seed, self._epoch, index))
        return self._examples.cut(*self._cutoffs.draw(self._examples.batch_size, rng))

    def on_epoch_end(self) -> None:
        """Draw others in the next epoch."""
        self._epoch += 1


@keras.saving.register_keras_serializable("kalecast")
class Pinball(keras.losses.Loss):
    """Mean pinball (quantile) loss over horizon and quantiles; unknown targets count nothing.

    Koenker and Bassett, Regression Quantiles, Econometrica 46 (1978).

    Args:
        quantiles: those of the forecast's last axis.
    """

    def __init__(self, quantiles: tuple[float, ...], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.quantiles = tuple(quantiles)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Losses of shape `(batch,)`, in the unit of the targets."""
        target = ops.expand_dims(ops.cast(y_true, y_pred.dtype), -1)
        known = ops.logical_not(ops.isnan(target))
        error = ops.where(known, target, y_pred) - y_pred
        levels = ops.convert_to_tensor(self.quantiles, dtype=y_pred.dtype)
        return ops.mean(ops.maximum(levels * error, (levels - 1.0) * error), axis=(1, 2))

    def get_config(self) -> dict[str, Any]:
        """What the loss is rebuilt from."""
        return {**super().get_config(), "quantiles": self.quantiles}


class Progress(keras.callbacks.Callback):
    """A line an epoch with the losses and the time left; stops at the time budget."""

    def __init__(self, settings: TrainingSettings) -> None:
        super().__init__()
        self._settings = settings
        self._start = time.monotonic()
        self.rows: list[dict[str, float]] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Report, and stop where no further epoch fits the budget."""
        logs = logs or {}
        seconds = time.monotonic() - self._start
        done = epoch + 1
        budget = self._settings.minutes * 60
        left = max(min(seconds / done * (self._settings.epochs - done), budget - seconds), 0)
        last = seconds - (self.rows[-1]["seconds"] if self.rows else 0.0)
        row = {"epoch": done, "loss": logs["loss"], "val_loss": logs["val_loss"]}
        self.rows.append({**row, "seconds": seconds})
        print(
            f"epoch {done:3d}/{self._settings.epochs}  loss {logs['loss']:.4f}  "
            f"validation {logs['val_loss']:.4f}  {seconds:4.0f} s, at most {left:.0f} s left",
            flush=True,
        )
        if seconds + last > budget:
            print(f"the time budget of {self._settings.minutes:g} minutes ends training here")
            self.model.stop_training = True


def _seasonal_difference(history: Floats, target: Floats, season: int) -> Floats:
    """The MASE's denominator for each window, shape `(batch,)`.

    Where a window is constant or too gappy to tell, infinite: such a window teaches nothing
    about how to weigh its errors, and so counts nothing.
    """
    whole = np.concatenate([history, target], axis=1)
    difference = np.abs(whole[:, season:] - whole[:, :-season])
    known = ~np.isnan(difference)
    total = np.where(known, difference, 0.0).sum(axis=1)
    mean = total / np.maximum(known.sum(axis=1), 1)
    level = np.nanmax(np.abs(whole), axis=1, initial=0.0)
    return np.where(mean > 1e-6 * level, mean, np.inf)
