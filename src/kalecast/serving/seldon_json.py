"""The Seldon protocol over HTTP: its JSON, in a body, form or query, and the answer."""

import re
from typing import Any
from urllib.parse import parse_qs

import orjson

from kalecast.artifact.runtime import Windows
from kalecast.serving.messages import shown
from kalecast.serving.model import ServedModel
from kalecast.serving.refusals import Refusal

FORM = "application/x-www-form-urlencoded"
PARTS = "multipart/form-data"
BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))')
PART_NAME = re.compile(rb'[;\s]name="([^"]{1,40})"')
MOST_PARTS = 16
LONGEST_HEAD = 1024
"""Bytes of a part's head that are looked at."""


def json_of(body: bytes | str) -> Any:
    """What a text of JSON holds.

    Raises:
        Refusal: it is none; strictly, so that no NaN comes in which other readers would refuse.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if "depth limit" in error.msg:
            raise Refusal("Expected rows of numbers, received lists nested too deeply.") from None
        text = body.encode(errors="replace") if isinstance(body, str) else body
        hint = ""
        if b"NaN" in text or b"Infinity" in text:
            hint = " JSON has no NaN or Infinity: write null for a missing value."
        raise Refusal(
            f"Expected JSON, received text that cannot be read as such: {error}.{hint}"
        ) from None


def message_of(body: bytes, content_type: str, query: bytes = b"") -> Any:
    """The message in a request.

    Seldon's own client sends its JSON as a form's field `json`; its parts (`data`, `meta`) may
    also come one by one, and a GET brings the whole in its address.

    Raises:
        Refusal: there is no JSON.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "application/json" or kind.endswith("+json"):
        return json_of(body)
    if kind == FORM or (query and not body):
        text = _field(body if kind == FORM else query) or _field(query)
        if text is None:
            raise Refusal("Expected JSON in the form's field 'json', received none.")
        return json_of(text)
    if kind == PARTS:
        return {name: json_of(part) for name, part in _parts(body, content_type).items()}
    received = shown(kind) if kind else "none"
    raise Refusal(f"Expected the content type application/json, received: {received}.", 415)


def _field(form: bytes) -> str | None:
    try:
        fields = parse_qs(form.decode("latin-1"), max_num_fields=16)
    except ValueError:
        raise Refusal("Expected a form with the field 'json', received too many fields.") from None
    return fields.get("json", [None])[0]


def _parts(body: bytes, content_type: str) -> dict[str, bytes]:
    """The named parts of a multipart form.

    Read by hand, in one pass: the standard library's parser takes minutes over a head made to
    keep it busy, and no other client would be answered meanwhile.
    """
    boundary = BOUNDARY.search(content_type)
    pieces = []
    if boundary:
        mark = b"--" + (boundary[1] or boundary[2]).encode("latin-1", "replace")
        pieces = body.split(mark, MOST_PARTS + 1)[1 : MOST_PARTS + 1]
    parts = {}
    for piece in pieces:
        head, _, content = piece.partition(b"\r\n\r\n")
        if name := PART_NAME.search(head[:LONGEST_HEAD]):
            parts[name[1].decode("latin-1")] = content.removesuffix(b"\r\n")
    if not parts:
        raise Refusal("Expected JSON in the form's part 'data', received no parts.")
    return parts


def answer(form: str, puid: str, model: ServedModel, forecast: Windows) -> bytes:
    """A forecast as a message, in the form of the request."""
    data: dict[str, Any] = {"names": model.columns}
    if form == "tensor":
        data["tensor"] = {"shape": list(forecast.shape), "values": forecast.reshape(-1)}
    else:
        data["ndarray"] = forecast
    meta = {"tags": model.tags, **({"puid": puid} if puid else {})}
    content: bytes = orjson.dumps({"data": data, "meta": meta}, option=orjson.OPT_SERIALIZE_NUMPY)
    return content
