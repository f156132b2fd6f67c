"""What days and weeks say of the hours to come: simple forecasts, and how far to trust them.

The simple forecasts are made for the horizon, and again from origins inside the window, where
the window itself shows how well they did. So every forecast starts from what worked on this
very series last week, and the network learns only what is left. Weights by inverse past error
are those of Bates and Granger, The Combination of Forecasts, OR 20 (1969).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kalecast.data.windows import SEASONS_A_CYCLE
from kalecast.model.backend import keras, layers, ops

MOST_ORIGINS = 6
"""From so many seasons' starts inside the window are the simple forecasts tried."""

TINY = 1e-5

Floats = npt.NDArray[np.float32]


@keras.saving.register_keras_serializable("kalecast")
class SeasonalForecasts(layers.Layer):
    """Forecasts each window with several simple kernels, for the horizon and for past origins.

    The kernels, with a season of a day: yesterday again; last week again; the mean of the last two
    weeks; the mean of the last seven days; last week with yesterday's departure from its own week
    before, hour by hour. Other families of as many kernels serve windows too short for weeks, and
    series without a season (`FAMILIES`).

    Args:
        season: steps a season; divides the window, which holds four of them or more.
        horizon: steps ahead.

    Input shape:
        Values without gaps and known-flags, `(batch, input_length)`.

    Output shape:
        Forecasts `(batch, kernels, horizon)`; residuals at past origins, 0 where the actual value
        is unknown, `(batch, kernels, origins, horizon)`; flags where it is known
        `(batch, origins, horizon)`.
    """

    def __init__(self, season: int, horizon: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.season = season
        self.horizon = horizon

    def build(self, values_shape: tuple[int, ...], known_shape: tuple[int, ...]) -> None:
        """Lay out which seasons each forecast is made of."""
        self._seasons = values_shape[1] // self.season
        self._ahead = -(-self.horizon // self.season)
        kernels = [
            # The two weeks of the mean are one where the window holds no more.
            kernel if self._seasons > kernel.reach else CYCLES[1]
            for kernel in FAMILIES[family(self.season, self._seasons)]
        ]
        self._origins = min(MOST_ORIGINS, self._seasons - max(kernel.reach for kernel in kernels))
        self.kernels = len(kernels)
        self._mixture = _mixture(kernels, self._seasons, self._origins, self._ahead)
        super().build(values_shape)

    def call(self, values: Any, known: Any) -> tuple[Any, Any, Any]:
        """Forecast from the window's end and from its past origins."""
        by_season = ops.reshape(values, (-1, self._seasons, self.season))
        made = ops.matmul(ops.convert_to_tensor(self._mixture), by_season)
        steps = self._ahead * self.season
        made = ops.reshape(made, (-1, self.kernels, self._origins + 1, steps))
        made = made[..., : self.horizon]
        actual, tried = self._after_origins(values), self._after_origins(known)
        residuals = (actual[:, None] - made[:, :, :-1]) * tried[:, None]
        return made[:, :, -1], residuals, tried

    def _after_origins(self, values: Any) -> Any:
        """The horizon after each past origin, zeros beyond the window's end."""
        by_season = ops.reshape(values, (-1, self._seasons, self.season))
        newest = by_season[:, -self._origins :]
        newest = ops.pad(newest, ((0, 0), (0, self._ahead - 1), (0, 0)))
        ahead = [newest[:, at : at + self._origins] for at in range(self._ahead)]
        return ops.concatenate(ahead, axis=2)[..., : self.horizon]

    def get_config(self) -> dict[str, Any]:
        """What the layer is rebuilt from."""
        return {**super().get_config(), "season": self.season, "horizon": self.horizon}


@dataclass(frozen=True)
class SeasonalKernel:
    """A simple forecast as weights of the seasons before its origin.

    A fixed part is the season so many before the origin (1 is the newest), whatever is forecast;
    one that moves is so many before the season that is forecast; a drift is a fixed part that
    counts once more for each season ahead.
    """

    fixed: tuple[tuple[int, float], ...] = ()
    moving: tuple[tuple[int, float], ...] = ()
    drift: tuple[tuple[int, float], ...] = ()

    @property
    def reach(self) -> int:
        """Seasons before the origin that it needs."""
        return max(before for before, _ in self.fixed + self.moving + self.drift)

    def weights(self, ahead: int) -> list[tuple[int, float]]:
        """Seasons before the origin and their weights, for the season `ahead` (0 is the next)."""
        within = ahead % SEASONS_A_CYCLE
        return [
            *self.fixed,
            *((before - within, weight) for before, weight in self.moving),
            *((before, (ahead + 1) * weight) for before, weight in self.drift),
        ]


def _mean(count: int) -> tuple[tuple[int, float], ...]:
    """The mean of so many newest seasons."""
    return tuple((before, 1 / count) for before in range(1, count + 1))


def _drift(count: int) -> tuple[tuple[int, float], ...]:
    """The mean change from one season to the next, over so many of them."""
    return ((1, 1 / count), (count + 1, -1 / count))


_LAST = ((1, 1.0),)
_WEEK, _TWO_WEEKS = SEASONS_A_CYCLE, 2 * SEASONS_A_CYCLE
CYCLES = (
    SeasonalKernel(fixed=_LAST),
    SeasonalKernel(moving=((_WEEK, 1.0),)),
    SeasonalKernel(moving=((_WEEK, 0.5), (_TWO_WEEKS, 0.5))),
    SeasonalKernel(fixed=_mean(_WEEK)),
    SeasonalKernel(moving=((_WEEK, 1.0),), fixed=((1, 1.0), (_WEEK + 1, -1.0))),
)
SEASONS = (
    SeasonalKernel(fixed=_LAST),
    SeasonalKernel(fixed=_mean(2)),
    SeasonalKernel(fixed=_mean(3)),
    SeasonalKernel(fixed=_LAST, drift=_drift(1)),
    SeasonalKernel(fixed=_LAST, drift=_drift(2)),
)
STEPS = (
    SeasonalKernel(fixed=_LAST),
    SeasonalKernel(fixed=_mean(3)),
    SeasonalKernel(fixed=_mean(8)),
    SeasonalKernel(fixed=_LAST, drift=_drift(4)),
    SeasonalKernel(fixed=_LAST, drift=_drift(12)),
)
FAMILIES = (CYCLES, SEASONS, STEPS)
"""Simple forecasts, as many in each: of series whose seasons make cycles, as days make weeks; of
those that have seasons alone; and of those without."""


def family(season: int, seasons: int) -> int:
    """Which of `FAMILIES` suits a window of so many seasons."""
    if season == 1 and seasons > max(kernel.reach for kernel in STEPS):
        return 2
    return 0 if season > 1 and seasons > SEASONS_A_CYCLE else 1


def _mixture(kernels: list[SeasonalKernel], seasons: int, origins: int, ahead: int) -> Floats:
    """From a window's seasons to all forecasts: `(kernels * (origins + 1) * ahead, seasons)`."""
    weights = np.zeros((len(kernels), origins + 1, ahead, seasons), dtype="float32")
    for origin in range(origins + 1):
        start = seasons - origins + origin
        for step in range(ahead):
            for index, kernel in enumerate(kernels):
                for before, weight in kernel.weights(step):
                    weights[index, origin, step, start - before] += weight
    return weights.reshape(-1, seasons)


@keras.saving.register_keras_serializable("kalecast")
class WeighForecasts(layers.Layer):
    """How well each simple forecast did inside the window, and what their mixture missed.

    Args:
        power: weights fall with the mean absolute error to this power.

    Input shape:
        As `SeasonalForecasts` returns them.

    Output shape:
        Logarithms of the weights, not yet summing to one, `(batch, kernels)`; the mixture
        `(batch, horizon)`; its residuals at past origins `(batch, origins, horizon)`; its
        expected absolute error at each step ahead `(batch, horizon)` and over all
        `(batch, 1)`, all in normalised units.
    """

    def __init__(self, power: float = 4.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.power = power

    def call(self, forecasts: Any, residuals: Any, tried: Any) -> tuple[Any, Any, Any, Any, Any]:
        """Weigh."""
        count = ops.sum(tried, axis=(1, 2))[:, None]
        error = (ops.sum(ops.abs(residuals), axis=(2, 3)) + 1e-4) / (count + 1e-1)
        log_error = ops.log(error + TINY)
        logits = -self.power * (log_error - ops.min(log_error, axis=1, keepdims=True))
        weights = ops.softmax(logits, axis=1)
        overall = ops.sum(weights * error, axis=1, keepdims=True) + TINY
        mixture = ops.sum(forecasts * weights[:, :, None], axis=1)
        missed = ops.sum(residuals * weights[:, :, None, None], axis=1)
        # A few origins say little of a single step: its neighbours and the whole count too.
        size = _smooth(ops.sum(ops.abs(missed), axis=1)) + 0.5 * overall
        by_step = size / (_smooth(ops.sum(tried, axis=1)) + 0.5)
        return logits, mixture, missed, by_step, overall

    def get_config(self) -> dict[str, Any]:
        """What the layer is rebuilt from."""
        return {**super().get_config(), "power": self.power}


def _smooth(values: Any) -> Any:
    """Half of each step, a quarter of either neighbour; the ends lean on themselves."""
    padded = ops.concatenate([values[:, :1], values, values[:, -1:]], axis=1)
    return 0.5 * values + 0.25 * (padded[:, :-2] + padded[:, 2:])
