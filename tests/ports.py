"""Ports for servers that tests start."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent / "benchmarks"))
from stack import free_ports

__all__ = ["free_ports"]
