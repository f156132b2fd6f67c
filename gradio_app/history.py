"""Histories: what a forecast starts from, read out of the text that a customer sends.

Text is one compact string of numbers, because a web application firewall spends its time per
JSON element: `310,295.5,,301.2`. Whole tables (files, pasted rows with a header) are read by
`kalecast.series`; errors of both are `SeriesError`, whose text is for the customer.
"""

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

import numpy as np
import numpy.typing as npt
import orjson

from kalecast.bundle import Contract
from kalecast.runtime import LARGEST_VALUE
from kalecast.series import UNKNOWN, SeriesError
from kalecast.steps import span_in_words, steps_in_words

MOST_VALUES = 20_000
"""Values in one history: more than two years of hours."""

SPACE = re.compile(r"\s")
SEPARATOR = re.compile(r"\s*,\s*|\s+")

JSON_NUMBERS = b"0123456789.,+-eE \t\r\n"

NAMELESS = "Your numbers"


@dataclass(frozen=True)
class History:
    """One series up to now: values a step apart, the newest last, NaN where unknown."""

    values: npt.NDArray[np.float64]
    start: datetime | None = None
    """Stamp of the first value; None where the customer gave none."""
    name: str = NAMELESS
    title: str = ""
    """What the page calls it, where that is not its name."""
    notes: tuple[str, ...] = ()
    """What the reader says of the table: what was used, ignored, rounded, taken as missing."""
    utc_offset: int | None = None
    """Minutes east of UTC of the newest timestamp as it was received; None where it had none."""


@dataclass(frozen=True)
class Window:
    """The newest part of a history, as far as the model looks back."""

    values: npt.NDArray[np.float64]
    length: int
    """Steps that the model could look at; `values` may be shorter."""

    @property
    def unknown(self) -> int:
        """How many of the values are unknown."""
        return int(np.isnan(self.values).sum())

    @cached_property
    def known(self) -> npt.NDArray[np.float64]:
        """The known values."""
        return self.values[~np.isnan(self.values)]

    @cached_property
    def largest(self) -> float:
        """The largest known value in size."""
        return float(np.abs(self.known).max())


def window(history: History, contract: Contract) -> Window:
    """The part of `history` that the model will see.

    Raises:
        SeriesError: it is too short for the model, knows no value or one too large.
    """
    count = len(history.values)
    if count < contract.minimum_history:
        raise SeriesError(
            f"This history is too short: it has {_length(count, contract)}, and the forecast "
            f"needs at least {_length(contract.minimum_history, contract)}."
        )
    part = Window(history.values[-contract.input_length :], contract.input_length)
    if part.known.size == 0:
        raise SeriesError(
            f"The last {_length(len(part.values), contract)} of this history hold no value at "
            "all, so there is nothing to forecast from."
        )
    if part.largest > LARGEST_VALUE:
        raise SeriesError(f"Expected values of at most {LARGEST_VALUE:g} in size.")
    return part


def parse_history(numbers: str, start: str = "") -> History:
    """A history of numbers in a text, and of the time of the first.

    Raises:
        SeriesError: as `parse_numbers` and `parse_start`.
    """
    values, first = parse_numbers(numbers), parse_start(start)
    offset = first.utcoffset() if first is not None else None
    if first is None or offset is None:
        return History(values, first)
    utc = first.astimezone(UTC).replace(tzinfo=None)
    return History(values, utc, utc_offset=round(offset.total_seconds() / 60))


def parse_numbers(text: str) -> npt.NDArray[np.float64]:
    """Numbers separated by commas, spaces or line ends; NaN for words such as `nan`.

    Nothing between two commas is unknown as well. A comma at either end means nothing.

    Raises:
        SeriesError: a part is no finite number, or there are none or too many.
    """
    text = text.strip().removeprefix(",").removesuffix(",").strip()
    if (values := _as_json(text)) is not None:
        return values
    # Programs send commas alone, thousands at once; only people's texts need the slow split.
    tokens = text.split(",") if not SPACE.search(text) else SEPARATOR.split(text)
    if tokens == [""]:
        raise SeriesError("Expected numbers such as 310, 295.5, 301.2, received nothing.")
    if len(tokens) > MOST_VALUES:
        raise SeriesError(
            f"Expected at most {MOST_VALUES:,} numbers, received {len(tokens):,}. The newest "
            "few weeks are enough."
        )
    values = _fast(tokens)
    if "_" in text or values is None or np.isinf(values).any():
        values = np.array([_number(token, at) for at, token in enumerate(tokens)])
    return values


def parse_start(text: str) -> datetime | None:
    """The timestamp of the first value, to the second, with the UTC offset that it came with.

    Raises:
        SeriesError: the text is no date and time.
    """
    text = text.strip()
    if not text:
        return None
    try:
        stamp = datetime.fromisoformat(text)
    except ValueError:
        raise SeriesError(
            "Expected the time of the first number such as 2026-01-31 13:00, received: "
            f"{shown(text)}."
        ) from None
    if not 1000 <= stamp.year <= 9000:
        raise SeriesError(f"Expected a year from 1000 to 9000, received: {shown(text)}.")
    return stamp.replace(microsecond=0)


def shown(value: object) -> str:
    """A received value, quoted and cut to a length that fits a message."""
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "…'"


def _as_json(text: str) -> npt.NDArray[np.float64] | None:
    """The numbers, if they are just what JSON calls a list of numbers: four times as fast."""
    if not text.isascii() or text.encode().translate(None, JSON_NUMBERS):
        return None
    try:
        values = np.array(orjson.loads(f"[{text}]"), dtype=np.float64)
    except orjson.JSONDecodeError:
        return None
    return values if 0 < values.size <= MOST_VALUES and np.isfinite(values).all() else None


def _fast(tokens: list[str]) -> npt.NDArray[np.float64] | None:
    """The numbers, if each token is one or empty; None where a closer look is needed."""
    try:
        return np.array([float(token or "nan") for token in tokens])
    except ValueError:
        return None


def _number(token: str, at: int) -> float:
    try:
        # Python reads "1_000" as a thousand; nobody else does.
        number = float(token) if "_" not in token else math.inf
    except ValueError:
        if token.lower() in UNKNOWN:
            return math.nan
        raise SeriesError(
            f"Expected numbers such as 310, 295.5, 301.2, received: {shown(token)} at place "
            f"{at + 1}."
        ) from None
    if math.isinf(number):
        raise SeriesError(f"Expected finite numbers, received: {shown(token)} at place {at + 1}.")
    return number


def _length(count: int, contract: Contract) -> str:
    """A history's length by its values and by the clock: `40 quarter-hours (10 hours)`."""
    steps = steps_in_words(count, contract.frequency)
    span = span_in_words(count, contract.frequency)
    return steps if steps == span else f"{steps} ({span})"
