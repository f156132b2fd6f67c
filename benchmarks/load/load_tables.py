"""The load test's tables, for people."""

from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.load.faults import FaultOutcome
from benchmarks.load.load_results import Results, Summary

TITLES = {"model": "model server", "api": "app", "page": "page"}
"""What people call the routes."""


def print_rounds(results: Results) -> None:
    """A line a round, one for the plateau, and the memory."""
    columns = ("answered", "errors", "seconds", "p50", "p99", "a second")
    print(f"\n{'':22} {_aligned(columns)}")
    for key, of_route in results.rounds.items():
        for number, summary in enumerate(of_route, 1):
            _print_round(f"{TITLES[key]}, round {number}", summary)
    if results.plateau is not None:
        _print_round("app, plateau", results.plateau)
    if results.server is not None and results.app is not None:
        print(
            f"\nmemory at the peak: model server {results.server.peak:,.0f} MiB, "
            f"app {results.app.peak:,.0f} MiB"
        )


def print_faults(faults: Sequence[FaultOutcome]) -> None:
    """A line a fault, with what clients saw and what trying again hid from them."""
    if not faults:
        return
    columns = ("answered", "errors", "retried", "slowest", "away")
    print(f"\n{'fault':34} {'clients use':19} {_aligned(columns)}")
    for seen in faults:
        load = seen.load
        cells = (
            f"{load['ok']:,}",
            f"{load['errors']:,}",
            f"{load['retried']:,}" if seen.retries else "never",
            _seconds(load["slowest"]),
            f"{seen.seconds:.1f}",
        )
        counts = [*_counted(load["kinds"], ""), *_counted(load["hidden_by_retry"], " hidden")]
        notes = ", ".join([*counts, seen.note] if seen.note else counts)
        print(f"{seen.name:34} {seen.requested:19} {_aligned(cells)}  {notes}")


def _print_round(name: str, summary: Summary) -> None:
    cells = (
        f"{summary['ok']:,}",
        f"{summary['errors']:,}",
        f"{summary['seconds']:.2f}",
        _seconds(summary["p50"]),
        _seconds(summary["p99"]),
        f"{summary['ok'] / summary['seconds']:,.0f}",
    )
    notes = _counted(summary["kinds"], "")
    if overruns := summary["overruns"]:
        notes.append(f"{overruns:,} times a queue of connections was full")
    print(f"{name:22} {_aligned(cells)}  {', '.join(notes)}")


def _aligned(cells: Iterable[str]) -> str:
    return " ".join(f"{cell:>9}" for cell in cells)


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds:.3f}"


def _counted(kinds: dict[str, Any], suffix: str) -> list[str]:
    return [f"{count:,} {kind}{suffix}" for kind, count in kinds.items()]
