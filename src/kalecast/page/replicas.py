"""How many replicas share the customers' quotas."""

import asyncio
import logging
import socket

logger = logging.getLogger(__name__)

LOOK_SECONDS = 10.0


class Replicas:
    """A number, or the addresses that a name has, as those of a headless Service.

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
