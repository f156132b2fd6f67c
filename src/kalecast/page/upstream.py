"""Upstream: HTTP to the replicas of the model server, over one shared session.

A forecast is safe to request twice. So where a replica does not answer, the request goes to
another one, or to the same one over a new connection, as long as there is time and the retry budget
allows, which limits load alone: one that reached no replica is sent again without it. The circuit
breaker of each address says which ones get requests.
"""

import asyncio
import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import aiohttp

from kalecast.page import metrics
from kalecast.page.outcomes import Overloaded, ServiceDown

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 2.0

CONNECTION_TIMEOUT = 5.0
"""Seconds after which a replica that accepted a request is taken to hang."""

LONGEST_REST = 10.0
"""Seconds of a Retry-After that are believed."""

IDLE = 15.0
"""Seconds after which an unused connection is closed."""

LAST_REQUESTS = 0.04
"""Share of requests after which their connection is closed. Behind a Service of Kubernetes a
connection stays with one pod: without an end, pods that an autoscaler or a canary adds would get
nothing from a page that has its connections already."""

MOST_ATTEMPTS = 6
"""Where a balancer stands before the replicas, several may lead to the one that is down."""

FIRST_PAUSE = 0.05

SHARE = 0.2
"""Forecasts that may be requested again, to all that are requested."""

RESERVE = 1000.0
"""Forecasts that may be requested again at once: what is under way when a replica dies."""

MOST_FAILURES = 5
"""Failures in a row after which an address is left alone."""

MOMENT = 1.0
"""Seconds for which it is left alone, then one request tries it."""

BAD_GATEWAY, TRY_LATER = 502, 503
"""Statuses after which another replica may do: a proxy's that found none, and a replica's that
has too much to do or is about to end."""

TOO_LATE = (429, 504)
"""Statuses of a replica that is there and has too much to do: a retry would not help."""


@dataclass(eq=False)
class Replica:
    """An address of the model server, and its circuit breaker; times are `time.monotonic()`.

    Closed while it answers. Open, without requests, for a moment after several failures in a row;
    then one request goes through, and its outcome closes or opens the circuit again.
    """

    address: str
    in_flight: int = 0
    """Requests sent and not answered yet."""
    busy_until: float = 0.0
    """The address itself requested a pause until then (Retry-After)."""
    _failures: int = field(default=0, init=False)
    _open_until: float = field(default=0.0, init=False)
    _on_trial: bool = field(default=False, init=False)

    @property
    def is_open(self) -> bool:
        """Whether it should get no request now."""
        if self._failures < MOST_FAILURES:
            return False
        return self._on_trial or time.monotonic() < self._open_until

    def sent(self) -> None:
        """A request is being sent; while the circuit is to be tried, it is the one."""
        self.in_flight += 1
        self._on_trial = self._failures >= MOST_FAILURES

    def answered(self) -> None:
        """The address did what it is there for."""
        self.in_flight -= 1
        self._failures = 0
        self._on_trial = False

    def failed(self) -> None:
        """The address did not answer, or not as it should."""
        self.in_flight -= 1
        self._failures += 1
        self._on_trial = False
        self._open_until = time.monotonic() + MOMENT * random.uniform(0.8, 1.2)

    def left(self) -> None:
        """The request was given up here: it says nothing of the address."""
        self.in_flight -= 1
        self._on_trial = False


class RetryBudget:
    """Keeps retries from multiplying an overload: they may be a fixed share of all requests."""

    def __init__(self) -> None:
        self._left = RESERVE

    def earn(self, forecasts: int) -> None:
        """So many are requested for the first time."""
        self._left = min(self._left + SHARE * forecasts, RESERVE)

    def spend(self, forecasts: int) -> bool:
        """Take as many as are to be requested again; False where that would be too many."""
        if self._left < forecasts:
            return False
        self._left -= forecasts
        return True


@dataclass(frozen=True)
class Reply:
    """What a replica answered: good, or a refusal that speaks of the request."""

    status: int
    content: bytes
    replica: Replica


class _Unanswered(Exception):
    """A replica gave no answer that counts."""


class _Unreached(_Unanswered):
    """It has not even seen the request."""


class _Busy(_Unanswered):
    """It requested a pause (Retry-After)."""


