"""Checksum and signature of a model file, inside the file, so that it stays one file.

An ONNX file is one protobuf message, and messages may be put one after the other: what follows
adds to what came before. So a file ends with one or two entries of its own metadata, each of
fixed length, each about all bytes before it:

| key | value | who can write it |
|---|---|---|
| `kalecast.checksum` | `sha256:` and 64 hexadecimal digits | anyone; it finds damage |
| `kalecast.signature` | `hmac-sha256:` and 64 digits | who has the key |

The key is a text of 32 bytes or more in `KALECAST_MODEL_KEY`, or in the file that
`KALECAST_MODEL_KEY_FILE` names. Several may stand there, apart by spaces or lines: the first
signs, each of them verifies, so that a key can be changed while servers run.

A signature says who wrote a file, not that it is the newest one: an older file of the same key
passes too.
"""

import hashlib
import hmac
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

KEY_VARIABLE = "KALECAST_MODEL_KEY"
SHORTEST_KEY = 32
"""Bytes: as long as the digest, so that the key is not the part that is easier to guess."""

METADATA_FIELD = b"\x72"
"""Number 14, `metadata_props` of ONNX's ModelProto, a message."""
CHECKSUM = ("kalecast.checksum", "sha256:")
SIGNATURE = ("kalecast.signature", "hmac-sha256:")

Keys = Sequence[bytes]


class SignatureError(ValueError):
    """A model file is damaged or not signed as required, or the key is none."""


def with_checksum(model_file: bytes) -> bytes:
    """The model file with a checksum at its end, in place of what it ended with."""
    model = unsigned(model_file)
    return model + _entry(CHECKSUM, hashlib.sha256(model).hexdigest())


def signed(model_file: bytes, keys: Keys) -> bytes:
    """The model file with a checksum and, where there is a key, the first key's signature."""
    if not keys:
        return model_file
    checked = with_checksum(model_file)
    return checked + _entry(SIGNATURE, _mac(checked, keys[0]))


def unsigned(model_file: bytes) -> bytes:
    """The model file without checksum and signature."""
    return _without(_without(model_file, SIGNATURE)[0], CHECKSUM)[0]


def verify(model_file: bytes, keys: Keys) -> bool:
    """Hold a model file against its signature, or without a key against its checksum.

    Returns:
        Whether there was one: a file of an older library has none, and passes without a key.

    Raises:
        SignatureError: it is not as it was written, or by another author.
    """
    content, signature = _without(model_file, SIGNATURE)
    if keys:
        _verify_signature(content, signature, keys)
        return True
    model, checksum = _without(content, CHECKSUM)
    if checksum is None:
        return False
    if not hmac.compare_digest(hashlib.sha256(model).hexdigest().encode(), checksum):
        raise SignatureError(
            "Expected the content that its checksum was made of, received another: the file is "
            "damaged. Publish it again."
        )
    return True


def _verify_signature(content: bytes, signature: bytes | None, keys: Keys) -> None:
    if signature is None:
        raise SignatureError(
            f"Expected a file signed with the key of {KEY_VARIABLE}, received one without "
            f"signature. Publish it where {KEY_VARIABLE} is set."
        )
    # All keys are tried, so that the time says nothing about which one it was.
    matches = [hmac.compare_digest(_mac(content, key).encode(), signature) for key in keys]
    if not any(matches):
        raise SignatureError(
            f"Expected a file signed with the key of {KEY_VARIABLE}, received one that was "
            "signed with another key, or changed since."
        )


def keys_from(
    environment: Mapping[str, str] = os.environ, variable: str = KEY_VARIABLE
) -> tuple[bytes, ...]:
    """The keys that the environment names; none where it names none.

    Args:
        environment: the variables.
        variable: the one that holds them, or with `_FILE` at its end names their file.

    Raises:
        SignatureError: the file with them cannot be read, or a key is too short.
    """
    text = environment.get(variable, "")
    source, path = variable, environment.get(f"{variable}_FILE", "")
    if not text and path:
        source = f"the file of {variable}_FILE"
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no text"
            raise SignatureError(f"Expected a key in {source}, '{path}': {reason}.") from error
        if not text.strip():
            raise SignatureError(f"Expected a key in {source}, '{path}': it is empty.")
    keys = tuple(key.encode() for key in text.split())
    for key in keys:
        if len(key) < SHORTEST_KEY:
            raise SignatureError(
                f"Expected a key of at least {SHORTEST_KEY} bytes in {source}, received one of "
                f"{len(key)}. `openssl rand -hex 32` makes one."
            )
    return keys


def _mac(content: bytes, key: bytes) -> str:
    return hmac.new(key, content, hashlib.sha256).hexdigest()


def _entry(kind: tuple[str, str], digest: str) -> bytes:
    """An entry of the metadata in protobuf's wire format; all lengths fit one byte."""
    key, value = kind[0].encode(), (kind[1] + digest).encode()
    pair = b"\x0a" + bytes([len(key)]) + key + b"\x12" + bytes([len(value)]) + value
    return METADATA_FIELD + bytes([len(pair)]) + pair


def _without(content: bytes, kind: tuple[str, str]) -> tuple[bytes, bytes | None]:
    """What stands before the entry at the end, and the entry's digest where there is one."""
    shape = _entry(kind, "0" * 64)
    begins = len(content) - len(shape)
    digest = content[-64:]
    # One comparison, for the length and the place of each part is fixed.
    as_written = begins >= 0 and content[begins:-64] == shape[:-64]
    if not as_written or not re.fullmatch(b"[0-9a-f]{64}", digest):
        return content, None
    return content[:begins], digest
