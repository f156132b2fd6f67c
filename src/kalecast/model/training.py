"""Training: one network on windows drawn from all series, watched, resumable, calibrated."""

import math
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import kalecast
from kalecast.data.examples import Example, Examples
from kalecast.data.windows import Cutoffs, SeriesStore, split_cutoffs
from kalecast.model.backend import keras, ops
from kalecast.model.checkpoints import Checkpoint
from kalecast.model.network import NetworkSettings, build_network, predict
from kalecast.model.parameters import check_parameters
from kalecast.model.progress import Progress
from kalecast.model.quantiles import Pinball, calibration_factors

VALIDATION_WINDOWS = 2048
LONGEST_MEAN = 500
"""What is judged and kept is the running mean of the weights over about so many steps, and over
the newer nine in ten where there were fewer."""
WARM_UP_STEPS = 100
FINISH_SHARE = 1.0
"""Steps of the finish, on the newest hours too, relative to those until the best epoch."""
FINISH_RATE = 0.5
"""Learning rate at which the finish begins, relative to the peak."""


@dataclass(frozen=True)
class TrainingSettings:
    """What decides how a network is trained."""

    epochs: int = 15
    steps_per_epoch: int = 100
    batch_size: int = 512
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    patience: int = 5
    """Epochs without a smaller validation error after which training stops."""
    minutes: float = 4.0
    """Time budget, finish included. Where it is short, the epochs are fewer."""
    seed: int = 1
    minimum_history: int = 48
    validation_steps: int = 168
    """The newest steps of each series: they choose the best epoch and calibrate the prediction
    intervals, and are trained on only after that."""

    def __post_init__(self) -> None:
        check_parameters(**vars(self))


def train(
    series: pd.DataFrame | SeriesStore,
    shape: NetworkSettings,
    settings: TrainingSettings,
    checkpoints: Path | None = None,
) -> tuple[keras.Model, pd.DataFrame]:
    """Train a network on tidy series.

    First on all but the newest `validation_steps` of each series, until the error on those no
    longer falls; the intervals are calibrated there, on hours not yet trained on; then a short
    finish on all hours, because the newest say most of the next.

    The same seed and series give the same network on a CPU, interrupted or not, unless the time
    budget ends it.

    Args:
        series: tidy series without the hours held out for evaluation, or a store of them.
        shape: the network's.
        settings: the training's.
        checkpoints: folder in which an interrupted training of the same series and settings
            left its state, and goes on from there.

    Returns:
        The calibrated network, and a table `epoch, loss, val_loss, val_error, seconds`. Losses
        are the mean pinball loss, the error is the mean absolute error of the median, windows
        weighted as `Examples` does.

    Raises:
        SeriesError: no series is long enough.
    """
    job = _Job.of(series, shape, settings)
    network = build_network(shape)
    checkpoint = None
    if checkpoints:
        store = job.examples.store
        # The network itself too: the same settings may have meant another one yesterday.
        layout = [tuple(variable.shape) for variable in network.variables]
        identity = (kalecast.__version__, layout, shape, settings, store.lengths, store.values)
        checkpoint = Checkpoint.of(checkpoints, *identity)
    trainer = _Trainer(network, shape, settings)
    rows = trainer.search(job.examples, job.cutoffs, job.held_out, checkpoint)
    trainer.calibrate(job.held_out)
    trainer.finish(job.examples, job.all_cutoffs, job.held_out, rows)
    if checkpoint:
        checkpoint.remove()
    return trainer.network, pd.DataFrame(rows)


def validation_error(
    series: pd.DataFrame | SeriesStore, shape: NetworkSettings, settings: TrainingSettings
) -> float:
    """The smallest validation error during `train`: what a search for settings minimises.

    Raises:
        SeriesError: no series is long enough.
    """
    job = _Job.of(series, shape, settings)
    trainer = _Trainer(build_network(shape), shape, settings)
    rows = trainer.search(job.examples, job.cutoffs, job.held_out, None)
    return rows[_best(rows) - 1]["val_error"]


