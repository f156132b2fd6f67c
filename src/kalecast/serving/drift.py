"""Drift: whether customers' histories, and the forecasts of them, are like those of other days.

The service never learns what came true, so it cannot see errors. It sees when histories become
unlike, and when forecasts move away from what the past alone would say; whether the model still
forecasts well is measured by the pipeline's evaluation, on each new training.

Series have any unit. So each figure is in units of the series' own restlessness: with a history
`x[1..T]`, a season of `s` steps and a forecast `f[1..H]` of quantiles,

    scale      = mean over t of |x[t] - x[t - s]|           MASE's denominator
    departure  = mean over h of |median f[h] - n[h]| / scale   n: the last season, again and again
    shift      = mean over h of (median f[h] - n[h]) / scale
    width      = mean over h of (highest - lowest quantile of f[h]) / scale
    change     = (mean of the last season - mean of the history) / scale

So `departure` is the MASE that the forecast would have if the last season simply came again.
Unknown values are left out of each mean. A window without a scale (no two values a season apart,
or all of them equal) is not counted. What leaves the process is how many windows fell between
which bounds: no value of any customer.

Of a batch the first few windows are looked at (`MOST`), and not of every batch (`EVERY`): what
they are like is known long before all of them have been counted.
"""

from collections.abc import Iterator
from threading import Lock
from time import monotonic

import numpy as np
import numpy.typing as npt
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString

from kalecast.artifact.contract import Contract
from kalecast.artifact.runtime import Windows

MOST = 16
"""Windows of a batch that are looked at."""

EVERY = 0.01
"""Seconds from one look to the next, at least. A look takes up to 0.1 ms: of a lone request's time
nothing that is felt, but of thousands a second a twentieth, if each batch were looked at."""

SIZES = (0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0)
SIGNED = (-5.0, -2.0, -1.0, -0.5, -0.2, 0.0, 0.2, 0.5, 1.0, 2.0, 5.0)

FIGURES = {
    "departure": (SIZES, "Mean distance of the median forecast from the last season repeated"),
    "shift": (SIGNED, "Mean of the median forecast above the last season repeated"),
    "width": (SIZES, "Mean distance of the outermost quantiles"),
    "change": (SIGNED, "Mean of the last season above the history's"),
}
"""Bounds of each figure's buckets, and what it is; all in seasonal steps of the history."""


def figures(windows: Windows, forecast: Windows, contract: Contract) -> dict[str, Windows]:
    """The figures of a batch, as the module's head defines them.

    Args:
        windows: `(batch, input_length)`, NaN where unknown.
        forecast: `(batch, horizon, quantiles)`.
        contract: the model's.

    Returns:
        A vector a figure; NaN for windows without a scale, which stand in none of them.
    """
    season = contract.season
    last = windows[:, -season:]
    again = np.resize(np.arange(last.shape[1]), contract.horizon)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        scale = _means(np.abs(windows[:, season:] - windows[:, :-season]))
        scale[scale == 0] = np.nan
        apart = forecast[:, :, contract.median] - last[:, again]
        width = (forecast[:, :, -1] - forecast[:, :, 0]).mean(axis=1)
        found = {
            "departure": _means(np.abs(apart)),
            "shift": _means(apart),
            "width": width,
            "change": _means(last) - _means(windows),
        }
        return {name: figure / scale for name, figure in found.items()}


def _means(values: Windows) -> Windows:
    """The mean of each row's known values; NaN where none is known."""
    means: Windows = values.sum(axis=1) / values.shape[1]
    gaps = np.isnan(means)
    if gaps.any():
        some = values[gaps]
        known = ~np.isnan(some)
        means[gaps] = np.where(known, some, 0.0).sum(axis=1) / known.sum(axis=1)
    return means


class Drift:
    """Counts of the figures; threads may add to them at the same time.

    Args:
        every: seconds from one look to the next.
    """

    def __init__(self, every: float = EVERY) -> None:
        self._every = every
        self._due = 0.0
        self._counts: dict[str, npt.NDArray[np.int64]] = {
            name: np.zeros(len(bounds) + 1, dtype=np.int64) for name, (bounds, _) in FIGURES.items()
        }
        self._values = {"yes": 0, "no": 0}
        self._lock = Lock()

    def observe(self, windows: Windows, forecast: Windows, contract: Contract) -> None:
        """Count a batch, if it is time for another; arguments as those of `figures`."""
        if (now := monotonic()) < self._due:
            return
        self._due = now + self._every
        windows, forecast = windows[:MOST], forecast[:MOST]
        found = figures(windows, forecast, contract)
        unknown = int(np.count_nonzero(np.isnan(windows)))
        counts = {name: _counted(figure, FIGURES[name][0]) for name, figure in found.items()}
        with self._lock:
            for name, count in counts.items():
                self._counts[name] += count
            self._values["no"] += unknown
            self._values["yes"] += windows.size - unknown

    def collect(self) -> Iterator[Metric]:
        """The counts as Prometheus's client wants them."""
        with self._lock:
            counts = {name: count.cumsum().tolist() for name, count in self._counts.items()}
            values = dict(self._values)
        for name, (bounds, description) in FIGURES.items():
            names = [*map(floatToGoString, bounds), "+Inf"]
            # No sum: values below zero would let it fall, which Prometheus takes for a restart.
            yield HistogramMetricFamily(
                f"kalecast_drift_{name}",
                f"{description}, in mean seasonal steps of its history",
                list(zip(names, counts[name], strict=True)),
            )
        known = CounterMetricFamily(
            "kalecast_drift_values", "Steps of all windows, and whether known", labels=["known"]
        )
        for is_known, count in values.items():
            known.add_metric([is_known], count)
        yield known


def _counted(figure: Windows, bounds: tuple[float, ...]) -> npt.NDArray[np.int64]:
    """How many lie in each bucket; those that are no number in none."""
    places = np.searchsorted(bounds, figure[~np.isnan(figure)])
    return np.bincount(places, minlength=len(bounds) + 1)
