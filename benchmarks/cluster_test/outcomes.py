"""What became of each check, as a table for people and as JSON."""

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

WIDTH = 76
"""Of the table's last column, in characters."""


class State(StrEnum):
    """How a check ended."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_CHECKED = "not checked"


class CheckFailed(Exception):
    """What was looked at is not as it should be; the text says what was seen."""


class NotChecked(Exception):
    """This cluster cannot show it; the text says why."""


@dataclass(frozen=True)
class Result:
    """One row of the table."""

    check: str
    state: State
    seen: str
    seconds: float

    @property
    def line(self) -> str:
        """For the progress."""
        return f"{self.state}: {self.seen} ({self.seconds:.0f} s)"


def counts(results: Iterable[Result], required: Sequence[str]) -> list[Result]:
    """Those for which the whole has failed: failed ones, and required ones not checked."""
    return [
        one
        for one in results
        if one.state is State.FAILED or (one.state is State.NOT_CHECKED and one.check in required)
    ]


def table(results: Sequence[Result]) -> str:
    """All rows under their heads; long texts go on below themselves."""
    rows = [("check", "result", "s", "what was seen")]
    for one in results:
        first, *more = textwrap.wrap(one.seen, WIDTH) or [""]
        rows.append((one.check, one.state, f"{one.seconds:.0f}", first))
        rows += [("", "", "", line) for line in more]
    check, state, seconds = (max(len(row[at]) for row in rows) for at in range(3))
    rows.insert(1, ("-" * check, "-" * state, "-" * seconds, "-" * WIDTH))
    return "\n".join(
        f"{row[0]:<{check}}  {row[1]:<{state}}  {row[2]:>{seconds}}  {row[3]}".rstrip()
        for row in rows
    )


def as_json(results: Sequence[Result], required: Sequence[str]) -> dict[str, Any]:
    """For the last line."""
    ended = [one.state for one in results]
    return {
        "ok": not counts(results, required),
        "passed": ended.count(State.PASSED),
        "failed": ended.count(State.FAILED),
        "not_checked": ended.count(State.NOT_CHECKED),
        "required": list(required),
        "checks": {
            one.check: {"result": one.state, "seen": one.seen, "seconds": round(one.seconds, 1)}
            for one in results
        },
    }
