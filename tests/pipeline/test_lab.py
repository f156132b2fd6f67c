"""`make lab` but for the browser: runs of this machine, over HTTP and from Kale's panel."""

import asyncio
import copy
import errno
import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lab_process
import pytest
import requests
import yaml
from lab_process import PROJECT, Lab, details, is_over, send, submit, until
from ports import free_ports
from run_processes import assert_no_process_left, processes_of
from toy_notebooks import SLEEPY_CELLS, SUM_CELLS, Cell

from kalecast.pipelines.compiled_pipeline import ParameterError
from kalecast.pipelines.lab import kale_panel, runs, runs_server
from kalecast.pipelines.lab.run_view import show_command, view_run
from kalecast.pipelines.lab.runs_server import start_runs_server
from kalecast.pipelines.lab.saving import as_opened, before_saving
from kalecast.pipelines.local import run_folder

slow = pytest.mark.slow
NO_JUPYTER = "--no-jupyter"
FAILING_CELLS: list[Cell] = [
    ("x = 1\nraise ValueError('no <b>such</b> luck')", ["step:one"]),
    ("print(x)", ["step:two", "prev:one"]),
]
Compiled = Callable[[str, list[Cell]], Path]
RUN = {"name": "p", "pipeline": "nothing that runs"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab_process.running(tmp_path_factory.mktemp("lab"), NO_JUPYTER) as lab:
        yield lab


@pytest.fixture
def toy(compiled: Compiled) -> Path:
    return compiled("toy", SUM_CELLS)


def is_asleep(run: dict[str, Any]) -> bool:
    return "asleep" in run["log"]["text"]


##### Runs #####


@slow
def test_the_panel_runs_a_pipeline_and_its_page_has_all_of_it(
    lab: Lab, toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rpc: Any = SimpleNamespace()
    server = tmp_path / "server.json"
    monkeypatch.setenv(kale_panel.RUNS_SERVER, str(server))
    server.write_text(json.dumps({"url": "http://127.0.0.1:9", "token": ""}))
    kale_panel.run_on_this_machine(rpc)
    assert rpc.ping(None) is False
    server.write_text(json.dumps({"url": lab.host, "token": lab.token}))
    assert rpc.ping(None) is True
    assert [one["name"] for one in rpc.list_experiments(None)] == ["kalecast"]
    pipeline = rpc.upload_pipeline(None, str(toy), {"pipeline_name": "toy"})["pipeline"]
    ids = (pipeline["pipelineid"], pipeline["versionid"])
    run_id = rpc.run_pipeline(None, {}, *ids, str(toy))["id"]
    assert rpc.get_run(None, run_id)["status"] in ("PENDING", "RUNNING")
    until(lab, run_id, is_over)
    assert rpc.get_run(None, run_id)["status"] == "SUCCEEDED"
    run = details(lab, run_id, "load")
    assert run["parameters"] == {"rows": 3, "loud": False, "scale": 0.5, "label": "plain"}
    assert run["scores"] == {"score_sum": 1.5}
    assert [(s["name"], s["state"], s["has_report"]) for s in run["steps"]] == [
        ("load", "SUCCEEDED", True),
        ("add", "SUCCEEDED", True),
    ]
    assert run["log"] == {"step": "load", "text": "rows 3 plain False\n", "cut": False}
    report = send(lab, f"/runs/{run_id}/reports/add")
    assert "sum 1.5" in report.text
    assert "sandbox" in report.headers["Content-Security-Policy"]
    assert run_id in [one["run_id"] for one in send(lab, "/runs").json()["runs"]]
    spec, *platform = yaml.safe_load_all((PROJECT / "kale/forecast-pipeline.pipeline.yaml").open())
    spec["root"]["inputDefinitions"]["parameters"]["epochs"]["defaultValue"] = 0.0
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump_all([spec, *platform]))
    with pytest.raises(ParameterError, match="epochs"):
        rpc.run_pipeline(None, {}, "p", "p", str(tmp_path / "wrong.yaml"))
    with pytest.raises(RuntimeError, match="No such run"):
        rpc.get_run(None, "none")


@slow
def test_a_failure_says_where_and_why(lab: Lab, compiled: Compiled) -> None:
    run = until(lab, submit(lab, compiled("failing", FAILING_CELLS)), is_over)
    assert run["state"] == "FAILED"
    assert run["error"] == {"step": "one", "type": "ValueError", "message": "no <b>such</b> luck"}
    assert [step["state"] for step in run["steps"]] == ["FAILED", "SKIPPED"]
    none = until(lab, send(lab, "/runs", "POST", json=RUN).json()["run_id"], is_over)
    assert none["state"] == "FAILED"


@slow
def test_runs_queue_and_stop(tmp_path: Path, toy: Path, compiled: Compiled) -> None:
    with lab_process.running(tmp_path, NO_JUPYTER) as lab:
        sleeper = submit(lab, compiled("sleepy", SLEEPY_CELLS))
        dropped, last = submit(lab, toy), submit(lab, toy)
        until(lab, sleeper, is_asleep)
        assert details(lab, dropped)["state"] == "PENDING"
        assert details(lab, last)["place"] == 2
        assert send(lab, f"/runs/{dropped}/stop", "POST").ok
        assert details(lab, dropped)["state"] == "CANCELED"
        assert details(lab, last)["place"] == 1
        for _ in "12":
            assert send(lab, f"/runs/{sleeper}/stop", "POST").ok
        assert until(lab, sleeper, is_over)["state"] == "CANCELED"
        assert_no_process_left(lab.runs / sleeper)
        assert until(lab, last, is_over)["state"] == "SUCCEEDED"
        again = send(lab, f"/runs/{last}/stop", "POST")
        assert again.status_code == 400
        assert "it has ended" in again.json()["message"]


@slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_ending_the_lab_ends_its_runs_and_the_next_one_shows_them(
    number: int, tmp_path: Path, toy: Path, compiled: Compiled
) -> None:
    port = ("--kfp-port", str(*free_ports(1)))
    with lab_process.running(tmp_path, NO_JUPYTER, *port) as lab:
        done = submit(lab, toy)
        until(lab, done, is_over)
        sleeper, waiting = submit(lab, compiled("sleepy", SLEEPY_CELLS)), submit(lab, toy)
        until(lab, sleeper, is_asleep)
        assert processes_of(lab.runs / sleeper)
        assert lab_process.end(lab, number) == (-number if number == signal.SIGKILL else 0)
        assert_no_process_left(tmp_path)
    host, secret = lab.host, lab.token
    (tmp_path / "lab.log").unlink()
    with lab_process.running(tmp_path, NO_JUPYTER, *port) as lab:
        assert lab.host == host  # a tunnel or a bookmark still finds it
        assert not requests.get(f"{host}/runs", params={"token": secret}, timeout=30).ok
        assert details(lab, done)["scores"] == {"score_sum": 1.5}
        runs = [(run["run_id"], run["state"]) for run in send(lab, "/runs").json()["runs"]]
        states = ["CANCELED", "CANCELED", "SUCCEEDED"]
        assert runs == list(zip((waiting, sleeper, done), states, strict=True))


##### What is refused #####


def test_who_does_not_know_the_secret_is_refused(lab: Lab) -> None:
    for path in ("/runs", "/runs/x", "/runs/x/reports/y", "/page/runs.js", "/other"):
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": lab.token}):
            answer = requests.get(lab.host + path, headers=headers, timeout=30)
            assert answer.status_code == 401, path
    page = requests.get(lab.host + "/", timeout=30)
    assert page.status_code == 401
    assert "make lab" in page.text


def test_the_link_opens_the_page_and_leaves_a_cookie_that_only_reads(lab: Lab) -> None:
    visit = requests.Session()
    opened = visit.get(lab.page, timeout=30)
    assert "Runs on this machine" in opened.text
    policy = opened.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    cookie = opened.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    # A browser sends it to every port of this host.
    assert lab.token not in cookie
    assert lab.token not in opened.text
    for path in ("/", "/runs", "/page/runs.js", "/page/runs.css", "/page/favicon.svg"):
        assert visit.get(lab.host + path, timeout=30).ok
    (stolen,) = visit.cookies.values()
    link = {"token": lab.token}
    for carried in ({"Cookie": cookie.partition(";")[0]}, {"Authorization": f"Bearer {stolen}"}):
        for path in ("/runs", "/runs/x/stop"):
            url = lab.host + path
            assert requests.post(url, headers=carried, json=RUN, timeout=30).status_code == 401
            assert requests.post(url, params=link, json=RUN, timeout=30).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},  # a name made to resolve to loopback
        {"Host": "evil.example:8080"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},  # another server of this machine
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_pages_of_other_sites_are_refused(lab: Lab, headers: dict[str, str]) -> None:
    answer = send(lab, "/runs", "POST", json=RUN, headers=headers)
    assert answer.status_code == 403
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", "/runs/none", {}, 404),
        ("GET", "/runs/..%2f..%2fetc", {}, 404),
        ("GET", "/runs/none/reports/..%2fx", {}, 404),
        ("GET", "/page/..%2fruns_server.py", {}, 404),
        ("GET", "/page/server.py", {}, 404),
        ("POST", "/runs/none/stop", {}, 404),
        *(("POST", "/runs", {"data": data}, 400) for data in ("", "{", "[]", "[" * 3000, b"\xff")),
        ("POST", "/runs", {"json": {"name": "p"}}, 400),
        ("POST", "/runs", {"json": {**RUN, "name": 7}}, 400),
        ("POST", "/runs", {"json": {**RUN, "name": "x" * 300}}, 400),
        ("POST", "/runs", {"json": {**RUN, "pipeline": {}}}, 400),
        ("DELETE", "/runs/none", {}, 405),
        ("PUT", "/nowhere", {}, 404),
    ],
)
def test_broken_requests_get_json_and_a_status_of_theirs(
    lab: Lab, method: str, path: str, options: dict[str, Any], status: int
) -> None:
    before = sorted(lab.runs.glob("*"))
    answer = send(lab, path, method, **options)
    assert answer.status_code == status, answer.text
    assert answer.json()["message"]
    assert "Traceback" not in answer.text
    assert sorted(lab.runs.glob("*")) == before


