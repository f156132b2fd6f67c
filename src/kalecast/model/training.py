"""Training: one network on windows drawn from all series, watched, resumable, calibrated."""

import itertools
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import kalecast
from kalecast.artifact.contract import OUTPUT_NAME
from kalecast.data.examples import Example, Examples
from kalecast.data.windows import Cutoffs, SeriesStore, Split, split_cutoffs
from kalecast.model.backend import keras
from kalecast.model.callbacks import (
    AverageWeights,
    LearningRate,
    Progress,
    TimeBudget,
    Validation,
    assign,
    validation_losses,
    values,
)
from kalecast.model.checkpoints import Backup, Checkpoint
from kalecast.model.network import NetworkSettings, build_network, predict
from kalecast.model.parameters import check_parameters
from kalecast.model.pretrained import pretrained_weights, start_from_pretrained
from kalecast.model.quantiles import Pinball, calibration_factors

VALIDATION_WINDOWS = 2048
WARM_UP_STEPS = 100
FINISH_SHARE = 1.0
"""Steps of the finish, on the newest hours too, relative to those until the best epoch."""
OWN_HALF = 60.0
"""Validation windows, none overlapping another, that are evidence enough for half of the way from
the pretrained start to where training led."""
FINISH_RATE = 0.5
"""Learning rate at which the finish begins, relative to the peak."""


@dataclass(frozen=True)
class TrainingSettings:
    """What decides how a network is trained."""

    epochs: int = 20
    steps_per_epoch: int = 50
    batch_size: int = 256
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    patience: int = 4
    """Epochs without a smaller validation error after which training stops."""
    minutes: float = 20.0
    """Time budget, finish included: it ends only what would run away, by fewer epochs."""
    seed: int = 1
    pretrained: bool = True
    """Start from the weights that were learnt on many other series, where they fit."""
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

    From the pretrained weights, where they fit. First on all but the newest `validation_steps` of
    each series, and earlier stretches where the series are few, until the error on those no longer
    falls; the intervals are calibrated there, on values not yet trained on; then a short finish on
    all values, because the newest say most of the next; then some of the way back to the start,
    which holds where regimes move. Where no value is negative, no forecast is.

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
    network = _untrained(job)
    checkpoint = None
    if checkpoints:
        store = job.examples.store
        # The network itself too: the same settings may have meant another one yesterday.
        layout = [tuple(variable.shape) for variable in network.variables]
        identity = (kalecast.__version__, layout, shape, settings, store.lengths, store.values)
        checkpoint = Checkpoint.of(checkpoints, *identity)
    losses, kept = _search(network, job, checkpoint)
    _calibrate(network, job)
    _finish(network, job, len(losses), kept)
    if job.is_pretrained:
        _lean_on_start(network, job.split.evidence(job.shape.horizon))
    if np.fmin.reduce(job.examples.store.values) >= 0.0:
        network.get_layer(OUTPUT_NAME).never_negative.assign(1.0)
    if checkpoint:
        checkpoint.remove()
    return network, losses


def validation_error(
    series: pd.DataFrame | SeriesStore, shape: NetworkSettings, settings: TrainingSettings
) -> float:
    """The smallest validation error during `train`: what a search for settings minimises.

    Raises:
        SeriesError: no series is long enough.
    """
    job = _Job.of(series, shape, settings)
    return float(_search(_untrained(job), job)[0]["val_error"].min())


@dataclass
class _Job:
    """What a training trains on and how, and what it is judged on meanwhile."""

    shape: NetworkSettings
    settings: TrainingSettings
    examples: Examples
    split: Split
    held_out: Example
    is_pretrained: bool = False

    @classmethod
    def of(
        cls, series: pd.DataFrame | SeriesStore, shape: NetworkSettings, settings: TrainingSettings
    ) -> "_Job":
        keras.utils.set_random_seed(settings.seed)
        store = series
        if not isinstance(store, SeriesStore):
            store = SeriesStore.from_frame(store, shape.input_length)
        split = split_cutoffs(
            store, shape.horizon, settings.validation_steps, settings.minimum_history
        )
        examples = Examples(store, shape.horizon, shape.season, settings.minimum_history)
        held_out = examples.cut(*split.validation.spread(VALIDATION_WINDOWS))
        return cls(shape, settings, examples, split, held_out)

    def drawn(self, cutoffs: Cutoffs, first: int) -> Iterator[Example]:
        """The examples of all steps from a first one on, each drawn while the step before runs."""
        size, seed = self.settings.batch_size, self.settings.seed
        with ThreadPoolExecutor(1) as pool:
            coming = pool.submit(self.examples.draw, cutoffs, size, (seed, first))
            for step in itertools.count(first + 1):
                example = coming.result()
                coming = pool.submit(self.examples.draw, cutoffs, size, (seed, step))
                yield example


