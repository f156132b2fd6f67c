"""A forecast for the terminal: a table, and a line to see its shape."""

import numpy as np
import pandas as pd

from kalecast.client.rest import Floats

ROWS = 12
BARS = "▁▂▃▄▅▆▇█"


def table(
    timestamps: pd.DatetimeIndex, forecast: Floats, quantiles: tuple[float, ...]
) -> list[str]:
    """The first rows of a forecast, a column a quantile.

    Args:
        timestamps: one a row.
        forecast: shape `(horizon, quantiles)`.
        quantiles: name the columns.
    """
    heads = ["median" if q == 0.5 else f"{100 * q:g} %" for q in quantiles]
    cells = [[f"{value:.5g}" for value in row] for row in forecast[:ROWS]]
    width = max(len(text) for row in [heads, *cells] for text in row)
    labels = [f"{timestamp:%Y-%m-%d %H:%M}" for timestamp in timestamps[:ROWS]]
    lines = [
        f"{label:<16}  {'  '.join(f'{text:>{width}}' for text in row)}"
        for label, row in zip(["", *labels], [heads, *cells], strict=True)
    ]
    left = len(forecast) - ROWS
    return [*lines, f"and {left} more"] if left > 0 else lines


def sparkline(values: Floats) -> str:
    """Values as a line of bars; a space where one is missing."""
    low, high = np.nanmin(values), np.nanmax(values)
    scaled = (values - low) / ((high - low) or 1.0) * (len(BARS) - 1)
    return "".join(" " if np.isnan(value) else BARS[round(value)] for value in scaled)
