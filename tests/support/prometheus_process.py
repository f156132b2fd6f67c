"""Prometheus and promtool for tests, from Debian's package: on the PATH, or unpacked in .venv."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import requests
import yaml
from missing import missing
from ports import free_ports

UNPACKED = Path(__file__).resolve().parents[2] / ".venv" / "prometheus" / "usr" / "bin"


def program(name: str) -> str:
    """A program of the package."""
    found = shutil.which(name) or shutil.which(UNPACKED / name)
    if found is None:
        missing(name, "tests/install_debian.sh brings it, as root")
    return found


def promtool(*arguments: str | Path) -> str:
    """Run promtool; returns what it says."""
    done = subprocess.run(
        [program("promtool"), *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Prometheus:
    """A Prometheus that runs."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **parameters: str) -> Any:
        """What its API answers."""
        answer = requests.get(f"{self.url}/api/v1/{path}", params=parameters, timeout=20).json()
        assert answer["status"] == "success", (parameters, answer)
        return answer["data"]

    def query(self, expression: str) -> list[Any]:
        """The series of an expression, now."""
        found: list[Any] = self.get("query", query=expression)["result"]
        return found


@contextmanager
def running(
    folder: Path, groups: list[dict[str, Any]], targets: dict[str, str], namespace: str
) -> Iterator[Prometheus]:
    """A Prometheus that scrapes each second and evaluates rules as often.

    Args:
        folder: for its files.
        groups: the rules.
        targets: addresses by job.
        namespace: label of all targets.
    """
    quick = [{**group, "interval": "1s"} for group in groups]
    (folder / "rules.yml").write_text(yaml.safe_dump({"groups": quick}))
    scraped = [
        {
            "job_name": job,
            "static_configs": [
                {"targets": [target], "labels": {"namespace": namespace, "pod": f"{job}-0"}}
            ],
        }
        for job, target in targets.items()
    ]
    every = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    config = {"global": every, "rule_files": ["rules.yml"], "scrape_configs": scraped}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    (port,) = free_ports(1)
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [
                program("prometheus"),
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        found = Prometheus(f"http://127.0.0.1:{port}")
        _until_ready(found, process, folder / "log")
        yield found
    finally:
        process.terminate()
        process.wait(timeout=30)


def _until_ready(found: Prometheus, process: "subprocess.Popen[bytes]", log: Path) -> None:
    for _ in range(300):
        assert process.poll() is None, log.read_text()
        with suppress(requests.ConnectionError):
            if requests.get(f"{found.url}/-/ready", timeout=5).ok:
                return
        time.sleep(0.1)
    raise AssertionError(f"Prometheus does not become ready: {log.read_text()}")
