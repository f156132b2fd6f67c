"""What a step prints runs nowhere, and what it is trusted with stands nowhere."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from elsewhere import listening
from nbformat.v4 import new_code_cell, new_output
from toy_notebooks import SUM_CELLS, write_notebook

from kalecast.pipelines.compile_notebook import compile_notebook

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).resolve().parents[2]


PLANTED = "AKIAPLANTEDSECRET0123456789abcdefgh"
SECRETS = (
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "KALECAST_MODEL_KEY"),
    *("KF_PIPELINES_TOKEN", "KF_PIPELINES_COOKIES"),
)
SECRET_NAME = re.compile(r"(?i)secret|token|password|credential|api_?key|access_?key|cookie")

SCRIPT = "<script>parent.postMessage('ran', '*'); document.title = 'ran'</script>"
HARM = (
    SCRIPT + "<img src=x onerror=\"parent.postMessage('ran', '*')\">"
    "<img src='{url}/seen'><iframe src='{url}/seen'></iframe><link rel=stylesheet href='{url}/x'>"
)


def policy_of(step: str) -> tuple[str, str]:
    """What a compiled step replaces in the report that Kale gives it, and by what."""
    found = re.search(r'_html_artifact\.replace\(\s*("<head>"), (".*"), 1\)', step)
    assert found, step
    return json.loads(found[1]), json.loads(found[2])


def kales_report(*outputs: Any) -> str:
    """A report as Kale itself writes it."""
    code = (
        "import sys, json, nbformat\n"
        "from kale.common.jputils import process_outputs\n"
        "cells = [nbformat.from_dict(cell) for cell in json.load(sys.stdin)]\n"
        "print(process_outputs(cells))"
    )
    cells = json.dumps([new_code_cell("", outputs=list(outputs))])
    done = subprocess.run(
        [sys.executable, "-c", code], input=cells, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_each_step_gives_its_report_a_policy() -> None:
    steps = (ROOT / "kale" / "forecast-pipeline.kale.py").read_text().split("@kfp_dsl.component")
    with_report = [step for step in steps if "_kale_run_code(_kale_blocks)" in step]
    assert len(with_report) >= 7
    for step in with_report:
        _, head = policy_of(step)
        assert "default-src 'none'" in head
        assert "script-src" not in head


@pytest.mark.slow
def test_a_report_of_kales_runs_nothing_in_a_browser(browser: "Browser", tmp_path: Path) -> None:
    compile_notebook(write_notebook(tmp_path / "toy.ipynb", SUM_CELLS), tmp_path)
    before, after = policy_of((tmp_path / "toy.kale.py").read_text())
    with listening() as elsewhere:
        harm = HARM.replace("{url}", elsewhere.url)
        bare = kales_report(
            new_output("stream", name="stdout", text=harm),
            new_output("stream", name="stderr", text=harm),
            new_output("display_data", {"text/html": harm}),
            new_output("display_data", {"application/javascript": "parent.postMessage(1, '*')"}),
        )
        assert SCRIPT in bare, "Kale escapes by itself now: the policy may go"
        assert run_in_frame(browser, bare) > 0
        assert elsewhere.visits > 0
        elsewhere.visits = 0
        assert run_in_frame(browser, bare.replace(before, after, 1)) == 0
        assert elsewhere.visits == 0


def run_in_frame(browser: "Browser", report: str) -> int:
    """Show a report as KFP's page does; how often its scripts spoke."""
    tab = browser.new_page()
    tab.evaluate(
        """report => new Promise(done => {
            window.messages = 0;
            addEventListener('message', () => window.messages++);
            const frame = document.createElement('iframe');
            frame.sandbox = 'allow-scripts';
            frame.onload = done;
            frame.srcdoc = report;
            document.body.append(frame);
        })""",
        report,
    )
    tab.wait_for_timeout(200)
    messages = int(tab.evaluate("window.messages"))
    tab.close()
    return messages


