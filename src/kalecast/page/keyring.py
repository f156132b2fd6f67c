"""The keyring: whose key a request carries."""

import hashlib
import hmac
import math
import re
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from datetime import time as midnight

from kalecast.page.customers import KEY_PREFIX, Customer, Key
from kalecast.page.outcomes import Problem, TurnedAway

FORM = re.compile(
    rb"(?i:bearer) +%s_([a-z0-9]{1,32})_([A-Za-z0-9_-]{43})" % KEY_PREFIX.encode("ascii")
)

NO_KEY = "Expected your key in the header 'Authorization: Bearer kalecast_…'."
WRONG_KEY = "This key is not known, or not any more."
OLD_KEY = "This key has ended. Please use your newer one."


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
        found = FORM.fullmatch(authorization)
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
