"""Series for tests, made and not measured: days and weeks with noise, at several scales."""

import numpy as np
import pandas as pd


def hourly_series(count: int = 4, hours: int = 1000, seed: int = 0) -> pd.DataFrame:
    """A tidy frame in which averaging days beats repeating one, on every scale alike."""
    rng = np.random.default_rng(seed)
    hour = np.arange(hours)
    parts = []
    for index in range(count):
        shape = 100 + 30 * np.sin(hour * 2 * np.pi / 24 + index) + rng.normal(0, 8, hours)
        parts.append(
            pd.DataFrame(
                {
                    "unique_id": f"series_{index}",
                    "ds": pd.date_range("2026-01-01", periods=hours, freq="h"),
                    "y": shape * 10.0 ** (2 * index - 2),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)
