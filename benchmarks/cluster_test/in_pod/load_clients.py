"""Request forecasts until stopped: the load driver's job, again and again, in the background.

    python load_clients.py start NAME    # a Job, as JSON on standard input; waits for connections
    python load_clients.py end NAME      # prints a line of JSON a round, what came of it

Nothing depends on the connection by which it was started, since connections to pods break; both
calls may be made again. After each round clients connect anew, so that new pods get some of them.
"""

import json
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.load import driver
from benchmarks.load.job import Job

FOLDER = Path("/tmp")

REPORTED = ("ok", "errors", "kinds", "retried", "p99")

STARTING = 60.0
"""Seconds within which clients should be connected."""

ENDING = 100.0
"""Seconds within which the last round should have ended."""

LONGEST = 3600.0
"""Seconds after which it ends by itself."""


def main() -> int:
    """Do what was requested; the exit code says whether it could be done."""
    called, name = sys.argv[1:]
    return {"start": start, "run": run, "end": end}[called](FOLDER / name)


def start(base: Path) -> int:
    """Start it, and wait until its clients are connected."""
    job, errors = base.with_suffix(".job"), base.with_suffix(".err")
    if not job.exists():
        job.write_text(sys.stdin.read())
        with errors.open("w") as log, base.with_suffix(".out").open("w") as out:
            subprocess.Popen(
                [sys.executable, __file__, "run", base.name],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                start_new_session=True,
            )
    deadline = time.monotonic() + STARTING
    while "connections are open" not in errors.read_text():
        if base.with_suffix(".ended").exists() or time.monotonic() > deadline:
            return failed("it did not start", errors)
        time.sleep(0.1)
    return 0


def run(base: Path) -> int:
    """One round after another, until a file says that it is enough."""
    try:
        job = resolved(Job.from_json(base.with_suffix(".job").read_text()))
        requests = driver.prepare(job)
        deadline = time.monotonic() + LONGEST
        while not base.with_suffix(".end").exists() and time.monotonic() < deadline:
            (summary,) = driver.run(job, requests)
            print(json.dumps({name: summary[name] for name in REPORTED}), flush=True)
    finally:
        base.with_suffix(".ended").touch()
    return 0


def end(base: Path) -> int:
    """End it after the current round, and report all rounds."""
    stop, ended = base.with_suffix(".end"), base.with_suffix(".ended")
    if ended.exists() and not stop.exists():
        return failed("it ended by itself", base.with_suffix(".err"))
    stop.touch()
    deadline = time.monotonic() + ENDING
    while not ended.exists():
        if time.monotonic() > deadline:
            return failed("it does not end", base.with_suffix(".err"))
        time.sleep(0.1)
    print(base.with_suffix(".out").read_text(), end="")
    return 0


def failed(what: str, errors: Path) -> int:
    """Say so, with the end of its log."""
    said = errors.read_text().splitlines() if errors.exists() else []
    print(": ".join([what, *said[-1:]]), file=sys.stderr)
    return 1


def resolved(job: Job) -> Job:
    """With the Service's address in place of its name: names are not what is measured."""
    host, _, port = job.addresses[0].rpartition(":")
    address = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0][4][0]
    return replace(job, addresses=(f"{address}:{port}",))


if __name__ == "__main__":
    sys.exit(main())
