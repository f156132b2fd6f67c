"""Quotas: how many forecasts a minute a caller may request, and how many at once.

Each has a bucket that holds `burst` forecasts and fills at `per_minute`. Of a bucket only the time
at which it is full again is kept: one number each, and none for those without a request lately.
The replicas of a page share each quota, by how many they are.
"""

import asyncio
import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass

logger = logging.getLogger(__name__)

MOST_PER_MINUTE = 1_000_000

KEPT = 4096
"""Buckets before full ones are forgotten for the first time."""

LOOK_SECONDS = 10.0
"""Between two looks at how many replicas there are."""


@dataclass(frozen=True)
class Quota:
    """Forecasts a minute, and forecasts at once."""

    per_minute: int
    burst: int


class Buckets:
    """The buckets of everybody, by name.

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
