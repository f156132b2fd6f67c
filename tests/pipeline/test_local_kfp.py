"""The stand-in for KFP: what KFP's own client, Kale, strangers and broken requests get from it."""

import asyncio
import errno
import json
import signal
import socket
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import lab_process
import pytest
import requests
from lab_process import PROJECT, Lab
from ports import free_ports
from run_processes import assert_no_process_left, processes_of
from toy_notebooks import SLEEPY_CELLS, SUM_CELLS, Cell, write_notebook

from kalecast.lifetime import start_child
from kalecast.pipelines.compile_notebook import compile_notebook
from kalecast.pipelines.kubeflow.connection import KfpConnection, connection_of, problem_with
from kalecast.pipelines.lab.local_kfp import address
from kalecast.pipelines.lab.local_kfp.api_errors import ApiError
from kalecast.pipelines.lab.local_kfp.run_queue import QueuedRun, RunQueue
from kalecast.pipelines.lab.local_kfp.run_view import show_command, view_run
from kalecast.pipelines.lab.local_kfp.runs import Runs
from kalecast.pipelines.lab.local_kfp.server import start_local_kfp
from kalecast.pipelines.lab.saving import as_opened, before_saving
from kalecast.pipelines.local import run_folder

slow = pytest.mark.slow
API = "/apis/v2beta1"
NO_JUPYTER = "--no-jupyter"
FAILING_CELLS: list[Cell] = [
    ("x = 1\nraise ValueError('no <b>such</b> luck')", ["step:one"]),
    ("print(x)", ["step:two", "prev:one"]),
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with lab_process.running(tmp_path_factory.mktemp("lab"), NO_JUPYTER) as lab:
        yield lab


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, list[Cell]], Path]:
    folder = tmp_path_factory.mktemp("compiled")

    def package(name: str, cells: list[Cell]) -> Path:
        notebook = write_notebook(folder / f"{name}.ipynb", cells)
        compile_notebook(notebook, folder)
        return folder / f"{name}.pipeline.yaml"

    return package


@pytest.fixture(scope="module")
def toy(compiled: Callable[[str, list[Cell]], Path]) -> Path:
    return compiled("toy", SUM_CELLS)


@pytest.fixture(scope="module")
def client(lab: Lab) -> Any:
    return client_of(lab)


def client_of(lab: Lab) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import kfp

        return kfp.Client(host=lab.host, existing_token=lab.token)


def send(lab: Lab, path: str, method: str = "GET", **options: Any) -> requests.Response:
    headers = {"Authorization": f"Bearer {lab.token}", **options.pop("headers", {})}
    return requests.request(
        method, lab.host + path, headers=headers, timeout=30, allow_redirects=False, **options
    )


def submit(client: Any, package: Path, **arguments: Any) -> str:
    run = client.create_run_from_pipeline_package(
        str(package), arguments=arguments, run_name="a run", experiment_name="toys"
    )
    return str(run.run_id)


def details(lab: Lab, run_id: str, step: str = "") -> dict[str, Any]:
    answer = send(lab, f"/runs/{run_id}", params={"step": step})
    assert answer.status_code == 200, answer.text
    return answer.json()


