"""The Seldon protocol over HTTP: its JSON, whichever way it was sent, and the answer."""

import email.parser
import email.policy
from typing import Any
from urllib.parse import parse_qs

import orjson
from bodies import json_of
from messages import shown
from refusals import Refusal
from serving import ServedModel

from kalecast.runtime import Windows

FORM = "application/x-www-form-urlencoded"
PARTS = "multipart/form-data"


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
    """The named parts of a multipart form."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1", "replace")
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    parts = {}
    for part in message.iter_parts() if message.is_multipart() else ():
        name = part.get_param("name", header="content-disposition")
        if isinstance(name, str):
            content = part.get_payload(decode=True)
            parts[name] = content if isinstance(content, bytes) else b""
    if not parts:
        raise Refusal("Expected JSON in the form's part 'data', received no parts.")
    return parts


def answer(form: str, puid: str, model: ServedModel, forecast: Windows) -> bytes:
    """A forecast as a message, in the form of the question."""
    data: dict[str, Any] = {"names": model.columns}
    if form == "tensor":
        data["tensor"] = {"shape": list(forecast.shape), "values": forecast.reshape(-1)}
    else:
        data["ndarray"] = forecast
    meta = {"tags": model.tags, **({"puid": puid} if puid else {})}
    return orjson.dumps({"data": data, "meta": meta}, option=orjson.OPT_SERIALIZE_NUMPY)
