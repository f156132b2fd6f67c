"""The page's plain routes: what a program requests, and the errors for wrong requests."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import page_process
import psutil
import pytest
import requests
from model_files import contract
from page_process import PYTHON, WEEK, Page, file_of, show, timestamp, upload
from ports import free_ports
from stand_in_server import StandInServer, standing_in

pytestmark = pytest.mark.slow

SETTINGS = {"KALECAST_GRADIO_CLIENT": "on"}
READER = "kalecast.page.reader_process"


def query(page: Page, body: Any, **changes: Any) -> requests.Response:
    text = body if isinstance(body, str | bytes | Iterator) else json.dumps(body)
    settings = {"headers": {"Content-Type": "application/json"}, "timeout": 60, **changes}
    return requests.post(page.url + "/api/forecast", data=text, **settings)


def test_forecast_of_a_text_of_numbers(page: Page) -> None:
    reply = query(page, {"history": WEEK, "start": "2026-01-01 00:00", "horizon": 3})
    assert reply.status_code == 200
    answer = reply.json()
    assert answer["model"] == {"name": "forecaster", "version": contract().version}
    assert answer["forecast"] == {
        "ds": ["2026-01-08 00:00:00", "2026-01-08 01:00:00", "2026-01-08 02:00:00"],
        "0.025": [-2.0, -1.0, 0.0],
        "0.1": [-1.0, 0.0, 1.0],
        "0.5": [0.0, 1.0, 2.0],
        "0.9": [1.0, 2.0, 3.0],
        "0.975": [2.0, 3.0, 4.0],
    }
    assert answer["notes"] == []


@pytest.mark.parametrize("separator", [",", " ", "\n", ", ", "\r\n", ",\n"])
def test_separators(page: Page, separator: str) -> None:
    answer = query(page, {"history": WEEK.replace(",", separator)}).json()
    assert answer["forecast"]["0.5"] == list(range(24))
    assert answer["forecast"]["step"] == list(range(1, 25))


@pytest.mark.parametrize("unknown", ["", "nan", "NaN", "null", "n/a"])
def test_unknown_values_are_noted(page: Page, unknown: str) -> None:
    values = WEEK.split(",")
    values[150], values[160] = unknown, "nan"
    answer = query(page, {"history": ",".join(values)}).json()
    assert answer["notes"] == ["2 of the last 168 hours are missing; the forecast allows for that."]
    assert answer["forecast"]["0.5"][160 - 144] == 0  # the stand-in counts unknown as zero


@pytest.mark.parametrize(
    ("start", "first"),
    [
        ("2026-01-01T02:00+02:00", "2026-01-08 02:00:00+02:00"),
        ("2026-01-01T02:00:00-03:30", "2026-01-08 02:00:00-03:30"),
        ("2026-01-01 02:00Z", "2026-01-08 02:00:00+00:00"),
        ("2026-01-01 02:00", "2026-01-08 02:00:00"),
    ],
)
def test_the_answer_has_the_offset_that_came(page: Page, start: str, first: str) -> None:
    answer = query(page, {"history": WEEK, "start": start}).json()
    assert answer["forecast"]["ds"][0] == first


def test_long_and_short_histories(page: Page) -> None:
    longer = query(page, {"history": "7," * 5000 + WEEK}).json()
    assert longer["forecast"]["0.5"] == list(range(24))
    shorter = query(page, {"history": ",".join(WEEK.split(",")[:48])}).json()
    assert "48 hours; the model can look at 168" in shorter["notes"][0]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "Expected JSON"),
        ("{", "Expected JSON"),
        ("[" * 100_000, "Expected JSON"),
        ('{"history": ' + "[" * 900 + "]" * 900 + "}", "Expected history as one text"),
        (b"\xff\xfe\x00", "Expected JSON"),
        ('{"a":' * 100_000, "Expected JSON"),
        (b'{"history": "\\u0000', "Expected JSON"),
        ("[]", "Expected a JSON object"),
        ("{}", "Expected history as one text"),
        ({"history": [1, 2, 3]}, "Expected history as one text"),
        ({"history": ""}, "received nothing"),
        ({"history": " , "}, "received nothing"),
        ({"history": "1, 2"}, "too short: it has 2 hours"),
        ({"history": "1," * 60 + "abc"}, "'abc' at place 61"),
        ({"history": "1," * 60 + "<script>"}, "'<script>' at place 61"),
        ({"history": "1," * 60 + "1_0"}, "'1_0' at place 61"),
        ({"history": "1," * 60 + "inf"}, "finite"),
        ({"history": "1," * 60 + "1e200"}, "at most 1e+100"),
        ({"history": "nan," * 60 + "nan"}, "no value at all"),
        ({"history": "1 " * 30_000}, "at most 20,000 numbers"),
        ({"history": WEEK, "horizon": 0}, "from 1 to 24"),
        ({"history": WEEK, "horizon": 25}, "from 1 to 24"),
        ({"history": WEEK, "horizon": -(10**30)}, "horizon"),
        ({"history": WEEK, "horizon": "24"}, "whole number"),
        ({"history": WEEK, "horizon": True}, "whole number"),
        ({"history": WEEK, "horizon": 1.5}, "whole number"),
        ({"history": WEEK, "start": "yesterday"}, "2026-01-31 13:00"),
        ({"history": WEEK, "start": "9999-12-31 23:00"}, "year"),
        ({"history": WEEK, "start": "0001-01-01T00:00+14:00"}, "year"),
        ({"history": WEEK, "start": 5}, "Expected start as a text"),
        ({"history": WEEK, "series": "a"}, "received also: 'series'"),
    ],
)
def test_bad_input_is_refused_in_words(page: Page, body: Any, message: str) -> None:
    reply = query(page, body)
    assert reply.status_code == 400
    assert message in reply.json()["detail"]
    assert len(reply.content) < 400


def test_body_too_large(page: Page) -> None:
    assert query(page, {"history": "1," * 400_000}).status_code == 413


def test_body_too_large_without_its_length(page: Page) -> None:
    chunks = (b'{"history": "' + b"1," * 50_000 for _ in range(20))
    try:
        reply = query(page, chunks)
    except requests.ConnectionError:
        return  # the page hung up while the rest was still being sent
    assert reply.status_code == 413


def test_other_content_type(page: Page) -> None:
    reply = query(page, {"history": WEEK}, headers={"Content-Type": "text/plain"})
    assert reply.status_code == 415
    assert "application/json" in reply.json()["detail"]


def test_what_is_not_there_is_json_too(page: Page) -> None:
    assert requests.get(page.url + "/api/nothing", timeout=10).json()["detail"]
    wrong = requests.get(page.url + "/api/forecast", timeout=10)
    assert (wrong.status_code, wrong.json()["detail"]) == (405, "Expected POST, received GET.")


def test_contract_and_health(page: Page) -> None:
    model = requests.get(page.url + "/api/model", timeout=10).json()
    assert model == json.loads(contract().to_json())
    assert requests.get(page.url + "/health", timeout=10).json() == {"status": "alive"}
    assert requests.get(page.url + "/ready", timeout=10).json()["status"] == "ready"


def test_page_started_before_the_model_server(tmp_path: Path) -> None:
    (metrics_port,) = free_ports(1)
    operators = {"KALECAST_METRICS_PORT": str(metrics_port)}
    with standing_in() as server:
        server.stop()
        with page_process.running(tmp_path, server.url, **operators) as page:
            assert requests.get(page.url + "/ready", timeout=10).status_code == 503
            assert requests.get(page.url + "/api/model", timeout=10).status_code == 503
            assert requests.get(page.url + "/health", timeout=10).ok
            # The page shows trouble with status 200, and counts it as what it is.
            assert show(page, "Sample", "town_hall", None, None, "", "", 24).status_code == 200
            counters = requests.get(f"http://127.0.0.1:{metrics_port}/metrics", timeout=10).text
            assert 'requests_total{code="503",route="/gradio_api/run/predict"} 1.0' in counters
            server.start()
            time.sleep(1.5)  # until a server that failed is tried again
            assert requests.get(page.url + "/ready", timeout=10).ok
            assert query(page, {"history": WEEK}).ok


def test_wrong_answers_of_the_model_server(tmp_path: Path) -> None:
    with standing_in() as server, page_process.running(tmp_path, server.url + "/nothing") as page:
        reply = query(page, {"history": WEEK})
        assert reply.status_code == 503
        assert "answering" in reply.json()["detail"]


def test_example_file_is_a_table_of_series(page: Page) -> None:
    from kalecast.data.series import read_series, tidy

    reply = requests.get(page.url + "/api/example.csv", timeout=10)
    assert "attachment" in reply.headers["Content-Disposition"]
    table = tidy(read_series(reply.content, "example.csv"))
    assert table["unique_id"].nunique() == 2
    assert table["y"].isna().sum() == 1


def test_gradio_route_shows_no_traceback(page: Page) -> None:
    wrong = {"data": ["abc", "", 24]}
    reply = requests.post(page.url + "/gradio_api/run/forecast", json=wrong, timeout=30)
    assert "Expected numbers" in reply.json()["error"]
    assert "Traceback" not in reply.text
    nonsense = requests.post(
        page.url + "/gradio_api/run/forecast", json={"data": [{}, [], {}]}, timeout=30
    )
    assert "Traceback" not in nonsense.text
    assert ".py" not in nonsense.text


def shown(reply: requests.Response) -> str:
    """What the page shows: the banner, or the text above the figure."""
    banner, reading, *_ = reply.json()["data"]
    return str(banner.get("value") or reading.get("value"))


def test_the_page_event_needs_no_session(page: Page) -> None:
    reply = show(page, "Sample", "library", None, None, None, None, 6)
    assert "Library" in shown(reply)
    assert "The next 6 hours" in shown(reply)
    figure = json.loads(reply.json()["data"][2]["value"]["plot"])
    assert [trace["name"] for trace in figure["data"]][-2:] == ["Past", "Forecast"]


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b"\xff", b'{"fn_index": 0}', b'{"fn_index": 0, "data": []}'),
        *(b'{"fn_index": 99, "data": []}', b'{"fn_index": 0, "data": [1, 2, 3, 4, 5, 6, 7]}'),
        b'{"fn_index": 0, "data": ["Sample", null, null, null, null, null, "x"]}',
        b'{"fn_index": 0, "data": ["Your file", null, "\\ud800", null, null, null, 1]}',
        b'{"fn_index": 0, "data": ["Your file", null, "\\ud800", null, "%s", null, 1]}'
        % (b"1," * 20_000),
        b'{"fn_index": 0, "data": [%s]}' % (b"[]," * 100_000 + b"[]"),
        *(b"[" * 100_000, b'{"a":' * 100_000, b'{"history": "\\u0000'),
        b'{"fn_index": 0, "data": ["Sample", null, null, null, null, null, 1e999]}',
        b'{"fn_index": 0, "data": ["Elsewhere", null, null, null, null, null, 1]}',
    ],
)
def test_an_event_that_no_page_sends(page: Page, body: bytes) -> None:
    url = page.url + "/gradio_api/run/predict"
    reply = requests.post(url, data=body, timeout=30)
    assert reply.status_code == 400
    assert reply.json()["error"]
    assert len(reply.content) < 300
    assert "Traceback" not in page.log


def test_the_event_is_answered_nowhere_else(page: Page) -> None:
    event = {"fn_index": 0, "session_hash": "x", "data": ["Sample", "library", *[None] * 4, 6]}
    for route in ("run/show", "api/predict", "queue/join", "call/show"):
        reply = requests.post(f"{page.url}/gradio_api/{route}", json=event, timeout=30)
        assert "kc-reading" not in reply.text
        assert "Traceback" not in reply.text


def test_uploads_lie_on_no_disk(page: Page) -> None:
    before = set(page.folder.rglob("*"))
    rows = "\n".join(f"{timestamp(h)},1234{h % 24}" for h in range(700))
    file = upload(page, "secret.csv", f"ds,y\n{rows}".encode())
    assert "secret" in shown(show(page, "Your file", None, file, None, None, None, 24))
    assert set(page.folder.rglob("*")) == before


def test_only_the_newest_rows_travel(page: Page) -> None:
    rows = "\n".join(
        f"{1990 + h // 8760}-{1 + h % 8760 // 672:02d}-{1 + h % 672 // 24:02d} {h % 24:02d}:00,{h}"
        for h in range(0, 8000)
    )
    long = upload(page, "long.csv", f"ds,y\n{rows}".encode())
    assert len(long["path"]) < 10_000


def test_gaps_and_flaws_survive_the_journey(page: Page) -> None:
    rows = [f"{timestamp(h)},{h % 24}" for h in range(200) if h not in (150, 160)]
    gaps = upload(page, "gaps.csv", "\n".join(["ds,y", *rows]).encode())
    message = shown(show(page, "Your file", None, gaps, None, None, None, 24))
    assert "2 of the last 168 hours are missing" in message
    again = upload(page, "again.csv", "\n".join(["ds,y", *rows, f"{rows[9]}5"]).encode())
    message = shown(show(page, "Your file", None, again, None, None, None, 24))
    assert "Expected one value at each timestamp" in message


def test_a_file_with_too_much_in_it(page: Page) -> None:
    """Small as Parquet, beyond what an event should carry."""
    import io

    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(0)
    hours = pd.date_range("2026-01-01", periods=1000, freq="h")
    table = pd.DataFrame(
        {
            "unique_id": np.repeat([f"s{at}" for at in range(1000)], 1000),
            "ds": np.tile(hours, 1000),
            "y": rng.normal(size=1_000_000),
        }
    )
    content = io.BytesIO()
    table.to_parquet(content)
    file = upload(page, "much.parquet", content.getvalue())
    message = shown(show(page, "Your file", None, file, None, None, None, 24))
    assert "much.parquet holds too much for this page: 1,000 series" in message


@pytest.mark.parametrize(
    "made_up",
    [
        *("", "kalecast-table-1.", "kalecast-table-1.äöü", "kalecast-table-1.!!", "a" * 5000),
        *("../../etc/passwd", "/etc/passwd", "http://127.0.0.1:9/x.csv", "nul\0byte"),
        *("kalecast-table-1." + "A" * size for size in (30, 40_000, 4_000_000, 5_000_000)),
    ],
    ids=lambda made_up: made_up[:40] if made_up.isprintable() else "unprintable",
)
def test_made_up_tokens_are_input_like_any_other(page: Page, made_up: str) -> None:
    reply = show(page, "Your file", None, file_of(made_up), None, None, None, 24)
    assert reply.status_code == 200
    assert "kc-banner" in shown(reply)
    assert "on our side" not in shown(reply)
    assert len(reply.content) < 4000


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", "multipart/form-data; boundary=x"),
        (b"--x\r\n\r\n", "multipart/form-data; boundary=x"),
        (b"--x--", "multipart/form-data"),
        (b"ds,y", "text/csv"),
        (b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n', "multipart/"),
    ],
)
def test_an_upload_that_is_no_form(page: Page, body: bytes, kind: str) -> None:
    url = page.url + "/gradio_api/upload"
    reply = requests.post(url, data=body, headers={"Content-Type": kind}, timeout=30)
    assert reply.status_code == 400
    assert reply.text.startswith("Expected a form with one file")


def test_an_upload_that_is_too_large(page: Page) -> None:
    url = page.url + "/gradio_api/upload"
    try:
        reply = requests.post(url, files={"files": ("a.csv", bytes(22 * 2**20))}, timeout=60)
    except requests.ConnectionError:
        return  # the page hung up while the rest was still being sent
    assert reply.status_code == 413


def reading(page: Page) -> list[psutil.Process]:
    """The process that waits for files."""
    children = psutil.Process(page.process.pid).children()
    return [one for one in children if one.cmdline()[-1:] == [READER]]


def test_the_page_outlives_the_process_that_reads_files(page: Page) -> None:
    content = b"ds,y\n2026-01-01 00:00,1\n"
    file = upload(page, "a.csv", content)
    (process,) = reading(page)
    process.kill()
    process.wait(30)
    # Who comes first may get the error that it could not be read; then another process reads.
    for _ in range(50):
        if upload(page, "a.csv", content) == file:
            break
        time.sleep(0.2)
    else:
        raise AssertionError("No process reads.")
    assert reading(page) != [process]


def test_files_are_read_however_many_there_were(page: Page) -> None:
    """More than one process reads in its life, and several at a time."""

    def is_taken(_: int) -> bool:
        file = {"files": ("a.csv", "ds,y\n2026-01-01 00:00,1\n")}
        return requests.post(page.url + "/gradio_api/upload", files=file, timeout=60).ok

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(is_taken, range(130)))
    assert len(reading(page)) == 1


def test_the_process_that_reads_files_ends_with_a_killed_page(
    model_server: StandInServer, tmp_path: Path
) -> None:
    with page_process.running(tmp_path / "page", model_server.url) as page:
        file = {"files": ("a.csv", "ds,y\n2026-01-01 00:00,1\n")}
        assert requests.post(page.url + "/gradio_api/upload", files=file, timeout=60).ok
        (process,) = reading(page)
        page.process.kill()
        process.wait(30)


@pytest.mark.parametrize("position", range(7))
@pytest.mark.parametrize(
    "named",
    ["file", "link", "up and out", "http://127.0.0.1:9/x.csv", "a" * 5000, "nul\0byte"],
)
def test_requests_cannot_name_files_of_the_server(
    page: Page, tmp_path: Path, named: str, position: int
) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("unique_id,ds,y\n" + "".join(f"vault,{timestamp(h)},5\n" for h in range(99)))
    page.files.mkdir(exist_ok=True)
    link = page.files / "link.csv"
    link.unlink(missing_ok=True)
    link.symlink_to(secret)
    paths = {
        "file": str(secret),
        "link": str(link),
        "up and out": f"{page.files}/../../{tmp_path.name}/secret.csv",
    }
    file = file_of(paths.get(named, named))
    controls: list[Any] = ["Your file", None, None, None, None, None, 24]
    controls[position] = file
    replies = [show(page, *controls), *_through_gradio(page, controls, file)]
    link.unlink()
    for reply in replies:
        assert "vault" not in reply.text
        assert "Traceback" not in reply.text
        assert reply.status_code != 200 or "Please choose your file again" in reply.text
    assert not list(page.files.rglob("secret*"))


def _through_gradio(page: Page, controls: list[Any], file: Any) -> list[requests.Response]:
    """The same on the routes that Gradio itself answers."""
    streamed = {**file, "is_stream": True}
    return [
        requests.post(f"{page.url}/gradio_api/run/{name}", json={"data": data}, timeout=30)
        for name, data in (
            ("show", controls),
            ("show", [streamed if control is file else control for control in controls]),
            ("forecast", [file, "", 24]),
            ("forecast", [streamed, "", 24]),
        )
    ]


def test_counters_are_the_operators_alone(tmp_path: Path) -> None:
    (metrics_port,) = free_ports(1)
    with (
        standing_in() as server,
        page_process.running(tmp_path, server.url, KALECAST_METRICS_PORT=str(metrics_port)) as page,
    ):
        assert query(page, {"history": WEEK}).ok
        assert query(page, {"history": "1"}).status_code == 400
        public = requests.get(page.url + "/metrics", timeout=10)
        assert (public.status_code, "kalecast" in public.text) == (404, False)
        operators = f"http://127.0.0.1:{metrics_port}"
        counters = requests.get(operators + "/metrics", timeout=10).text
        for line in (
            'kalecast_page_requests_total{code="200",route="/api/forecast"} 1.0',
            'kalecast_page_requests_total{code="400",route="/api/forecast"} 1.0',
            'kalecast_page_request_seconds_count{route="/api/forecast"} 2.0',
            "kalecast_page_forecasts_total 1.0",
            "kalecast_page_upstream_windows_count 1.0",
            "kalecast_page_in_flight 0.0",
            "kalecast_page_waiting 0.0",
            f'kalecast_page_circuit_open{{address="{server.url}"}} 0.0',
        ):
            assert line in counters
        assert requests.get(operators + "/", timeout=10).status_code == 404


def test_more_requests_than_are_taken_on(tmp_path: Path) -> None:
    with (
        standing_in() as server,
        page_process.running(tmp_path, server.url, KALECAST_MOST_IN_FLIGHT="2") as page,
        ThreadPoolExecutor() as pool,
    ):
        assert query(page, {"history": WEEK}).ok
        server.behaviour.pause = 2.0
        taken = [pool.submit(query, page, {"history": WEEK}) for _ in range(2)]
        time.sleep(0.7)
        refused = query(page, {"history": WEEK})
        assert refused.status_code == 503
        assert refused.json()["detail"].startswith("Very many people are asking just now")
        assert refused.headers["Retry-After"]
        event = requests.post(page.url + "/gradio_api/run/predict", data=b"{}", timeout=10)
        assert "Very many people" in shown(event)
        assert requests.get(page.url + "/health", timeout=10).ok
        assert requests.get(page.url + "/ready", timeout=10).ok
        assert all(reply.result().ok for reply in taken)


def test_readiness_ends_before_the_page_does(tmp_path: Path) -> None:
    with (
        standing_in() as server,
        page_process.running(tmp_path, server.url, KALECAST_DRAIN_SECONDS="3") as page,
    ):
        assert "Connection" not in query(page, {"history": WEEK}).headers
        page.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert requests.get(page.url + "/ready", timeout=10).status_code == 503
        assert requests.get(page.url + "/health", timeout=10).ok
        reply = query(page, {"history": WEEK})
        assert (reply.status_code, reply.headers["Connection"]) == (200, "close")
        assert page.process.wait(timeout=10) == 0


def test_what_is_in_flight_is_answered_at_the_end(tmp_path: Path) -> None:
    with (
        standing_in() as server,
        page_process.running(tmp_path, server.url) as page,
        ThreadPoolExecutor() as pool,
    ):
        assert query(page, {"history": WEEK}).ok
        server.behaviour.pause = 2.0
        pending = pool.submit(query, page, {"history": WEEK})
        time.sleep(0.7)
        assert page_process.end(page.process) == 0
        assert pending.result().ok


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ends_cleanly(tmp_path: Path, number: int) -> None:
    with page_process.running(tmp_path, "http://127.0.0.1:9") as page:
        assert page_process.end(page.process, number) == 0
    assert "Traceback" not in page.log


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("KALECAST_PAGE_PORT", "{used}", "Address already in use. Choose another port with"),
        ("KALECAST_METRICS_PORT", "{used}", "Address already in use. Choose another port with"),
        ("KALECAST_CUSTOMERS", "nowhere.json", "nowhere.json: No such file"),
        ("KALECAST_CUSTOMERS", "page.log", "page.log: Expected JSON"),
        ("MODEL_SERVER_URL", "http://127.0.0.1:9000,", "to begin with http:// or https://"),
    ],
)
def test_what_is_set_wrongly_ends_the_start_in_one_line(
    page: Page, tmp_path: Path, name: str, value: str, message: str
) -> None:
    ports = dict(zip(("KALECAST_PAGE_PORT", "KALECAST_METRICS_PORT"), free_ports(2), strict=True))
    environment = {key: str(port) for key, port in ports.items()}
    environment[name] = value.format(used=page.url.rpartition(":")[2])
    process = page_process.start(tmp_path, **environment)
    assert process.wait(timeout=60) == 2
    logged = (tmp_path / page_process.LOG).read_text()
    assert logged.count("\n") == 1
    assert name in logged and message in logged


def test_what_takes_seconds_is_imported_after_the_checks() -> None:
    slow = {"gradio", "fastapi", "pandas", "numpy"}
    script = f"import sys, kalecast.page.app; print({slow} & set(sys.modules))"
    done = subprocess.run([PYTHON, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