def until(lab: Lab, run_id: str, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while not is_so(run := details(lab, run_id)):
        assert time.monotonic() < deadline, run
        time.sleep(0.05)
    return run


def is_over(run: dict[str, Any]) -> bool:
    return not run["is_open"]


def is_asleep(run: dict[str, Any]) -> bool:
    return "asleep" in run["log"]["text"]


##### What kfp.Client requests #####


def test_experiments(client: Any) -> None:
    assert client.get_kfp_healthz().multi_user is False
    made = client.create_experiment("toys one")
    assert client.create_experiment("toys one").experiment_id == made.experiment_id
    assert client.get_experiment(experiment_name="toys one").display_name == "toys one"
    assert client.get_experiment(experiment_id=made.experiment_id).display_name == "toys one"
    client.create_experiment("toys two")
    names = {one.display_name for one in client.list_experiments().experiments}
    assert {"toys one", "toys two"} <= names
    with pytest.raises(ValueError, match="No experiment is found with name none"):
        client.get_experiment(experiment_name="none")


def test_pipelines_and_versions(client: Any, toy: Path) -> None:
    pipeline = client.upload_pipeline(str(toy), pipeline_name="a toy")
    assert client.get_pipeline_id("a toy") == pipeline.pipeline_id
    assert client.get_pipeline(pipeline.pipeline_id).display_name == "a toy"
    version = client.upload_pipeline_version(str(toy), "second", pipeline_id=pipeline.pipeline_id)
    listed = client.list_pipeline_versions(pipeline.pipeline_id).pipeline_versions
    assert [one.display_name for one in listed] == ["second", "a toy"]
    found = client.get_pipeline_version(pipeline.pipeline_id, version.pipeline_version_id)
    assert found.pipeline_spec["pipelineInfo"]["name"] == "toy"


def test_lists_come_in_pages_and_the_last_names_no_next(client: Any) -> None:
    for number in range(3):
        client.create_experiment(f"page {number}")
    first = client.list_experiments(page_size=2)
    assert len(first.experiments) == 2
    rest = client.list_experiments(page_size=100, page_token=first.next_page_token)
    assert len(rest.experiments) == first.total_size - 2
    assert rest.next_page_token is None  # Kale goes on requesting until it is None


def as_bearer(lab: Lab, folder: Path) -> dict[str, str]:
    return {"KF_PIPELINES_TOKEN": lab.token}


def as_file(lab: Lab, folder: Path) -> dict[str, str]:
    (folder / "token").write_text(lab.token + "\n")
    return {"KF_PIPELINES_TOKEN_FILE": str(folder / "token")}


def as_cookies(lab: Lab, folder: Path) -> dict[str, str]:
    return {"KF_PIPELINES_COOKIES": f"other=1; session={lab.token}"}


def as_service_account(lab: Lab, folder: Path) -> dict[str, str]:
    (folder / "token").write_text(lab.token)
    return {"KF_PIPELINES_SA_TOKEN_PATH": str(folder / "token")}


@contextmanager
def gateway(lab: Lab) -> Iterator[str]:
    """A gateway before the stand-in, which knows people by a cookie as Kubeflow's does."""

    class Gateway(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {"Content-Type": self.headers.get("Content-Type", "")}
            if f"session={lab.token}" in self.headers.get("Cookie", "").split("; "):
                headers["Authorization"] = f"Bearer {lab.token}"
            url = lab.host + self.path
            answer = requests.request(self.command, url, data=body, headers=headers, timeout=30)
            self.send_response(answer.status_code)
            for name in ("Content-Type", "Content-Length"):
                self.send_header(name, answer.headers[name])
            self.end_headers()
            self.wfile.write(answer.content)

        do_POST = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Gateway) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("shown", [as_bearer, as_file, as_cookies, as_service_account])
def test_kale_shows_who_it_is(
    shown: Callable[[Lab, Path], dict[str, str]],
    lab: Lab,
    toy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from kale.rpc import kfp as rpc

    with gateway(lab) if shown is as_cookies else nullcontext(lab.host) as host:
        secrets = shown(lab, tmp_path)
        connection = connection_of({"KFP_HOST": host, **secrets})
        assert connection is not None
        assert problem_with(connection, secrets) is None
        connection.write(tmp_path / "kfp.json")
        assert lab.token not in (tmp_path / "kfp.json").read_text()
        monkeypatch.setenv("KALE_CONFIG_PATH", str(tmp_path / "kfp.json"))
        for name, value in secrets.items():
            monkeypatch.setenv(name, value)
        assert rpc.ping(None) is True
        assert rpc.get_ui_host(None) == host
        name = {"pipeline_name": f"by kale {uuid.uuid4()}"}
        first, second = (rpc.upload_pipeline(None, str(toy), name)["pipeline"] for _ in "12")
        assert first["pipelineid"] == second["pipelineid"]
        assert first["versionid"] != second["versionid"]


##### Runs #####


@slow
def test_a_run_gets_its_parameters_and_reports_its_scores(lab: Lab, client: Any, toy: Path) -> None:
    run_id = submit(client, toy, rows=5, loud=True, scale=2, label="two words")
    assert client.get_run(run_id).state in ("PENDING", "RUNNING")
    assert client.wait_for_run_completion(run_id, 60, sleep_duration=1).state == "SUCCEEDED"
    run = details(lab, run_id, "load")
    assert run["parameters"] == {"rows": 5, "loud": True, "scale": 2, "label": "two words"}
    assert run["scores"] == {"score_sum": 20.0}
    assert [(s["name"], s["state"], s["has_report"]) for s in run["steps"]] == [
        ("load", "SUCCEEDED", True),
        ("add", "SUCCEEDED", True),
    ]
    assert run["log"] == {"step": "load", "text": "rows 5 two words True\n", "cut": False}
    report = send(lab, f"/runs/{run_id}/reports/add")
    assert "sum 20.0" in report.text
    assert "sandbox" in report.headers["Content-Security-Policy"]
    assert run_id in [one.run_id for one in client.list_runs(page_size=100).runs]


@slow
def test_an_uploaded_version_runs_with_its_defaults(lab: Lab, client: Any, toy: Path) -> None:
    pipeline = client.upload_pipeline(str(toy), pipeline_name=f"toy {uuid.uuid4()}")
    (version,) = client.list_pipeline_versions(pipeline.pipeline_id).pipeline_versions
    experiment = client.create_experiment("toys")
    run = client.run_pipeline(
        experiment.experiment_id,
        "by version",
        pipeline_id=pipeline.pipeline_id,
        version_id=version.pipeline_version_id,
    )
    assert until(lab, run.run_id, is_over)["scores"] == {"score_sum": 1.5}
    assert details(lab, run.run_id)["parameters"]["rows"] == 3


@slow
def test_a_failure_says_where_and_why(
    lab: Lab, client: Any, compiled: Callable[[str, list[Cell]], Path]
) -> None:
    run_id = submit(client, compiled("failing", FAILING_CELLS))
    run = until(lab, run_id, is_over)
    assert run["state"] == "FAILED"
    assert run["error"] == {
        "step": "one",
        "type": "ValueError",
        "message": "no <b>such</b> luck",
    }
    assert [step["state"] for step in run["steps"]] == ["FAILED", "SKIPPED"]
    output = client.get_run(run_id)
    assert output.state == "FAILED"
    assert "one: ValueError: no <b>such</b> luck" in output.error.message


@slow
def test_runs_queue_and_stop(
    tmp_path: Path, toy: Path, compiled: Callable[[str, list[Cell]], Path]
) -> None:
    with lab_process.running(tmp_path, NO_JUPYTER) as lab:
        client = client_of(lab)
        sleeper = submit(client, compiled("sleepy", SLEEPY_CELLS))
        dropped, last = submit(client, toy), submit(client, toy)
        until(lab, sleeper, is_asleep)
        assert details(lab, dropped)["state"] == "PENDING"
        assert details(lab, last)["place"] == 2
        client.terminate_run(dropped)
        assert details(lab, dropped)["state"] == "CANCELED"
        assert details(lab, last)["place"] == 1
        client.terminate_run(sleeper)
        assert until(lab, sleeper, is_over)["state"] == "CANCELED"
        assert_no_process_left(lab.runs / sleeper)
        assert until(lab, last, is_over)["state"] == "SUCCEEDED"
        again = send(lab, f"{API}/runs/{last}:terminate", "POST")
        assert again.status_code == 400
        assert "it has ended" in again.json()["message"]


@slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_ending_the_lab_ends_its_runs_and_the_next_one_shows_them(
    number: int, tmp_path: Path, toy: Path, compiled: Callable[[str, list[Cell]], Path]
) -> None:
    port = ("--kfp-port", str(*free_ports(1)))
    with lab_process.running(tmp_path, NO_JUPYTER, *port) as lab:
        client = client_of(lab)
        done = submit(client, toy)
        until(lab, done, is_over)
        sleeper, waiting = submit(client, compiled("sleepy", SLEEPY_CELLS)), submit(client, toy)
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
        assert [details(lab, run)["state"] for run in (done, sleeper, waiting)] == [
            "SUCCEEDED",
            "CANCELED",
            "CANCELED",
        ]
        listed = send(lab, "/runs").json()["runs"]
        assert [run["run_id"] for run in listed] == [waiting, sleeper, done]


##### What is refused #####


def test_who_does_not_know_the_secret_is_refused(lab: Lab) -> None:
    for path in (f"{API}/healthz", f"{API}/runs", "/runs", "/runs/x", "/page/runs.js", "/other"):
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
    for carried in ({"Cookie": cookie.partition(";")[0]}, {"Authorization": f"Bearer {stolen}"}):
        for path in (f"{API}/experiments", f"{API}/runs/x:terminate", f"{API}/pipelines/upload"):
            response = requests.post(lab.host + path, headers=carried, json={}, timeout=30)
            assert response.status_code == 401
        assert requests.get(f"{lab.host}{API}/runs", headers=carried, timeout=30).status_code == 401


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
    answer = send(lab, f"{API}/experiments", "POST", json={"display_name": "x"}, headers=headers)
    assert answer.status_code == 403
    assert "Access-Control-Allow-Origin" not in answer.headers


SPEC = {
    "pipelineInfo": {"name": "p"},
    "root": {
        "dag": {"tasks": {}},
        "inputDefinitions": {
            "parameters": {
                "n": {"parameterType": "NUMBER_INTEGER"},
                "yes": {"parameterType": "BOOLEAN"},
                "s": {"parameterType": "STRING"},
            }
        },
    },
    "deploymentSpec": {"executors": {}},
}


def run_body(**parameters: Any) -> dict[str, Any]:
    return {
        "display_name": "r",
        "pipeline_spec": SPEC,
        "runtime_config": {"parameters": parameters},
    }


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ([], "JSON object"),
        ({}, "compiled pipeline"),
        ({"display_name": "r", "pipeline_spec": {"root": 1}}, "compiled pipeline"),
        ({"display_name": "r", "pipeline_spec": {"pipeline_spec": []}}, "compiled pipeline"),
        ({**run_body(), "display_name": 7}, "display_name"),
        ({**run_body(), "display_name": "x" * 300}, "display_name"),
        ({**run_body(), "experiment_id": "none"}, "Experiment none not found"),
        ({**run_body(), "runtime_config": {"parameters": [1]}}, "parameters by name"),
        (run_body(m=1), "It has: n (int), yes (bool), s (str)"),
        (run_body(n="5"), "NUMBER_INTEGER for parameter 'n'"),
        (run_body(n=1.5), "NUMBER_INTEGER"),
        (run_body(n=True), "NUMBER_INTEGER"),
        (run_body(yes="true"), "BOOLEAN"),
        (run_body(s="it's"), "without apostrophe"),
        (run_body(s=None), "STRING"),
        (
            {
                "display_name": "r",
                "pipeline_version_reference": {"pipeline_id": "../..", "pipeline_version_id": 1},
            },
            "Pipeline ../.. not found",
        ),
    ],
)
def test_a_run_that_cannot_be_is_refused_before_anything_is_written(
    lab: Lab, body: Any, part: str
) -> None:
    before = sorted(lab.runs.glob("*"))
    answer = send(lab, f"{API}/runs", "POST", json=body)
    assert answer.status_code in (400, 404), answer.text
    assert part in answer.json()["message"]
    assert answer.json()["error"] == answer.json()["message"]
    assert sorted(lab.runs.glob("*")) == before


