"""Denial of service: what benign clients notice while somebody attacks the gateway.

    python -m benchmarks.protection.denial_of_service [--only NAME] [--seconds 12]

Benign clients send requests all the time, from addresses of their own. One attack after another is
run beside them, in a process that is `nice` and bounded, because it shares the cores with what it
attacks; its share of them is reported. The quiet before and after each attack is what its figures
are held against, so what the machine does otherwise is seen.
"""

import argparse
import contextlib
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped, unused-ignore]

from benchmarks.load.job import percentile, raise_open_files
from benchmarks.load.local_service import LocalService
from benchmarks.load.routes import api_route, histories, page_route
from benchmarks.load.stack import SERVER_PYTHON
from benchmarks.protection.attackers import ATTACKS
from benchmarks.protection.running_stack import ProofPart, ProtectedStack, standing
from kalecast.artifact.runtime import Forecaster
from kalecast.lifetime import end, end_in_order, start
from kalecast.project import PROJECT

QUIET, SETTLING = 5.0, 5.0
"""Seconds of quiet before an attack, and after it until all has to be as before."""
SECONDS = 12.0
"""Of an attack: longer than a slow head or body may take."""
END_SECONDS = 10.0
MOST_SLOWER = 3.0
"""Times the quiet p99, under attack."""
OF_EACH_KIND = (
    *("slow_heads", "half_handshakes", "slow_forecasts", "many_headers"),
    *("forecasts", "uploads", "unlisted", "open_heads", "long_words", "rapid_reset"),
)
CAPACITY = "five_hundred_customers"
"""No abuser: it is reported, and not held against the gateway."""
ATTACKERS_NETWORKS = re.compile(r'"network":"127\.66\.')


@dataclass(frozen=True)
class BenignResponse:
    """A benign client's question."""

    began: float
    ended: float
    kind: str
    error: str

    @property
    def seconds(self) -> float:
        """Until its answer."""
        return self.ended - self.began


@dataclass(frozen=True)
class Use:
    """What the gateway and what is behind it take of the machine."""

    gateway_cpu: float
    app_cpu: float
    gateway_mib: float
    app_mib: float
    connections: int
    """Open at the gateway."""


@dataclass(frozen=True)
class AttackOutcome:
    """What came of an attack. Times in ms."""

    name: str
    attacker: dict[str, int]
    """What it did and what it saw."""
    attacker_cores: float
    statuses: dict[str, int]
    """What the gateway answered it, by its access log."""
    requested: int
    errors: dict[str, int]
    quiet_p50: float
    quiet_p99: float
    p50: float
    p99: float
    late: tuple[float, float]
    """By how much anything that sleeps woke up late on this machine, quiet and attacked; p99."""
    page_ratio: float
    """Median of events and documents, times the quiet one."""
    gateway_cores: float
    app_cores: float
    gateway_mib: tuple[float, float, float]
    """Before, at most, and after."""
    app_mib: tuple[float, float, float]
    connections: tuple[int, int, int]
    settled_errors: int
    settled_p99: float
    """Of what was asked from 5 s after the end on."""

    @property
    def ratio(self) -> float:
        """How much slower the slowest hundredth was."""
        return round(self.p99 / max(self.quiet_p99, 0.1), 2)

    @property
    def settled(self) -> bool:
        """Whether all was as before 5 s after the end."""
        return not self.settled_errors and self.settled_p99 <= MOST_SLOWER * self.quiet_p99


def measure(
    stack: ProtectedStack, names: Sequence[str] = (), seconds: float = SECONDS
) -> ProofPart:
    """Run attacks one after another against the stack's gateway.

    Args:
        stack: what runs.
        names: of attacks; without any all, or one of each kind where not all are wanted.
        seconds: of each attack.
    """
    names = names or (tuple(ATTACKS) if stack.whole else OF_EACH_KIND)
    with _benign(stack) as benign:
        found = []
        for name in names:
            seen = benign.under(name, seconds)
            print(f"  {_row(seen)}", flush=True)
            found.append(seen)
    return _part(found)