class Upstream:
    """The model server, wherever its replicas are."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._replicas = [Replica(address) for address in addresses]
        self._budget = RetryBudget()
        self._session: aiohttp.ClientSession | None = None
        for replica in self._replicas:
            gauge = metrics.CIRCUIT_OPEN.labels(replica.address)
            gauge.set_function(partial(_openness, replica))

    async def __aenter__(self) -> "Upstream":
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Content-Type": "application/json"},
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def request(  # noqa: PLR0913 - each of them is a part of the request
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        deadline: float,
        forecasts: int = 0,
        only: Replica | None = None,
    ) -> Reply:
        """Send a request to a replica, and to others if need be.

        Args:
            method, path, body: the request.
            deadline: in `time.monotonic()`.
            forecasts: how many it requests: the load that sending it again would add.
            only: the one replica to use, where it matters which.

        Returns:
            A reply of status 200, or 4xx, which no repetition would change.

        Raises:
            Overloaded: the replicas have too much to do.
            ServiceDown: they do not answer.
        """
        self._budget.earn(forecasts)
        last: Replica | None = None
        for attempt in range(1, MOST_ATTEMPTS + 1):
            replica = await self._choose(only, last, deadline)
            if last is not None:
                metrics.RETRIES.labels(replica.address).inc()
            try:
                return await self._send(replica, method, path, body, deadline)
            except _Unanswered as error:
                last, problem = replica, error
            rest = _pause(attempt)
            in_time = time.monotonic() + rest < deadline
            if attempt == MOST_ATTEMPTS or not in_time or not self._available(only):
                break
            if not isinstance(problem, _Unreached) and not self._budget.spend(forecasts):
                break
            await asyncio.sleep(rest)
        raise (Overloaded if isinstance(problem, _Busy) else ServiceDown)(str(problem))

    def _available(self, only: Replica | None) -> list[Replica]:
        replicas = self._replicas if only is None else [only]
        return [replica for replica in replicas if not replica.is_open]

    async def _choose(self, only: Replica | None, last: Replica | None, deadline: float) -> Replica:
        """The replica for the next request, once it may get one.

        Raises:
            ServiceDown: all of them are left alone after failures.
            Overloaded: all of them requested a pause for longer than there is time.
        """
        if not (worth := self._available(only)):
            raise ServiceDown("no replica has answered lately")
        now = time.monotonic()
        chosen = min(
            worth,
            key=lambda replica: (
                max(replica.busy_until, now),
                replica is last,
                replica.in_flight,
                random.random(),
            ),
        )
        if chosen.busy_until > deadline:
            raise Overloaded("all replicas are busy")
        if (rest := chosen.busy_until - now) > 0:
            await asyncio.sleep(rest)
        return chosen

    async def _send(
        self, replica: Replica, method: str, path: str, body: bytes | None, deadline: float
    ) -> Reply:
        replica.sent()
        status = 0
        try:
            status, content, retry_after = await self._request(
                replica, method, path, body, deadline
            )
        except _Unanswered as error:
            replica.failed()
            logger.warning("No answer: %s", error)
            raise
        except BaseException:
            replica.left()
            raise
        finally:
            metrics.UPSTREAM_ANSWERS.labels(replica.address, str(status)).inc()
        message = f"{method} {replica.address}{path} was answered with {status}"
        if status == TRY_LATER:
            replica.left()
            replica.busy_until = time.monotonic() + _rest(retry_after)
            raise _Busy(message)
        if status >= 500 and status not in TOO_LATE:
            replica.failed()
            raise _Unanswered(message) if status == BAD_GATEWAY else ServiceDown(message)
        replica.answered()
        if status in TOO_LATE:
            raise Overloaded(message)
        return Reply(status, content, replica)

    async def _request(
        self, replica: Replica, method: str, path: str, body: bytes | None, deadline: float
    ) -> tuple[int, bytes, str | None]:
        """Status, content and Retry-After of an answer."""
        if self._session is None:
            raise ServiceDown("the session is not open yet")
        seconds = min(max(deadline - time.monotonic(), 0.01), CONNECTION_TIMEOUT)
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=CONNECT_SECONDS)
        url = replica.address + path
        headers = {"Connection": "close"} if random.random() < LAST_REQUESTS else None
        try:
            async with self._session.request(
                method, url, data=body, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                content = await response.read()
                return response.status, content, response.headers.get("Retry-After")
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise _Unreached(f"{url}: {error}") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _Unanswered(f"{url}: {error or type(error).__name__}") from error


def _rest(retry_after: str | None) -> float:
    """Seconds of a Retry-After header, a moment where there is none that can be read."""
    try:
        return min(max(float(retry_after or 0.2), 0.0), LONGEST_REST)
    except ValueError:  # a date
        return 1.0


def _openness(replica: Replica) -> float:
    """A circuit as a gauge: 1 where it is open."""
    return float(replica.is_open)


def _pause(attempt: int) -> float:
    """Seconds after an attempt, longer each time, and never the same for two requests."""
    return FIRST_PAUSE * 2.0 ** (attempt - 1) * random.uniform(0.5, 1.5)