ALIASES = b"a: &a [1, 1]\nb: &b [*a, *a]\nc: [*b, *b]\n"


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xfe", b"just text", b"[1, 2", b"a: 1", b"PK\x03\x04", ALIASES, b"[" * 3000],
)
def test_a_file_that_is_no_pipeline_is_refused(lab: Lab, data: bytes) -> None:
    files = {"uploadfile": ("x.yaml", data)}
    answer = send(lab, f"{API}/pipelines/upload", "POST", files=files, params={"name": "x"})
    assert answer.status_code == 400
    assert "compiled pipeline" in answer.json()["message"]


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", f"{API}/runs/none", {}, 404),
        ("GET", f"{API}/runs/..%2f..%2fetc", {}, 404),
        ("POST", f"{API}/runs/none:terminate", {}, 404),
        ("GET", "/runs/..%2f..%2fetc", {}, 404),
        ("GET", "/page/..%2fserver.py", {}, 404),
        ("GET", "/page/server.py", {}, 404),
        ("GET", f"{API}/pipelines/none", {}, 404),
        ("GET", f"{API}/pipelines/none/versions", {}, 404),
        ("GET", f"{API}/experiments/none", {}, 404),
        ("GET", f"{API}/recurringruns", {}, 404),
        ("GET", f"{API}/experiments", {"params": {"page_token": "-1"}}, 400),
        ("GET", f"{API}/experiments", {"params": {"filter": "{"}}, 400),
        ("GET", f"{API}/experiments", {"params": {"filter": '{"predicates": 1}'}}, 400),
        ("POST", f"{API}/experiments", {"data": "{", "headers": {"Content-Type": "x"}}, 415),
        ("POST", f"{API}/experiments", {"data": "{"}, 415),
        ("POST", f"{API}/experiments", {"json": {"display_name": " "}}, 400),
        ("POST", f"{API}/pipelines/upload", {"data": {"a": "b"}}, 400),
        ("POST", f"{API}/pipelines/upload_version", {"json": {}}, 404),
        ("DELETE", f"{API}/runs/none", {}, 405),
        ("PUT", "/nowhere", {}, 404),
    ],
)
def test_broken_requests_get_json_and_a_status_of_theirs(
    lab: Lab, method: str, path: str, options: dict[str, Any], status: int
) -> None:
    answer = send(lab, path, method, **options)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"] == answer.json()["message"]
    assert "Traceback" not in answer.text


