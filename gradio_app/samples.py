"""Samples: the series that the page offers to whoever brings none."""

import logging
from dataclasses import replace
from pathlib import Path

import words
from history import History
from rows import KEPT, Rows, newest_rows

from kalecast.series import SeriesError, read_series

logger = logging.getLogger(__name__)

MOST_SAMPLES = 500


class Samples:
    """The first series of a file, read once."""

    def __init__(self, path: Path) -> None:
        """Read them; where there is no such file, there are none and the page goes on without."""
        self._series: dict[str, Rows] = {}
        try:
            rows = newest_rows(read_series(path), KEPT)
        except SeriesError as error:
            logger.warning("The page offers no samples: %s", error)
            return
        self._series = {series.name: series for series in rows[:MOST_SAMPLES]}

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
        if (series := self._series.get(name)) is None:
            raise SeriesError(f"There is no sample series '{name[:60]}'.")
        return replace(series.history(frequency), title=words.label(name))
