"""The forecast page for tests: started in its own environment, ended afterwards."""

import math
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from memory_limit import MemoryLimit
from ports import free_ports

ROOT = Path(__file__).resolve().parents[2]
LOG = "page.log"
APP = ("-m", "kalecast.page.app")
FOLDER = ROOT / "src" / "kalecast" / "page"
"""Of the page's code."""
PYTHON = os.environ.get("KALECAST_PAGE_PYTHON", str(ROOT / ".venv" / "page" / "bin" / "python"))


WEEK = ",".join(str(hour % 24) for hour in range(168))
"""A history of a week that repeats one day."""


@dataclass(frozen=True)
class Page:
    """A page that answers."""

    process: subprocess.Popen[str]
    url: str
    folder: Path
    """Its working directory, with its log."""

    @property
    def files(self) -> Path:
        """Where Gradio would keep files."""
        return self.folder / "files"

    @property
    def log(self) -> str:
        return (self.folder / LOG).read_text()


def start(
    folder: Path, limit: MemoryLimit | None = None, **environment: str
) -> subprocess.Popen[str]:
    """Start the page with `folder` as its working and temporary directory.

    It logs into a file: a pipe that is not emptied would stop it once full.
    """
    ours = ("KALECAST_", "MODEL_SERVER", "SAMPLE_DATA", "GRADIO_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    command: list[str | Path] = [PYTHON, *APP]
    with (folder / LOG).open("w") as log:
        return subprocess.Popen(
            limit.command(command) if limit else command,
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            env={
                **kept,
                "GRADIO_TEMP_DIR": str(folder / "files"),
                "KALECAST_METRICS_PORT": "0",
                "KALECAST_DRAIN_SECONDS": "0",
                **environment,
            },
        )


@contextmanager
def running(
    folder: Path,
    model_server: str,
    samples: Path | None = None,
    limit: MemoryLimit | None = None,
    **environment: str,
) -> Iterator[Page]:
    """A page that answers, ended afterwards whatever happened."""
    folder.mkdir(exist_ok=True)
    (port,) = free_ports(1)
    process = start(
        folder,
        limit,
        MODEL_SERVER_URL=model_server,
        KALECAST_PAGE_PORT=str(port),
        SAMPLE_DATA=str(samples or write_samples(folder / "samples.csv")),
        **environment,
    )
    page = Page(process, f"http://127.0.0.1:{port}", folder)
    try:
        _until_alive(page)
        yield page
    finally:
        end(process)


def show(page: Page, *controls: Any) -> requests.Response:
    """Send the page's own event, as a browser does or as an attacker would."""
    config = requests.get(page.url + "/config", timeout=30).json()
    (number,) = [d["id"] for d in config["dependencies"] if d["api_name"] == "show"]
    body = {"fn_index": number, "session_hash": "x", "data": list(controls)}
    return requests.post(page.url + "/gradio_api/run/predict", json=body, timeout=60)


def upload(page: Page, name: str, content: bytes) -> dict[str, Any]:
    """Upload a file as a browser does; what it then sends with each event."""
    url = page.url + "/gradio_api/upload?upload_id=x"
    (token,) = requests.post(url, files={"files": (name, content)}, timeout=60).json()
    return {**file_of(token), "url": f"{page.url}/gradio_api/file={token}", "orig_name": name}


def file_of(token: str) -> dict[str, Any]:
    """An uploaded file as an event names it."""
    return {"path": token, "meta": {"_type": "gradio.FileData"}}


def end(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> int:
    """End it; returns its exit code."""
    if process.poll() is None:
        process.send_signal(number)
    try:
        return process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def write_samples(path: Path) -> Path:
    """Two series of ten days; in the second one the 5th and 6th newest hours are missing."""
    rows = ["unique_id,ds,y"]
    for name, base in (("town_hall", 300.0), ("library", 50.0)):
        for hour in range(240):
            if name == "library" and hour in (234, 235):
                continue
            rows.append(f"{name},{timestamp(hour)},{value(hour, base)}")
    path.write_text("\n".join(rows) + "\n")
    return path


def value(hour: int, base: float) -> float:
    """A day's rhythm around `base`, highest at 18:00."""
    return round(base * (1 + 0.4 * math.cos((hour % 24 - 18) / 24 * 2 * math.pi)), 1)


def timestamp(hour: int) -> str:
    """The timestamp of an hour counted from 1 January 2026."""
    return f"2026-01-{1 + hour // 24:02d} {hour % 24:02d}:00"


def _until_alive(page: Page) -> None:
    for _ in range(600):
        if page.process.poll() is not None:
            raise AssertionError(f"The page ended: {page.log}")
        try:
            if requests.get(page.url + "/health", timeout=5).ok:
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.1)
    raise AssertionError("The page does not answer.")
