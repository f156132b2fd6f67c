"""Samples: the series that the page offers to customers who bring none."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pandas as pd

from kalecast.data.series import SeriesError, read_series
from kalecast.page import words
from kalecast.page.history import MOST_VALUES, History
from kalecast.page.tables import KEPT, Rows, newest_rows

logger = logging.getLogger(__name__)

MOST_SAMPLES = 500
MOST_ROWS = 2_000_000
"""Rows kept of all samples together, 16 MB: no model is known yet, nor how far it looks back."""


class Samples:
    """The first series of a file, read once."""

    def __init__(self, path: Path) -> None:
        """Read them; where there is no such file, there are none and the page goes on without."""
        self._series: dict[str, Rows] = {}
        try:
            self._series = {series.name: series for series in _first(read_series(path))}
        except SeriesError as error:
            logger.warning("The page offers no samples: %s", error)
        self._laid = lru_cache(maxsize=MOST_SAMPLES)(self._lay)

    @property
    def names(self) -> list[str]:
        """Their names, in the file's order."""
        return list(self._series)

    def history(self, name: str | None, frequency: str) -> History:
        """One of them.

        Raises:
            SeriesError: it is none of them, or flawed.
        """
        if name is None:
            raise SeriesError("Please choose a sample series first.")
        if name not in self._series:
            raise SeriesError(f"There is no sample series '{name[:60]}'.")
        return self._laid(name, frequency)

    def _lay(self, name: str, frequency: str) -> History:
        return replace(self._series[name].history(frequency), title=words.label(name))


def _first(table: pd.DataFrame) -> Iterator[Rows]:
    names = table["unique_id"].unique()[:MOST_SAMPLES]
    most = min(MOST_VALUES, max(KEPT, MOST_ROWS // len(names)))
    return newest_rows(table[table["unique_id"].isin(names)], most)
