"""Ports for servers that tests start."""

from benchmarks.load.stack import free_ports

__all__ = ["free_ports"]
