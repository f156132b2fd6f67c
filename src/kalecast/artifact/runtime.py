"""Forecast from a model file with NumPy and ONNX Runtime alone."""

import reprlib
import struct
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kalecast.artifact.contract import (
    INPUT_NAME,
    OUTPUT_NAME,
    Contract,
    open_session,
    read_contract,
)

Windows = npt.NDArray[np.float64]

LARGEST_VALUE = 1e100
"""Values beyond it are refused: no unit of measure needs them, and sums would overflow."""

PLAIN = frozenset({float, int, type(None), np.float64})
"""What NumPy turns into float64 as it is meant; texts and truth values it would take too."""


class HistoryError(ValueError):
    """A history that cannot be forecast from; the text is for its sender."""


class Forecaster:
    """A model file, opened.

    Example:
        >>> forecaster = Forecaster("models/forecaster.onnx")
        >>> forecaster.forecast([[310.0, 295.5, None, 301.2] * 42]).shape
        (1, 48, 5)
    """

    def __init__(self, model: bytes | str | Path, threads: int = 1) -> None:
        """Open a model file, or the bytes of one.

        Raises:
            ContractError: it is no Kalecast model file.
        """
        self._session = open_session(model, threads)
        self.contract: Contract = read_contract(self._session)

    def forecast(self, histories: Any) -> Windows:
        """Forecast from raw histories.

        Args:
            histories: as for `as_windows`.

        Returns:
            Shape `(series, horizon, quantiles)`, in the histories' unit, finite, ascending
            along the quantiles.

        Raises:
            HistoryError: as for `as_windows`.
        """
        return self.forecast_windows(as_windows(histories, self.contract))

    def forecast_windows(self, windows: Windows) -> Windows:
        """Forecast from windows that were checked already: `(batch, input_length)` float64."""
        (forecast,) = self._session.run([OUTPUT_NAME], {INPUT_NAME: windows})
        result: Windows = forecast
        return result


def as_windows(histories: Any, contract: Contract) -> Windows:
    """Check histories and lay them out as the network's windows.

    Args:
        histories: one history a row, the newest value last, `None` or NaN where unknown. Rows
            may differ in length: a longer one is cut to its newest values, a shorter one is
            padded on the left with missing values.
        contract: the model's.

    Returns:
        float64 of shape `(series, contract.input_length)`, NaN where unknown.

    Raises:
        HistoryError: no rows, rows that are no lists of numbers, values that are infinite or
            beyond `LARGEST_VALUE`, a row shorter than `contract.minimum_history`, or a row in
            whose window no value is known.
    """
    # Every row is checked before room is made for all of them.
    tails = [_tail(row, index, contract) for index, row in enumerate(_rows(histories))]
    windows = np.empty((len(tails), contract.input_length))
    for index, tail in enumerate(tails):
        begins = contract.input_length - tail.size
        windows[index, :begins] = np.nan
        windows[index, begins:] = tail
    return windows


def _rows(histories: Any) -> Sequence[Any]:
    if isinstance(histories, np.ndarray):
        if histories.ndim != 2:
            raise HistoryError(
                "Expected histories as rows of numbers, one row a series, received an array of "
                f"shape {histories.shape}."
            )
    elif not isinstance(histories, list | tuple):
        raise HistoryError(
            "Expected histories as a list of lists of numbers, one list a series, received: "
            f"{_shown(histories)}."
        )
    if len(histories) == 0:
        raise HistoryError("Expected at least one history, received none.")
    rows: Sequence[Any] = histories
    return rows


def _tail(row: Any, index: int, contract: Contract) -> Windows:
    """The newest values of one history, as many as the window takes."""
    values = _numbers(row, index)
    if values.size < contract.minimum_history:
        raise HistoryError(
            f"History {index} is too short: expected at least {contract.minimum_history} "
            f"values, received {values.size}."
        )
    tail = values[-contract.input_length :]
    # Counting costs a third of what NumPy's `any` and `all` do, and this runs for each request.
    if np.count_nonzero(np.abs(values) <= LARGEST_VALUE) < values.size:
        _check_unusual(values, tail, index)
    return tail


def _check_unusual(values: Windows, tail: Windows, index: int) -> None:
    """Refuse a history with values too large, or of which the window holds no known one."""
    too_large = np.abs(values) > LARGEST_VALUE
    if too_large.any():
        at = int(too_large.argmax())
        raise HistoryError(
            f"Expected values of at most {LARGEST_VALUE:g} in size, received {values[at]} at "
            f"position {at} of history {index}."
        )
    if np.isnan(tail).all():
        raise HistoryError(
            f"Expected at least one known value in the newest {tail.size} of history {index}, "
            "received none."
        )


def _numbers(row: Any, index: int) -> Windows:
    """One history as float64; slow per-value checks run only where something is wrong."""
    if not isinstance(row, list | tuple | np.ndarray):
        raise HistoryError(
            f"Expected history {index} to be a list of numbers, received: {_shown(row)}."
        )
    try:
        return _converted(row)
    except (TypeError, ValueError, OverflowError):
        return np.array([_number(value, index, at) for at, value in enumerate(row)], dtype=float)


def _converted(row: Sequence[Any] | Windows) -> Windows:
    """A row of numbers and None as float64, all at once.

    Raises:
        TypeError, OverflowError: it holds something else, which NumPy might take for a number.
    """
    if isinstance(row, np.ndarray):
        if row.dtype.kind not in "iuf" or row.ndim != 1:
            raise TypeError("needs a look at each value")
        return row.astype(np.float64)
    try:
        # Three times as fast as NumPy; refuses all but numbers and truth values.
        values = np.frombuffer(_packer(len(row)).pack(*row))
    except struct.error:
        _require_plain(row)
        return np.array(row, dtype=np.float64)
    if np.count_nonzero((values == 0) | (values == 1)):  # where a truth value would be found
        _require_plain(row)
    return values


def _require_plain(row: Sequence[Any]) -> None:
    if not PLAIN.issuperset(map(type, row)):
        raise TypeError("needs a look at each value")


@lru_cache(maxsize=64)
def _packer(count: int) -> struct.Struct:
    return struct.Struct(f"{count}d")


def _number(value: Any, index: int, at: int) -> float:
    if value is None:
        return np.nan
    if isinstance(value, int | float | np.number) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return np.inf
    raise HistoryError(
        "Expected numbers, or null for missing values, received "
        f"{_shown(value)} at position {at} of history {index}."
    )


def _shown(value: Any) -> str:
    """A received value, quoted and cut to a length that fits a message."""
    return _shortener.repr(value)


_shortener = reprlib.Repr()
_shortener.maxstring = _shortener.maxother = 40
