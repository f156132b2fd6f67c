"""Results files of the benchmarks, as the report's cells read them.

r = result("serving")            # report/figures/serving.json
r["throughput_over_stock"]       # a key that is not there raises MissingResult
r.command, r.date, r.machine     # for captions
"""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

FIGURES = Path(__file__).parent / "figures"


class Source(NamedTuple):
    """What writes a results file."""

    command: str
    needs_cluster: bool = False
    """Such a file may be missing: the report says so where it would stand, and goes on."""


REGISTRY = {
    "accuracy": Source("make benchmark-accuracy SLOW=1"),
    "accuracy-m4": Source(
        "make benchmark-accuracy TRAIN=Hourly-train.csv SLOW=1 "
        "RESULTS=report/figures/accuracy-m4.json"
    ),
    "autoscaling": Source("make benchmark-autoscaling REAL=1"),
    "cluster-run": Source("KFP_HOST=https://… make cluster-run", needs_cluster=True),
    "licences": Source("make benchmark-licences"),
    "load-test": Source("make load-test FAULTS=1"),
    "load-test-overload": Source(
        'make load-test USERS=15000 LOAD_ARGS="--plateau 0 --name load-test-overload"'
    ),
    "load-test-unprotected": Source(
        'make load-test LOAD_ARGS="--plateau 20 --name load-test-unprotected"'
    ),
    "load-test-protected": Source("make load-test PROTECTED=1"),
    "pipeline": Source("make benchmark-pipeline"),
    "protection": Source("make benchmark-protection CRS_TESTS=folder"),
    "serving": Source("make benchmark-serving"),
}
"""Names of results files, without `.json`."""

PICTURES = {
    "autoscaling-": REGISTRY["autoscaling"],
    "load-test": REGISTRY["load-test"],
    "screenshot-": Source("make report SCREENSHOTS=1"),
}
"""Beginnings of the names of pictures that commands leave beside the results."""

_FOLDER = "KALECAST_REPORT_RESULTS"
"""Names another folder of results in the environment."""


class MissingResult(Exception):
    """A results file, or a key of one, is not there. Says what writes it."""


class ResultPart(dict[str, Any]):
    """A mapping inside a results file: a key that is not there raises `MissingResult`."""

    def __init__(self, content: dict[str, Any], name: str, place: str = "") -> None:
        self.name, self.place = name, place
        super().__init__(
            {key: _part(value, name, f"{place}{key}.") for key, value in content.items()}
        )

    def __missing__(self, key: str) -> Any:
        raise MissingResult(
            f"Expected '{self.place}{key}' in report/figures/{self.name}.json, "
            f"received: {', '.join(self) or 'nothing'}. "
            f"`{REGISTRY[self.name].command}` writes it."
        )


class ResultFile(ResultPart):
    """All of a results file, and how it came about."""

    @property
    def command(self) -> str:
        """The command that wrote it."""
        return str(self["command"])

    @property
    def written(self) -> datetime:
        """When it was written."""
        return datetime.fromisoformat(self["date"]).astimezone(UTC)

    @property
    def date(self) -> str:
        """The day on which it was written, such as '24 November 2026'."""
        return in_words(self.written)

    @property
    def machine(self) -> str:
        """Where it was measured, such as 'Xeon E5-2680, 2 cores, 8 GiB'."""
        about = self.get("machine", {})
        cores = about.get("cores", self.get("cores"))
        memory = about.get("memory_gib")
        parts = (about.get("cpu"), cores and f"{cores} cores", memory and f"{memory:g} GiB")
        return ", ".join(part for part in parts if part)


def result(name: str) -> ResultFile:
    """Read a results file.

    Raises `MissingResult` where it is not there or not registered.
    """
    if name not in REGISTRY:
        raise MissingResult(f"Expected one of {', '.join(REGISTRY)}, received: '{name}'.")
    path = result_path(name)
    if not path.is_file():
        raise MissingResult(missing_file(path.name, REGISTRY[name]))
    return ResultFile(json.loads(path.read_text()), name)


def result_path(name: str) -> Path:
    """Where a results file is, or would be."""
    return Path(os.environ.get(_FOLDER, FIGURES), f"{name}.json")


def picture(path: Path) -> Path:
    """Where a picture of a benchmark or a screenshot is: beside the results, or in the report's.

    Raises `MissingResult` where it is in neither.
    """
    for candidate in (result_path(path.stem).with_name(path.name), FIGURES / path.name, path):
        if candidate.is_file():
            return candidate
    sources = (source for start, source in PICTURES.items() if path.name.startswith(start))
    raise MissingResult(missing_file(path.name, next(sources, None)))


def all_results(folder: Path) -> Iterator[ResultFile]:
    """Every registered results file that is there, in the order of names."""
    for name in sorted(REGISTRY):
        path = folder / f"{name}.json"
        if path.is_file():
            yield ResultFile(json.loads(path.read_text()), name)


def missing_file(name: str, source: Source | None) -> str:
    """What is said of a file that is not there."""
    written = f" `{source.command}` writes it." if source else ""
    return f"Expected report/figures/{name}, received: no such file.{written}"


def in_words(moment: datetime) -> str:
    """A date such as '24 November 2026'."""
    return f"{moment.day} {moment:%B %Y}"


def _part(value: Any, name: str, place: str) -> Any:
    if isinstance(value, dict):
        return ResultPart(value, name, place)
    if isinstance(value, list):
        return [_part(one, name, f"{place}{at}.") for at, one in enumerate(value)]
    return value