class _Sleeper(threading.Thread):
    """Sleeps a hundredth of a second again and again, and notes how much longer it took.

    What it notes has nothing to do with the gateway: all that run here wait like this for a core.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._late: list[float] = []

    def run(self) -> None:
        while True:
            began = time.monotonic()
            time.sleep(0.01)
            self._late.append(time.monotonic() - began - 0.01)

    def late(self) -> float:
        """The 99th percentile in ms since it was asked last."""
        found, self._late = self._late, []
        return _milliseconds(sorted(found), 99)


class _Benign:
    """Benign clients that ask, and an attack beside them."""

    def __init__(self, stack: ProtectedStack, bodies: tuple[Path, Path], log: Path) -> None:
        self._stack, self._bodies, self._log = stack, bodies, log
        self._at = 0
        self._requested: list[BenignResponse] = []
        self._sleeper = _Sleeper()
        self._sleeper.start()

    def under(self, name: str, seconds: float) -> AttackOutcome:
        """What they see of an attack."""
        self._sleeper.late()
        time.sleep(QUIET)
        quiet_late = self._sleeper.late()
        log = self._stack.protected.access_log
        logged, before, began = log.stat().st_size, self._use(), time.monotonic()
        attacker, peaks = self._attack(name, seconds)
        ended, after, late = time.monotonic(), self._use(), self._sleeper.late()
        time.sleep(SETTLING + QUIET)
        rest = self._use()
        self._read()
        settled = self._between(ended + SETTLING, time.monotonic())
        quiet = [*self._between(began - QUIET, began), *settled]
        during = self._between(began, ended)
        forecasts, normal = _times(during), _times(quiet)
        return AttackOutcome(
            name=name,
            attacker=attacker["seen"],
            attacker_cores=round(attacker["cpu"] / seconds, 2),
            statuses=self._statuses(log, logged),
            requested=len(during),
            errors=dict(Counter(requested.error for requested in during if requested.error)),
            quiet_p50=_milliseconds(normal, 50),
            quiet_p99=_milliseconds(normal, 99),
            p50=_milliseconds(forecasts, 50),
            p99=_milliseconds(forecasts, 99),
            late=(quiet_late, late),
            page_ratio=round(
                _milliseconds(_times(during, page=True), 50)
                / (_milliseconds(_times(quiet, page=True), 50) or 1),
                2,
            ),
            gateway_cores=round((after.gateway_cpu - before.gateway_cpu) / (ended - began), 2),
            app_cores=round((after.app_cpu - before.app_cpu) / (ended - began), 2),
            gateway_mib=(
                before.gateway_mib,
                max(use.gateway_mib for use in peaks),
                rest.gateway_mib,
            ),
            app_mib=(before.app_mib, max(use.app_mib for use in peaks), rest.app_mib),
            connections=(
                before.connections,
                max(use.connections for use in peaks),
                rest.connections,
            ),
            settled_errors=sum(bool(requested.error) for requested in settled),
            settled_p99=_milliseconds(_times(settled), 99),
        )

    def _attack(self, name: str, seconds: float) -> tuple[dict, list[Use]]:  # type: ignore[type-arg]
        port = self._stack.protected.port
        command = [SERVER_PYTHON, "-m", "benchmarks.protection.attackers", name, str(port)]
        command += [*map(str, self._bodies), str(seconds)]
        uses = []
        attacker = start(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
        try:
            while attacker.poll() is None:
                uses.append(self._use())
                time.sleep(0.5)
            output = attacker.communicate()[0]
        finally:
            end(attacker, END_SECONDS)
        return json.loads(output or '{"cpu": 0, "seen": {"attacker failed": 1}}'), uses

    def _use(self) -> Use:
        gateway, app = self._stack.protected.service, self._stack.app
        connections = -1
        # An overrun gateway may not tell; that is no reason to stop measuring.
        with contextlib.suppress(OSError):
            status = gateway.request("GET", "/status")[1].decode()
            connections = int(status.split()[2])
        return Use(_cpu(gateway), _cpu(app), _mib(gateway), _mib(app), connections)

    def _read(self) -> None:
        with self._log.open() as log:
            log.seek(self._at)
            text = log.read()
        whole = text[: text.rfind("\n") + 1]
        self._at += len(whole)
        for line in whole.splitlines():
            began, ended, kind, error = line.split(" ", 3)
            self._requested.append(BenignResponse(float(began), float(ended), kind, error))

    def _between(self, began: float, ended: float) -> list[BenignResponse]:
        """What was asked then."""
        return [requested for requested in self._requested if began <= requested.began < ended]

    @staticmethod
    def _statuses(log: Path, at: int) -> dict[str, int]:
        with log.open() as lines:
            lines.seek(at)
            theirs = [line for line in lines if ATTACKERS_NETWORKS.search(line)]
        found = Counter(re.findall(r'"status":(\d+)', "".join(theirs)))
        return dict(sorted(found.items()))


@contextlib.contextmanager
def _benign(stack: ProtectedStack) -> Iterator[_Benign]:
    folder = stack.folder / "denial-of-service"
    windows = histories(64, Forecaster(stack.model).contract.input_length)
    forecasts = Path(api_route(stack.app, windows, folder).job.bodies)
    events = Path(page_route(stack.app, windows, folder).job.bodies)
    one = tuple(_first(path, folder) for path in (forecasts, events))
    log = folder / "benign.log"
    protected = stack.protected
    command = [SERVER_PYTHON, "-m", "benchmarks.protection.bystanders", str(protected.port)]
    command += [str(protected.certificate), str(forecasts), str(events)]
    with log.open("w") as out:
        clients = start(command, cwd=PROJECT, stdout=out)
        try:
            time.sleep(2)
            assert clients.poll() is None, "The benign clients ended by themselves."
            yield _Benign(stack, one, log)  # type: ignore[arg-type]
        finally:
            end(clients, END_SECONDS)


def _first(path: Path, folder: Path) -> Path:
    first = folder / f"one-{path.stem}.json"
    first.write_bytes(path.read_bytes().splitlines()[0])
    return first


def _cpu(service: LocalService) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in _processes(service))


def _mib(service: LocalService) -> float:
    # Shared pages once for each process that has them: never less than it is.
    used: int = sum(process.memory_info().rss for process in _processes(service))
    return round(used / 2**20, 1)


def _processes(service: LocalService) -> list[psutil.Process]:
    assert service.process is not None
    first = psutil.Process(service.process.pid)
    return [first, *first.children(recursive=True)]


def _times(requested: Sequence[BenignResponse], *, page: bool = False) -> list[float]:
    return sorted(one.seconds for one in requested if (one.kind != "forecast") == page)


def _milliseconds(times: Sequence[float], percent: float) -> float:
    return round(1000 * (percentile(times, percent) or 0.0), 1)


HEADINGS = (
    *("attack", "attacker (cores)", "gateway's answers to it", "benign errors", "quiet p50/p99 ms"),
    *(
        "p50/p99 ms",
        "p99 ratio",
        "machine late ms",
        "page ratio",
        "gateway/app cores",
        "gateway MiB",
        "app MiB",
    ),
    *("connections", "as before after 5 s"),
)


def _row(seen: AttackOutcome) -> tuple[str, ...]:
    return (
        seen.name.replace("_", " "),
        f"{_counts(seen.attacker)} ({seen.attacker_cores:g})",
        _counts(seen.statuses),
        f"{sum(seen.errors.values())} of {seen.requested} {_counts(seen.errors)}".strip(),
        f"{seen.quiet_p50:g}/{seen.quiet_p99:g}",
        f"{seen.p50:g}/{seen.p99:g}",
        f"{seen.ratio:g}",
        "/".join(f"{late:g}" for late in seen.late),
        f"{seen.page_ratio:g}",
        f"{seen.gateway_cores:g}/{seen.app_cores:g}",
        *(" ".join(f"{size:.0f}" for size in sizes) for sizes in (seen.gateway_mib, seen.app_mib)),
        " ".join(map(str, seen.connections)),
        "yes" if seen.settled else f"no: {seen.settled_errors} errors, {seen.settled_p99:g} ms",
    )


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in counts.items())


def _part(found: Sequence[AttackOutcome]) -> ProofPart:
    abuse = [seen for seen in found if seen.name != CAPACITY]
    worst = max(abuse, key=lambda seen: seen.ratio, default=None)
    figures = {
        "dos_attacks": len(abuse),
        "dos_benign_requests": sum(seen.requested for seen in abuse),
        "dos_benign_errors": sum(sum(seen.errors.values()) for seen in abuse),
        "dos_worst_p99_ratio": worst.ratio if worst else None,
        "dos_worst": worst.name if worst else None,
        "dos_above_three": [seen.name for seen in abuse if seen.ratio > MOST_SLOWER],
        "dos_not_settled": [seen.name for seen in abuse if not seen.settled],
        "dos": [{**asdict(seen), "ratio": seen.ratio, "settled": seen.settled} for seen in found],
    }
    notes = (
        "Attackers, benign clients, gateway, app and model server share this machine's cores; an "
        "attacker is bounded and nice. p99 is of benign forecasts, errors are of everything.",
        f"{CAPACITY.replace('_', ' ')} is no abuse: each is within its limit. It shows what more "
        "replicas are for, and is not among the figures.",
    )
    return ProofPart("denial of service", [HEADINGS, *map(_row, found)], figures, notes)


def main() -> int:
    """Measure by itself, and print the table and the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--only", action="append", choices=ATTACKS, help="may be repeated")
    parser.add_argument("--whole", action="store_true", help="all attacks, not one of each kind")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of an attack")
    parser.add_argument("--model", type=Path, default=Path("models/forecaster.onnx"))
    arguments = parser.parse_args()
    end_in_order()
    raise_open_files()
    with tempfile.TemporaryDirectory(prefix="kalecast-dos-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # nginx's workers may run as another user
        with standing(arguments.model.resolve(), folder, arguments.whole) as stack:
            part = measure(stack, arguments.only or (), arguments.seconds)
    for row in part.rows:
        print(" | ".join(row))
    print(json.dumps(part.figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())
