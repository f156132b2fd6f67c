"""What this machine allows: open files, ports and waiting connections, said before they run out."""

import resource
from pathlib import Path

SPARE_FILES = 64
"""For all that is no connection."""

MOST_FILES = 65536
"""More are never needed, and some servers make room for as many as they may open."""


class LimitError(RuntimeError):
    """This machine does not allow so many clients; the text says what to do."""


def raise_open_files() -> int:
    """Raise the limit on open files, for this process and those it starts; returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def allow_connections(count: int) -> None:
    """Make sure that so many connections can be open.

    Raises:
        LimitError: this machine does not allow it.
    """
    needed, allowed = count + SPARE_FILES, raise_open_files()
    if allowed < needed:
        raise LimitError(
            f"Expected a limit of at least {needed:,} open files a process, received {allowed:,}: "
            "choose fewer clients, or raise the hard limit as root (`ulimit -Hn 20000` in the "
            "shell that starts this, or a line 'nofile' in /etc/security/limits.conf)."
        )


def warnings(connections: int, at_once: int, addresses: int) -> list[str]:
    """What makes so many connections slower, or fail, in sentences.

    Args:
        connections: that are open together.
        at_once: of them, those that are opened at the same moment.
        addresses: over which they are spread.
    """
    found = []
    first, last = map(int, _kernel("net/ipv4/ip_local_port_range", "32768 60999").split())
    ports = (last - first + 1) * addresses
    if connections > 0.8 * ports:
        found.append(
            f"{connections:,} connections come close to the {ports:,} local ports there are: "
            "widen net.ipv4.ip_local_port_range."
        )
    backlog = int(_kernel("net/core/somaxconn", "4096"))
    if at_once > backlog * addresses:
        found.append(
            f"{at_once:,} connections opened at once may overrun a server's queue of {backlog:,} "
            "for those not accepted yet; what is beyond it the kernel tries again after a second: "
            "raise net.core.somaxconn."
        )
    return found


def overruns() -> int:
    """How often so far a connection found a server's queue full, on this whole machine.

    The kernel sends it again after a second: that is where a burst's late answers come from.
    """
    names, values = Path("/proc/net/netstat").read_text().splitlines()[:2]
    counts = dict(zip(names.split(), values.split(), strict=True))
    return int(counts["ListenOverflows"])


def _kernel(name: str, default: str) -> str:
    try:
        return (Path("/proc/sys") / name).read_text()
    except OSError:
        return default
