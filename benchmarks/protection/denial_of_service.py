"""Denial of service: what benign clients notice while somebody attacks the gateway.

Benign clients send requests all the time, from addresses of their own. One attack after another is
run beside them, in a process that is `nice` and bounded, because it shares the cores with what it
attacks; its share of them is reported. The quiet before and after each attack is what its figures
are held against, so what the machine does otherwise is seen.
"""

import contextlib
import json
import random
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import psutil  # type: ignore[import-untyped, unused-ignore]

from benchmarks.load.local_service import LocalService
from benchmarks.protection.attackers import ATTACKS
from benchmarks.protection.running_stack import ProofPart, ProtectedStack, event_number
from kalecast.lifetime import end, start
from kalecast.project import PROJECT
from kalecast.protocols.sockets import MOST_FILES, allow_many_connections

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
ATTACKERS_STATUS = re.compile(r'"network":"127\.66\.')

Outcome = dict[str, Any]
"""What came of an attack, by the names of the results file. Times in ms, sizes in MiB, each size
before the attack, at most, and after it."""


class Use(NamedTuple):
    """What the gateway and what is behind it take of the machine."""

    gateway_cpu: float
    app_cpu: float
    gateway_mib: float
    app_mib: float
    connections: int
    """Open at the gateway."""


def measure(
    stack: ProtectedStack, names: Sequence[str] = (), seconds: float = SECONDS
) -> ProofPart:
    """Run attacks one after another against the stack's gateway.

    Args:
        stack: what runs.
        names: of attacks; without any all, or one of each kind where not all are wanted.
        seconds: of each attack.
    """
    allow_many_connections(MOST_FILES)
    slept: list[tuple[float, float]] = []
    threading.Thread(target=_sleep_on, args=(slept,), daemon=True).start()
    found = []
    with _benign(stack) as (bodies, log):
        for name in names or (tuple(ATTACKS) if stack.whole else OF_EACH_KIND):
            time.sleep(QUIET)
            logged, began = stack.protected.access_log.stat().st_size, time.monotonic()
            attacker, uses = _attack(stack, name, bodies, seconds)
            ended = time.monotonic()
            time.sleep(SETTLING + QUIET)
            uses.append(_use(stack))
            found.append(
                {
                    "name": name,
                    "attacker": attacker["seen"],
                    "attacker_cores": round(attacker["cpu"] / seconds, 2),
                    "statuses": _statuses(stack.protected.access_log, logged),
                    **_noticed(_responses(log), began, ended),
                    **_used(uses, ended - began),
                    "late": _late(slept, began, ended),
                }
            )
            print("  " + " | ".join(_row(found[-1])), flush=True)
    return _part(found)


def _sleep_on(slept: list[tuple[float, float]]) -> None:
    """Sleep a hundredth of a second again and again, and note when, and how much longer it took.

    What it notes has nothing to do with the gateway: all that run here wait like this for a core.
    """
    while True:
        began = time.monotonic()
        time.sleep(0.01)
        slept.append((began, time.monotonic() - began - 0.01))


def _late(slept: Sequence[tuple[float, float]], began: float, ended: float) -> tuple[float, float]:
    """By how much anything that sleeps woke up late on this machine, quiet and attacked; p99."""
    quiet = [late for at, late in slept if began - QUIET <= at < began]
    attacked = [late for at, late in slept if began <= at < ended]
    return _milliseconds(quiet, 99), _milliseconds(attacked, 99)


