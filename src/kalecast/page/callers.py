"""Callers: authentication and rate limits.

Programs carry a key (`customers.py`). People are signed in by a proxy before the page, which names
them in a header; that no other sets this header is the proxy's business. Where neither is set
up, every caller may: on one's own machine there are no accounts.
"""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

from starlette.types import Scope

from kalecast.page import background, customers, metrics, quotas, watched_file
from kalecast.page.customers import Keyring
from kalecast.page.gradio_protocol import PUBLIC_FILES
from kalecast.page.outcomes import Problem, TurnedAway
from kalecast.page.quotas import Buckets, Quota, Replicas
from kalecast.page.settings import Settings
from kalecast.page.watched_file import WatchedFile

logger = logging.getLogger(__name__)

SIGNED_OUT = "You are not signed in, or not any more. Please load this page again."

SPENT = "You have {} a minute and have asked for more; please ask again in {}."

LONGEST_NAME = 256
"""Characters of the name that a signed-in person has with the proxy."""


class Callers:
    """Authenticates callers, and counts their requests.

    Raises:
        CustomersError: the customers file cannot be read.
    """

    def __init__(self, settings: Settings) -> None:
        self._file = _customers_file(settings.customers) if settings.customers else None
        self._header = settings.signed_in_header.encode("ascii")
        self._replicas = Replicas(settings.quota_replicas)
        self._person = Quota(settings.page_quota, settings.page_quota)
        self._programs = Buckets(lambda: self._replicas.count)
        self._people = Buckets(lambda: self._replicas.count)
        if bool(self._file) != bool(self._header):
            logger.warning(_half_open(settings))

    @contextlib.asynccontextmanager
    async def followed(self) -> AsyncIterator[None]:
        """Know of new keys and replicas while the block runs."""
        tasks = []
        if self._replicas.is_followed:
            seconds = quotas.LOOK_SECONDS
            tasks.append(background.repeated(self._replicas.look, seconds, "replicas"))
        if self._file:
            look, seconds = partial(asyncio.to_thread, self._file.look), watched_file.LOOK_SECONDS
            tasks.append(background.repeated(look, seconds, "customers"))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()

    def program(self, scope: Scope) -> None:
        """Let a program in that has a key.

        Raises:
            TurnedAway: it has none.
        """
        self._customer(scope)

    def check_program(self, scope: Scope) -> None:
        """Let a program in that has a key and may request one more forecast.

        Raises:
            TurnedAway: it has none, or may not.
        """
        customer = self._customer(scope)
        if customer is not None:
            _spend(self._programs, customer.name, customer.quota)

    def person(self, scope: Scope) -> None:
        """Let a person in who is signed in.

        Raises:
            TurnedAway: it is not signed in.
        """
        self._name(scope)

    def check_person(self, scope: Scope) -> None:
        """Let a person in who is signed in and may request one more forecast.

        Raises:
            TurnedAway: the person is not, or may not.
        """
        name = self._name(scope)
        if name is not None:
            _spend(self._people, name, self._person)

    def visitor(self, scope: Scope) -> None:
        """Let a person in who is signed in, or requests what is no secret.

        Raises:
            TurnedAway: neither.
        """
        # A page of 90 files is authenticated once.
        if self._header and not scope["path"].startswith(PUBLIC_FILES):
            self.person(scope)

    def _customer(self, scope: Scope) -> customers.Customer | None:
        if self._file is None:
            return None
        try:
            return self._file.content.customer(_only(scope, b"authorization"))
        except TurnedAway:
            metrics.TURNED_AWAY.labels("key").inc()
            raise

    def _name(self, scope: Scope) -> str | None:
        if not self._header:
            return None
        name = (_only(scope, self._header) or b"").strip().decode("latin-1")
        if not 0 < len(name) <= LONGEST_NAME:
            metrics.TURNED_AWAY.labels("sign-in").inc()
            raise TurnedAway(Problem(401, SIGNED_OUT))
        return name


def _spend(buckets: Buckets, name: str, quota: Quota) -> None:
    wait = buckets.take(name, quota, time.monotonic())
    if wait:
        metrics.TURNED_AWAY.labels("quota").inc()
        seconds = math.ceil(wait)
        message = SPENT.format(_many(quota.per_minute, "forecast"), _many(seconds, "second"))
        raise TurnedAway(Problem(429, message, seconds))


def _many(count: int, what: str) -> str:
    return f"1 {what}" if count == 1 else f"{count:,} {what}s"


def _only(scope: Scope, header: bytes) -> bytes | None:
    """A header's value; of two it is unknown which one a proxy has looked at."""
    values = [value for name, value in scope["headers"] if name == header]
    return values[0] if len(values) == 1 else None


def _customers_file(path: Path) -> WatchedFile[Keyring]:
    try:
        return WatchedFile(path, lambda text: Keyring(customers.read(text)))
    except OSError as error:
        message = f"Expected KALECAST_CUSTOMERS to name a file: {path}: {error.strerror}."
        raise customers.CustomersError(message) from error
    except ValueError as error:
        raise customers.CustomersError(f"KALECAST_CUSTOMERS: {path}: {error}") from error


def _half_open(settings: Settings) -> str:
    if settings.customers:
        return "KALECAST_SIGNED_IN_HEADER is not set: the page accepts unauthenticated requests."
    return "KALECAST_CUSTOMERS is not set: /api/forecast accepts unauthenticated requests."
