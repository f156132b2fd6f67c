"""Customers: who may request forecasts, with which keys, and how many.

A file says so:

    {"customers": [{"name": "acme", "per_minute": 600, "burst": 100, "keys": [
        {"id": "5f0c1e9a7b", "sha256": "…", "since": "2026-01-31", "until": "2027-01-31"}]}]}

A key is `kalecast_<id>_<secret>`, and the file has its secret's SHA-256. A secret is 256 random
bits, so it cannot be found by trying, even with the file: bcrypt and its like, which make trying
slow because passwords can be guessed, would add nothing but 50 ms to each request.
"""

import hashlib
import hmac
import math
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as midnight
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from kalecast.page.outcomes import Problem, TurnedAway

KEY_PREFIX = "kalecast"
MOST_PER_MINUTE = 1_000_000

CREDENTIALS = re.compile(
    rb"(?i:bearer) +%s_([a-z0-9]{1,32})_([A-Za-z0-9_-]{43})" % KEY_PREFIX.encode("ascii")
)

NO_KEY = "Expected your key in the header 'Authorization: Bearer kalecast_…'."
WRONG_KEY = "This key is not known, or not any more."
OLD_KEY = "This key has ended. Please use your newer one."

NAME, KEY_ID, SHA256 = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$", r"^[a-z0-9]{1,32}$", r"^[0-9a-f]{64}$"
IN_WORDS = {
    NAME: "1 to 63 letters, digits, '.', '_' or '-'",
    KEY_ID: "1 to 32 digits and small letters",
    SHA256: "64 hexadecimal digits, in small letters",
}

Count = Annotated[int, Field(ge=1, le=MOST_PER_MINUTE)]


class CustomersError(ValueError):
    """The customers file is none; the text says where, and quotes nothing secret."""


@dataclass(frozen=True)
class Quota:
    """Forecasts a minute, and forecasts at once."""

    per_minute: int
    burst: int


class _Part(BaseModel):
    # An unknown field is a mistyped one, and a mistyped `until` a key that never ends.
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Key(_Part):
    """One key of a customer; it may have several, which all hold."""

    id: Annotated[str, Field(pattern=KEY_ID)]
    sha256: Annotated[str, Field(pattern=SHA256)]
    """Of the secret's 43 characters, hexadecimal."""
    since: date | None = None
    """The day on which it was made."""
    until: date | None = None
    """The last day on which it holds, in UTC; None for ever."""


class Customer(_Part):
    """A customer, under a name that says nothing to others."""

    name: Annotated[str, Field(pattern=NAME)]
    per_minute: Count
    burst: Count | None = None
    """At once as many as a minute brings, where nothing is said."""
    keys: tuple[Key, ...]

    @cached_property
    def quota(self) -> Quota:
        """How many forecasts it may request."""
        return Quota(self.per_minute, self.burst or self.per_minute)


class _File(_Part):
    customers: tuple[Customer, ...]

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        _check_unique("name", (customer.name for customer in self.customers))
        _check_unique("key id", (key.id for customer in self.customers for key in customer.keys))
        return self


def read(text: str) -> tuple[Customer, ...]:
    """The customers out of a file's text.

    Raises:
        CustomersError: it is no such file.
    """
    try:
        return _File.model_validate_json(text).customers
    except ValidationError as error:
        # Not chained: pydantic's own text repeats what was received, which may be a key.
        raise CustomersError(sentence(error)) from None


def write(customers: Iterable[Customer]) -> str:
    """A file's text, of which `read` makes the same customers."""
    return _File(customers=tuple(customers)).model_dump_json(indent=2, exclude_none=True) + "\n"


def _check_unique(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"each {what} once, received {name!r} twice")
        seen.add(name)


def sentence(error: ValidationError) -> str:
    """The first error, with the place of what was received but not itself."""
    first = error.errors(include_url=False)[0]
    context: dict[str, Any] = first.get("ctx", {})
    *parents, last = first["loc"] or ("",)
    parent = "".join(f"[{at}]" if isinstance(at, int) else f".{at}" for at in parents)[1:]
    where = f"{parent}[{last}]" if isinstance(last, int) else f"{parent}.{last}".strip(".")
    if first["type"] == "json_invalid":
        return f"Expected JSON: {context['error']}."
    if first["type"] == "value_error":
        return f"Expected {context['error']}."
    if first["type"] == "extra_forbidden":
        return f"Expected no other fields in {parent or 'the file'}, received also {last!r:.40}."
    if first["type"] == "missing":
        return f"Expected {where}, received none."
    if first["type"] == "string_pattern_mismatch":
        return f"Expected {where} as {IN_WORDS[context['pattern']]}, received another text."
    expected = first["msg"].removeprefix("Input should be ")
    return f"Expected {where or 'the file'} to be {expected}, received {_kind(first['input'])}."


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    return "none" if value is None else kinds.get(type(value), "a number")


@dataclass(frozen=True)
class _Held:
    digest: bytes
    customer: Customer | None
    ends: float = math.inf
    """Seconds since 1970 from which on it does not hold any more."""


class Keyring:
    """All keys of all customers."""

    def __init__(self, customers: tuple[Customer, ...]) -> None:
        self._held = {
            key.id.encode(): _Held(bytes.fromhex(key.sha256), customer, _end(key))
            for customer in customers
            for key in customer.keys
        }
        # Compared with where an id is unknown, so that the time to refuse reveals no ids.
        self._unknown = _Held(secrets.token_bytes(32), None)

    def customer(self, authorization: bytes | None) -> Customer:
        """Whose key it is.

        Args:
            authorization: the header's value; None where there is none.

        Raises:
            TurnedAway: it is unknown, or has expired.
        """
        if authorization is None:
            raise TurnedAway(Problem(401, NO_KEY, challenge="Bearer"))
        found = CREDENTIALS.fullmatch(authorization)
        if found is None:
            raise _invalid(NO_KEY)
        identity, secret = found.groups()
        held = self._held.get(identity, self._unknown)
        is_right = hmac.compare_digest(hashlib.sha256(secret).digest(), held.digest)
        if not is_right or held.customer is None:
            raise _invalid(WRONG_KEY)
        if time.time() >= held.ends:  # said only to a caller who has the secret
            raise _invalid(OLD_KEY)
        return held.customer


def _invalid(text: str) -> TurnedAway:
    return TurnedAway(Problem(401, text, challenge='Bearer error="invalid_token"'))


def _end(key: Key) -> float:
    if key.until is None:
        return math.inf
    return (datetime.combine(key.until, midnight(), UTC) + timedelta(days=1)).timestamp()