@contextlib.contextmanager
def _benign(stack: ProtectedStack) -> Iterator[tuple[list[Path], Path]]:
    """Benign clients, until the block ends: a file with one body of each kind, and their log."""
    folder = stack.folder / "denial-of-service"
    folder.mkdir()
    dice, number = random.Random(7), event_number(stack.app)
    histories = [",".join(f"{dice.uniform(100, 900):.1f}" for _ in range(336)) for _ in range(64)]
    events = [
        {
            "fn_index": number,
            "session_hash": f"client{at}",
            "data": ["Your numbers", None, None, None, history, "", 48],
        }
        for at, history in enumerate(histories)
    ]
    files = []
    for name, bodies in (("forecasts", [{"history": h} for h in histories]), ("events", events)):
        (folder / name).write_text("\n".join(map(json.dumps, bodies)))
        files.append(folder / f"one-of-{name}")
        files[-1].write_text(json.dumps(bodies[0]))
    log = folder / "benign.log"
    command = [sys.executable, "-m", "benchmarks.protection.bystanders"]
    command += [str(stack.protected.port), str(stack.protected.certificate)]
    with log.open("w") as out:
        process = start(
            [*command, *(str(folder / name) for name in ("forecasts", "events"))],
            cwd=PROJECT,
            stdout=out,
        )
        try:
            time.sleep(2)
            assert process.poll() is None, "The benign clients ended by themselves."
            yield files, log
        finally:
            end(process, END_SECONDS)


def _noticed(responses: pd.DataFrame, began: float, ended: float) -> Outcome:
    """What benign clients noticed of an attack between two moments."""
    at = responses["began"]
    during, settled = responses[(at >= began) & (at < ended)], responses[at >= ended + SETTLING]
    quiet = pd.concat([responses[(at >= began - QUIET) & (at < began)], settled])

    def forecasts(some: pd.DataFrame, percent: float) -> float:
        return _milliseconds(some.loc[some["kind"] == "forecast", "seconds"], percent)

    def page(some: pd.DataFrame) -> float:
        return _milliseconds(some.loc[some["kind"] != "forecast", "seconds"], 50)

    quiet_p99, p99, settled_p99 = (forecasts(some, 99) for some in (quiet, during, settled))
    settled_errors = int((settled["error"] != "").sum())
    return {
        "requested": len(during),
        "errors": during.loc[during["error"] != "", "error"].value_counts().to_dict(),
        "quiet_p50": forecasts(quiet, 50),
        "quiet_p99": quiet_p99,
        "p50": forecasts(during, 50),
        "p99": p99,
        "ratio": round(p99 / max(quiet_p99, 0.1), 2),
        # Median of events and documents, times the quiet one.
        "page_ratio": round(page(during) / (page(quiet) or 1), 2),
        "settled_errors": settled_errors,
        "settled_p99": settled_p99,
        # Whether all was as before 5 s after the end.
        "settled": not settled_errors and settled_p99 <= MOST_SLOWER * quiet_p99,
    }


def _used(uses: Sequence[Use], seconds: float) -> Outcome:
    """What an attack took of the machine; the last of the uses is after it."""
    first, last, rest = uses[0], uses[-2], uses[-1]
    sizes = ("gateway_mib", "app_mib", "connections")
    return {
        "gateway_cores": round((last.gateway_cpu - first.gateway_cpu) / seconds, 2),
        "app_cores": round((last.app_cpu - first.app_cpu) / seconds, 2),
        **{
            key: (getattr(first, key), max(getattr(use, key) for use in uses), getattr(rest, key))
            for key in sizes
        },
    }


def _attack(
    stack: ProtectedStack, name: str, bodies: Sequence[Path], seconds: float
) -> tuple[dict[str, Any], list[Use]]:
    command = [sys.executable, "-m", "benchmarks.protection.attackers", name]
    command += [str(stack.protected.port), *map(str, bodies), str(seconds)]
    uses = [_use(stack)]
    attacker = start(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True)
    try:
        while attacker.poll() is None:
            uses.append(_use(stack))
            time.sleep(0.5)
        output = attacker.communicate()[0]
    finally:
        end(attacker, END_SECONDS)
    uses.append(_use(stack))
    return json.loads(output or '{"cpu": 0, "seen": {"attacker failed": 1}}'), uses