@dataclass(frozen=True)
class _Job:
    """What a training trains on, and what it is judged on meanwhile."""

    examples: Examples
    cutoffs: Cutoffs
    all_cutoffs: Cutoffs
    held_out: Example

    @classmethod
    def of(
        cls, series: pd.DataFrame | SeriesStore, shape: NetworkSettings, settings: TrainingSettings
    ) -> "_Job":
        keras.utils.set_random_seed(settings.seed)
        store = series
        if not isinstance(store, SeriesStore):
            store = SeriesStore.from_frame(store, shape.input_length)
        training, validation = split_cutoffs(
            store, shape.horizon, settings.validation_steps, settings.minimum_history
        )
        examples = Examples(store, shape.horizon, shape.season, settings.minimum_history)
        each = max(1, VALIDATION_WINDOWS // len(validation.series))
        held_out = examples.cut(*validation.spread(each))
        return cls(examples, training, training.extended(validation), held_out)


class _Trainer:
    """Moves the weights of one network."""

    def __init__(
        self, network: keras.Model, shape: NetworkSettings, settings: TrainingSettings
    ) -> None:
        self.network = network
        self._shape = shape
        self._settings = settings
        self._best: list[Any] = []
        self._averaged = _values(network.trainable_variables)
        self._averaged_over = 0
        self._optimizer = keras.optimizers.AdamW(
            settings.learning_rate,
            weight_decay=settings.weight_decay,
            clipnorm=1.0,
        )
        network.compile(self._optimizer, Pinball(shape.quantiles), jit_compile=False)
        self._optimizer.build(network.trainable_variables)

    def search(
        self,
        examples: Examples,
        cutoffs: Cutoffs,
        held_out: Example,
        checkpoint: Checkpoint | None,
    ) -> list[dict[str, float]]:
        """Train until patience, epochs or the time budget end it; keep the best epoch's weights."""
        settings = self._settings
        rows = self._resume(checkpoint)
        per_epoch = settings.steps_per_epoch
        budget = settings.minutes * 60 / (1.0 + FINISH_SHARE)
        epochs = settings.epochs
        spent = rows[-1]["seconds"] if rows else 0.0
        with Progress(epochs * per_epoch, len(rows) * per_epoch, spent) as progress:
            while len(rows) < epochs and not _waited(rows) >= settings.patience:
                loss = 0.0
                self.network.reset_metrics()
                steps = range(len(rows) * per_epoch, (len(rows) + 1) * per_epoch)
                for step, example in self._drawn(examples, cutoffs, steps):
                    rate = min((step + 1) / WARM_UP_STEPS, _cosine(step / (epochs * per_epoch)))
                    loss = self._step(example, rate)
                    progress.step(loss)
                rows.append(
                    {
                        "epoch": len(rows) + 1,
                        "loss": loss,
                        **self._judge(held_out),
                        "seconds": progress.seconds,
                    }
                )
                if not _waited(rows):
                    self._best = self._averaged
                self._leave(checkpoint, rows)
                affordable = int(budget * len(rows) / progress.seconds)
                epochs = min(settings.epochs, max(len(rows), affordable))
                progress.plan(epochs * per_epoch)
                progress.say(_line(rows, epochs))
            progress.say(_why(rows, epochs, settings))
        return rows

    def calibrate(self, held_out: Example) -> None:
        """Give the best epoch's intervals the width that they need on the held-out windows.

        Where those are all constant they say nothing, and the intervals stay as they were learnt.
        """
        _assign(self.network.trainable_variables, self._best)
        history, target, weight = held_out
        informative = weight > 0
        if not informative.any():
            return
        forecast = predict(self.network, history[informative])
        factors = calibration_factors(forecast, target[informative], self._shape.quantiles)
        self.network.get_layer("gaps").factors.assign(factors)

    def finish(
        self,
        examples: Examples,
        cutoffs: Cutoffs,
        held_out: Example,
        rows: list[dict[str, float]],
    ) -> None:
        """A few more steps from the best epoch, on the newest hours too.

        They teach where the next hours lie, not how surely: the intervals keep the mean width that
        calibration gave them on hours not yet seen, where a network would now narrow them.
        """
        widths = self._widths(held_out)
        steps = math.ceil(FINISH_SHARE * _best(rows) * self._settings.steps_per_epoch)
        after = len(rows) * self._settings.steps_per_epoch
        self._averaged, self._averaged_over = _values(self.network.trainable_variables), 0
        self.network.reset_metrics()
        with Progress(steps) as progress:
            progress.say(f"{steps} steps to finish, on the newest values too")
            for step, example in self._drawn(examples, cutoffs, range(after, after + steps)):
                rate = FINISH_RATE * _cosine((step - after) / steps)
                progress.step(self._step(example, rate))
        _assign(self.network.trainable_variables, self._averaged)
        factors = self.network.get_layer("gaps").factors
        factors.assign(factors.numpy() * widths / self._widths(held_out))

    def _widths(self, held_out: Example) -> Any:
        """Mean width of each gap between quantiles, `(quantiles - 1, 1)`."""
        history, _, weight = held_out
        gaps = np.diff(predict(self.network, history), axis=2) * weight[:, None, None]
        return gaps.mean(axis=(0, 1))[:, None] + np.finfo(np.float64).tiny

    def _drawn(
        self, examples: Examples, cutoffs: Cutoffs, steps: range
    ) -> Iterator[tuple[int, Example]]:
        """Each step's example, drawn while the step before it runs."""
        size, seed = self._settings.batch_size, self._settings.seed
        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(examples.draw, cutoffs, size, (seed, steps[0]))
            for step in steps:
                example = coming.result()
                coming = pool.submit(examples.draw, cutoffs, size, (seed, step + 1))
                yield step, example

    def _step(self, example: Example, rate: float) -> float:
        self._optimizer.learning_rate = self._settings.learning_rate * rate
        history, target, weight = example
        loss = self.network.train_on_batch(history, target, sample_weight=weight)
        self._average()
        return float(loss)

    def _judge(self, held_out: Example) -> dict[str, float]:
        """The averaged weights' validation loss, and the error of their median alone."""
        variables = self.network.trainable_variables
        current = _values(variables)
        _assign(variables, self._averaged)
        history, target, weight = held_out
        forecast = predict(self.network, history)
        _assign(variables, current)
        losses = Pinball(self._shape.quantiles).call(target, ops.convert_to_tensor(forecast))
        missed = np.abs(target - forecast[:, :, self._shape.quantiles.index(0.5)])
        informative = (weight > 0) & ~np.isnan(missed).all(axis=1)
        error = np.nanmean(missed[informative], axis=1) * weight[informative]
        return {
            "val_loss": float(np.mean(ops.convert_to_numpy(losses) * weight)),
            "val_error": float(np.mean(error)) if informative.any() else 0.0,
        }

    def _average(self) -> None:
        """Take the newest weights into the running mean."""
        self._averaged_over += 1
        share = max(1.0 / LONGEST_MEAN, 9.0 / (9.0 + self._averaged_over))
        newest = _values(self.network.trainable_variables)
        pairs = zip(self._averaged, newest, strict=True)
        self._averaged = [mean + share * (value - mean) for mean, value in pairs]

    def _leave(self, checkpoint: Checkpoint | None, rows: list[dict[str, float]]) -> None:
        if checkpoint:
            arrays = {
                "state": _values(self._state()),
                "averaged": self._averaged,
                "best": self._best,
            }
            checkpoint.save(arrays, {"rows": rows, "averaged_over": self._averaged_over})

    def _resume(self, checkpoint: Checkpoint | None) -> list[dict[str, float]]:
        """Take up a checkpoint's state; its rows, none where training begins."""
        left = checkpoint.load() if checkpoint else None
        if checkpoint is None or left is None:
            return []
        arrays, notes = left
        weights = self.network.trainable_variables
        parts = {"state": self._state(), "averaged": weights, "best": weights}
        try:
            _require_shapes(parts, arrays)
            rows: list[dict[str, float]] = [dict(row) for row in notes["rows"]]
            averaged_over = int(notes["averaged_over"])
        except (ValueError, KeyError, TypeError) as error:
            checkpoint.discard(error)
            return []
        _assign(self._state(), arrays["state"])
        self._averaged, self._best = arrays["averaged"], arrays["best"]
        self._averaged_over = averaged_over
        print(f"going on after epoch {len(rows)} of an interrupted training", flush=True)
        return rows

    def _state(self) -> list[Any]:
        """All that a step reads and changes: weights, the dropout's seeds, the optimizer's."""
        return [*self.network.variables, *self._optimizer.variables]


def _values(variables: Iterable[Any]) -> list[Any]:
    return [variable.numpy() for variable in variables]


def _assign(variables: Iterable[Any], values: Iterable[Any]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _require_shapes(parts: Mapping[str, list[Any]], arrays: Mapping[str, list[Any]]) -> None:
    """Raise a `ValueError` or `KeyError` where arrays are not those of some variables."""
    for name, variables in parts.items():
        for variable, array in zip(variables, arrays[name], strict=True):
            if tuple(variable.shape) != array.shape:
                raise ValueError(f"Expected {name} of shape {variable.shape}: {array.shape}")


def _cosine(share: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * min(share, 1.0)))


def _best(rows: list[dict[str, float]]) -> int:
    """The epoch whose median was best, counted from 1.

    The intervals overfit sooner than the median; they are calibrated afterwards.
    """
    return int(np.argmin([row["val_error"] for row in rows])) + 1


def _waited(rows: list[dict[str, float]]) -> int:
    """Epochs since the best one."""
    return len(rows) - _best(rows) if rows else 0


def _line(rows: list[dict[str, float]], epochs: int) -> str:
    row = rows[-1]
    left = row["seconds"] / len(rows) * (epochs - len(rows))
    mark = "" if _waited(rows) else "  best so far"
    return (
        f"epoch {row['epoch']:3d}/{epochs}  loss {row['loss']:.4f}  "
        f"validation {row['val_loss']:.4f}, error {row['val_error']:.4f}  {row['seconds']:4.0f} s, "
        f"at most {left:.0f} s left{mark}"
    )


def _why(rows: list[dict[str, float]], epochs: int, settings: TrainingSettings) -> str:
    """Why the search ended, in a sentence."""
    best = f"epoch {_best(rows)} is kept"
    if _waited(rows) >= settings.patience:
        return f"no smaller validation error for {settings.patience} epochs: {best}"
    if epochs < settings.epochs:
        return f"the time budget of {settings.minutes:g} minutes ends training here: {best}"
    return f"all {epochs} epochs done: {best}"
