"""Who an answer comes from: the gateway that refused, or the app behind it."""

import json
import re

from benchmarks.protection.raw_requests import RawReply

BY_SIGNATURES, BY_LIST, BY_LIMITS, HUNG_UP = "signatures", "positive list", "limits", "hung up"
PASSED = "passed"

NONCE = re.compile(rb'nonce="[0-9a-f]+"')


def verdict(reply: RawReply) -> str:
    """What the gateway did with a request: one of the words above."""
    if reply.status is None:
        return HUNG_UP
    if not is_of_gateway(reply):
        return PASSED
    return {403: BY_SIGNATURES, 429: BY_LIMITS}.get(reply.status, BY_LIST)


def is_of_gateway(reply: RawReply) -> bool:
    """Whether it is one of the gateway's sentences, or a page of nginx's own.

    The gateway says each of its sentences under two names, for a page's scripts and for programs.
    """
    if b"<center>nginx" in reply.body or b"<h1>Kalecast</h1><p>" in reply.body:
        return True
    if (reply.status or 0) < 400:
        return False
    if not reply.body:
        return True  # the answer to HEAD; none of them reaches more than the page
    try:
        answer = json.loads(reply.body)
    except ValueError:
        return False
    return (
        isinstance(answer, dict) and "detail" in answer and answer["detail"] == answer.get("error")
    )


def is_same_page(body: bytes, page: bytes) -> bool:
    """Whether a body is the page that everybody gets, but for the number that is new in each."""
    return NONCE.sub(b"", body) == NONCE.sub(b"", page)
