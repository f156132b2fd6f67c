"""Numbers, timestamps and pasted rows in all notations that the page understands."""

from collections.abc import Callable, Sequence
from datetime import datetime
from random import Random

Notation = Callable[[Random, list[float]], str]

UNKNOWN = ("nan", "NaN", "null", "None", "NA", "n/a", "")
DIGITS = ("٠١٢٣٤٥٦٧٨٩", "۰۱۲۳۴۵۶۷۸۹", "०१२३४५६७८९", "０１２３４５６７８９")


def _joined(separator: str) -> Notation:
    return lambda _, values: separator.join(f"{value:g}" for value in values)


def _with_gaps(word: str) -> Notation:
    def written(dice: Random, values: list[float]) -> str:
        return ",".join(word if dice.random() < 0.1 else f"{value:g}" for value in values)

    return written


def _in_digits(digits: str) -> Notation:
    spelled = str.maketrans("0123456789", digits)
    return lambda _, values: ", ".join(str(int(value)).translate(spelled) for value in values)


def _formatted(form: str, separator: str = ", ") -> Notation:
    return lambda _, values: separator.join(format(value, form) for value in values)


NOTATIONS: tuple[Notation, ...] = (
    *map(_joined, (",", ", ", " ", "\n", "\r\n", "\t", " , ", ",\n", "  ", "\u00a0", "\u2009,")),
    *map(_with_gaps, UNKNOWN),
    *map(_in_digits, DIGITS),
    *map(_formatted, (".3f", "+.2f", ".4e", ".2E", ".0f", "g")),
    lambda _, values: "," + ",".join(map(str, values)) + ",",
    lambda _, values: ", ".join(str(-value) for value in values),
    lambda _, values: ",".join(f"{value * 1e7:.6e}" for value in values),
    lambda _, values: ",".join(f"{value / 1e9:.17g}" for value in values),
    lambda _, values: ",".join(f"{value:.1f}".replace("0.", ".") for value in values),
)

STARTS: tuple[Callable[[datetime], str], ...] = (
    *(lambda timestamp, form=form: timestamp.strftime(form) for form in (
        "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d", "%Y%m%dT%H%M", "%Y-%m-%d %H:%M:%S",
        "%Y-%m-%dT%H:%M:%S.000", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M+02:00", "%G-W%V-%u",
        "%Y-%m-%d %H:%M:%S-05:30", "%Y-%m-%dT%H:%M:%S.000000+00:00", "%Y%m%dT%H%M%SZ", "%Y%m%d",
        "  %Y-%m-%d %H:%M ", "%Y-%m-%d %H", "%Y-%m-%dT%H:%M:%S+0100",
    )),
)  # fmt: skip

WRONG_STARTS = (
    *("31.01.2026", "31/01/2026 13:00", "yesterday", "2026-02-30", "2026-13-01", "now", "13:00"),
    *(
        "Jan 31, 2026",
        "1 January 2026",
        "2026年1月31日",
        "vorgestern um 3",
        "1767225600000",
        "26-1-5",
    ),
    *("2026-01-31 25:00", "2026-01-31 1 pm", "0001-01-01", "Mon, 05 Jan 2026 10:00:00 GMT", "?"),
)


def table(
    at: int, dice: Random, name: str, timestamps: Sequence[datetime], values: Sequence[float]
) -> str:
    """Rows of timestamps and numbers as somebody pastes them, each time in another form."""
    separator = (",", ";", "\t", ", ", ";")[at % 5]
    timestamp = (
        "%Y-%m-%d %H:%M",
        "%Y-%m-%dT%H:%M:%S",
        "%Y-%m-%d %H:%M:%S+00:00",
        "%Y-%m-%dT%H:%MZ",
    )
    rows = [(moment.strftime(timestamp[at % 4]), f"{value:.1f}") for moment, value in
            zip(timestamps, values, strict=True)]  # fmt: skip
    if separator == ";":
        rows = [(moment, value.replace(".", ",")) for moment, value in rows]
    rows = [(moment, dice.choice(UNKNOWN) if dice.random() < 0.03 else v) for moment, v in rows]
    end = ("\n", "\r\n")[at % 2]
    if at % 3 == 0:
        return end.join(separator.join(row) for row in rows)
    if at % 3 == 1:
        return end.join(separator.join(row) for row in (("ds", "y"), *rows))
    named = [("unique_id", "ds", "y"), *((quoted(name), *row) for row in rows)]
    return end.join(separator.join(row) for row in named) + end


def quoted(name: str) -> str:
    """A name as a cell of a CSV."""
    return '"' + name.replace('"', '""') + '"' if any(c in name for c in ',;\t"') else name