def _untrained(job: _Job) -> keras.Model:
    network = build_network(job.shape)
    job.is_pretrained = job.settings.pretrained and start_from_pretrained(network)
    optimizer = keras.optimizers.AdamW(
        job.settings.learning_rate, weight_decay=job.settings.weight_decay, clipnorm=1.0
    )
    network.compile(optimizer, Pinball(job.shape.quantiles), jit_compile=False)
    optimizer.build(network.trainable_variables)
    return network


def _search(
    network: keras.Model, job: _Job, checkpoint: Checkpoint | None = None
) -> tuple[pd.DataFrame, int]:
    """Train until no epoch is better, all are done or time is spent; keep the best one's weights.

    The intervals overfit sooner than the median, whose error chooses; they are calibrated later.

    Returns:
        The losses, and which epoch was kept; 0 where none was better than the pretrained start.
    """
    settings, per_epoch = job.settings, job.settings.steps_per_epoch
    start = values(network.trainable_variables)
    _, start_error = validation_losses(network, job.held_out, job.shape.quantiles)
    history = keras.callbacks.History()
    average = AverageWeights()
    stopping = keras.callbacks.EarlyStopping(
        "val_error", mode="min", patience=settings.patience, restore_best_weights=True
    )
    backup = Backup(checkpoint, network, history, average, stopping) if checkpoint else None
    spent = history.history.get("seconds", [])
    done = len(spent)
    budget = TimeBudget(settings.minutes * 60 / (1.0 + FINISH_SHARE), settings.epochs, spent)

    def rate(step: int) -> float:
        peak = min((step + 1) / WARM_UP_STEPS, _cosine(step / (budget.epochs * per_epoch)))
        return settings.learning_rate * peak

    def report(epoch: int, logs: dict[str, float]) -> None:
        bar.plan(budget.epochs * per_epoch)
        bar.say(_line(epoch + 1, budget.epochs, logs, best=stopping.wait == 0))

    with closing(Progress(budget.epochs * per_epoch, done * per_epoch)) as bar:
        callbacks = [
            LearningRate(rate),
            average,
            Validation(job.held_out, job.shape.quantiles),
            budget,
            stopping,
            history,
            *([backup] if backup else []),
            bar,
            keras.callbacks.LambdaCallback(on_epoch_end=report),
        ]
        examples = job.drawn(job.split.training, first=done * per_epoch)
        _fit(network, examples, range(done, settings.epochs), per_epoch, callbacks)
        losses = pd.DataFrame(history.history)
        losses.insert(0, "epoch", range(1, len(losses) + 1))
        kept = int(losses["val_error"].argmin()) + 1
        if job.is_pretrained and start_error <= losses["val_error"].min():
            assign(network.trainable_variables, start)
            kept = 0
        bar.say(_why(stopping.wait, budget, settings, kept))
    return losses, kept


def _fit(
    network: keras.Model,
    examples: Iterator[Example],
    epochs: range,
    steps: int,
    callbacks: list[keras.callbacks.Callback],
) -> None:
    """What `network.fit` does, in half the time.

    `fit` feeds its steps by `tf.data`. So fed, a step of 256 examples on a CPU faulted in 39,000
    pages of memory instead of 5,000, and took 250 ms of CPU time instead of 110.
    """
    every = keras.callbacks.CallbackList(callbacks, model=network, steps=steps)
    network.stop_training = False
    every.on_train_begin()
    for epoch in epochs:
        if network.stop_training:
            break
        every.on_epoch_begin(epoch)
        for step in range(steps):
            every.on_train_batch_begin(step)
            history, target, weight = next(examples)
            logs = network.train_on_batch(history, target, weight, return_dict=True)
            every.on_train_batch_end(step, logs)
        every.on_epoch_end(epoch, logs)
    every.on_train_end()


