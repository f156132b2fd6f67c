"""The frames of HTTP/2 (RFC 9113) that an attacker needs, made by hand: no client would send them.

Header fields go as literals without Huffman coding and without indexing (RFC 7541, 6.2.2).
"""

from collections.abc import Sequence

DATA, HEADERS, RST_STREAM, SETTINGS_TYPE, PING_TYPE, CONTINUATION = 0x0, 0x1, 0x3, 0x4, 0x6, 0x9
END_STREAM, END_HEADERS = 0x1, 0x4
CANCEL = 0x8

Fields = Sequence[tuple[str, str]]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame: length of 24 bits, type, flags, stream's number, payload."""
    length = len(payload).to_bytes(3, "big")
    return length + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def field(name: str, value: str) -> bytes:
    """A header field, its name lower-case."""
    return b"\0" + _text(name) + _text(value)


def head(method: str, path: str, authority: str, fields: Fields = ()) -> bytes:
    """A request's block of header fields."""
    known = [(":method", method), (":scheme", "https"), (":path", path), (":authority", authority)]
    return b"".join(field(name, value) for name, value in [*known, *fields])


def opened(stream: int, block: bytes, *, ends: bool = True, whole: bool = True) -> bytes:
    """A stream's first frame; `ends` where no body follows, `whole` where no more head does."""
    return frame(HEADERS, END_STREAM * ends | END_HEADERS * whole, stream, block)


def continued(stream: int, block: bytes) -> bytes:
    """More of a head, and not its end."""
    return frame(CONTINUATION, 0, stream, block)


def reset(stream: int) -> bytes:
    """A stream given up."""
    return frame(RST_STREAM, 0, stream, CANCEL.to_bytes(4, "big"))


def _text(text: str) -> bytes:
    """Its length in a prefix of 7 bits, and it."""
    content, length, prefix = text.encode(), len(text.encode()), b""
    if length < 127:
        return bytes((length,)) + content
    prefix, length = b"\x7f", length - 127
    while length >= 128:
        prefix, length = prefix + bytes((length % 128 + 128,)), length // 128
    return prefix + bytes((length,)) + content


SETTINGS = frame(SETTINGS_TYPE, 0, 0)
PING = frame(PING_TYPE, 0, 0, b"whoareu?")
OPENING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SETTINGS
"""What a connection begins with."""
