"""Requests in Seldon messages: from its JSON, or its protobuf, to histories, and back.

The stock wrapper makes NumPy arrays of messages before a model sees them, which fails on
histories of different length and on missing values. So messages are taken as they come and read
here. Needs no seldon-core: protobuf messages are read by their fields' names.
"""

import math
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from kalecast.artifact.runtime import HistoryError

MOST_VALUES = 4 * 2**20 // 11
"""Values of protobuf a request, if it has 4 MiB of numbers: others are shorter, and each takes a
part of a microsecond to read."""
SHOWN = 8
"""Items of a list that no refusal shows in full."""
MOST_HISTORIES = 1024
"""Histories a request. A window is laid out for each, so an empty list must cost its sender
more than it costs the server."""


@dataclass(frozen=True)
class SeldonRequest:
    """Histories to forecast from, and the form in which the answer is expected."""

    histories: Any
    form: str
    """`ndarray` or `tensor`: the answer has the form of the request."""
    puid: str = ""
    """The sender's identifier of the request, which the answer repeats."""


def read_json(message: Any, most: int = MOST_HISTORIES) -> SeldonRequest:
    """The request in a message that came as JSON.

    Raises:
        HistoryError: it holds no `data` with either `ndarray` or `tensor`, or more than `most`
            histories.
    """
    if not isinstance(message, dict):
        raise HistoryError(f"Expected a JSON object with 'data', received: {shown(message)}.")
    data = message.get("data")
    if "data" not in message:
        raise HistoryError(
            "Expected 'data' with 'ndarray' or 'tensor', one history a row, "
            f"received: {_listed(message)}."
        )
    if not isinstance(data, dict):
        raise HistoryError(
            f"Expected 'data' to be an object with 'ndarray' or 'tensor', received: {shown(data)}."
        )
    forms = [form for form in ("ndarray", "tensor") if form in data]
    if len(forms) != 1:
        raise HistoryError(
            f"Expected 'data' with either 'ndarray' or 'tensor', received: {_listed(data)}."
        )
    (form,) = forms
    if form == "tensor":
        return SeldonRequest(_json_tensor(data[form], most), form, _puid(message))
    return SeldonRequest(rows_of(None, data[form], most), form, _puid(message))


def read_proto(message: Any, most: int = MOST_HISTORIES) -> SeldonRequest:
    """The request in a `SeldonMessage` of protobuf.

    Raises:
        HistoryError: as for `read_json`.
    """
    kind = message.WhichOneof("data_oneof") or "none"
    form = (message.data.WhichOneof("data_oneof") or "none") if kind == "data" else kind
    if form == "tensor":
        tensor = message.data.tensor
        values = np.array(tensor.values, dtype=np.float64)
        histories: Any = rows_of(list(tensor.shape), values, most)
    elif form == "ndarray":
        histories = _proto_rows(rows_of(None, message.data.ndarray.values, most))
    else:
        raise HistoryError(
            f"Expected 'data' with 'ndarray' or 'tensor', one history a row, received: {form}."
        )
    return SeldonRequest(histories, form, message.meta.puid)


def rows_of(shape: Any, values: Any, most: int) -> Any:
    """Values as rows: cut as `shape` says, or (None) as they come.

    Raises:
        HistoryError: the shape is none of rows, or not that of the values; or there are more
            rows than `most`. What is no row at all is refused when it is read.
    """
    if shape is not None:
        _check_shape(shape, values)
    count = shape[0] if shape is not None else len(values) if hasattr(values, "__len__") else 0
    if count > most:
        raise HistoryError(f"Expected at most {most} histories a request, received {count}.")
    if shape is None:
        return values
    length = shape[1]
    return [values[at : at + length] for at in range(0, len(values), length)]


def shown(value: Any) -> str:
    """A received value on one line, cut to a length that fits a message."""
    text = reprlib.repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _listed(content: dict[str, Any]) -> str:
    return shown(", ".join(content)) if content else "none"


def _puid(message: dict[str, Any]) -> str:
    meta = message.get("meta") or {}
    if not isinstance(meta, dict):
        raise HistoryError(f"Expected 'meta' to be an object, received: {shown(meta)}.")
    puid = meta.get("puid") or ""
    if not isinstance(puid, str):
        raise HistoryError(f"Expected 'meta.puid' to be a text, received: {shown(puid)}.")
    return puid


def _json_tensor(tensor: Any, most: int) -> Any:
    if not isinstance(tensor, dict) or not {"shape", "values"} <= tensor.keys():
        raise HistoryError(
            f"Expected 'tensor' to be an object with 'shape' and 'values', "
            f"received: {shown(tensor)}."
        )
    shape, values = tensor["shape"], tensor["values"]
    if not isinstance(values, list):
        raise HistoryError(f"Expected 'values' to be a list of numbers, received: {shown(values)}.")
    _check_shape(shape, values)
    if str in set(map(type, values)):
        # Protobuf's JSON, which Seldon's own client sends, writes NaN in a tensor as text.
        values = [None if value == "NaN" else value for value in values]
    return rows_of(shape, values, most)


def _check_shape(shape: Any, values: Sequence[Any]) -> None:
    if (
        not isinstance(shape, list)
        or len(shape) != 2
        or not all(type(size) is int and size > 0 for size in shape)
    ):
        raise HistoryError(
            "Expected 'shape' to be two positive whole numbers, of histories and of values in "
            f"each, received: {shown(shape)}."
        )
    if math.prod(shape) != len(values):
        raise HistoryError(
            f"Expected as many values as 'shape' says, {shown(shape)}, received {len(values)}."
        )


def _proto_rows(rows: Any) -> list[Any]:
    """Lists of protobuf's `Value` as Python's; counted before they are converted one by one.

    Raises:
        HistoryError: they are more than a request of numbers can hold.
    """
    count = sum(len(row.list_value.values) for row in rows)
    if count > MOST_VALUES:
        raise HistoryError(f"Expected at most {MOST_VALUES} values a request, received {count}.")
    return [
        [_plain(item) for item in row.list_value.values]
        if row.WhichOneof("kind") == "list_value"
        else _plain(row)
        for row in rows
    ]


def _plain(value: Any) -> Any:
    """A protobuf `Value` as Python's. Protobuf's own conversion refuses NaN.

    No list belongs here: only as much of one is converted as a refusal shows.
    """
    kind = value.WhichOneof("kind")
    if kind in (None, "null_value"):
        return None
    if kind == "list_value":
        return [_plain(item) for item in value.list_value.values[:SHOWN]]
    if kind == "struct_value":
        fields = value.struct_value.fields
        return {key: _plain(fields[key]) for key in islice(fields, SHOWN)}
    return getattr(value, kind)
