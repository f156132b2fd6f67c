"""`kalecast lab` for tests: JupyterLab, or only the server of its runs."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

PROJECT = Path(__file__).resolve().parents[2]
NOTEBOOK = "notebooks/forecast_pipeline.ipynb"
LAB = ("-m", "kalecast.pipelines.lab.jupyter")
START_SECONDS = 60


@dataclass(frozen=True)
class Lab:
    """A lab that answers."""

    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def log(self) -> str:
        return (self.folder / "lab.log").read_text(errors="replace")

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    @property
    def page(self) -> str:
        """The link to the page of runs."""
        return self.printed(r"its runs are at (\S+)")

    @property
    def host(self) -> str:
        """The address of the server of runs."""
        return self.page.partition("/?token=")[0]

    @property
    def token(self) -> str:
        return self.page.partition("token=")[2]

    @property
    def jupyter(self) -> str:
        """JupyterLab's link, which opens the notebook."""
        return self.printed(r"(http://127\.0\.0\.1:\S+/lab\S*\?token=\S+)")

    def printed(self, pattern: str) -> str:
        """What the log has, sooner or later, in the place of the pattern's group."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if found := re.search(pattern, self.log):
                return found[1]
            assert self.process.poll() is None, self.log
            time.sleep(0.05)
        raise AssertionError(f"Expected {pattern} from the lab:\n{self.log}")


def start(folder: Path, *arguments: str, **environment: str) -> Lab:
    """Start the lab with `folder` as what it shows, its runs, its log and its home.

    It logs into a file: a pipe that is not read would stop it once full.
    """
    ours = ("KALE_", "KFP_", "KF_", "JUPYTER", "NB_PREFIX")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    (folder / "tmp").mkdir(exist_ok=True)
    command = [sys.executable, *LAB, "--root", str(folder), "--runs-dir", str(folder / "runs")]
    command += ["--kfp-port", "0"]
    with (folder / "lab.log").open("ab") as log:
        process = subprocess.Popen(
            [*command, *arguments],
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**kept, "HOME": str(folder), "TMPDIR": str(folder / "tmp"), **environment},
        )
    return Lab(process, folder)


def end(lab: Lab, number: int = signal.SIGTERM) -> int:
    """End it; returns its exit code."""
    if lab.process.poll() is None:
        lab.process.send_signal(number)
    try:
        return lab.process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        lab.process.kill()
        return lab.process.wait()


@contextmanager
def running(folder: Path, *arguments: str, **environment: str) -> Iterator[Lab]:
    """A lab, ended afterwards whatever happened."""
    lab = start(folder, *arguments, **environment)
    try:
        yield lab
    finally:
        end(lab)


##### Its runs #####


def send(lab: Lab, path: str, method: str = "GET", **options: Any) -> requests.Response:
    """Send a request with the lab's secret."""
    headers = {"Authorization": f"Bearer {lab.token}", **options.pop("headers", {})}
    return requests.request(
        method, lab.host + path, headers=headers, timeout=30, allow_redirects=False, **options
    )


def submit(lab: Lab, package: Path) -> str:
    """Queue a run of a compiled pipeline, as a click does; its id."""
    content = {"name": package.name.partition(".")[0], "pipeline": package.read_text()}
    return str(send(lab, "/runs", "POST", json=content).json()["run_id"])


def details(lab: Lab, run_id: str, step: str = "") -> dict[str, Any]:
    """What the page shows of a run."""
    answer = send(lab, f"/runs/{run_id}", params={"step": step})
    assert answer.status_code == 200, answer.text
    return answer.json()


def until(lab: Lab, run_id: str, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The run as it is once something is so."""
    deadline = time.monotonic() + 60
    while not is_so(run := details(lab, run_id)):
        assert time.monotonic() < deadline, run
        time.sleep(0.05)
    return run


def is_over(run: dict[str, Any]) -> bool:
    """Whether it has ended."""
    return not run["is_open"]
