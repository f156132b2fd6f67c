"""Pretraining: weights learnt once on many series of many rhythms, from which trainings start.

    python -m benchmarks.accuracy.pretraining TABLE... [--steps 6000] [--output FILE]

TABLEs are as `benchmarks.accuracy.score` takes them. The newest fifth of each series, and at most
20 windows of its horizon, is left out, so that it can still be scored on. Each table is learnt at
its own frequency and, summed up, at coarser ones; made-up series of the same seasons are mixed
in, as Chronos does it (Ansari et al. 2024). No weight of the network depends on the lengths of
window, horizon or season, so that one set of weights learns from all of them in turn.
"""

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.accuracy.tables import read_table
from kalecast.data.examples import Example, Examples
from kalecast.data.windows import Cutoffs, SeriesStore, hold_out
from kalecast.model.backend import keras, ops
from kalecast.model.callbacks import assign, values
from kalecast.model.network import NetworkSettings, build_network
from kalecast.model.pretrained import PRETRAINED, write_pretrained
from kalecast.model.quantiles import Pinball

Floats = npt.NDArray[np.float64]

BATCH_SIZE = 256
RATE = 2e-3
WARM_UP_STEPS = 200
AVERAGED = 0.15
"""Share of the newest steps over which weights are averaged."""
SYNTHETIC = 400
"""Made-up series of each season."""
SYNTHETIC_SHARE = 0.4
"""What they count beside the tables of their season."""

LENGTHS = {
    # season: (seasons of the window, horizon), several where users choose several
    24: ((21, 48), (21, 48), (21, 24), (14, 48), (7, 48)),
    48: ((21, 48), (21, 96)),
    96: ((21, 96), (14, 192)),
    12: ((21, 24), (6, 12), (5, 12), (4, 12)),
    8: ((21, 16),),
    6: ((21, 12),),
    4: ((21, 8), (6, 8), (4, 8)),
    3: ((21, 6),),
    7: ((7, 14), (7, 28)),
    5: ((7, 10),),
    52: ((5, 13), (4, 13)),
    1: ((52, 13), (26, 8), (24, 12), (16, 8), (12, 6)),
}
"""Windows and horizons that are learnt for each season."""


@dataclass(frozen=True)
class Table:
    """Series of one season: values without timestamps, NaN where unknown."""

    season: int
    series: tuple[Floats, ...]
    share: float


COARSER = {
    "h": ((2, 12), (3, 8), (4, 6), (6, 4), (8, 3), (24, 7), (168, 1)),
    "30min": ((2, 24), (48, 7)),
    "15min": ((2, 48), (4, 24)),
    "D": ((7, 1), (7, 52)),
    "MS": ((3, 4),),
}
"""For a frequency: so many steps summed up, and the season of the sums."""
SEASONS = {"h": (24,), "30min": (48,), "15min": (96,), "D": (7,), "W": (1, 52), "MS": (12, 1)}
HELD_OUT = {
    "h": (48, 960),
    "30min": (48, 960),
    "15min": (96, 1920),
    "D": (28, 336),
    "W": (8, 13),
    "MS": (12, 12),
}
"""The newest steps of each series, at least and at most, which are not learnt from."""


