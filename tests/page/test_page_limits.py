"""The page with the memory of its pod: nothing that strangers send ends it or stops others."""

import base64
import gzip
import io
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import page_process
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import requests
from memory_limit import MemoryLimit, memory_limit
from page_process import WEEK, Page, file_of, timestamp
from stand_in_server import standing_in

pytestmark = pytest.mark.slow

MEBIBYTES = 640
"""Of the page's pod."""
GOOD = "ds,y\n" + "".join(f"{timestamp(hour)},{hour % 24}\n" for hour in range(200))
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def limit() -> Iterator[MemoryLimit]:
    with memory_limit(MEBIBYTES) as limit:
        yield limit


@pytest.fixture(scope="module")
def page(limit: MemoryLimit, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("page")
    with (
        standing_in() as server,
        page_process.running(folder, server.url, limit=limit, KALECAST_GRADIO_CLIENT="on") as page,
    ):
        yield page


def event(*controls: Any, **more: Any) -> bytes:
    return json.dumps({"fn_index": 0, "data": controls, **more}).encode()


def file(token: str) -> bytes:
    return event("Your file", None, file_of(token), None, None, None, 6)


def numbers(text: str) -> bytes:
    return event("Your numbers", None, None, None, text, None, 6)


def bomb() -> bytes:
    """A token without a signature, of a thousandth of what it would unpack to."""
    content = b'{"series":[],"x":[' + b",".join([b'{"":0}'] * 2_000_000) + b"]}"
    letters = base64.urlsafe_b64encode(bytes(32) + gzip.compress(content)).decode()
    return file("kalecast-table-1." + letters.rstrip("="))


def names() -> bytes:
    """A Parquet file of few bytes and half a gigabyte of names."""
    content, rows = io.BytesIO(), 500_000
    table = {
        "unique_id": [f"{at:06}" + "x" * 990 for at in range(rows)],
        "ds": pa.array([at * 3_600_000_000_000 for at in range(rows)], pa.timestamp("ns")),
        "y": [1.0] * rows,
    }
    pq.write_table(pa.table(table), content, compression="zstd")
    return content.getvalue()


EVENT, UPLOAD, FORECAST = "/gradio_api/run/predict", "/gradio_api/upload", "/api/forecast"
CALL = "/gradio_api/call/forecast"

HOSTILE: dict[str, tuple[str, Callable[[], bytes]]] = {
    "a token that unpacks to much": (EVENT, bomb),
    "a token of four megabytes": (EVENT, lambda: file("kalecast-table-1." + "A" * 4_000_000)),
    "a timestamp without end": (EVENT, lambda: numbers("2026-01-01" + "1" * 900_000)),
    "colons": (EVENT, lambda: numbers("ds,y\n2026-01-01,1\n" + ":" * 900_000 + ",1")),
    "a short, wide table": (EVENT, lambda: numbers("y," * 8000 + "ds" + "\n" * 20_000 + "1")),
    "blank lines": (EVENT, lambda: numbers("ds,y" + "\n" * 990_000 + "1")),
    "empty lists": (EVENT, lambda: event("Sample", *[None] * 5, 6, x=[[]] * 2_000_000)),
    "numbers": (EVENT, lambda: event("Sample", *[None] * 5, 6, x=[1] * 3_000_000)),
    "pasted rows": (EVENT, lambda: numbers("2026-01-01 00:00,1\n" * 50_000)),
    "empty objects": (FORECAST, lambda: json.dumps({"x": [{}] * 120_000}).encode()),
    "commas": (FORECAST, lambda: json.dumps({"history": "," * 500_000}).encode()),
    "blanks": (FORECAST, lambda: json.dumps({"history": "1" + " " * 500_000 + "x"}).encode()),
    "half a megabyte for Gradio": (CALL, lambda: json.dumps({"data": [[]] * 120_000}).encode()),
    "ten megabytes for Gradio": (CALL, lambda: bytes(10**7)),
    "uploaded colons": (UPLOAD, lambda: b"ds,y\n2026-01-01,1\n" + b":" * 10**7 + b",1\n"),
    "uploaded blank lines": (UPLOAD, lambda: b"y," * 8000 + b"ds" + b"\n" * 900_000 + b"1"),
    "uploaded names": (UPLOAD, names),
}


def send(page: Page, path: str, body: bytes) -> requests.Response:
    if path == UPLOAD:
        return requests.post(page.url + path, files={"files": ("a.csv", body)}, timeout=120)
    return requests.post(page.url + path, data=body, headers=JSON, timeout=120)


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_that_is_sent_ends_the_page_or_keeps_others_waiting(
    page: Page, limit: MemoryLimit, name: str
) -> None:
    path, made = HOSTILE[name]
    body = made()
    with ThreadPoolExecutor(3) as pool:
        sent = [pool.submit(send, page, path, body) for _ in range(3)]
        slowest = 0.0
        while True:
            begin = time.monotonic()
            assert send(page, FORECAST, json.dumps({"history": WEEK}).encode()).ok
            assert requests.get(page.url + "/health", timeout=60).ok
            slowest = max(slowest, time.monotonic() - begin)
            if all(one.done() for one in sent):
                break
        for reply in [one.result() for one in sent]:
            assert reply.status_code in (200, 400, 413, 503)
            assert "our side" not in reply.text
    assert slowest < 10
    (token,) = send(page, UPLOAD, GOOD.encode()).json()
    assert "kc-reading" in send(page, EVENT, file(token)).text
    assert not limit.peak > MEBIBYTES * 2**20
    assert "Traceback" not in page.log


def refused(at: int) -> tuple[str, bytes]:
    """A small request that is refused, of one kind after the other."""
    kinds = [
        (EVENT, b"{"),
        (EVENT, numbers("abc")),
        (EVENT, file("kalecast-table-1.AAAA")),
        (EVENT, file("/etc/passwd")),
        (EVENT, event("Elsewhere")),
        (FORECAST, b"[]"),
        (FORECAST, json.dumps({"history": "1,2"}).encode()),
        (FORECAST, json.dumps({"history": WEEK, "horizon": 10**6}).encode()),
        (CALL, b"{"),
        ("/gradio_api/queue/join", json.dumps({"data": [at], "session_hash": str(at)}).encode()),
        ("/nowhere", b"x" * 1000),
    ]
    if at % 100 == 0:
        return FORECAST, json.dumps({"history": "x," * 30_000}).encode()
    return kinds[at % len(kinds)]


def test_refused_requests_leave_nothing_behind(page: Page) -> None:
    process = psutil.Process(page.process.pid)

    def query(begin: int) -> None:
        with requests.Session() as session:
            for at in range(begin, begin + 500):
                path, body = refused(at)
                session.post(page.url + path, data=body, headers=JSON, timeout=60)

    def query_many() -> float:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(query, range(0, 10_000, 500)))
        return float(process.memory_info().rss)

    query(0)
    before = process.memory_info().rss
    assert query_many() < 1.1 * before
    assert len(process.children()) <= 1


def test_answers_that_are_not_fetched_do_not_add_up(page: Page) -> None:
    process = psutil.Process(page.process.pid)
    before = process.memory_info().rss
    body = json.dumps({"data": [WEEK, "", 6]}).encode()
    statuses = [send(page, CALL, body).status_code for _ in range(600)]
    assert set(statuses) == {200, 503}
    assert process.memory_info().rss < before + 120 * 2**20
