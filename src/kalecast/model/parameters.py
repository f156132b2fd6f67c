"""Which values the pipeline's parameters take: known before a minute is spent on them.

Of each parameter its type and range, and of those that depend on each other how. What depends on
the data is for the pipeline's second step to say (`kalecast.data.windows.require_learnable`).
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from kalecast.artifact.store import StoreError, check_name

SHORTEST_WINDOW = 4
"""Seasons that a window must hold, so that simple forecasts can be tried inside it."""

LARGEST_BATCH = 2**27
"""Values of a training step's windows together: a GiB."""

KNOWN_FREQUENCIES = frozenset({"h", "D", "15min", "30min"})
"""Need no pandas to be looked up, which takes longer than all other checks."""


class ParameterError(ValueError):
    """A parameter's value is none that the pipeline takes; says which are."""


@dataclass(frozen=True)
class Whole:
    """Whole numbers in a range, both ends included."""

    low: int
    high: int

    def __call__(self, name: str, value: object) -> None:
        """Raise a `ParameterError` for any other value."""
        fits = isinstance(value, int) and not isinstance(value, bool)
        if not (fits and self.low <= value <= self.high):  # type: ignore[operator]
            raise ParameterError(
                f"Expected {name} to be a whole number from {self.low:,} to {self.high:,}, "
                f"received: {value}."
            )


@dataclass(frozen=True)
class Real:
    """Numbers in a range, of which an end may be left out."""

    low: float
    high: float
    with_low: bool = True
    with_high: bool = True

    def __call__(self, name: str, value: object) -> None:
        """Raise a `ParameterError` for any other value."""
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        if not (fits and self._holds(value)):  # type: ignore[arg-type]
            low = [f"{'from' if self.with_low else 'above'} {self.low:,g}"]
            ends = low if math.isfinite(self.low) else []
            ends.append(f"{'up to' if self.with_high else 'below'} {self.high:,g}")
            raise ParameterError(
                f"Expected {name} to be a number {' and '.join(ends)}, received: {value}."
            )

    def _holds(self, value: float) -> bool:
        at_end = (value == self.low and self.with_low) or (value == self.high and self.with_high)
        return math.isfinite(value) and (at_end or self.low < value < self.high)


def _text(form: str, expected: str) -> Callable[[str, object], None]:
    def check(name: str, value: object) -> None:
        if not (isinstance(value, str) and re.fullmatch(form, value)):
            raise ParameterError(f"Expected {name} to be {expected}, received: {value!r}.")

    return check


def _place(name: str, value: object, *schemes: str) -> None:
    text = str(value)
    scheme = urlsplit(text).scheme
    if not text.strip() or (len(scheme) > 1 and scheme not in schemes):
        *some, last = ["a path", *(f"an {scheme}: URI" for scheme in schemes)]
        raise ParameterError(
            f"Expected {name} to be {', '.join(some)} or {last}, received: {text[:80]!r}."
        )


def _frequency(name: str, value: object) -> None:
    if value in KNOWN_FREQUENCIES:
        return
    from kalecast.data.frequency import frequency_of
    from kalecast.data.table_files import SeriesError

    try:
        frequency_of(str(value))
    except SeriesError as error:
        raise ParameterError(f"{name}: {error}") from error


def _model_name(name: str, value: object) -> None:
    try:
        check_name(str(value))
    except StoreError as error:
        raise ParameterError(f"{name}: {error}") from error


def _flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise ParameterError(f"Expected {name} to be true or false, received: {value}.")


CHECKS: Mapping[str, Callable[[str, object], None]] = {
    "data": lambda name, value: _place(name, value, "s3"),
    "frequency": _frequency,
    "season": Whole(1, 10_000),
    "input_length": Whole(1, 20_000),
    "horizon": Whole(1, 10_000),
    "minimum_history": Whole(1, 20_000),
    "width": Whole(1, 8192),
    "hour_width": Whole(1, 1024),
    "blocks": Whole(1, 32),
    "dropout": Real(0.0, 1.0, with_high=False),
    "epochs": Whole(1, 100_000),
    "steps_per_epoch": Whole(1, 100_000),
    "batch_size": Whole(1, 65_536),
    "learning_rate": Real(0.0, 10.0, with_low=False),
    "weight_decay": Real(0.0, 10.0),
    "patience": Whole(1, 100_000),
    "minutes": Real(0.0, 100_000.0, with_low=False),
    "seed": Whole(0, 2**32 - 1),
    "pretrained": _flag,
    "test_windows": Whole(1, 10_000),
    "validation_steps": Whole(1, 1_000_000),
    "gate_margin": Real(-math.inf, 100.0, with_high=False),
    "model_name": _model_name,
    "model_store": lambda name, value: _place(name, value, "file", "s3"),
    "namespace": _text(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", "a namespace's name"),
    "server_image": _text(r"[^\s'\"\\]+", "an image such as 'kalecast/model-server:0.1.0'"),
    "seldon_scales": _flag,
    "canary_percent": Whole(0, 50),
    "canary_minutes": Real(0.0, 10_000.0, with_low=False),
}
"""What each parameter of `notebooks/forecast_pipeline.ipynb` must be."""


def check_parameters(**values: object) -> None:
    """Raise a `ParameterError` that names the first value which cannot be.

    Args:
        values: parameters by name; what is none of the pipeline's is not looked at.
    """
    for name, value in values.items():
        if name in CHECKS:
            CHECKS[name](name, value)
    _check_window(values)


def _check_window(values: Mapping[str, object]) -> None:
    season, length = values.get("season"), values.get("input_length")
    if isinstance(season, int) and isinstance(length, int):
        if length % season or length < SHORTEST_WINDOW * season:
            raise ParameterError(
                f"Expected input_length to be a multiple of season={season}, {SHORTEST_WINDOW} of "
                f"them or more, received: {length}. {_nearest(length, season)}"
            )
        shortest = values.get("minimum_history")
        if isinstance(shortest, int) and shortest > length:
            raise ParameterError(
                f"Expected minimum_history to be at most input_length={length}, received: "
                f"{shortest}."
            )
        batch = values.get("batch_size")
        if isinstance(batch, int) and batch * length > LARGEST_BATCH:
            raise ParameterError(
                f"Expected batch_size times input_length to be at most {LARGEST_BATCH:,}, "
                f"received: {batch:,} times {length:,}."
            )


def _nearest(length: int, season: int) -> str:
    """The window next to a length that can be."""
    fits = max(SHORTEST_WINDOW, round(length / season)) * season
    return f"The nearest is {fits}."
