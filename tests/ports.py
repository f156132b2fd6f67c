"""Ports for servers that tests start."""

import socket


def free_ports(count: int) -> list[int]:
    """Different ports of loopback that were free a moment ago."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    numbers = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return numbers
