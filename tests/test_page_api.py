"""The page's plain routes: what a program asks, what it hears when it asks wrongly."""

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import page_process
import pytest
import requests
from model_files import contract
from page_process import PYTHON, Page
from stand_in_server import StandInServer, standing_in

pytestmark = pytest.mark.slow

WEEK = ",".join(str(hour % 24) for hour in range(168))


@pytest.fixture(scope="module")
def model_server() -> Iterator[StandInServer]:
    with standing_in() as server:
        yield server


@pytest.fixture(scope="module")
def page(model_server: StandInServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with page_process.running(tmp_path_factory.mktemp("page"), model_server.url) as page:
        yield page


@pytest.fixture
def restored(model_server: StandInServer) -> Iterator[StandInServer]:
    """The stand-in, as it was again afterwards."""
    yield model_server
    model_server.stop()
    model_server.serve(contract())
    model_server.start()


def ask(page: Page, body: Any, **changes: Any) -> requests.Response:
    text = body if isinstance(body, str | bytes | Iterator) else json.dumps(body)
    settings = {"headers": {"Content-Type": "application/json"}, "timeout": 60, **changes}
    return requests.post(page.url + "/api/forecast", data=text, **settings)


def test_forecast_of_a_text_of_numbers(page: Page) -> None:
    reply = ask(page, {"history": WEEK, "start": "2026-01-01 00:00", "horizon": 3})
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
    answer = ask(page, {"history": WEEK.replace(",", separator)}).json()
    assert answer["forecast"]["0.5"] == list(range(24))
    assert answer["forecast"]["step"] == list(range(1, 25))


@pytest.mark.parametrize("unknown", ["", "nan", "NaN", "null", "n/a"])
def test_unknown_values_are_noted(page: Page, unknown: str) -> None:
    values = WEEK.split(",")
    values[150], values[160] = unknown, "nan"
    answer = ask(page, {"history": ",".join(values)}).json()
    assert answer["notes"] == ["2 of the last 168 hours are unknown; the forecast allows for that."]
    assert answer["forecast"]["0.5"][160 - 144] == 0  # the stand-in counts unknown as zero


def test_zone_becomes_utc(page: Page) -> None:
    answer = ask(page, {"history": WEEK, "start": "2026-01-01T02:00+02:00"}).json()
    assert answer["forecast"]["ds"][0] == "2026-01-08 00:00:00"


def test_long_and_short_histories(page: Page) -> None:
    longer = ask(page, {"history": "7," * 5000 + WEEK}).json()
    assert longer["forecast"]["0.5"] == list(range(24))
    shorter = ask(page, {"history": ",".join(WEEK.split(",")[:48])}).json()
    assert "48 hours; the model can look at 168" in shorter["notes"][0]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("", "Expected JSON"),
        ("{", "Expected JSON"),
        ("[" * 100_000, "Expected JSON"),
        ('{"history": ' + "[" * 900 + "]" * 900 + "}", "Expected history as one text"),
        (b"\xff\xfe\x00", "Expected JSON"),
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
def test_bad_input_is_refused_in_words(page: Page, body: Any, told: str) -> None:
    reply = ask(page, body)
    assert reply.status_code == 400
    assert told in reply.json()["detail"]
    assert len(reply.content) < 400


def test_body_too_large(page: Page) -> None:
    assert ask(page, {"history": "1," * 400_000}).status_code == 413


def test_body_too_large_without_its_length(page: Page) -> None:
    chunks = (b'{"history": "' + b"1," * 50_000 for _ in range(20))
    try:
        reply = ask(page, chunks)
    except requests.ConnectionError:
        return  # the page hung up while the rest was still on its way
    assert reply.status_code == 413


def test_other_content_type(page: Page) -> None:
    reply = ask(page, {"history": WEEK}, headers={"Content-Type": "text/plain"})
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


def test_model_server_down_and_back(page: Page, restored: StandInServer) -> None:
    restored.stop()
    reply = ask(page, {"history": WEEK})
    assert reply.status_code == 503
    assert reply.json()["detail"].startswith("The forecasting service is not answering")
    assert requests.get(page.url + "/health", timeout=10).ok
    restored.start()
    assert ask(page, {"history": WEEK}).status_code == 200


def test_page_started_before_the_model_server(tmp_path: Path) -> None:
    with standing_in() as server:
        server.stop()
        with page_process.running(tmp_path, server.url) as page:
            assert requests.get(page.url + "/ready", timeout=10).status_code == 503
            assert requests.get(page.url + "/api/model", timeout=10).status_code == 503
            server.start()
            assert requests.get(page.url + "/ready", timeout=10).ok
            assert ask(page, {"history": WEEK}).ok


def test_new_model_with_another_horizon(page: Page, restored: StandInServer) -> None:
    assert len(ask(page, {"history": WEEK}).json()["forecast"]["0.5"]) == 24
    restored.serve(contract(version="next", horizon=48))
    answer = ask(page, {"history": WEEK}).json()
    assert answer["model"]["version"] == "next"
    assert len(answer["forecast"]["0.5"]) == 48
    assert requests.get(page.url + "/api/model", timeout=10).json()["version"] == "next"


def test_wrong_answers_of_the_model_server(tmp_path: Path) -> None:
    with standing_in() as server, page_process.running(tmp_path, server.url + "/nothing") as page:
        reply = ask(page, {"history": WEEK})
        assert reply.status_code == 503
        assert "answering" in reply.json()["detail"]


def test_example_file_is_a_table_of_series(page: Page) -> None:
    from kalecast.series import read_series, tidy

    reply = requests.get(page.url + "/api/example.csv", timeout=10)
    assert "attachment" in reply.headers["Content-Disposition"]
    table = tidy(read_series(reply.content, "example.csv"))
    assert table["unique_id"].nunique() == 2
    assert table["y"].isna().sum() == 1


def _example(page: Page, language: str) -> str:
    """The example for programs in that language, as the page shows it."""
    config = requests.get(page.url + "/config", timeout=30).json()
    texts = [part["props"].get("value") for part in config["components"]]
    (text,) = [t for t in texts if isinstance(t, str) and f"```{language}" in t]
    found = re.search(rf"```{language}\n(.*?)```", text, re.DOTALL)
    assert found
    return found.group(1)


def test_curl_example_works(page: Page) -> None:
    done = subprocess.run(
        ["bash", "-c", _example(page, "bash")], capture_output=True, text=True, check=True
    )
    assert len(json.loads(done.stdout)["forecast"]["0.5"]) == 24


def test_python_example_works(page: Page) -> None:
    done = subprocess.run(
        [PYTHON, "-c", _example(page, "python")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == list(range(24))


def test_gradio_route_tells_no_traceback(page: Page) -> None:
    wrong = {"data": ["abc", "", 24]}
    reply = requests.post(page.url + "/gradio_api/run/forecast", json=wrong, timeout=30)
    assert "Expected numbers" in reply.json()["error"]
    assert "Traceback" not in reply.text
    nonsense = requests.post(
        page.url + "/gradio_api/run/forecast", json={"data": [{}, [], {}]}, timeout=30
    )
    assert "Traceback" not in nonsense.text
    assert ".py" not in nonsense.text


def show(page: Page, *controls: Any) -> requests.Response:
    """Ask the page's own event, as a browser does or as an attacker would."""
    config = requests.get(page.url + "/config", timeout=30).json()
    (number,) = [d["id"] for d in config["dependencies"] if d["api_name"] == "show"]
    body = {"fn_index": number, "session_hash": "x", "data": list(controls)}
    return requests.post(page.url + "/gradio_api/run/predict", json=body, timeout=60)


@pytest.mark.parametrize("position", range(7))
@pytest.mark.parametrize(
    "named",
    ["file", "link", "up and out", "http://127.0.0.1:9/x.csv", "a" * 5000, "nul\0byte"],
)
def test_requests_cannot_name_files_of_the_server(
    page: Page, tmp_path: Path, named: str, position: int
) -> None:
    secret = page_process.write_samples(tmp_path / "secret.csv")
    page.uploads.mkdir(exist_ok=True)
    link = page.uploads / "link.csv"
    link.unlink(missing_ok=True)
    link.symlink_to(secret)
    paths = {
        "file": str(secret),
        "link": str(link),
        "up and out": f"{page.uploads}/../../{tmp_path.name}/secret.csv",
    }
    file = {"path": paths.get(named, named), "meta": {"_type": "gradio.FileData"}}
    controls: list[Any] = ["Your file", None, None, None, None, None, 24]
    controls[position] = file
    reply = show(page, *controls)
    link.unlink()
    assert "town_hall" not in reply.text
    assert "Traceback" not in reply.text
    assert reply.status_code == 500
    assert not list(page.uploads.rglob("secret*"))


def test_upload_that_is_gone(page: Page) -> None:
    gone = {"path": str(page.uploads / "gone.csv"), "meta": {"_type": "gradio.FileData"}}
    reply = show(page, "Your file", None, gone, None, None, None, 24)
    assert "Please choose it again" in reply.text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_ends_cleanly(tmp_path: Path, number: int) -> None:
    with page_process.running(tmp_path, "http://127.0.0.1:9") as page:
        assert page_process.end(page.process, number) == 0
    assert "Traceback" not in page.log


def test_used_port_is_said_in_one_line(page: Page, tmp_path: Path) -> None:
    process = page_process.start(tmp_path, KALECAST_PAGE_PORT=page.url.rpartition(":")[2])
    assert process.wait(timeout=60) == 2
    logged = (tmp_path / page_process.LOG).read_text()
    assert logged.count("\n") == 1
    assert "Address already in use" in logged


@pytest.mark.parametrize(
    ("name", "value"), [("KALECAST_PAGE_PORT", "seven"), ("MODEL_SERVER_URL", "localhost:9000")]
)
def test_wrong_settings_are_said_in_one_line(tmp_path: Path, name: str, value: str) -> None:
    process = page_process.start(tmp_path, **{name: value})
    assert process.wait(timeout=60) == 2
    logged = (tmp_path / page_process.LOG).read_text()
    assert logged.count("\n") == 1
    assert name in logged