def test_a_body_without_end_is_refused_and_the_server_lives(lab: Lab) -> None:
    headers = {"Content-Length": str(10**9)}
    try:
        status = send(lab, "/runs", "POST", data="{", headers=headers).status_code
    except requests.ConnectionError:
        status = 400
    assert status == 400
    assert send(lab, "/runs").ok


def test_a_port_that_is_taken_is_reported_where_it_was_requested(lab: Lab, tmp_path: Path) -> None:
    port = lab.host.rpartition(":")[2]
    second = lab_process.start(tmp_path, NO_JUPYTER, "--kfp-port", port)
    assert second.process.wait(30) == 1
    assert f"received: {port}. Choose another: make lab KFP_PORT=" in second.log


def test_nothing_but_loopback_is_served(lab: Lab) -> None:
    port = int(lab.host.rpartition(":")[2])
    listening = [
        line.split()[1]
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for line in Path(table).read_text().splitlines()[1:]
        if line.split()[3] == "0A" and int(line.split()[1].rpartition(":")[2], 16) == port
    ]
    assert listening == [f"0100007F:{port:04X}"]


##### In this process #####


@pytest.fixture
def serve(tmp_path: Path) -> Callable[..., Any]:
    """Do something with a server of the runs."""

    def serve(use: Callable[[Any], Any], port: int | None = 0) -> Any:
        async def serving() -> Any:
            server = start_runs_server(tmp_path, port)
            try:
                return await use(server)
            finally:
                await server.close()

        return asyncio.run(serving())

    return serve


