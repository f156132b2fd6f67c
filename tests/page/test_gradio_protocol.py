"""The Gradio that is installed speaks as `gradio_protocol` says.

What its frontend sends in a browser is in `test_page_browser.py`.
"""

import json
import os
import re
import subprocess
from typing import Any

import pytest
from page_process import PYTHON

from kalecast.page import gradio_protocol as protocol

pytestmark = pytest.mark.slow

SCRIPT = r"""
import json
from pathlib import Path

from fastapi import FastAPI
from starlette.testclient import TestClient

from kalecast.page import building, gradio_protocol as protocol
import gradio as gr
from gradio.components.plot import PlotData

def show(text, file):
    if text == "wrong":
        raise gr.Error("No.", print_exception=False)
    content = Path(file).read_text() if file else ""
    changed = gr.update(choices=["a", "b"], value="a"), gr.update(visible=False)
    return gr.update(value=text + content), *changed, gr.update()

def echo(text: str) -> str:
    return text

with gr.Blocks(analytics_enabled=False) as page:
    text, file, series, plot = gr.Textbox(), gr.File(), gr.Dropdown(["a", "b"]), gr.Plot()
    gr.api(echo, api_name="echo", queue=False)
    event = text.submit(show, [text, file], [text, series, plot, plot], queue=False)

number = protocol.function_number(event)
found = {"number": number, "capacity": page.state_session_capacity, "paths": []}
queue = protocol.GradioQueue(page)
protocol.MOST_EVENTS = 3
protocol.replace_head_tags('<meta name="ours" />')

with TestClient(gr.mount_gradio_app(FastAPI(), page, path="/"), root_path="") as client:
    def request(name, method, path, **more):
        reply = client.request(method, path, **more)
        found[name] = {"status": reply.status_code, "text": reply.text, **reply.headers}
        found["paths"].append(path.partition("?")[0])
        return reply

    def sent(name, *data):
        body = {"fn_index": number, "session_hash": "x", "data": data}
        found[name + " body"] = body
        return request(name, "POST", protocol.EVENT_PATH, json=body)

    for path in ("/", "/config", "/theme.css", "/favicon.ico", protocol.API + "/info"):
        request(path, "GET", path)
    form = {protocol.UPLOAD_FIELD: ("a.csv", b" was read")}
    upload = request("upload", "POST", protocol.UPLOAD_PATH + "?upload_id=u", files=form).json()
    request("progress", "GET", protocol.PROGRESS_PATH + "?upload_id=u")
    value = {"path": upload[0], "orig_name": "a.csv", "meta": {"_type": "gradio.FileData"}}
    sent("event", "This file", value)
    sent("failure", "wrong", None)

    full = [queue.is_full()]
    for _ in range(3):
        call = request("call", "POST", protocol.API + "/call/echo", json={"data": ["1"]}).json()
    full.append(queue.is_full())
    request("called", "GET", protocol.API + "/call/echo/" + call["event_id"])
    full.append(queue.is_full())
    body = {"fn_index": 0, "data": ["2"], "session_hash": "y"}
    request("join", "POST", protocol.API + "/queue/join", json=body)
    full.append(queue.is_full())
    request("data", "GET", protocol.API + "/queue/data?session_hash=y")
    protocol.KEPT_SECONDS = 0
    queue.is_full()
    found |= {"full": full, "kept": len(page._queue.pending_event_ids_session)}

    secret = Path("secret.csv").resolve()
    secret.write_text("secret")
    sent("unguarded", "", {**value, "path": str(secret)})
    protocol.guard_files(page)
    for at, path in enumerate((str(secret), upload[0], "http://127.0.0.1:9/x.csv")):
        sent(f"guarded-{at}", "", {**value, "path": path})

found["plot"] = PlotData(**protocol.plotly("{}")).model_dump()
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def gradio(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What Gradio itself answers."""
    folder = tmp_path_factory.mktemp("gradio")
    done = subprocess.run(
        [PYTHON, "-c", SCRIPT],
        cwd=folder,
        env={**os.environ, "GRADIO_TEMP_DIR": str(folder / "files")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def answered(gradio: dict[str, Any], name: str) -> Any:
    assert gradio[name]["status"] == 200
    return json.loads(gradio[name]["text"])


def test_an_event_and_its_answer(gradio: dict[str, Any]) -> None:
    body = gradio["event body"]
    assert protocol.Event.read(body) == protocol.Event(gradio["number"], body["data"])
    updates = [
        protocol.update(value="This file was read"),
        protocol.update(choices=protocol.choices(("a", "b")), value="a"),
        protocol.update(visible=False),
        protocol.update(),
    ]
    assert protocol.answer(updates).items() <= answered(gradio, "event").items()
    assert gradio["failure"]["status"] == 500
    assert protocol.failure("No.").items() <= json.loads(gradio["failure"]["text"]).items()
    assert protocol.plotly("{}") == gradio["plot"]


def test_an_upload(gradio: dict[str, Any]) -> None:
    sent = protocol.path_of(gradio["event body"]["data"][1])
    assert protocol.upload_answer(sent) == answered(gradio, "upload")
    assert gradio["progress"]["text"] == protocol.PROGRESS_DONE
    assert gradio["progress"]["content-type"].startswith(protocol.PROGRESS_TYPE)


def test_the_configuration(gradio: dict[str, Any]) -> None:
    config = answered(gradio, "/config")
    assert config["api_prefix"] == protocol.API
    (show,) = [one for one in config["dependencies"] if one["api_name"] == "show"]
    assert (show["id"], show["queue"]) == (gradio["number"], False)
    (series,) = [one["props"] for one in config["components"] if one["type"] == "dropdown"]
    assert series["choices"] == protocol.choices(("a", "b"))


def test_addresses(gradio: dict[str, Any]) -> None:
    document = gradio["/"]["text"]
    files = set(re.findall(r'(?:src|href)="\.?(/(?:assets|static)/[^"?]+)', document))
    assert files
    for path in (*files, "/theme.css", "/favicon.ico"):
        assert re.fullmatch(protocol.PAGE_PATHS, path)
        assert path.startswith(protocol.PUBLIC_FILES)
    ours = {protocol.EVENT_PATH, protocol.UPLOAD_PATH, protocol.PROGRESS_PATH}
    for path in set(gradio["paths"]) - ours:
        assert gradio.get(path, {"status": 200})["status"] == 200
        assert re.fullmatch(f"{protocol.PAGE_PATHS}|{protocol.CLIENT_PATHS}", path)
    queued = {path for path in gradio["paths"] if protocol.QUEUED_PATHS.match(path)}
    assert queued >= {f"{protocol.API}/queue/join", f"{protocol.API}/call/echo"}


def test_the_queue_and_what_is_kept_in_it(gradio: dict[str, Any]) -> None:
    assert gradio["capacity"] > 100
    assert "complete" in gradio["called"]["text"]
    assert "process_completed" in gradio["data"]["text"]
    assert gradio["full"] == [False, True, False, True]
    assert gradio["kept"] == 0


def test_requests_name_no_files(gradio: dict[str, Any]) -> None:
    first, *_ = answered(gradio, "unguarded")["data"]
    assert first == protocol.update(value="secret"), "Gradio needs no guard any more"
    guarded = [gradio[f"guarded-{at}"] for at in range(3)]
    assert [reply["status"] for reply in guarded] == [500, 500, 500]
    errors = [json.loads(reply["text"])["error"] for reply in guarded]
    assert "was not uploaded by a user" in errors[0]
    assert errors[1:] == ["Please choose your file again."] * 2


def test_the_head_of_the_document(gradio: dict[str, Any]) -> None:
    head = gradio["/"]["text"].partition("window.gradio_config")[0]
    assert '<head><meta name="ours" />' in head
    for gone in ('property="og:', 'name="twitter:', 'rel="manifest"'):
        assert gone not in head
