"""Messages between the page and the process that reads for it: JSON, which can hold no code.

Who reads what customers send may fall to what is in it. So nothing that a reader answers is
unpickled; it can only be one of the values here.
"""

from collections.abc import Callable
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

import numpy as np
import orjson

from kalecast.data.series import SeriesError
from kalecast.page.history import History
from kalecast.page.outcomes import Unacceptable
from kalecast.page.request_bodies import Controls

KIND, VALUE = "kind", "value"


def _fields(value: Any) -> list[Any]:
    return [getattr(value, field.name) for field in fields(value)]


def _history(parts: list[Any]) -> History:
    history = History(*map(_restored, parts))
    return replace(history, notes=tuple(history.notes))


FORMS: dict[type, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    bytes: (lambda value: value.decode("latin-1"), lambda text: text.encode("latin-1")),
    datetime: (datetime.isoformat, datetime.fromisoformat),
    np.ndarray: (np.ndarray.tolist, lambda numbers: np.array(numbers, dtype=np.float64)),
    History: (_fields, _history),
    Controls: (_fields, lambda parts: Controls(*parts)),
    SeriesError: (str, SeriesError),
    RuntimeError: (str, RuntimeError),
    Unacceptable: (
        lambda error: [error.problem.status, str(error)],
        lambda parts: Unacceptable(*parts),
    ),
}
"""How values of a class are written, and read."""
READ = {kind.__name__: read for kind, (_, read) in FORMS.items()}
PLAIN = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME


def dumps(message: Any) -> bytes:
    """A message in one line; tuples become lists, NaN in an array null.

    Raises:
        TypeError: there is something in it that no message has.
    """
    content: bytes = orjson.dumps(message, default=_written, option=PLAIN)
    return content


def loads(line: bytes | bytearray) -> Any:
    """What `dumps` was given.

    Raises:
        ValueError: it is no such message.
    """
    try:
        return _restored(orjson.loads(line))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"Expected a message, received one with {error!r}.") from error


def _written(value: Any) -> dict[str, Any]:
    written, _ = FORMS[type(value)]
    return {KIND: type(value).__name__, VALUE: written(value)}


def _restored(value: Any) -> Any:
    if isinstance(value, list):
        return [_restored(part) for part in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {KIND, VALUE}:
        return READ[value[KIND]](value[VALUE])
    return {key: _restored(part) for key, part in value.items()}
