"""Kubeflow Pipelines from here, against a double of its API: `make cluster-run`, and Kale."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kfp_double import TOKEN, KfpDouble
from lab_process import PROJECT

from kalecast.pipelines.kubeflow import client, cluster_run, recurring, runs
from kalecast.pipelines.kubeflow.connection import KfpConnection, connection_of, problem_with
from kalecast.pipelines.kubeflow.recurring import Schedule, ScheduleError, read_schedule

NOTEBOOK = str(PROJECT / "notebooks" / "forecast_pipeline.ipynb")
COMPILED = PROJECT / "kale" / "forecast-pipeline.pipeline.yaml"
Captured, Patch = pytest.CaptureFixture[str], pytest.MonkeyPatch
COMMAND = ("-m", "kalecast.pipelines.kubeflow.cluster_run")


def run(*arguments: str, pipeline: Path = COMPILED) -> int:
    return cluster_run.main(["--pipeline", str(pipeline), "--poll-seconds", "0.01", *arguments])


def lines(capsys: Captured) -> list[str]:
    return capsys.readouterr().out.splitlines()


##### One run #####


def test_a_run_is_reported_step_by_step_to_its_state(kfp: KfpDouble, capsys: Captured) -> None:
    kfp.script = [
        ("PENDING", {}),
        ("RUNNING", {"load-data-step": "RUNNING"}),
        ("RUNNING", {"load-data-step": "SUCCEEDED", "train-step": "RUNNING"}),
        ("SUCCEEDED", {"load-data-step": "SUCCEEDED", "train-step": "SUCCEEDED"}),
    ]
    assert run("--param", "epochs=3", "horizon=24") == 0
    message = lines(capsys)
    assert message[0].startswith("pipeline 'forecast-pipeline', version kalecast-")
    assert message[1] == f"run run0: {kfp.host}/#/runs/details/run0"
    assert message[2:] == [
        "the run is pending",
        "[1/7] load_data",
        "[1/7] load_data ... 12.0 s",
        "[2/7] train",
        "[2/7] train ... 12.0 s",
        "run run0: SUCCEEDED after 90 s",
    ]
    sent = kfp.runs["run0"]
    assert sent["runtime_config"]["parameters"] == {"epochs": 3, "horizon": 24, "namespace": "team"}
    assert sent["pipeline_version_reference"] == {"pipeline_id": "p0", "pipeline_version_id": "v0"}
    assert kfp.experiments[0]["namespace"] == "team"
    assert kfp.pipelines[0]["namespace"] == "team"


def test_what_has_not_changed_is_not_uploaded_again(
    kfp: KfpDouble, tmp_path: Path, capsys: Captured
) -> None:
    kfp.script = [("SUCCEEDED", {})]
    changed = tmp_path / "changed.yaml"
    changed.write_text(COMPILED.read_text() + "\n# changed\n")
    for pipeline in (COMPILED, COMPILED, changed, changed, COMPILED):
        assert run(pipeline=pipeline) == 0
    assert len(kfp.did("POST", "/pipelines/upload?")) == 1
    assert len(kfp.did("POST", "/pipelines/upload_version?")) == 1
    assert sum("is there already" in line for line in lines(capsys)) == 3
    assert len(kfp.experiments) == 1
    used = [one["pipeline_version_reference"]["pipeline_version_id"] for one in kfp.runs.values()]
    assert used == ["v0", "v0", "v1", "v1", "v0"]


def test_a_failure_shows_the_log_of_its_step(kfp: KfpDouble, capsys: Captured) -> None:
    kfp.script = [("FAILED", {"load-data-step": "SUCCEEDED", "train-step": "FAILED"})]
    kfp.logs = {
        "wf-system-container-impl-0": "nothing of interest",
        "wf-retry-system-container-impl-1": "epoch 1\n\x1b[31mValueError: no luck\x1b[0m\n",
    }
    assert run() == 1
    assert lines(capsys)[-5:] == [
        "[2/7] train ... 12.0 s FAILED",
        "log | epoch 1",
        "log | ValueError: no luck",
        "FAILED   child 'wf-2' failed",
        "run run0: FAILED after 90 s",
    ]
    assert all("podnamespace=team" in path for _, path in kfp.did("GET", "/k8s/pod/logs"))


def test_of_a_long_log_the_end_is_reported(kfp: KfpDouble, capsys: Captured) -> None:
    kfp.script = [("FAILED", {"train-step": "FAILED"})]
    log = "epoch\n" * 900_000 + "ValueError: at the very end\n"
    kfp.logs = {"wf-retry-system-container-impl-0": log}
    assert run() == 1
    message = [line for line in lines(capsys) if line.startswith("log | ")]
    assert len(message) == 40
    assert message[-1] == "log | ValueError: at the very end"


def test_a_kfp_that_is_away_is_waited_for(
    kfp: KfpDouble, capsys: Captured, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(client, "LONGEST_PAUSE", 0.01)
    monkeypatch.setattr(client, "FIRST_PAUSE", 0.01)
    kfp.script = [("SUCCEEDED", {})]
    kfp.away = [503, 0, 502]
    assert run() == 0
    message = lines(capsys)
    assert message[2] == "KFP does not answer (HTTP 503: no healthy upstream), trying again ..."
    assert message[3] == "KFP answers again"


def test_one_that_stays_away_is_named(kfp: KfpDouble, capsys: Captured, monkeypatch: Patch) -> None:
    monkeypatch.setattr(client, "RETRY_TIMEOUT_SECONDS", 0.0)
    kfp.script = [("RUNNING", {})]
    kfp.away = [503] * 9
    assert run() == 2
    message = capsys.readouterr()
    assert "is down for too long (HTTP 503" in message.err
    assert "make cluster-run RUN=run0" in message.out


@pytest.mark.parametrize(
    "moment", [(runs, "follow"), (recurring, "_delete", "--every", "12h")], ids=str
)
def test_a_secret_that_was_renewed_is_read_again(
    moment: tuple[Any, ...], kfp: KfpDouble, tmp_path: Path, monkeypatch: Patch
) -> None:
    module, function, *arguments = moment
    secret = tmp_path / "token"
    secret.write_text(TOKEN)
    monkeypatch.delenv("KF_PIPELINES_TOKEN")
    monkeypatch.setenv("KF_PIPELINES_TOKEN_FILE", str(secret))
    kfp.script = [("SUCCEEDED", {})]
    assert run("--every", "24h") == 0
    original = getattr(module, function)

    def renewing(*given: Any) -> Any:
        kfp.token = "newer"
        secret.write_text("newer\n")
        return original(*given)

    monkeypatch.setattr(module, function, renewing)
    assert run(*arguments) == 0
    assert kfp.token == "newer"
    assert len(kfp.recurring) == 1


@pytest.mark.parametrize(
    ("login", "words"),
    [
        (401, "no longer accepts"),
        (302, "shows a login page"),
        (200, "shows a login page"),
    ],
)
def test_a_session_that_ends_meanwhile_leaves_the_run_alone(
    login: int, words: str, kfp: KfpDouble, monkeypatch: Patch, capsys: Captured
) -> None:
    follow = runs.follow

    def forgetting(*arguments: Any) -> Any:
        kfp.token, kfp.login = "another's", login
        return follow(*arguments)

    monkeypatch.setattr(runs, "follow", forgetting)
    assert run() == 2
    message = capsys.readouterr()
    assert words in message.err
    assert "Follow it again: make cluster-run RUN=run0" in message.out


def test_a_run_is_followed_again_and_stopped(kfp: KfpDouble, capsys: Captured) -> None:
    kfp.script = [("SUCCEEDED", {"train-step": "SUCCEEDED"})]
    assert run() == 0
    lines(capsys)
    kfp.versions[0]["pipeline_spec"] = {
        "pipeline_spec": {
            "root": {"dag": {"tasks": {"train-step": {"componentRef": {"name": "c"}}}}},
            "components": {"c": {"executorLabel": "e"}},
        }
    }
    assert run("--run", "run0") == 0
    assert lines(capsys)[1] == "[1/1] train"
    assert run("--run", "run0", "--stop") == 1
    assert kfp.terminated == ["run0"]
    assert lines(capsys)[-1].startswith("run run0: CANCELED")
    assert run("--run", "run7") == 2
    assert "not found" in capsys.readouterr().err


##### The figures for the report #####


def test_a_run_that_succeeded_leaves_its_steps_with_states_and_times(
    kfp: KfpDouble, tmp_path: Path, capsys: Captured
) -> None:
    results = tmp_path / "figures" / "cluster-run.json"
    kfp.script = [("SUCCEEDED", {"load-data-step": "SUCCEEDED", "train-step": "SUCCEEDED"})]
    assert run("--results", str(results)) == 0
    message = lines(capsys)
    assert message[-2] == f"saved {results}"
    assert message[-1] == "run run0: SUCCEEDED after 90 s"
    kept = json.loads(results.read_text())
    assert kept["steps"] == [
        {"name": "load_data", "state": "SUCCEEDED", "began": 0.0, "seconds": 12.0},
        {"name": "train", "state": "SUCCEEDED", "began": 10.0, "seconds": 12.0},
    ]
    assert (kept["state"], kept["seconds"]) == ("SUCCEEDED", 90.0)
    assert (kept["command"], kept["workflow_nodes"]) == ("make cluster-run", 7)
    assert kfp.host not in results.read_text()
    assert TOKEN not in results.read_text()


def test_a_run_that_failed_leaves_the_figures_as_they_were(kfp: KfpDouble, tmp_path: Path) -> None:
    results = tmp_path / "cluster-run.json"
    kfp.script = [("FAILED", {"load-data-step": "FAILED"})]
    assert run("--results", str(results)) == 1
    assert not results.exists()


##### What is refused, before anything is sent #####


@pytest.mark.parametrize(
    "refused",
    [
        ({"KFP_HOST": ""}, [], "KFP_HOST=https://kubeflow.example.org/pipeline: it is not set"),
        ({"KFP_HOST": "http://127.0.0.1:1"}, [], "which does not answer"),
        ({"KF_PIPELINES_TOKEN": "wrong"}, [], "refuses (HTTP 401)"),
        ({"KFP_NAMESPACE": ""}, [], "has several users: set KFP_NAMESPACE"),
        ({}, ["--param", "epoch=3"], "Expected a parameter of the pipeline, received: 'epoch'"),
        ({}, ["--param", "epochs=x"], "Expected int for parameter 'epochs', received: 'x'"),
        ({}, ["--every", "24"], "EVERY=24h"),
        ({}, ["--cron", "0 3 * * *"], "Expected six fields"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(
    refused: tuple[dict[str, str], list[str], str],
    kfp: KfpDouble,
    monkeypatch: Patch,
    capsys: Captured,
) -> None:
    environment, arguments, words = refused
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert run(*arguments) == 2
    assert words in capsys.readouterr().err
    assert not kfp.did("POST", "")


@pytest.mark.parametrize("content", [None, "", "a: [", "just text", "pipelineInfo: {name: p}"])
def test_a_file_that_is_no_pipeline_is_named(
    content: str | None, kfp: KfpDouble, tmp_path: Path, capsys: Captured
) -> None:
    file = tmp_path / "other.yaml"
    if content is not None:
        file.write_text(content)
    assert run(pipeline=file) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: Expected a compiled pipeline")
    wrong = "No such file or directory" if content is None else "YAML with pipelineInfo and root"
    assert wrong in message
    assert str(file) in message
    assert not kfp.did("POST", "")


##### Again and again #####


def test_a_recurring_run_is_created_left_alone_and_replaced(
    kfp: KfpDouble, capsys: Captured
) -> None:
    assert run("--every", "24h", "--param", "data=s3://sales/hours.csv") == 0
    (made,) = kfp.recurring
    assert made["trigger"] == {"periodic_schedule": {"interval_second": 86400}}
    assert (made["no_catchup"], made["max_concurrency"]) == (True, "1")
    assert made["runtime_config"]["parameters"] == {
        "data": "s3://sales/hours.csv",
        "namespace": "team",
    }
    assert run("--every", "24h", "--param", "data=s3://sales/hours.csv") == 0
    assert kfp.recurring == [made]
    assert run("--cron", "0 0 3 * * *") == 0
    (other,) = kfp.recurring
    assert other["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * *"}}
    ((_, deleted),) = kfp.did("DELETE", "recurringruns")
    assert "propagation_policy=ORPHAN" in deleted
    message = [line for line in lines(capsys) if line.startswith("recurring")]
    name = "recurring run 'forecast-pipeline-again'"
    assert message == [
        f"{name}: every 86400 s, one at a time, created",
        f"{name}: every 86400 s, one at a time, is there already",
        f"{name}: at 0 0 3 * * *, in KFP's time zone (UTC unless it was given another), "
        "one at a time, replaced",
    ]


def test_a_recurring_run_is_disabled_and_enabled_by_a_new_one(
    kfp: KfpDouble, capsys: Captured
) -> None:
    assert run("--every", "1d") == 0
    assert run("--stop-recurring") == 0
    assert [one["status"] for one in kfp.recurring] == ["DISABLED"]
    assert run("--stop-recurring") == 0
    assert lines(capsys)[-1].endswith("none was enabled")
    assert run("--every", "1d") == 0
    assert [one["status"] for one in kfp.recurring] == ["ENABLED"]


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (404, 0, "one at a time, replaced"),  # somebody else was faster
        (403, 2, "The recurring run r1 stays beside its replacement: KFP at .* does not allow it"),
    ],
)
def test_an_old_recurring_run_that_stays_is_reported(
    status: int, code: int, message: str, kfp: KfpDouble, capsys: Captured
) -> None:
    assert run("--every", "24h") == 0
    kfp.delete_status = status
    assert run("--every", "12h") == code
    captured = capsys.readouterr()
    assert re.search(message, captured.err if code else captured.out)


def test_schedules() -> None:
    assert read_schedule("90m", None) == Schedule(every_seconds=5400)
    assert read_schedule(None, "0  0 3 * * 1") == Schedule(cron="0 0 3 * * 1")
    for every, cron in (("1h", "0 0 3 * * *"), ("5s", None), ("-1h", None), (None, "@daily")):
        with pytest.raises(ScheduleError):
            read_schedule(every, cron)


##### Which KFP, and as whom #####


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
    monkeypatch: Patch,
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


@pytest.mark.parametrize(
    "secret",
    [
        {"KF_PIPELINES_TOKEN": TOKEN},
        {"KF_PIPELINES_TOKEN_FILE": f"{TOKEN}\n"},
        {"KF_PIPELINES_COOKIES": f"other=1; session={TOKEN}"},
        {"KF_PIPELINES_SA_TOKEN_PATH": TOKEN},
    ],
    ids=str,
)
def test_kale_shows_who_it_is(
    secret: dict[str, str], kfp: KfpDouble, tmp_path: Path, monkeypatch: Patch
) -> None:
    from kale.rpc import kfp as rpc

    kfp.multi_user = False
    ((name, value),) = secret.items()
    if name.endswith(("FILE", "PATH")):
        (tmp_path / "token").write_text(value)
        value = str(tmp_path / "token")
    monkeypatch.delenv("KF_PIPELINES_TOKEN")
    monkeypatch.setenv(name, value)
    connection = connection_of({"KFP_HOST": kfp.host, name: value})
    assert connection is not None
    assert problem_with(connection, {name: value}) is None
    connection.write(tmp_path / "kfp.json")
    assert TOKEN not in (tmp_path / "kfp.json").read_text()
    monkeypatch.setenv("KALE_CONFIG_PATH", str(tmp_path / "kfp.json"))
    assert rpc.ping(None) is True
    assert rpc.get_ui_host(None) == kfp.host
    by_kale = {"pipeline_name": "by kale"}
    uploads = [rpc.upload_pipeline(None, str(COMPILED), by_kale)["pipeline"] for _ in "12"]
    assert [(one["pipelineid"], one["versionid"]) for one in uploads] == [
        ("p0", "v0"),
        ("p0", "v1"),
    ]


@pytest.mark.parametrize(
    ("environment", "part"),
    [
        ({}, None),
        ({"KF_PIPELINES_TOKEN": "wrong"}, "(HTTP 401): is the secret of existing_bearer_token"),
        ({"KF_PIPELINES_TOKEN": ""}, "set KF_PIPELINES_TOKEN"),
        ({"KFP_HOST": "http://127.0.0.1:1"}, "does not answer"),
        ({"KF_PIPELINES_TOKEN": "", "KF_PIPELINES_TOKEN_FILE": "/none"}, "files that can be read"),
        ({"KF_PIPELINES_TOKEN": "two\nlines"}, "one line"),
        ({"login": "200", "KF_PIPELINES_TOKEN": "wrong"}, "login page"),
    ],
)
def test_a_kfp_that_does_not_answer_is_reported_in_a_sentence(
    environment: dict[str, str], part: str | None, kfp: KfpDouble
) -> None:
    kfp.login = int(environment.get("login", kfp.login))
    environment = {"KFP_HOST": kfp.host, "KF_PIPELINES_TOKEN": TOKEN, **environment}
    connection = connection_of(environment)
    assert connection is not None
    problem = problem_with(connection, environment)
    assert part in problem if part and problem else problem is part


##### As a program #####


@pytest.mark.slow
def test_an_interruption_leaves_the_run_alone(kfp: KfpDouble) -> None:
    kfp.script = [("RUNNING", {"load-data-step": "RUNNING"})]
    process = subprocess.Popen(
        [sys.executable, *COMMAND, "--poll-seconds", "0.2", "--notebook", NOTEBOOK],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout
    for line in process.stdout:
        if line.startswith("[1/7]"):
            break
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=30)[0]
    assert process.returncode == 130
    assert "The run goes on. Follow it again: make cluster-run RUN=run0" in rest
    assert kfp.terminated == []
