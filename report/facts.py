"""Facts from outside: prices, licences, dates, limits; each with its source and when it was read.

A file of `report/facts/` holds facts by name:

    control_plane_price: {value: 0.10, unit: USD/h, source: eks2026, read: 2026-11-20}
    nodes:
      source: ec2_2026
      read: 2026-11-20
      rows:
        - {name: m7i.large, vcpu: 2, memory_gib: 8, price: 0.1}

`source` is a key of `references.bib`.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "facts"


@dataclass(frozen=True)
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


class Facts(dict[str, Fact]):
    """The facts of one file, by name."""

    def __init__(self, name: str, content: dict[str, Any]) -> None:
        self.name = name
        super().__init__({key: _fact(name, key, value) for key, value in content.items()})

    def __missing__(self, key: str) -> Fact:
        raise KeyError(
            f"Expected a fact '{key}' in report/facts/{self.name}.yaml, received: {', '.join(self)}"
        )

    def rows(self, key: str) -> list[dict[str, Any]]:
        """The rows of a fact that is a list."""
        return self[key].rows


def facts(name: str, folder: Path = FOLDER) -> Facts:
    """Read a file of facts. Raises ValueError where a fact lacks a source or a value."""
    path = folder / f"{name}.yaml"
    return Facts(name, yaml.safe_load(path.read_text()))


def _fact(file: str, key: str, content: Any) -> Fact:
    place = f"'{key}' in report/facts/{file}.yaml"
    if not isinstance(content, dict) or not {"value", "rows"} & set(content):
        raise ValueError(f"Expected a value or rows for {place}, received: {content}")
    if missing := {"source", "read"} - set(content):
        raise ValueError(f"Expected {' and '.join(sorted(missing))} for {place}")
    if unknown := set(content) - set(Fact.__dataclass_fields__):
        raise ValueError(f"Expected no {', '.join(sorted(unknown))} for {place}")
    return Fact(**{**content, "read": str(content["read"])})