def texts(value: Any) -> list[str]:
    """All texts in a piece of YAML, keys too."""
    if isinstance(value, dict):
        return [text for pair in value.items() for part in pair for text in texts(part)]
    if isinstance(value, list):
        return [text for part in value for text in texts(part)]
    return [value] if isinstance(value, str) else []


def compiled() -> list[dict[str, Any]]:
    text = (ROOT / "kale" / "forecast-pipeline.pipeline.yaml").read_text()
    return list(yaml.safe_load_all(text))


def test_no_parameter_is_made_for_a_secret() -> None:
    specification, _ = compiled()
    parameters = specification["root"]["inputDefinitions"]["parameters"]
    assert [name for name in parameters if SECRET_NAME.search(name)] == []
    for component in specification["components"].values():
        names = component.get("inputDefinitions", {}).get("parameters", {})
        assert [name for name in names if SECRET_NAME.search(name)] == []


def test_the_compiled_pipeline_names_secrets_and_holds_none() -> None:
    specification, platform = compiled()
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    seen = 0
    for executor in executors.values():
        for secret in executor.get("secretAsEnv", []):
            seen += 1
            assert secret["secretName"] == "kalecast-model-store"
            assert all(set(pair) == {"envVar", "secretKey"} for pair in secret["keyToEnv"])
    assert seen
    for executor in specification["deploymentSpec"]["executors"].values():
        names = [variable["name"] for variable in executor["container"].get("env", [])]
        assert [name for name in names if name != "HOME"] == []
    for text in texts(specification):
        assert not re.search(r"AKIA[0-9A-Z]{12}|-----BEGIN|eyJ[\w-]{20,}\.", text)


def test_a_compile_takes_no_secret_of_its_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, PLANTED)
    compile_notebook(write_notebook(tmp_path / "toy.ipynb", SUM_CELLS), tmp_path / "out")
    for file in (tmp_path / "out").iterdir():
        assert PLANTED not in file.read_text()


@pytest.mark.slow
def test_a_local_run_writes_its_secrets_nowhere(tmp_path: Path) -> None:
    """A step that uses them, and one that fails while it does: logs, reports, summaries."""
    use = (
        "import os\n"
        "from kalecast.artifact.store import StoreError, fetch, publish\n"
        "uri = publish(b'model', store, 'forecaster', 'v1')\n"
        "try:\n"
        "    fetch('s3://bucket/forecaster.onnx')\n"
        "except StoreError as error:\n"
        "    print(error)\n"
        "assert os.environ['AWS_SECRET_ACCESS_KEY']\n"
        "print(uri)"
    )
    fail = "from kalecast.data.series import load_series\nload_series('s3://bucket/none.csv')"
    notebook = write_notebook(
        tmp_path / "toy.ipynb",
        [
            (f"store = '{tmp_path / 'store'}'", ["pipeline-parameters", "parameters"]),
            (use, ["step:publish_it"]),
            (fail, ["step:fail_it", "prev:publish_it"]),
        ],
    )
    compile_notebook(notebook, tmp_path / "out")
    environment = {
        **os.environ,
        **dict.fromkeys(SECRETS, PLANTED),
        **{"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_MAX_ATTEMPTS": "1"},
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    done = subprocess.run(
        [
            *(sys.executable, "-m", "kalecast.pipelines.local.run_pipeline"),
            *(tmp_path / "out" / "toy.pipeline.yaml", "--runs-dir", tmp_path / "runs"),
        ],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode != 0, done.stdout
    assert "s3://bucket/none.csv" in done.stdout + done.stderr
    files = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert {"logs", "reports"} <= {path.parent.name for path in files}
    message = [path for path in files if PLANTED.encode() in path.read_bytes()]
    assert message == []
    assert PLANTED not in done.stdout + done.stderr
    assert (tmp_path / "store" / "forecaster.onnx").read_bytes().startswith(b"model")
