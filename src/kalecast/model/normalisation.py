"""Layers that bring histories of any unit, with missing values, to a common form, and back."""

from typing import Any

import numpy as np

from kalecast.data.windows import SEASONS_A_CYCLE
from kalecast.model.backend import keras, layers, ops

OUTLYING = 15.0
"""Spreads from the level beyond which a value that stands alone counts as an error."""

NEARER = 4.0
"""A neighbouring step weighs so many times as much as one a step further away."""
NEARER_DAYS = (8.0, 1.5)
"""The same for neighbouring days: the nearest ones, and the days around."""
FURTHEST = 8
"""Distance beyond which neighbours weigh alike."""
TINY = 1e-12

PASSES = 4
"""How often missing values are estimated anew from the estimates around them."""


@keras.saving.register_keras_serializable("kalecast")
class Normalise(layers.Layer):
    """Brings histories of any unit to a common scale.

    The level is a mean and the spread a mean absolute deviation, of values clipped to four
    spreads around a first level: single outliers hardly move them.

    Input shape:
        `(batch, input_length)`, float64, NaN where unknown.

    Output shape:
        Values (0 where unknown) and known-flags, float32 `(batch, input_length)`; level and
        spread, float64 `(batch, 1)`, in the unit of the history.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float64", "autocast": False})

    def call(self, history: Any) -> tuple[Any, Any, Any, Any]:
        """Normalise a batch of windows."""
        unknown = ops.isnan(history)
        flags = 1.0 - ops.cast(unknown, "float32")
        count = ops.maximum(ops.sum(flags, axis=1, keepdims=True), 1.0)
        exact_count = ops.cast(count, "float64")
        raw = ops.where(unknown, ops.zeros((), history.dtype), history)
        level = ops.sum(raw, axis=1, keepdims=True) / exact_count
        apart = (raw - level) * ops.cast(flags, "float64")
        spread = ops.sum(ops.abs(apart), axis=1, keepdims=True) / exact_count
        # What float64 was needed for is done; everything from here on is relative.
        scaled = ops.cast(apart / _or_one(spread), "float32")
        clipped = ops.clip(scaled, -4.0, 4.0)
        centre = ops.sum(clipped, axis=1, keepdims=True) / count
        deviation = ops.abs(clipped - centre) * flags
        width = ops.sum(deviation, axis=1, keepdims=True) / count
        values = (scaled - centre) / _or_one(width) * flags
        level = level + ops.cast(centre, "float64") * spread
        return values, flags, level, ops.cast(width, "float64") * spread


@keras.saving.register_keras_serializable("kalecast")
class FillGaps(layers.Layer):
    """Gives missing values the values that they likely had, and outliers too.

    An outlier lies further than `OUTLYING` spreads from the level, and neither the steps beside
    it nor its hour on the days and in the weeks beside it are like it: so a peak that returns
    every day, or a new level, is none.

    At first each takes the mean of its hour, moved as its known neighbours depart from theirs.
    Then, several times over, candidates are made from what is there by now: the mean of the
    step's neighbours in its season; the mean of its hour over all other days, the nearest days,
    the days around and the same day of other weeks; and each of these four moved as the step's
    neighbours depart from theirs. Each window weighs them by how well they fit its known steps.
    Before its first known value a window keeps the means of its hours: estimated from what follows,
    the past would seem to foretell it. A batch with nothing to fill passes as it is.

    Args:
        season: steps a season; divides the window.

    Input shape:
        Values (0 where unknown) and known-flags `(batch, input_length)`.

    Output shape:
        Values without gaps, and flags of those that are known and no outliers.
    """

    def __init__(self, season: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.season = season

    def build(self, values_shape: tuple[int, ...], known_shape: tuple[int, ...]) -> None:
        """Lay out which steps are whose neighbours."""
        self._seasons = values_shape[1] // self.season
        self._near = _shares(_falling(self.season, NEARER)).T.astype("float32")
        others = 1.0 - np.eye(self._seasons)
        seasons = np.arange(self._seasons)
        same_day = (seasons[:, None] - seasons) % SEASONS_A_CYCLE == 0
        days = [_falling(self._seasons, base) for base in NEARER_DAYS]
        kernels = [
            others,
            *days,
            np.where((others * same_day).any(1, keepdims=True), same_day, 1.0),
        ]
        self._days = np.concatenate([_shares(others * kernel) for kernel in kernels]).astype(
            "float32"
        )
        self._kernels = len(kernels)
        super().build(values_shape)

    def call(self, values: Any, known: Any) -> Any:
        """Fill a batch of windows."""
        return ops.cond(
            ops.all((known > 0) & (ops.abs(values) < OUTLYING)),
            lambda: (ops.copy(values), ops.copy(known)),
            lambda: self._filled(values, known),
        )

    def _filled(self, values: Any, known: Any) -> tuple[Any, Any]:
        by_season = (-1, 1, self._seasons, self.season)
        seen = known * self._no_outliers(values)
        value, seen = ops.reshape(values * seen, by_season), ops.reshape(seen, by_season)
        unknown = 1.0 - seen
        by_hour = ops.sum(value, axis=2, keepdims=True)
        by_hour = by_hour / ops.maximum(ops.sum(seen, axis=2, keepdims=True), 1.0)
        departure = ops.concatenate([(value - by_hour) * seen, seen], axis=1)
        near = ops.matmul(departure, ops.convert_to_tensor(self._near))
        moved = by_hour + near[:, :1] / ops.maximum(near[:, 1:], TINY)
        estimate = value + moved * unknown
        for _ in range(PASSES):
            estimate = value + self._known_to_others(estimate, value, seen) * unknown
        steps = (-1, values.shape[1])
        begun = ops.reshape(ops.cumsum(known, axis=1) > 0, by_season)
        filled = ops.reshape(ops.where(begun, estimate, by_hour), steps)
        return filled, ops.reshape(seen, steps)

    def _no_outliers(self, values: Any) -> Any:
        """Flags of values near the level, or with a neighbour like them."""
        size = ops.abs(values)
        usual = size < OUTLYING
        for distance in (1, self.season, SEASONS_A_CYCLE * self.season):
            if distance < values.shape[1]:
                for beside in (_moved(values, distance), _moved(values, -distance)):
                    usual = usual | (ops.abs(beside - values) < 0.5 * size)
        return ops.cast(usual, "float32")

    def _known_to_others(self, estimate: Any, value: Any, seen: Any) -> Any:
        """What the rest of the window says of each of its steps."""
        same_hour = ops.matmul(ops.convert_to_tensor(self._days), estimate)
        same_hour = ops.reshape(same_hour, (-1, self._kernels, self._seasons, self.season))
        apart = ops.concatenate([estimate, estimate - same_hour], axis=1)
        near = ops.matmul(apart, ops.convert_to_tensor(self._near))
        candidates = ops.concatenate([near[:, :1], same_hour + near[:, 1:], same_hour], axis=1)
        missed = ops.sum(ops.abs(value - candidates) * seen, axis=(2, 3), keepdims=True) + 1e-3
        error = missed / (ops.sum(seen, axis=(2, 3), keepdims=True) + 1e-2)
        trust = 1.0 / ops.square(ops.square(error))
        weighted = ops.sum(trust * candidates, axis=1, keepdims=True)
        return weighted / ops.sum(trust, axis=1, keepdims=True)

    def get_config(self) -> dict[str, Any]:
        """What the layer is rebuilt from."""
        return {**super().get_config(), "season": self.season}


@keras.saving.register_keras_serializable("kalecast")
class Denormalise(layers.Layer):
    """Brings a normalised forecast back to the unit of its history.

    Where `never_negative` is set to one, a forecast from a window without a negative value has
    none either.

    Input shape:
        Forecast float32 `(batch, quantiles, horizon)`; level and spread float64 `(batch, 1)`;
        history float64 `(batch, input_length)`, NaN where unknown.

    Output shape:
        `(batch, horizon, quantiles)`, float64.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float64", "autocast": False})

    def build(self, *shapes: tuple[int, ...]) -> None:
        """Make the flag."""
        self.never_negative = self.add_weight(
            shape=(), initializer="zeros", trainable=False, name="never_negative"
        )
        super().build(shapes)

    def call(self, forecast: Any, level: Any, spread: Any, history: Any) -> Any:
        """Scale, shift and bound."""
        widened = ops.cast(ops.transpose(forecast, (0, 2, 1)), "float64")
        forecast = widened * ops.expand_dims(spread, -1) + ops.expand_dims(level, -1)
        negative = ops.any(history < 0.0, axis=1, keepdims=True)  # NaN is not
        bounded = ops.logical_and(self.never_negative > 0.0, ops.logical_not(negative))
        positive = ops.maximum(forecast, ops.zeros((), "float64"))
        return ops.where(ops.expand_dims(bounded, -1), positive, forecast)


def _falling(count: int, base: float) -> Any:
    """Weights of others by distance, `(count, count)`: those one further away weigh less."""
    apart = np.abs(np.arange(count)[:, None] - np.arange(count))
    return (apart > 0) / base ** np.minimum(apart, FURTHEST)


def _shares(weights: Any) -> Any:
    """The same weights, each row of which sums to one; a step alone in its season has none."""
    return weights / np.maximum(weights.sum(axis=1, keepdims=True), TINY)


def _moved(values: Any, steps: int) -> Any:
    """Values moved along the window, zeros where nothing moved in."""
    if steps > 0:
        return ops.pad(values[:, :-steps], ((0, 0), (steps, 0)))
    return ops.pad(values[:, -steps:], ((0, 0), (0, -steps)))


def _or_one(divisor: Any) -> Any:
    return ops.where(divisor > 0, divisor, ops.ones_like(divisor))
