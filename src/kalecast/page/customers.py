"""Customers: who may request forecasts, with which keys, and how many.

A file says so:

    {"customers": [{"name": "acme", "per_minute": 600, "burst": 100, "keys": [
        {"id": "5f0c1e9a7b", "sha256": "…", "since": "2026-01-31", "until": "2027-01-31"}]}]}

A key is `kalecast_<id>_<secret>`, and the file has its secret's SHA-256. A secret is 256 random
bits, so it cannot be found by trying, even with the file: bcrypt and its like, which make trying
slow because passwords can be guessed, would add nothing but 50 ms to each request.

Needs the standard library alone, as `keys.py` does.
"""

import hashlib
import hmac
import json
import math
import re
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as midnight
from typing import Any

from kalecast.page.outcomes import Problem, TurnedAway
from kalecast.page.quotas import MOST_PER_MINUTE, Quota

KEY_PREFIX = "kalecast"

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
KEY_ID = re.compile(r"[a-z0-9]{1,32}")
SHA256 = re.compile(r"[0-9a-f]{64}")
CREDENTIALS = re.compile(
    rb"(?i:bearer) +%s_([a-z0-9]{1,32})_([A-Za-z0-9_-]{43})" % KEY_PREFIX.encode("ascii")
)

NO_KEY = "Expected your key in the header 'Authorization: Bearer kalecast_…'."
WRONG_KEY = "This key is not known, or not any more."
OLD_KEY = "This key has ended. Please use your newer one."


class CustomersError(ValueError):
    """The customers file is none; the text says where, and quotes nothing secret."""


@dataclass(frozen=True)
class Key:
    """One key of a customer; it may have several, which all hold."""

    id: str
    sha256: str
    """Of the secret's 43 characters, hexadecimal."""
    since: date | None = None
    """The day on which it was made."""
    until: date | None = None
    """The last day on which it holds, in UTC; None for ever."""


@dataclass(frozen=True)
class Customer:
    """A customer, under a name that says nothing to others."""

    name: str
    quota: Quota
    keys: tuple[Key, ...]


def read(text: str) -> tuple[Customer, ...]:
    """The customers out of a file's text.

    Raises:
        CustomersError: it is no such file.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CustomersError(f"Expected JSON: {error}.") from None
    _check_fields(content, "the file", {"customers"})
    listed = _items(content, "customers", "the file")
    customers = tuple(_customer(item, f"customers[{at}]") for at, item in enumerate(listed))
    _check_unique("name", [customer.name for customer in customers])
    _check_unique("key id", [key.id for customer in customers for key in customer.keys])
    return customers


def write(customers: tuple[Customer, ...]) -> str:
    """A file's text, of which `read` makes the same customers."""
    listed = [
        {
            "name": customer.name,
            "per_minute": customer.quota.per_minute,
            "burst": customer.quota.burst,
            "keys": [_written(key) for key in customer.keys],
        }
        for customer in customers
    ]
    return json.dumps({"customers": listed}, indent=2) + "\n"


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


def _written(key: Key) -> dict[str, str]:
    dates = {"since": key.since, "until": key.until}
    return {
        "id": key.id,
        "sha256": key.sha256,
        **{name: day.isoformat() for name, day in dates.items() if day},
    }


def _customer(item: Any, where: str) -> Customer:
    _check_fields(item, where, {"name", "per_minute", "burst", "keys"})
    name = _text(item, "name", where, NAME, "1 to 63 letters, digits, '.', '_' or '-'")
    per_minute = _number(item.get("per_minute"), f"{where}.per_minute")
    burst = _number(item.get("burst", per_minute), f"{where}.burst")
    keys = tuple(
        _key(key, f"{where}.keys[{at}]") for at, key in enumerate(_items(item, "keys", where))
    )
    return Customer(name, Quota(per_minute, burst), keys)


def _key(item: Any, where: str) -> Key:
    _check_fields(item, where, {"id", "sha256", "since", "until"})
    return Key(
        _text(item, "id", where, KEY_ID, "1 to 32 digits and small letters"),
        _text(item, "sha256", where, SHA256, "64 hexadecimal digits, in small letters"),
        _day(item.get("since"), f"{where}.since"),
        _day(item.get("until"), f"{where}.until"),
    )


def _check_fields(item: Any, where: str, known: set[str]) -> None:
    # An unknown field is a mistyped one, and a mistyped `until` a key that never ends.
    if not isinstance(item, dict):
        raise CustomersError(f"Expected {where} to be a JSON object, received {_kind(item)}.")
    if unknown := sorted(item.keys() - known):
        raise CustomersError(
            f"Expected in {where} the fields {', '.join(sorted(known))}, "
            f"received also {unknown[0][:40]!r}."
        )


def _items(item: dict[str, Any], name: str, where: str) -> list[Any]:
    found = item.get(name)
    if not isinstance(found, list):
        raise CustomersError(f"Expected a list {name!r} in {where}, received {_kind(found)}.")
    return found


def _text(item: dict[str, Any], name: str, where: str, form: re.Pattern[str], expected: str) -> str:
    # What was received is not shown: it may be a key entered instead of its hash.
    text = item.get(name)
    if not isinstance(text, str):
        raise CustomersError(f"Expected {where}.{name} as a text, received {_kind(text)}.")
    if not form.fullmatch(text):
        raise CustomersError(f"Expected {where}.{name} as {expected}, received another text.")
    return text


def _number(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise CustomersError(f"Expected {where} as a whole number, received {_kind(value)}.")
    if not 1 <= value <= MOST_PER_MINUTE:
        raise CustomersError(f"Expected {where} from 1 to {MOST_PER_MINUTE:,}, received {value}.")
    return value


def _day(value: Any, where: str) -> date | None:
    if value is None:
        return None
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        raise CustomersError(f"Expected {where} as a date such as 2027-01-31.") from None


def _check_unique(what: str, names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise CustomersError(f"Expected each {what} once, received {name!r} twice.")
        seen.add(name)


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "true or false"}
    return "none" if value is None else kinds.get(type(value), "a number")


def _invalid(text: str) -> TurnedAway:
    return TurnedAway(Problem(401, text, challenge='Bearer error="invalid_token"'))


def _end(key: Key) -> float:
    if key.until is None:
        return math.inf
    return (datetime.combine(key.until, midnight(), UTC) + timedelta(days=1)).timestamp()
