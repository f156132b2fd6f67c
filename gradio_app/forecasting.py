"""The forecast of one history: what the page and the plain routes both call and show."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt
from coalescing import Asker
from forecast_client import ModelServer
from history import History, Window, shown, window

from kalecast.bundle import Contract
from kalecast.series import SeriesError, frequency_step

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Band:
    """The range in which a value lies with `percent` % probability."""

    percent: int
    lower: Floats
    upper: Floats


@dataclass(frozen=True)
class Forecast:
    """A history and what comes after it."""

    history: History
    window: Window
    contract: Contract
    values: Floats
    """Shape `(horizon, quantiles)`; the horizon is the customer's, not the model's."""

    @property
    def horizon(self) -> int:
        """Steps forecast."""
        return len(self.values)

    @cached_property
    def median(self) -> Floats:
        """The middle of what is expected: as likely to be too high as too low."""
        return self.values[:, self.contract.median]

    @cached_property
    def spread(self) -> float:
        """How far apart the values lie: what numbers in sentences are rounded by."""
        widest = float(np.median(np.ptp(self.values, axis=1)))
        return widest or float(np.ptp(self.median))

    @cached_property
    def bands(self) -> list[Band]:
        """One band for every pair of quantiles that lie symmetrically, the widest first."""
        quantiles = self.contract.quantiles
        pairs = [
            (low, high)
            for low, q in enumerate(quantiles)
            for high in range(low + 1, len(quantiles))
            if math.isclose(q + quantiles[high], 1.0, abs_tol=1e-9)
        ]
        return [
            Band(
                percent=round(100 * (quantiles[high] - quantiles[low])),
                lower=self.values[:, low],
                upper=self.values[:, high],
            )
            for low, high in pairs
        ]

    @property
    def step(self) -> timedelta:
        """Time from one value to the next."""
        return step_of(self.contract.frequency)

    def stamps(self, first: int, count: int) -> tuple[datetime, ...] | None:
        """Stamps of `count` steps from `first`; step 0 is the newest of the history."""
        begin = self._stamp(first)
        return None if begin is None else _stamps(begin, self.step, count)

    def stamp_texts(self, first: int, count: int, until: str) -> tuple[str, ...] | None:
        """The same as texts: `2026-01-31 13:00` until the `minutes`, or until the `seconds`."""
        begin = self._stamp(first)
        return None if begin is None else _stamp_texts(begin, self.step, count, until)

    def _stamp(self, at: int) -> datetime | None:
        if self.history.start is None:
            return None
        return self.history.start + (len(self.history.values) - 1 + at) * self.step

    @property
    def decimals(self) -> int:
        """Decimals that keep seven figures of the largest value: beyond them is noise."""
        largest = float(np.abs(self.values).max())
        return 6 if largest == 0 else min(max(0, 6 - math.floor(math.log10(largest))), 12)


# Most histories end at the present hour, so most forecasts begin at the same one.
@lru_cache(maxsize=256)
def _stamps(begin: datetime, step: timedelta, count: int) -> tuple[datetime, ...]:
    return tuple(begin + at * step for at in range(count))


@lru_cache(maxsize=256)
def _stamp_texts(begin: datetime, step: timedelta, count: int, until: str) -> tuple[str, ...]:
    return tuple(stamp.isoformat(" ", until) for stamp in _stamps(begin, step, count))


@lru_cache(maxsize=8)
def step_of(frequency: str) -> timedelta:
    """The length of one step."""
    step: timedelta = frequency_step(frequency).to_pytimedelta()
    return step


async def forecast(
    server: ModelServer, asker: Asker, history: History, horizon: int | None = None
) -> Forecast:
    """Forecast a history.

    Args:
        server: the model server.
        asker: who waits for it.
        history: what is known.
        horizon: steps to forecast, the model's whole horizon where left out.

    Raises:
        SeriesError: the history cannot be forecast from, or the horizon is out of range.
        ServiceDown, Overloaded, Refused: as for `ModelServer.forecast`.
    """
    contract = await server.contract()
    if horizon is not None and not 1 <= horizon <= contract.horizon:
        raise SeriesError(
            f"Expected a horizon from 1 to {contract.horizon}, received: {shown(horizon)}."
        )
    part = window(history, contract)
    contract, values = await server.forecast(part.values, asker)
    return Forecast(history, part, contract, values[: horizon or contract.horizon])
