"""Bodies of HTTP requests: read within limits, and as JSON."""

import asyncio
from typing import Any

import orjson

from kalecast.serving.configuration import Configuration
from kalecast.serving.exchange import ClientGone, Request
from kalecast.serving.messages import shown
from kalecast.serving.refusals import NotDecoded, Refusal, ServerOverloaded

LATE = "late"
"""Why a task is cancelled that waits too long for its body."""


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
            Refusal: it is too large or compressed, there is no room for it, or it does not
                arrive in time.
            ClientGone: the client hung up meanwhile.
        """
        most = self._limits.max_body
        coding = request.headers.get(b"content-encoding", b"identity").strip().lower()
        if coding not in (b"identity", b""):
            raise NotDecoded(shown(coding.decode("latin-1")))
        declared = request.headers.get(b"content-length", b"0")
        if not declared.isdigit() or int(declared[:20]) > most:
            raise _too_large(most)
        body = bytearray()
        # What `asyncio.timeout` does, at a third of its cost.
        task = asyncio.current_task()
        assert task is not None
        late = asyncio.get_running_loop().call_later(
            self._limits.request_seconds, task.cancel, LATE
        )
        try:
            while True:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                body += message["body"]
                self._held += len(message["body"])
                if len(body) > most:
                    raise _too_large(most)
                if self._held > self._limits.max_bodies:
                    raise ServerOverloaded
                if not message.get("more_body"):
                    return bytes(body)
        except asyncio.CancelledError as error:
            if LATE not in error.args:
                raise
            task.uncancel()
            raise Refusal("The request did not arrive in time.", 408) from None
        finally:
            late.cancel()
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
            hint = " JSON has no NaN or Infinity: write null for a missing value."
        raise Refusal(
            f"Expected JSON, received text that cannot be read as such: {error}.{hint}"
        ) from None


def _too_large(most: int) -> Refusal:
    return Refusal(f"Expected a request of at most {most} bytes, received a larger one.", 413)
