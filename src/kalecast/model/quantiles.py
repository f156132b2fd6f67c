"""Quantiles that cannot cross, the loss that teaches them, and their calibration."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kalecast.model.backend import keras, layers, ops

Floats = npt.NDArray[np.float64]

WIDEST = 10.0
"""Calibration changes no gap by a larger factor, however few windows it was fitted on."""
HALF_OF_ALL = 8.0
HALF_OF_A_STEP = 60.0
"""Windows, none overlapping another, of which calibration is believed by half."""


@keras.saving.register_keras_serializable("kalecast")
class Gaps(layers.Layer):
    """Turns free numbers into gaps between quantiles, and scales them as calibration requires.

    A smooth number above zero (squareplus, Barron 2021: cheaper than softplus), times a factor
    for each gap and step ahead, 1 until `calibration_factors` are assigned.

    Input shape:
        `(batch, quantiles - 1, horizon)`.

    Output shape:
        The same.
    """

    def build(self, shape: tuple[int, ...]) -> None:
        """Make the factors."""
        self.factors = self.add_weight(
            shape=shape[1:], initializer="ones", trainable=False, name="factors"
        )
        super().build(shape)

    def call(self, free: Any) -> Any:
        """Make positive and scale."""
        return 0.5 * (free + ops.sqrt(free * free + 1.0)) * self.factors


@keras.saving.register_keras_serializable("kalecast")
class FromMedian(layers.Layer):
    """Adds gaps up outwards: how far each quantile lies from the median. They cannot cross.

    Args:
        median: index of the median among the quantiles.

    Input shape:
        `(batch, quantiles - 1, horizon)`, none below zero.

    Output shape:
        `(batch, quantiles, horizon)`, ascending along the quantiles, zero at the median.
    """

    def __init__(self, median: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.median = median

    def call(self, gaps: Any) -> Any:
        """Add up, as one multiplication by ones."""
        count = gaps.shape[1]
        quantile, gap = np.arange(count + 1)[:, None], np.arange(count)[None, :]
        below = (quantile <= gap) & (gap < self.median)
        above = (quantile > gap) & (gap >= self.median)
        return ops.matmul(ops.convert_to_tensor((1.0 * above - below).astype("float32")), gaps)

    def get_config(self) -> dict[str, Any]:
        """What the layer is rebuilt from."""
        return {**super().get_config(), "median": self.median}


def calibration_factors(
    forecast: Floats, actual: Floats, quantiles: Sequence[float], evidence: float = math.inf
) -> npt.NDArray[np.float32]:
    """Factors with which each quantile leaves its share of the actual values below it.

    Split-conformal: a gap's factor is the quantile, over held-out windows, of how many of its
    gaps an actual value lies beyond the quantile before it; with the usual correction for a
    finite sample. Romano, Patterson and Candès, Conformalized Quantile Regression (2019).

    Factors move away from one only as far as the evidence goes: by half for `HALF_OF_ALL` windows
    as to what all steps ahead have in common, and by half for `HALF_OF_A_STEP` as to each.

    Args:
        forecast: `(windows, horizon, quantiles)`, not yet calibrated.
        actual: `(windows, horizon)`, NaN where unknown.
        quantiles: those of the forecast's last axis, 0.5 among them.
        evidence: windows that do not overlap, which is what the windows are worth.

    Returns:
        `(quantiles - 1, horizon)`, as `Gaps` takes them. Ones where nothing is known.
    """
    median = list(quantiles).index(0.5)
    factors = np.ones((len(quantiles) - 1, forecast.shape[1]))
    for side, inner_to_outer in (
        (-1.0, range(median - 1, -1, -1)),
        (1.0, range(median + 1, len(quantiles))),
    ):
        edge = forecast[:, :, median]
        for quantile in inner_to_outer:
            inside = quantiles[quantile] if side > 0 else 1.0 - quantiles[quantile]
            width = np.abs(forecast[:, :, quantile] - forecast[:, :, quantile - int(side)])
            common, own = _factors_of_a_gap(side * (actual - edge), width, inside)
            of_all, of_a_step = (_belief(evidence, half) for half in (HALF_OF_ALL, HALF_OF_A_STEP))
            factors[quantile - (side > 0)] = common**of_all * (own / common) ** of_a_step
            edge = edge + side * width * own
    return factors.astype(np.float32)


def _factors_of_a_gap(beyond: Floats, width: Floats, inside: float) -> tuple[float, Floats]:
    """By what factor a gap must grow to hold a share of what lies beyond: all steps', and each's.

    Neighbouring steps share their windows' values: alone, each has too few.
    """
    ratio = np.divide(beyond, width, out=np.full_like(beyond, np.nan), where=width > 0)
    horizon = ratio.shape[1]
    reach = max(1, horizon // 8)
    common = _share_below(ratio, inside)
    near = (ratio[:, max(0, step - reach) : step + reach + 1] for step in range(horizon))
    return common, np.array([_share_below(some, inside, common) for some in near])


def _belief(evidence: float, half: float) -> float:
    return 1.0 if math.isinf(evidence) else evidence / (evidence + half)


def _share_below(ratio: Floats, share: float, default: float = 1.0) -> float:
    """What a share of the known numbers lies below; at most `WIDEST`, and its inverse at least."""
    known = ratio[~np.isnan(ratio)]
    if not known.size:
        return default
    share = min(1.0, share * (1.0 + 1.0 / known.size))
    return float(np.clip(np.quantile(known, share, method="higher"), 1.0 / WIDEST, WIDEST))


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
        """Losses of shape `(batch,)`, in the unit of the targets.

        Args:
            y_true: `(batch, horizon)`, NaN where unknown.
            y_pred: `(batch, horizon, quantiles)`.
        """
        target = ops.expand_dims(ops.cast(y_true, y_pred.dtype), -1)
        known = ops.logical_not(ops.isnan(target))
        error = ops.where(known, target, y_pred) - y_pred
        levels = ops.convert_to_tensor(self.quantiles, dtype=y_pred.dtype)
        return ops.mean(ops.maximum(levels * error, (levels - 1.0) * error), axis=(1, 2))

    def get_config(self) -> dict[str, Any]:
        """What the loss is rebuilt from."""
        return {**super().get_config(), "quantiles": self.quantiles}
