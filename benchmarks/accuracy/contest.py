"""The network and the baselines on one set: forecasts, scores, ratios, seconds."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from benchmarks.accuracy.figures import rounded
from benchmarks.accuracy.neural import NAMES as NEURAL
from benchmarks.accuracy.neural import neural_forecasts
from benchmarks.accuracy.score import KEY, Trained, beside, own_table, scores_of
from benchmarks.accuracy.tables import Split
from kalecast.artifact.contract import Contract
from kalecast.data.series import SeriesError
from kalecast.evaluation.backtest import CLASSICAL_WEEKS, MODEL
from kalecast.evaluation.baselines import CLASSICAL, naive_among, naive_names

SAMPLE = 10
"""Series of a set that the slow baselines forecast."""
SCORES = ("mase", "wql", "coverage_80", "coverage_95", "msis_95")
RATIOS = {"mase_ratio": "mase", "msis_ratio": "msis_95"}

Row = dict[str, Any]


class Settings(NamedTuple):
    """What is requested, beside the sets."""

    fewer: dict[str, int]
    """Training settings otherwise than the pipeline's."""
    slow: bool = False
    sample: int = SAMPLE
    weeks: int = CLASSICAL_WEEKS
    neural: bool = False
    neural_steps: int | None = None
    """Of their training, where they are to be fewer than the defaults."""

    def as_dict(self) -> dict[str, Any]:
        """Those that results depend on."""
        slow = {"slow": {"names": list(CLASSICAL), "sample": self.sample, "weeks": self.weeks}}
        neural = {"neural": {"names": list(NEURAL), "steps": self.neural_steps}}
        return {
            "training": self.fewer,
            **(slow if self.slow else {}),
            **(neural if self.neural else {}),
        }


@dataclass
class Contest:
    """The network and the baselines on one set."""

    parts: Split
    trained: Trained
    settings: Settings
    seconds: dict[str, float] = field(default_factory=dict)
    """What each contender's forecasts took."""
    lacking: dict[str, str] = field(default_factory=dict)
    """Baselines that failed, and why; they cost the set nothing else."""

    @property
    def contract(self) -> Contract:
        """The network's."""
        return self.trained.forecaster.contract

    def first(self) -> pd.DataFrame:
        """Forecasts of the network and the naive ones."""
        table, self.seconds[MODEL] = own_table(self.trained.forecaster, self.parts)
        names = naive_names(self.contract.season, self.contract.frequency)
        table, seconds = beside(table, self.contract, self.parts, names, None)
        self.seconds |= seconds
        return table

    def sampled(self, table: pd.DataFrame) -> Row:
        """Scores of the slow baselines on some of the series, and of the others on the same."""
        names = table["unique_id"].unique()
        at = np.unique(np.linspace(0, len(names) - 1, self.settings.sample).astype(int))
        some = table[table["unique_id"].isin(names[at])]
        weeks = self.settings.weeks
        seconds: dict[str, float] = {}
        for name in CLASSICAL:
            with self._excused(name):
                some, took = beside(some, self.contract, self.parts, [name], weeks)
                seconds |= took
        return {
            "series": len(at),
            "weeks_seen": weeks,
            "contenders": self.scored(some, seconds),
        }

    def with_neural(self, table: pd.DataFrame) -> pd.DataFrame:
        """A table with the neural baselines beside."""
        for name in NEURAL:
            print(f"forecasting with {name} …", flush=True)
            began = time.perf_counter()
            with self._excused(name):
                theirs = neural_forecasts(
                    self.parts.judged,
                    self.contract,
                    self.parts.origins,
                    name,
                    self.settings.neural_steps,
                )
                table = table.merge(theirs, on=KEY, validate="1:1")
                self.seconds[name] = time.perf_counter() - began
        return table

    def scored(self, table: pd.DataFrame, seconds: Mapping[str, float] | None = None) -> Row:
        """Scores of each contender, and their ratios to the better naive forecast's."""
        seconds = self.seconds if seconds is None else seconds
        _, means = scores_of(table, self.parts.history, self.parts.shape.season)
        best = means.loc[naive_among(map(str, means.index))].min()
        return {
            str(name): {
                **{score: rounded(scores[score], 5) for score in SCORES},
                **{ratio: rounded(scores[of] / best[of], 5) for ratio, of in RATIOS.items()},
                **({"seconds": round(seconds[str(name)], 2)} if name in seconds else {}),
            }
            for name, scores in means.iterrows()
        }

    def about(self, table: pd.DataFrame) -> Row:
        """What was learnt from, judged on and spent."""
        parts = self.parts
        return {
            "frequency": parts.frequency,
            "series": int(parts.judged["unique_id"].nunique()),
            "left_out": len(parts.left_out),
            "season": parts.shape.season,
            "input_length": parts.shape.input_length,
            "horizon": parts.shape.horizon,
            "windows": parts.origins,
            "values_to_learn_from": int(parts.history["y"].notna().sum()),
            "values_forecast": int(table["y"].notna().sum()),
            "parameters": self.trained.parameters,
            "train_seconds": round(self.trained.seconds, 1),
        }

    @contextmanager
    def _excused(self, name: str) -> Iterator[None]:
        """Have a baseline that fails be left out, with its reason."""
        try:
            yield
        except Exception as error:
            self.lacking[name] = reason_of(error)


def reason_of(error: BaseException) -> str:
    """What an error says; with its kind, where that is none for the person whose data it is."""
    return f"{error}" if isinstance(error, SeriesError) else f"{type(error).__name__}: {error}"
