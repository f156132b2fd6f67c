"""Callers: authentication and rate limits.

Programs carry a key (`customers.py`). People are signed in by a proxy before the page, which names
them in a header; that no other sets this header is the proxy's business. Where neither is set
up, every caller may: on one's own machine there are no accounts.
"""

import asyncio
import contextlib
import logging
import math
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from kalecast.page import background, customers, metrics
from kalecast.page.customers import Keyring, Quota
from kalecast.page.gradio_protocol import PUBLIC_FILES
from kalecast.page.outcomes import Problem, TurnedAway
from kalecast.page.settings import Settings

logger = logging.getLogger(__name__)

SIGNED_OUT = "You are not signed in, or not any more. Please load this page again."

SPENT = "You have {} a minute and have asked for more; please ask again in {}."

LONGEST_NAME = 256
"""Characters of the name that a signed-in person has with the proxy."""

KEPT = 4096
"""Buckets before full ones are forgotten for the first time."""

REPLICAS_SECONDS, CUSTOMERS_SECONDS = 10.0, 1.0
"""Between two looks at how many replicas there are, and at the customers file."""

Scope = Mapping[str, Any]
"""Of an ASGI request."""


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
            look = self._replicas.look
            tasks.append(background.repeated(look, REPLICAS_SECONDS, "replicas"))
        if self._file:
            look = partial(asyncio.to_thread, self._file.look)
            tasks.append(background.repeated(look, CUSTOMERS_SECONDS, "customers"))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()

    def program(self, scope: Scope, *, spends: bool = False) -> None:
        """Let a program in that has a key.

        Args:
            scope: of its request.
            spends: whether it requests a forecast, which counts for its customer's quota.

        Raises:
            TurnedAway: it has none, or may not request one more forecast.
        """
        if self._file is None:
            return
        try:
            customer = self._file.content.customer(_only(scope, b"authorization"))
        except TurnedAway:
            metrics.TURNED_AWAY.labels("key").inc()
            raise
        if spends:
            _spend(self._programs, customer.name, customer.quota)

    def person(self, scope: Scope, *, spends: bool = False) -> None:
        """Let a person in who is signed in; arguments and errors as for `program`."""
        if not self._header:
            return
        name = (_only(scope, self._header) or b"").strip().decode("latin-1")
        if not 0 < len(name) <= LONGEST_NAME:
            metrics.TURNED_AWAY.labels("sign-in").inc()
            raise TurnedAway(Problem(401, SIGNED_OUT))
        if spends:
            _spend(self._people, name, self._person)

    def visitor(self, scope: Scope) -> None:
        """Let a person in who is signed in, or requests what is no secret.

        Raises:
            TurnedAway: neither.
        """
        # A page of 90 files is authenticated once.
        if not scope["path"].startswith(PUBLIC_FILES):
            self.person(scope)


def _spend(buckets: "Buckets", name: str, quota: Quota) -> None:
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


def _customers_file(path: Path) -> "WatchedFile[Keyring]":
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


class Buckets:
    """The buckets of everybody, by name.

    Each holds `burst` forecasts and fills at `per_minute`. Of a bucket only the time at which it is
    full again is kept: one number each, and none for those without a request lately.

    Args:
        replicas: how many processes share each quota; called each time.
    """

    def __init__(self, replicas: Callable[[], int] = lambda: 1) -> None:
        self._replicas = replicas
        self._full_at: dict[str, float] = {}
        self._largest = KEPT

    def __len__(self) -> int:
        return len(self._full_at)

    def take(self, name: str, quota: Quota, now: float) -> float:
        """Take one forecast out of a bucket.

        Args:
            name: whose bucket.
            quota: what holds for it; may be another one each time.
            now: seconds of a clock that never goes back.

        Returns:
            0 where there was one, else seconds until there is.
        """
        replicas = self._replicas()
        each = 60 / quota.per_minute * replicas
        burst = max(1.0, quota.burst / replicas)
        full_at = max(self._full_at.get(name, now), now)
        # After a change of the quota a bucket is as good as empty at worst.
        full_at = min(full_at, now + burst * each)
        there = burst - (full_at - now) / each
        is_there = there >= 1 - 1e-6
        self._full_at[name] = full_at + each if is_there else full_at
        if not is_there:
            return (1 - there) * each
        if len(self._full_at) > self._largest:
            self._forget_full(now)
        return 0.0

    def _forget_full(self, now: float) -> None:
        self._full_at = {name: at for name, at in self._full_at.items() if at > now}
        self._largest = max(KEPT, 2 * len(self._full_at))


class Replicas:
    """How many replicas share the quotas.

    A number, or the addresses that a name has, as those of a headless Service.

    Args:
        named: the number as a text, or the name.
    """

    def __init__(self, named: str) -> None:
        self._name = "" if named.isdecimal() else named
        self.is_followed = bool(self._name)
        """Whether their number may change."""
        self.count = int(named) if named.isdecimal() else 1

    async def look(self) -> None:
        """Count them once; where the name is not known, there are as many as before."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(self._name, None, type=socket.SOCK_STREAM)
        except OSError as error:
            logger.warning("The replicas' name %s is not known: %s", self._name, error)
            return
        # With two families each replica has an address of each.
        families: dict[int, set[str]] = {}
        for family, *_, address in found:
            families.setdefault(family, set()).add(str(address[0]))
        self.count = max(len(addresses) for addresses in families.values())


class WatchedFile[Content]:
    """What a file holds, read again when it changes, as Secrets mounted by Kubernetes do.

    The path is followed to its end at each look: Kubernetes swaps a symbolic link in between. A
    new file that cannot be read is refused with a line in the log, and the old content stays.

    Args:
        path: of the file.
        read: makes its content out of its text.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is no such file.
    """

    def __init__(self, path: Path, read: Callable[[str], Content]) -> None:
        self._path = path
        self._read = read
        self._seen: tuple[int, int, int, int] | None = None
        self.content: Content = self._opened()

    def look(self) -> None:
        """Take over what has changed."""
        before = self._seen
        try:
            if _version(self._path.stat()) == before:
                return
            self.content = self._opened()
        except (OSError, ValueError) as error:
            if isinstance(error, OSError):
                self._seen = None
            if self._seen != before:
                logger.error("%s: %s What was there before stays.", self._path, error)
        else:
            logger.warning("%s was read again.", self._path)

    def _opened(self) -> Content:
        with self._path.open(encoding="utf-8") as file:
            self._seen = _version(os.fstat(file.fileno()))
            return self._read(file.read())


def _version(stat: os.stat_result) -> tuple[int, int, int, int]:
    return stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size
