"""The targets that the Makefile has."""

import re
from pathlib import Path

MAKEFILE = Path(__file__).resolve().parents[2] / "Makefile"


def targets() -> set[str]:
    makefile = MAKEFILE.read_text()
    benchmarks = re.findall(r"^needs_([a-z]+) :=", makefile, flags=re.MULTILINE)
    named = re.findall(r"^([a-z-]+):(?!=)", makefile, flags=re.MULTILINE)
    return {*named, *(f"benchmark-{name}" for name in benchmarks)}