def test_the_default_port_may_be_taken(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def its_port(server: Any) -> int:
        return int(server.port)

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr(runs_server, "PORT", taken.getsockname()[1])
        assert serve(its_port, None) not in (0, runs_server.PORT)


def test_a_full_disk_is_reported_in_a_sentence_and_leaves_no_folder(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(path: Path, content: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    async def answer(server: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {server.token}"}
        url = f"{server.host}/runs"
        return await asyncio.to_thread(requests.post, url, json=RUN, headers=headers)

    monkeypatch.setattr(run_folder, "write_json", full)
    refused = serve(answer)
    assert refused.status_code == 507
    assert "The disk has no room for" in refused.json()["message"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "output"),
    [
        (OSError(errno.ENOSPC, "No space left"), "The disk has no room"),
        (OSError(errno.EAGAIN, "No process"), "No process"),
        (ValueError("odd"), "odd"),
    ],
)
def test_a_run_that_cannot_be_started_is_reported_and_the_next_one_runs(
    error: Exception, output: str, serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    async def run_alone(folder: Path) -> None:
        begun.append(folder.name)
        if len(begun) == 1:
            raise error

    async def both(server: Any) -> list[dict[str, Any]]:
        ids = [server.runs.add(name, "") for name in ("first", "second")]
        while server.runs.view(ids[1])["is_open"]:
            await asyncio.sleep(0.01)
        assert begun == ids
        return [server.runs.view(run_id) for run_id in ids]

    monkeypatch.setattr(runs, "_run_alone", run_alone)
    first, _ = serve(both)
    assert first["state"] == "FAILED"
    assert first["error"]["message"].startswith("It could not be started: ")
    assert output in first["error"]["message"]


##### Runs that were not started here #####


def test_a_run_of_make_pipeline_is_reported_from_its_folder(tmp_path: Path) -> None:
    step = {"name": "one", "started": time.time(), "seconds": 0, "cell_seconds": 0}
    step |= {"status": "running", "error": None, "scores": {}}
    progress = {"pipeline": "p.pipeline.yaml", "parameters": {"n": 1}, "defaults": {"n": 2}}
    progress |= {"step_names": ["one", "two"], "started": time.time(), "steps": [step]}
    run_folder.write_json(tmp_path / run_folder.PROGRESS, progress)
    with run_folder.hold(tmp_path):
        run = view_run(tmp_path, None)
        assert (run["state"], run["pipeline"]) == ("RUNNING", "p")
        assert run["parameters"] == {"n": 1}
        assert [s["state"] for s in run["steps"]] == ["RUNNING", "PENDING"]
    killed = view_run(tmp_path, None)
    assert killed["state"] == "FAILED"
    assert killed["error"]["message"] == "It ended without a message."
    assert [s["state"] for s in killed["steps"]] == ["FAILED", "SKIPPED"]
    stopped = {"error": {"step": "one", "type": "SIGINT", "message": "stopped"}, "seconds": 1}
    (tmp_path / "summary.json").write_text(json.dumps(stopped))
    assert view_run(tmp_path, None)["state"] == "CANCELED"
    damaged = ("{", "", "\0" * 40, "[]", '{"error": "x"}', '{"steps": [1]}', '{"steps": [{}]}')
    for left in damaged:  # half a file is none
        (tmp_path / "summary.json").write_text(left)
        assert view_run(tmp_path, None)["state"] == "FAILED"


@pytest.mark.parametrize(
    ("model", "parameters", "output"),
    [
        ("models/lab/forecaster.onnx", {}, "make run STORE=models/lab"),
        (
            "models/lab/forecaster.onnx",
            {"data": "my data.csv"},
            "make run DATA='my data.csv' STORE=models/lab",
        ),
        ("models/forecaster.onnx", {}, None),  # what `make run` serves
        ("models/lab/mine.onnx", {}, None),
        ("/elsewhere/forecaster.onnx", {}, None),
        ("s3://models/forecaster.onnx", {}, None),
        (None, {}, None),
    ],
)
def test_how_to_show_a_model_is_reported(
    model: str | None,
    parameters: dict[str, Any],
    output: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KALECAST_HOME", str(PROJECT))
    here = model and "://" not in model
    assert show_command(str(PROJECT / model) if here else model, parameters) == output


##### A given KFP, and how saving leaves the notebook #####


def test_a_given_kfp_is_used_and_nothing_is_served_here(tmp_path: Path) -> None:
    with lab_process.running(tmp_path, NO_JUPYTER, KFP_HOST="http://127.0.0.1:1") as lab:
        output = lab.printed(r"(Expected KFP at http://127.0.0.1:1, which does not answer .*)")
        assert "Compile works nevertheless" in lab.log
    assert "runs are at" not in lab.log
    assert output


LANGUAGE = {"name": "python", "file_extension": ".py", "mimetype": "text/x-python"}
WRITTEN = {"pipeline_name": "p", "experiment_name": "e", "volumes": []}
OPENED = {
    "kubeflow_notebook": {**WRITTEN, "experiment": {"id": "1"}, "steps_defaults": []},
    "language_info": {**LANGUAGE, "version": "3.12.1", "codemirror_mode": {"name": "x"}},
}


@pytest.mark.parametrize(
    ("tags", "block"),
    [("step:a", {"kubeflow_notebook": WRITTEN}), ("parameters", {})],  # the second is no pipeline
)
def test_saving_leaves_out_what_opening_put_in(tags: str, block: dict[str, Any]) -> None:
    cells = [{"metadata": {"tags": [tags]}}, {"metadata": {"tags": []}}]
    content = {"metadata": copy.deepcopy(OPENED), "cells": cells}
    before_saving(model={"type": "notebook", "content": content}, path="x")
    assert content["metadata"] == {**block, "language_info": LANGUAGE}
    assert [cell["metadata"] for cell in cells] == [{"tags": [tags]}, {}]
    before_saving(model={"type": "file", "content": "text"}, path="x")


@pytest.mark.parametrize("path", sorted((PROJECT / "notebooks").glob("*.ipynb")), ids=str)
def test_what_was_opened_is_saved_as_it_was(path: Path) -> None:
    written = json.loads(path.read_text(encoding="utf-8"))
    model = {"type": "notebook", "content": json.loads(json.dumps(written))}
    as_opened(model, path.name)
    assert model["content"] != written
    before_saving(model, path=path.name)
    assert model["content"] == written
