"""Histories: what a forecast starts from, read out of the text that a customer sends.

Text is one compact string of numbers, because a web application firewall spends its time per
JSON element: `310,295.5,,301.2`. Whole tables (files, pasted rows with a header) are read by
`kalecast.data.series`; errors of both are `SeriesError`, whose text is for the customer.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import orjson

from kalecast.artifact.contract import Contract
from kalecast.artifact.runtime import LARGEST_VALUE
from kalecast.data.columns import FIRST_YEAR, IN_THOUSANDS, LAST_YEAR, Numbers
from kalecast.data.series import SeriesError
from kalecast.data.steps import span_in_words, steps_in_words

MOST_VALUES = 20_000
"""Values in one history: more than two years of hours."""

LONGEST_TEXT = 64 * MOST_VALUES
"""Characters of a history in any notation: longer ones are refused before they are split."""

SEPARATOR = re.compile(r"\s*,\s*|\s+")
SEMICOLONS = re.compile(r"\s*;\s*|\s+")

JSON_NUMBERS = b"0123456789.,+-eE \t\r\n"

NAMELESS = "Your numbers"


@dataclass(frozen=True)
class History:
    """One series up to now: values a step apart, the newest last, NaN where unknown."""

    values: npt.NDArray[np.float64]
    start: datetime | None = None
    """Timestamp of the first value; None where the customer gave none."""
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
        """How many of the values are missing."""
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


def parse_history(text: str, start: str = "") -> History:
    """A history of numbers in a text, and of the time of the first.

    Raises:
        SeriesError: as `parse_numbers` and `parse_start`.
    """
    notes: list[str] = []
    values, first = parse_numbers(text, notes), parse_start(start)
    offset = first.utcoffset() if first is not None else None
    if first is None or offset is None:
        return History(values, first, notes=tuple(notes))
    utc = first.astimezone(UTC).replace(tzinfo=None)
    minutes = round(offset.total_seconds() / 60)
    return History(values, utc, notes=tuple(notes), utc_offset=minutes)


def parse_numbers(text: str, notes: list[str]) -> npt.NDArray[np.float64]:
    """Numbers separated by commas, semicolons, blanks or line ends; NaN for words such as `nan`.

    Nothing between two separators is a missing value as well; one at either end means nothing.
    Where something else separates, and none has more than one, commas are decimal.

    Args:
        text: the numbers.
        notes: gets what was decided about decimals.

    Raises:
        SeriesError: a part is no finite number or could mean several, there are none or too many.
    """
    text = text.strip()
    if (values := _as_json(text.removeprefix(",").removesuffix(",").strip())) is not None:
        return values
    if len(text) > LONGEST_TEXT:
        raise SeriesError(
            f"Expected at most {MOST_VALUES:,} numbers, received a text of {len(text):,} "
            "characters. The newest ones are enough."
        )
    tokens, listed = _tokens(text)
    if tokens == [""]:
        raise SeriesError("Expected numbers such as 310, 295.5, 301.2, received nothing.")
    if len(tokens) > MOST_VALUES:
        raise SeriesError(
            f"Expected at most {MOST_VALUES:,} numbers, received {len(tokens):,}. The newest "
            "ones are enough."
        )
    if listed and (part := _in_parts(tokens)) is not None:
        raise SeriesError(
            f"Expected numbers such as 310, 295.5, 301.2, received: {shown(tokens[part])} "
            f"{_place(part)}. Please write numbers without separators of thousands."
        )
    numbers = Numbers(tokens, _place, "numbers such as 310, 295.5, 301.2", notes)
    values = numbers.listed() if listed else numbers.read(local=";" in text)
    if (infinite := np.flatnonzero(np.isinf(values))).size:
        at = int(infinite[0])
        raise SeriesError(f"Expected finite numbers, received: {shown(tokens[at])} {_place(at)}.")
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
        timestamp = datetime.fromisoformat(text)
    except ValueError:
        raise SeriesError(
            "Expected the time of the first number such as 2026-01-31 13:00, received: "
            f"{shown(text)}."
        ) from None
    if not FIRST_YEAR <= timestamp.year <= LAST_YEAR:
        raise SeriesError(
            f"Expected a year from {FIRST_YEAR} to {LAST_YEAR}, received: {shown(text)}."
        )
    # As spreadsheets write a full hour: 00:59:59.999.
    return (timestamp + timedelta(microseconds=500_000)).replace(microsecond=0)


def shown(value: object) -> str:
    """A received value, quoted and cut to a length that fits a message."""
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "…'"


def _as_json(text: str) -> npt.NDArray[np.float64] | None:
    """The numbers, if they are just what JSON calls a list of numbers: four times as fast."""
    if not text.isascii() or text.encode().translate(None, JSON_NUMBERS):
        return None
    # Where some commas have a blank behind them and some none, they may be decimal ones.
    if text.count(",") != text.count(", ") and len(text.split(maxsplit=1)) > 1:
        return None
    try:
        values = np.array(orjson.loads(f"[{text}]"), dtype=np.float64)
    except orjson.JSONDecodeError:
        return None
    return values if 0 < values.size <= MOST_VALUES and np.isfinite(values).all() else None


def _tokens(text: str) -> tuple[list[str], bool]:
    """The parts of a text, and whether commas stood between them."""
    if ";" in text:
        return SEMICOLONS.split(text.removeprefix(";").removesuffix(";").strip()), False
    words = text.split()
    # Programs send commas alone, thousands at once; only people's texts need the closer look.
    if len(words) == 1 and "," in text:
        return text.removeprefix(",").removesuffix(",").split(","), True
    if "," not in text or _decimal_commas(words):
        return words or [""], False
    return SEPARATOR.split(text.removeprefix(",").removesuffix(",").strip()), True


def _decimal_commas(words: list[str]) -> bool:
    """Whether the commas of words stand within numbers, and not between them.

    Raises:
        SeriesError: they could do both.
    """
    bare = [word.strip(",") for word in words]
    within = [word for word in bare if "," in word]
    if not within:
        return False
    most = max(word.count(",") for word in within)
    may_be_one = most == 1 or all(map(IN_THOUSANDS.fullmatch, within))
    if bare == words and may_be_one:
        return True
    # Several numbers a line, with or without a comma at its end.
    between = [a.endswith(",") or b.startswith(",") for a, b in pairwise(words)]
    table = bare == words and min(word.count(",") for word in words[:-1]) > 1
    if not may_be_one and (table or all(between)):
        return False
    other = next(word for word in (*words, "") if word.strip(",") != within[0])
    raise SeriesError(
        "Expected commas either within numbers or between them, received both: "
        f"{shown(within[0])} and {shown(other)}."
    )


def _in_parts(tokens: list[str]) -> int | None:
    """The place of what follows a separator of thousands: `002` of `1,002`."""
    parts = (at for at, token in enumerate(tokens) if token[:1] == "0" and len(token) == 3)
    return next((at for at in parts if tokens[at].isdigit()), None)


def _place(at: int) -> str:
    return f"at place {at + 1}"


def _length(count: int, contract: Contract) -> str:
    """A history's length by its values and by the clock: `40 quarter-hours (10 hours)`."""
    steps = steps_in_words(count, contract.frequency)
    span = span_in_words(count, contract.frequency)
    return steps if steps == span else f"{steps} ({span})"