def tables_of(path: Path) -> list[Table]:
    """A file's series at their own frequency and at coarser ones, without the newest."""
    frame, frequency = read_table(path)
    frequency = frequency.split("-")[0]
    least, most = HELD_OUT[frequency]
    shortest = int(frame.groupby("unique_id").size().min())
    history, _ = hold_out(frame, min(most, max(least, shortest // 5)))
    series = [one.to_numpy() for _, one in history.groupby("unique_id", sort=False)["y"]]
    share = float(np.clip(np.sqrt(len(series) / 40), 1.0, 3.0))
    found = [Table(season, tuple(series), share) for season in SEASONS[frequency]]
    for steps, season in COARSER.get(frequency, ()):
        found.append(Table(season, summed(series, steps), 0.3 * share))
    if days := {"h": 24, "D": 1}.get(frequency):
        working_days = [one[np.arange(len(one)) % 7 < 5] for one in summed(series, days)]
        found.append(Table(5, tuple(working_days), 0.3 * share))
    print(f"{path.name}: {len(series)} series, {frequency}", flush=True)
    return found


@dataclass(frozen=True)
class Source:
    """What one of the networks learns from."""

    examples: Examples
    cutoffs: Cutoffs
    share: float


def summed(series: Sequence[Floats], steps: int) -> tuple[Floats, ...]:
    """Sums over so many steps each, the newest whole; unknown where one of them is."""
    return tuple(
        one[len(one) % steps :].reshape(-1, steps).sum(axis=1)
        for one in series
        if len(one) >= 8 * steps
    )


def made_up(season: int, rng: np.random.Generator) -> Floats:
    """One series of trends, seasons, cycles of seven of them, noise that lasts, and events."""
    count = int(rng.integers(max(160, 24 * season), max(320, 42 * season)))
    at = np.arange(count)
    whole = _trend(count, rng) * rng.choice([0.0, 0.3, 1.0, 3.0])
    if season > 1:
        profile = _profile(season, rng)
        swing = np.exp(0.3 * _trend(count, rng) * rng.random())
        whole = whole + rng.choice([0.3, 1.0, 2.0]) * profile[at % season] * swing
        if rng.random() < 0.6:
            days = rng.normal(size=7) * (rng.random(7) < 0.5)
            week = days[at // season % 7]
            other = _profile(season, rng)[at % season]
            whole = whole + rng.choice([0.3, 1.0]) * week * (1.0 + rng.random() * other)
    kept = float(rng.choice([0.0, 0.5, 0.8, 0.95, 0.99]))
    whole = whole + rng.choice([0.1, 0.3, 1.0]) * _lasting(count, kept, rng)
    if rng.random() < 0.3:
        events = rng.random(count) < 3.0 / count
        whole = whole + np.cumsum(events * rng.normal(scale=2.0, size=count))
    if rng.random() < 0.4:  # sizes, such as sales: never negative, noisier where larger
        whole = np.exp(0.7 * whole / max(1.0, np.abs(whole).max() / 3.0))
    if rng.random() < 0.15:  # many are nothing
        whole = np.maximum(whole - np.quantile(whole, 0.6 * rng.random()), 0.0)
    if rng.random() < 0.1:
        whole = rng.poisson(np.exp(np.clip(whole / whole.std(), -3.0, 4.0))).astype(np.float64)
    return 100.0 + 10.0 * whole if rng.random() < 0.5 else whole


def _trend(count: int, rng: np.random.Generator) -> Floats:
    """A line that bends a few times, of a size around one."""
    bends = np.sort(rng.random(int(rng.integers(1, 6))))
    line = np.interp(
        np.linspace(0.0, 1.0, count), np.r_[0.0, bends, 1.0], rng.normal(size=len(bends) + 2)
    )
    result: Floats = line - line.mean()
    return result


def _profile(season: int, rng: np.random.Generator) -> Floats:
    """The form of a season: a few waves, sometimes with flat nights or peaks."""
    at = np.arange(season) / season
    form = np.zeros(season)
    for wave in range(1, 1 + min(season // 2 + 1, int(rng.integers(1, 5)))):
        form += rng.normal() / wave * np.cos(2.0 * np.pi * (wave * at - rng.random()))
    if rng.random() < 0.3:
        form = np.maximum(form, np.quantile(form, rng.random()))
    if rng.random() < 0.2:
        form = form + 2.0 * (np.arange(season) == rng.integers(season))
    result: Floats = (form - form.mean()) / (form.std() + 0.1)
    return result


def _lasting(count: int, kept: float, rng: np.random.Generator) -> Floats:
    """Noise of which a share lasts from step to step, of a size of one."""
    noise = rng.standard_t(3, size=count) if rng.random() < 0.3 else rng.normal(size=count)
    lasting: Floats = pd.Series(noise).ewm(alpha=1.0 - kept, adjust=False).mean().to_numpy()
    return lasting * math.sqrt((1.0 + kept) / (1.0 - kept))


def sources(tables: Sequence[Table], season: int, seasons: int, horizon: int) -> list[Source]:
    """What is learnt from for a window of so many seasons."""
    length = season * seasons
    least = max(2 * season, 8, length // 8)
    found = []
    for table in tables:
        long_enough = [one for one in table.series if len(one) >= least + horizon]
        if table.season != season or not long_enough:
            continue
        frame = pd.DataFrame(
            {
                "unique_id": np.repeat(np.arange(len(long_enough)), list(map(len, long_enough))),
                "y": np.concatenate(long_enough),
            }
        )
        store = SeriesStore.from_frame(frame, length)
        last = store.lengths - horizon
        # Mostly whole windows, where there are such.
        first = np.minimum(np.maximum(least, np.minimum(length, last // 2)), last)
        cutoffs = Cutoffs(np.arange(len(last)), first, last)
        found.append(Source(Examples(store, horizon, season, least), cutoffs, table.share))
    return found


class Pretraining:
    """One set of weights, learnt by a network of each length in turn."""

    def __init__(self, tables: Sequence[Table], seed: int = 1, width: int = 256) -> None:
        keras.utils.set_random_seed(seed)
        self._seed = seed
        self._networks = []
        for season, lengths in LENGTHS.items():
            for seasons, horizon in lengths:
                found = sources(tables, season, seasons, horizon)
                if found:
                    shape = NetworkSettings(
                        input_length=season * seasons, horizon=horizon, season=season, width=width
                    )
                    network = build_network(shape)
                    weight = sum(source.share for source in found) / len(lengths)
                    self._networks.append((network, found, weight, _step_of(network, shape)))
        self.weights = values(self._networks[0][0].trainable_variables)

    def run(self, steps: int) -> None:
        """Learn for so many steps."""
        rng = np.random.default_rng(self._seed)
        variables = [keras.Variable(weight) for weight in self.weights]
        optimizer = keras.optimizers.AdamW(RATE, weight_decay=1e-2, clipnorm=1.0)
        optimizer.build(variables)
        shares = np.array([weight for *_, weight, _ in self._networks])
        mean, averaged, losses, began = self.weights, 0, [], time.perf_counter()
        for step in range(steps):
            network, found, _, gradients_of = self._networks[
                rng.choice(len(shares), p=shares / shares.sum())
            ]
            example = _drawn(found, (self._seed, step), rng)
            assign(network.trainable_variables, variables)
            loss, gradients = gradients_of(*example)
            rate = RATE * min(
                (step + 1) / WARM_UP_STEPS, 0.5 * (1 + math.cos(math.pi * step / steps))
            )
            optimizer.learning_rate = rate
            optimizer.apply(gradients, variables)
            losses.append(float(loss))
            if step >= (1.0 - AVERAGED) * steps:
                averaged += 1
                pairs = zip(mean, values(variables), strict=True)
                mean = [one + (new - one) / averaged for one, new in pairs]
            if (step + 1) % 200 == 0:
                spent = time.perf_counter() - began
                loss = np.mean(losses[-200:])
                print(f"step {step + 1}/{steps}  loss {loss:.4f}  {spent:.0f} s", flush=True)
        self.weights = mean


def _step_of(network: Any, shape: NetworkSettings) -> Any:
    import tensorflow as tf

    pinball = Pinball(shape.quantiles)

    def step(history: Any, target: Any, weight: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = ops.mean(pinball.call(target, network(history, training=True)) * weight)
        return loss, tape.gradient(loss, network.trainable_variables)

    return tf.function(step)


def _drawn(found: Sequence[Source], seed: tuple[int, ...], rng: np.random.Generator) -> Example:
    shares = np.array([source.share for source in found])
    counts = rng.multinomial(BATCH_SIZE, shares / shares.sum())
    parts = [
        source.examples.draw(source.cutoffs, count, (*seed, at))
        for at, (source, count) in enumerate(zip(found, counts, strict=True))
        if count
    ]
    history, target, weight = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return history, target, weight


def with_made_up(tables: Sequence[Table], seed: int) -> list[Table]:
    """The tables, and made-up series of each season."""
    rng = np.random.default_rng(seed)
    added = []
    for season in LENGTHS:
        share = sum(table.share for table in tables if table.season == season) or 1.0
        series = tuple(made_up(season, rng) for _ in range(SYNTHETIC))
        added.append(Table(season, series, SYNTHETIC_SHARE * share))
    return [*tables, *added]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tables", type=Path, nargs="+")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=PRETRAINED)
    arguments = parser.parse_args()
    tables = [table for path in arguments.tables for table in tables_of(path)]
    pretraining = Pretraining(with_made_up(tables, arguments.seed), arguments.seed)
    pretraining.run(arguments.steps)
    write_pretrained(pretraining.weights, arguments.output)
    print(f"'{arguments.output}': {arguments.output.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