def _use(stack: ProtectedStack) -> Use:
    connections = -1
    # An overrun gateway may not answer; that is no reason to stop measuring.
    with contextlib.suppress(OSError):
        status = stack.protected.service.request("GET", "/status")[1].decode()
        connections = int(status.split()[2])
    gateway, app = stack.protected.service, stack.app
    sizes = (round(_sum(gateway, _megabytes), 1), round(_sum(app, _megabytes), 1))
    return Use(_sum(gateway, _cpu), _sum(app, _cpu), *sizes, connections)


def _sum(service: LocalService, measure: Callable[[psutil.Process], float]) -> float:
    """A measure of a service's processes, added up."""
    total = 0.0
    for process in service.processes():
        # A process can end while it is looked at.
        with contextlib.suppress(psutil.NoSuchProcess):
            total += measure(process)
    return total


def _cpu(process: psutil.Process) -> float:
    return float(sum(process.cpu_times()[:2]))


def _megabytes(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / 2**20


def _responses(log: Path) -> pd.DataFrame:
    """What benign clients have got so far."""
    whole = log.read_text().rpartition("\n")[0]  # the last line may not be whole yet
    rows = [line.split(" ", 3) for line in whole.splitlines()]
    found = pd.DataFrame(rows, columns=["began", "ended", "kind", "error"])
    found = found.astype({"began": float, "ended": float})
    return found.assign(seconds=found["ended"] - found["began"])


def _statuses(log: Path, at: int) -> dict[str, int]:
    """What the gateway answered attackers, from a place of its access log on."""
    with log.open() as lines:
        lines.seek(at)
        theirs = [line for line in lines if ATTACKERS_STATUS.search(line)]
    return dict(sorted(Counter(re.findall(r'"status":(\d+)', "".join(theirs))).items()))


def _milliseconds(seconds: Collection[float], percent: float) -> float:
    return round(1000 * float(np.percentile(list(seconds) or [0.0], percent)), 1)


COLUMNS = (
    *("name", "attacker", "attacker_cores", "statuses", "requested", "errors", "quiet_p50"),
    *("quiet_p99", "p50", "p99", "ratio", "late", "page_ratio", "gateway_cores", "app_cores"),
    *("gateway_mib", "app_mib", "connections", "settled_errors", "settled_p99", "settled"),
)


def _row(seen: Outcome) -> list[str]:
    return [_shown(seen[key]) for key in COLUMNS]


def _shown(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case dict():
            return ", ".join(f"{number:,} {name}" for name, number in value.items())
        case tuple():
            return " ".join(f"{number:g}" for number in value)
        case str():
            return value.replace("_", " ")
    return f"{value:g}"


def _part(found: Sequence[Outcome]) -> ProofPart:
    abuse = [seen for seen in found if seen["name"] != CAPACITY]
    worst = max(abuse, key=lambda seen: float(seen["ratio"]), default=None)
    figures = {
        "dos_attacks": len(abuse),
        "dos_benign_requests": sum(seen["requested"] for seen in abuse),
        "dos_benign_errors": sum(sum(seen["errors"].values()) for seen in abuse),
        "dos_worst_p99_ratio": worst["ratio"] if worst else None,
        "dos_worst": worst["name"] if worst else None,
        "dos_above_three": [seen["name"] for seen in abuse if seen["ratio"] > MOST_SLOWER],
        "dos_not_settled": [seen["name"] for seen in abuse if not seen["settled"]],
        "dos": list(found),
    }
    notes = (
        "Attackers, benign clients, gateway, app and model server share this machine's cores; an "
        "attacker is bounded and nice. p99 is of benign forecasts, errors are of everything.",
        f"{CAPACITY.replace('_', ' ')} is no abuse: each is within its limit. It shows what more "
        "replicas are for, and is not among the figures.",
    )
    return ProofPart(
        "denial of service",
        [[name.replace("_", " ") for name in COLUMNS], *map(_row, found)],
        figures,
        notes,
    )
