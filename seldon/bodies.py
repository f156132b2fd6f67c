"""Bodies of HTTP requests: read within limits, then JSON whichever way it was sent."""

import asyncio
import email.parser
import email.policy
from typing import Any
from urllib.parse import parse_qs

import orjson
from configuration import Configuration
from exchange import ClientGone, Request
from messages import shown
from refusals import Overloaded, Refusal

FORM = "application/x-www-form-urlencoded"
PARTS = "multipart/form-data"


class BodyReader:
    """Reads bodies: none larger than it may be, nor all together.

    Args:
        limits: what they are.
    """

    def __init__(self, limits: Configuration) -> None:
        self._limits = limits
        self._held = 0

    async def read(self, request: Request) -> bytes:
        """A request's body, within limits whatever its header says.

        Raises:
            Refusal: it is too large, there is no room for it, or it does not arrive in time.
            ClientGone: the client hung up meanwhile.
        """
        most = self._limits.max_body
        declared = request.headers.get(b"content-length", b"0")
        if not declared.isdigit() or int(declared[:20]) > most:
            raise _too_large(most)
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.request_seconds):
                while True:
                    message = await request.receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGone
                    body += message["body"]
                    self._held += len(message["body"])
                    if len(body) > most:
                        raise _too_large(most)
                    if self._held > self._limits.max_bodies:
                        raise Overloaded
                    if not message.get("more_body"):
                        return bytes(body)
        except TimeoutError:
            raise Refusal("The request did not arrive in time.", 408) from None
        finally:
            self._held -= len(body)


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
            hint = " JSON has no NaN or Infinity: write null where a value is unknown."
        raise Refusal(
            f"Expected JSON, received text that cannot be read as such: {error}.{hint}"
        ) from None


def seldon_message(body: bytes, content_type: str, query: bytes = b"") -> Any:
    """The message in a request of the Seldon protocol.

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


def _too_large(most: int) -> Refusal:
    return Refusal(f"Expected a request of at most {most} bytes, received a larger one.", 413)
