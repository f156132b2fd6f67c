"""Facts from outside: prices, licences, dates, limits; each with its source and when it was read.

A file of `report/facts/` holds facts by name:

    control_plane_price: {value: 0.10, unit: USD/h, source: eks2026, read: 2026-11-20}
    nodes:
      source: ec2_2026
      read: 2026-11-20
      rows:
        - {name: m7i.large, vcpu: 2, memory_gib: 8, price: 0.1}
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "facts"


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A value, or rows of values, from a source outside."""

    source: str
    """Key in `references.bib`: cite it with {cite}`key`."""
    read: str
    """Day on which the source was read."""
    value: Any = None
    unit: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)
    note: str = ""

    def __str__(self) -> str:
        return f"{self.value} {self.unit}".rstrip()


def facts(name: str, folder: Path = FOLDER) -> dict[str, Fact]:
    """Read a file of facts. Raises ValueError where a fact lacks a source or a value."""
    content = yaml.safe_load((folder / f"{name}.yaml").read_text())
    return {key: _fact(f"'{key}' in report/facts/{name}.yaml", one) for key, one in content.items()}


def _fact(place: str, content: dict[str, Any]) -> Fact:
    if not {"value", "rows"} & set(content):
        raise ValueError(f"Expected a value or rows for {place}, received: {content}")
    try:
        return Fact(**{**content, "read": str(content["read"])})
    except (KeyError, TypeError) as error:
        raise ValueError(f"Expected other keys for {place}: {error}") from error
