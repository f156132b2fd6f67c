"""What clients got, counted: in all, by kind of error, and over time."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from benchmarks.load.answers import Response
from benchmarks.load.clients import RequestOutcome

MOST_KEPT = 20_000
"""Answers whose content is looked at."""

SAMPLES = 20
"""Answers that are handed on whole, for their numbers to be compared."""

WRONG = "wrong content"


class Record:
    """Outcomes as they come; nothing is parsed before they have all come.

    Args:
        forecast_at: where in an answer's JSON a forecast must be.
        keep_every: the content of one answer in so many is looked at.
        mark: answers that hold this text are counted apart.
    """

    def __init__(
        self, forecast_at: Sequence[str | int], keep_every: int = 1, mark: str = ""
    ) -> None:
        self._forecast_at = forecast_at
        self._keep_every = keep_every
        self._mark = mark.encode()
        self._ok: list[tuple[float, float, bool]] = []
        """When it ended, seconds it took, whether it was marked."""
        self._failed: list[tuple[float, float, str]] = []
        self._hidden: Counter[str] = Counter()
        self._kept: list[tuple[int, RequestOutcome, Response]] = []

    @property
    def ok(self) -> int:
        """Answers so far, with status 200."""
        return len(self._ok)

    @property
    def failed(self) -> int:
        """Errors so far."""
        return len(self._failed)

    def add(self, client: int, outcome: RequestOutcome) -> None:
        """Take an outcome of the client of this number."""
        answer, seconds = outcome.answer, outcome.ended - outcome.began
        if outcome.hidden:
            self._hidden[outcome.hidden] += 1
        if outcome.error or answer is None:
            self._failed.append((outcome.ended, seconds, outcome.error))
            return
        marked = bool(self._mark) and self._mark in answer.body
        if len(self._ok) % self._keep_every == 0 and len(self._kept) < MOST_KEPT:
            self._kept.append((client, outcome, answer))
        self._ok.append((outcome.ended, seconds, marked))

    def summary(self, began: float, ended: float, step: float) -> dict[str, Any]:
        """All of it as JSON: times in seconds, a row of the timeline every `step` seconds.

        An answer with the wrong content is counted as an error, though its time counts too: it
        was sent. Where only some are looked at, only those can be found wrong.
        """
        wrong = [(o.ended, o.ended - o.began, WRONG) for _, o, a in self._kept if self._is_wrong(a)]
        failed = self._failed + wrong
        times = sorted(seconds for _, seconds, _ in self._ok)
        return {
            "ok": len(self._ok) - len(wrong),
            "errors": len(failed),
            "kinds": dict(Counter(kind for _, _, kind in failed)),
            "retried": sum(self._hidden.values()),
            "hidden_by_retry": dict(self._hidden),
            "marked": sum(marked for _, _, marked in self._ok),
            "looked_at": len(self._kept),
            "seconds": round(ended - began, 4),
            "p50": percentile(times, 50),
            "p99": percentile(times, 99),
            "slowest": percentile(times, 100),
            "slowest_error": percentile(sorted(seconds for _, seconds, _ in failed), 100),
            "timeline": self._timeline(began, ended, step, failed),
            "samples": self._samples(),
        }

    def _timeline(
        self, began: float, ended: float, step: float, failed: list[tuple[float, float, str]]
    ) -> list[dict[str, Any]]:
        rows = 1 + int((ended - began) / step)
        times: list[list[float]] = [[] for _ in range(rows)]
        errors, marked = [0] * rows, [0] * rows
        for at, seconds, is_marked in self._ok:
            row = min(int((at - began) / step), rows - 1)
            times[row].append(seconds)
            marked[row] += is_marked
        for at, _, _ in failed:
            errors[min(int((at - began) / step), rows - 1)] += 1
        return [
            {
                "at": round(row * step, 3),
                "ok": len(times[row]),
                "errors": errors[row],
                "marked": marked[row],
                "p50": percentile(sorted(times[row]), 50),
                "p99": percentile(sorted(times[row]), 99),
            }
            for row in range(rows)
        ]

    def _is_wrong(self, answer: Response) -> bool:
        try:
            found = json.loads(answer.body)
            for key in self._forecast_at:
                found = found[key]
        except (ValueError, LookupError, TypeError):
            return True
        return not (isinstance(found, list | str) and found)

    def _samples(self) -> list[dict[str, Any]]:
        """Some answers from first to last, with the number of the client that got each."""
        every = max(1, len(self._kept) // SAMPLES)
        return [
            {"client": client, "body": answer.body.decode(errors="replace")}
            for client, _, answer in self._kept[::every][:SAMPLES]
        ]


def percentile(ascending: Sequence[float], percent: float) -> float | None:
    """The smallest value that so many per cent do not exceed; none of nothing."""
    if not ascending:
        return None
    rank = -(-len(ascending) * percent // 100)
    return round(ascending[max(0, int(rank) - 1)], 4)