def _calibrate(network: keras.Model, job: _Job) -> None:
    """Give the intervals the width that they need on the held-out windows.

    Where those are all constant they say nothing, and the intervals stay as they were learnt.
    """
    history, target, weight = job.held_out
    informative = weight > 0
    if not informative.any():
        return
    forecast = predict(network, history[informative])
    factors = calibration_factors(
        forecast, target[informative], job.shape.quantiles, job.split.evidence(job.shape.horizon)
    )
    network.get_layer("gaps").factors.assign(factors)


def _finish(network: keras.Model, job: _Job, epochs: int, kept: int) -> None:
    """A few more steps from the best epoch, on the newest hours too.

    They teach where the next hours lie, not how surely: the intervals keep the mean width that
    calibration gave them on hours not yet seen, where a network would now narrow them.

    Args:
        network: as the search left it, calibrated.
        job: the training.
        epochs: of the search; the finish draws other examples.
        kept: the best of them.
    """
    per_epoch = job.settings.steps_per_epoch
    after, steps = epochs * per_epoch, math.ceil(FINISH_SHARE * kept * per_epoch)
    if not steps:
        print("0 steps to finish: nothing was better than the pretrained start", flush=True)
        return
    widths = _widths(network, job.held_out)

    def rate(step: int) -> float:
        return job.settings.learning_rate * (FINISH_RATE * _cosine((step - after) / steps))

    with closing(Progress(steps)) as bar:
        bar.say(f"{steps} steps to finish, on the newest values too")
        callbacks = [LearningRate(rate), AverageWeights(), bar]
        _fit(network, job.drawn(job.split.whole, first=after), range(1), steps, callbacks)
    factors = network.get_layer("gaps").factors
    factors.assign(factors.numpy() * widths / _widths(network, job.held_out))


def _lean_on_start(network: keras.Model, evidence: float) -> None:
    """Put the weights on the way from the pretrained start to where training led.

    The more there is to learn from, the further: what a few series have of their own holds on the
    average of what comes, and what many have in common holds too when regimes move. Wortsman et
    al., Robust fine-tuning of zero-shot models (2022).
    """
    share = evidence / (evidence + OWN_HALF)
    pairs = zip(pretrained_weights(), values(network.trainable_variables), strict=True)
    leaning = [start + share * (trained - start) for start, trained in pairs]
    assign(network.trainable_variables, leaning)


def _widths(network: keras.Model, held_out: Example) -> Any:
    """Mean width of each gap between quantiles, `(quantiles - 1, 1)`."""
    history, _, weight = held_out
    gaps = np.diff(predict(network, history), axis=2) * weight[:, None, None]
    return gaps.mean(axis=(0, 1))[:, None] + np.finfo(np.float64).tiny


def _cosine(share: float) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * min(share, 1.0)))


def _line(epoch: int, epochs: int, logs: dict[str, float], best: bool) -> str:
    left = logs["seconds"] / epoch * (epochs - epoch)
    return (
        f"epoch {epoch:3d}/{epochs}  loss {logs['loss']:.4f}  "
        f"validation {logs['val_loss']:.4f}, error {logs['val_error']:.4f}  "
        f"{logs['seconds']:4.0f} s, at most {left:.0f} s left{'  best so far' if best else ''}"
    )


def _why(wait: int, budget: TimeBudget, settings: TrainingSettings, kept: int) -> str:
    """Why the search ended, in a sentence; epoch 0 is the pretrained start."""
    best = f"epoch {kept} is kept"
    if wait >= settings.patience:
        return f"no smaller validation error for {settings.patience} epochs: {best}"
    if budget.epochs < settings.epochs:
        return f"the time budget of {settings.minutes:g} minutes ends training here: {best}"
    return f"all {settings.epochs} epochs done: {best}"
