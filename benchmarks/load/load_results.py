"""What a load test measured, and its one JSON object."""

from dataclasses import dataclass, field
from typing import Any

from benchmarks.load.faults import FaultOutcome
from benchmarks.load.local_service import Memory

Summary = dict[str, Any]
"""As `Record.summary` makes it."""


@dataclass
class Results:
    """What was measured."""

    users: int
    rounds: dict[str, list[Summary]] = field(default_factory=dict)
    """By route: `model`, `api`, `page`."""
    plateau: Summary | None = None
    server: Memory | None = None
    app: Memory | None = None
    faults: list[FaultOutcome] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """All of it; `rounds` and `forecasts_per_second` are those of the app's route."""
        rounds = self.rounds.get("api", [])
        seconds = sum(summary["seconds"] for summary in rounds)
        answered = sum(summary["ok"] for summary in rounds)
        return {
            "users": self.users,
            "rounds": rounds,
            "forecasts_per_second": round(answered / seconds) if seconds else None,
            "server_rss_mib": _peak(self.server),
            "app_rss_mib": _peak(self.app),
            "model_rounds": self.rounds.get("model", []),
            "page_rounds": self.rounds.get("page", []),
            "plateau": self.plateau,
            "faults": [_fault(seen) for seen in self.faults],
        }


def without(content: Any, name: str) -> Any:
    """The same JSON without the fields of that name."""
    if isinstance(content, dict):
        return {key: without(value, name) for key, value in content.items() if key != name}
    if isinstance(content, list):
        return [without(value, name) for value in content]
    return content


def _fault(seen: FaultOutcome) -> dict[str, Any]:
    return {
        "fault": seen.name,
        "clients_reach": seen.requested,
        "clients_retry": seen.retries,
        "seconds_away": seen.seconds,
        "note": seen.note,
        **without(seen.load, "samples"),
    }


def _peak(memory: Memory | None) -> int | None:
    return None if memory is None else round(memory.peak)