def test_a_body_without_end_is_refused_and_the_server_lives(lab: Lab) -> None:
    headers = {"Content-Type": "application/json", "Content-Length": str(10**9)}
    try:
        status = send(lab, f"{API}/experiments", "POST", data="{", headers=headers).status_code
    except requests.ConnectionError:
        status = 400
    assert status == 400
    assert send(lab, f"{API}/healthz").ok


def test_a_port_that_is_taken_is_reported_where_it_was_requested(lab: Lab, tmp_path: Path) -> None:
    port = lab.host.rpartition(":")[2]
    second = lab_process.start(tmp_path, NO_JUPYTER, "--kfp-port", port)
    assert second.process.wait(30) == 1
    assert f"received: {port}. Choose another: make lab KFP_PORT=" in second.log


def test_the_default_port_may_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr(address, "PORT", taken.getsockname()[1])
        sockets, found = address.open_address(None)
        sockets[0].close()
        assert found.port not in (0, address.PORT)


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


##### What goes wrong on this side #####


def test_a_full_disk_is_reported_in_a_sentence_and_leaves_no_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(path: Path, content: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(run_folder, "write_json", full)

    async def output() -> requests.Response:
        local = start_local_kfp(tmp_path, 0)
        headers = {"Authorization": f"Bearer {local.address.token}"}
        url = f"{local.host}{API}/runs"
        answer = await asyncio.to_thread(requests.post, url, json=run_body(), headers=headers)
        await local.close()
        return answer

    answer = asyncio.run(output())
    assert answer.status_code == 507
    assert "The disk has no room for" in answer.json()["message"]
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
    error: Exception, output: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    begun: list[str] = []

    async def start(job: QueuedRun) -> Any:
        begun.append(job.run_id)
        if job.run_id == "first":
            raise error
        return await start_child(["true"])

    monkeypatch.setattr(QueuedRun, "start", start)

    async def run_both() -> Runs:
        queue = RunQueue()
        for name in ("first", "second"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "run.json").write_text("{}")
            queue.add(tmp_path / name, [])
        while queue.state("second"):
            await asyncio.sleep(0.01)
        assert queue.is_working
        await queue.close()
        return Runs(tmp_path, queue)

    runs = asyncio.run(run_both())
    assert begun == ["first", "second"]
    first = runs.view("first")
    assert first["state"] == "FAILED"
    assert first["error"]["message"].startswith("It could not be started: ")
    assert output in first["error"]["message"]
    with pytest.raises(ApiError, match="No new runs are started"):
        runs.check()


def test_nothing_but_loopback_is_served(lab: Lab) -> None:
    port = int(lab.host.rpartition(":")[2])
    listening = [
        line.split()[1]
        for table in ("/proc/net/tcp", "/proc/net/tcp6")
        for line in Path(table).read_text().splitlines()[1:]
        if line.split()[3] == "0A" and int(line.split()[1].rpartition(":")[2], 16) == port
    ]
    assert listening == [f"0100007F:{port:04X}"]


##### Runs that were not started here #####


def test_a_run_of_make_pipeline_is_reported_from_its_folder(tmp_path: Path) -> None:
    step = {"name": "one", "started": time.time(), "seconds": 0, "cell_seconds": 0}
    step |= {"status": "running", "error": None, "scores": {}}
    progress = run_folder.RunProgress(
        tmp_path, "p.pipeline.yaml", {"n": 1}, {"n": 2}, ["one", "two"]
    )
    progress.write([step])
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


##### Which KFP, and how saving leaves the notebook #####


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"KFP_HOST": ""}, None),
        ({"KFP_HOST": "https://k/pipeline/"}, KfpConnection("https://k/pipeline")),
        ({"KFP_HOST": "k"}, KfpConnection("https://k")),
        (
            {"KFP_HOST": "https://k", "KF_PIPELINES_TOKEN": "t", "KFP_NAMESPACE": "ns"},
            KfpConnection(
                "https://k", "existing_bearer_token", {"env_var": "KF_PIPELINES_TOKEN"}, "ns"
            ),
        ),
        (
            {"KFP_HOST": "https://k", "KF_PIPELINES_TOKEN_FILE": "/t", "KFP_CA": "/ca.pem"},
            KfpConnection(
                "https://k", "existing_bearer_token", {"file_path": "/t"}, None, "/ca.pem"
            ),
        ),
        (
            {"KFP_HOST": "https://k", "KF_PIPELINES_COOKIES": "c"},
            KfpConnection("https://k", "dex", {"env_var": "KF_PIPELINES_COOKIES"}),
        ),
        (
            {"NB_PREFIX": "/notebook/me/mine", "KF_PIPELINES_SA_TOKEN_PATH": __file__},
            KfpConnection(
                "http://ml-pipeline.kubeflow.svc.cluster.local:8888",
                "kubernetes_service_account_token",
                {"token_path": __file__},
            ),
        ),
    ],
)
def test_the_environment_names_kfp(
    environment: dict[str, str],
    expected: KfpConnection | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = connection_of(environment)
    assert found == expected
    if found is None:
        return
    from kale.config import kfp_server_config

    found.write(tmp_path / "kfp.json")
    monkeypatch.setenv("KALE_CONFIG_PATH", str(tmp_path / "kfp.json"))
    kale = kfp_server_config.load_config()
    assert (kale.host, kale.auth_type) == (found.host, found.auth_type)
    assert (kale.auth_config or {}) == found.auth_config
    assert (kale.namespace, kale.ssl_ca_cert) == (found.namespace or "kubeflow", found.ssl_ca_cert)
    kfp_server_config._validate_auth_config(kale.auth_type, kale.auth_config)  # names no secret


def test_a_kfp_that_does_not_answer_is_reported_in_a_sentence(lab: Lab) -> None:
    by_token = {"KFP_HOST": lab.host, "KF_PIPELINES_TOKEN": lab.token}
    wrong = {**by_token, "KF_PIPELINES_TOKEN": "wrong"}
    unreachable = {"KFP_HOST": "http://127.0.0.1:1"}

    def output(environment: dict[str, str]) -> str | None:
        connection = connection_of(environment)
        assert connection is not None
        return problem_with(connection, environment)

    assert output(by_token) is None
    assert "refuses (HTTP 401): is the secret of existing_bearer_token" in str(output(wrong))
    assert "set KF_PIPELINES_TOKEN" in str(output({"KFP_HOST": lab.host}))
    assert "does not answer" in str(output(unreachable))
    assert "files that can be read" in str(
        output({**unreachable, "KF_PIPELINES_TOKEN_FILE": "/none"})
    )
    assert "one line" in str(output({"KFP_HOST": lab.host, "KF_PIPELINES_TOKEN": "two\nlines"}))
    assert "login page" in str(output({**by_token, "KFP_HOST": f"{lab.host}/?token={lab.token}&"}))


def test_a_given_kfp_is_used_and_nothing_is_served_here(tmp_path: Path) -> None:
    with lab_process.running(tmp_path, NO_JUPYTER, KFP_HOST="http://127.0.0.1:1") as lab:
        output = lab.printed(r"(Expected KFP at http://127.0.0.1:1, which does not answer .*)")
        assert "Compile works nevertheless" in lab.log
    assert "runs are at" not in lab.log
    assert output


def test_saving_leaves_out_what_opening_put_in() -> None:
    written = {"pipeline_name": "p", "experiment_name": "e", "volumes": []}
    language = {"name": "python", "file_extension": ".py", "mimetype": "text/x-python"}
    opened = {
        "kubeflow_notebook": {**written, "experiment": {"id": "1"}, "steps_defaults": []},
        "language_info": {**language, "version": "3.12.1", "codemirror_mode": {"name": "x"}},
    }
    step = {"metadata": {"tags": ["step:a"]}}
    model = {"type": "notebook", "content": {"metadata": opened, "cells": [step]}}
    before_saving(model=model, path="x")
    assert opened == {"kubeflow_notebook": written, "language_info": language}
    before_saving(model={"type": "notebook", "content": {"metadata": {}, "cells": []}}, path="x")
    before_saving(model={"type": "file", "content": "text"}, path="x")


@pytest.mark.parametrize("path", sorted((PROJECT / "notebooks").glob("*.ipynb")), ids=str)
def test_what_was_opened_is_saved_as_it_was(path: Path) -> None:
    written = json.loads(path.read_text(encoding="utf-8"))
    model = {"type": "notebook", "content": json.loads(json.dumps(written))}
    as_opened(model, path.name)
    assert model["content"] != written
    before_saving(model, path=path.name)
    assert model["content"] == written
