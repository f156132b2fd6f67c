"""What Gradio brings and this page does not offer is off, on a page that really runs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import page_process
import pytest
import requests
from elsewhere import Elsewhere, listening
from page_process import Page, file_of
from stand_in_server import standing_in

pytestmark = pytest.mark.slow

CONTACTS = "contacts.txt"
AUDIT = f"""
import sys
SEEN = open({CONTACTS!r}, "a", buffering=1)
def note(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        print("name", arguments[0], file=SEEN)
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        print("address", *arguments[1][:2], file=SEEN)
sys.addaudithook(note)
"""
"""Run by Python at its start: each name that is looked up, each address that is called."""

FILES = (
    "/etc/passwd",
    "../../../../etc/passwd",
    "src/kalecast/page/app.py",
    "{url}/secret",
    "{page}/app.py",
)
LAID_OUT = ("config", "assets", "static", "custom_component/x/client/component", "svelte")
OFF = {
    "documentation": [("GET", "/docs"), ("GET", "/redoc"), ("GET", "/gradio_api/docs")],
    "monitoring": [
        *(("GET", "/monitoring"), ("GET", "/monitoring/x"), ("GET", "/monitoring/summary")),
        *(("GET", "/gradio_api/profiling/traces"), ("GET", "/gradio_api/profiling/summary")),
        *(("POST", "/gradio_api/profiling/clear"), ("GET", "/metrics")),
    ],
    "MCP": [
        *(("GET", f"/gradio_api/mcp{path}") for path in ("", "/", "/sse", "/schema", "/http/")),
        ("POST", "/gradio_api/mcp/"),
    ],
    "run history": [
        *(("GET", "/runs"), ("GET", "/run-history/connect"), ("GET", "/run-history/buckets")),
        ("GET", "/run-history/records"),
    ],
    "editing": [
        *(("POST", "/gradio_api/vibe-edit"), ("POST", "/gradio_api/undo-vibe-edit")),
        *(("GET", "/gradio_api/vibe-code"), ("POST", "/gradio_api/vibe-code")),
    ],
    "proxy": [
        *(("GET", "/gradio_api/proxy={url}/x"), ("GET", "/proxy={url}/x")),
        *(("GET", "/gradio_api/proxy=https://x.hf.space/y"), ("HEAD", "/proxy={url}/x")),
    ],
    "streams": [
        *(("GET", f"/gradio_api/stream/x/1/1/{path}") for path in ("playlist.m3u8", "1.ts")),
        *(("GET", "/gradio_api/stream/x/1/1/playlist-file"), ("POST", "/gradio_api/stream/1")),
        ("POST", "/gradio_api/stream/1/close"),
    ],
    "files": [
        *(("GET", f"/gradio_api/file={path}") for path in FILES),
        *(("GET", f"/gradio_api/file/{path}") for path in FILES),
        *(("GET", f"/file={path}") for path in FILES),
        *(("GET", f"/{folder}/..%2f..%2f..%2fetc/passwd") for folder in LAID_OUT),
        *(("GET", f"/{folder}/%2e%2e/%2e%2e/%2e%2e/etc/passwd") for folder in LAID_OUT),
    ],
    "no use": [
        *(("GET", f"/gradio_api/{path}") for path in ("openapi.json", "dev/reload", "app_id")),
        *(("GET", f"/gradio_api/{path}") for path in ("queue/status", "startup-events")),
        *(("GET", path) for path in ("/openapi.json", "/manifest.json", "/login_check")),
        *(("GET", path) for path in ("/gradio_api/heartbeat/x", "/assets")),
    ],
    "recording": [("POST", "/gradio_api/process_recording"), ("GET", "/gradio_api/dev")],
}


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    with listening() as server:
        yield server


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    hooks = tmp_path_factory.mktemp("hooks")
    (hooks / "sitecustomize.py").write_text(AUDIT)
    folder = tmp_path_factory.mktemp("page")
    with (
        standing_in() as server,
        page_process.running(
            folder, server.url, PYTHONPATH=str(hooks), KALECAST_GRADIO_CLIENT="on"
        ) as page,
    ):
        yield page


def contacts(page: Page) -> set[str]:
    """Names and addresses of other machines that the page looked up."""
    found = set()
    for line in (page.folder / CONTACTS).read_text().splitlines():
        host = line.split()[1]
        if not host.startswith("127.") and host not in ("localhost", "::1", "0.0.0.0", "None"):
            found.add(host)
    return found


def query(page: Page, method: str, path: str, **body: Any) -> requests.Response:
    """A request whose path is not normalised, with the first bytes of its answer."""
    request = requests.Request(method, page.url, **body).prepare()
    request.url = page.url + path
    with requests.Session() as session:
        return session.send(request, timeout=20, allow_redirects=False)


def test_the_start_contacts_no_other_machine(page: Page) -> None:
    assert requests.get(page.url, timeout=30).ok
    assert (page.folder / CONTACTS).exists()
    assert contacts(page) == set()


@pytest.mark.parametrize("switch", OFF)
def test_what_the_page_does_not_offer_is_not_there(
    page: Page, elsewhere: Elsewhere, switch: str
) -> None:
    for method, path in OFF[switch]:
        named = path.format(url=elsewhere.url, page=page_process.FOLDER)
        reply = query(page, method, named, json={} if method == "POST" else None)
        assert reply.status_code in (400, 403, 404, 405, 422), (named, reply.text[:200])
        assert "root:" not in reply.text and "import" not in reply.text
        if switch == "no use":
            assert reply.json() == {"detail": "There is no such address here."}
    assert elsewhere.visits == 0
    assert contacts(page) == set()


def test_the_pages_own_description_says_the_same(page: Page) -> None:
    config = requests.get(page.url + "/config", timeout=30).json()
    off = ("analytics_enabled", "dev_mode", "vibe_mode", "show_error", "run_history", "pwa")
    assert {name: config[name] for name in (*off, "mcp_server")} == dict.fromkeys(
        (*off, "mcp_server"), False
    )
    assert config["footer_links"] == []
    assert config["max_file_size"] == 20 * 2**20
    assert config.get("auth_required") is None and config["space_id"] is None
    offered = {d["api_name"]: d["api_visibility"] for d in config["dependencies"]}
    assert offered.pop("show") == "private"
    assert set(offered) <= {"forecast"}
    assert not any(dependency["queue"] for dependency in config["dependencies"])
    assert "share" not in page.log
    info = requests.get(page.url + "/gradio_api/info", timeout=30).json()
    assert set(info["named_endpoints"]) <= {"/forecast"}
    assert info["unnamed_endpoints"] == {}


def test_a_shared_link_leads_to_no_state(page: Page) -> None:
    for session in ("x", "../../x", "x/../../etc/passwd"):
        reply = requests.get(
            page.url + "/gradio_api/deep_link", params={"session_hash": session}, timeout=30
        )
        assert reply.text in ('""', "") or reply.status_code >= 400
    plain = requests.get(page.url, timeout=30).text
    for link in ("../../etc/passwd", "/etc/passwd", "x"):
        reply = requests.get(page.url, params={"deep_link": link}, timeout=30)
        assert "root:" not in reply.text
        assert abs(len(reply.text) - len(plain)) < 200 or reply.status_code >= 400
    assert not list(page.folder.rglob("state.json"))


def test_components_have_no_functions_to_call(page: Page) -> None:
    """Gradio's file explorer lists folders this way, its gallery fetches addresses."""
    config = requests.get(page.url + "/config", timeout=30).json()
    for component in [one["id"] for one in config["components"]]:
        for function in ("ls", "__init__", "preprocess", "get_data", "fetch"):
            body = {
                **{"session_hash": "x", "component_id": component, "fn_name": function},
                "data": ["/etc"],
            }
            reply = query(page, "POST", "/gradio_api/component_server", json=body)
            assert reply.status_code in (400, 403, 404, 422), (component, function)
            assert "passwd" not in reply.text


@pytest.mark.parametrize("key", ["url", "path"])
def test_a_file_named_by_its_address_is_not_fetched(
    page: Page, elsewhere: Elsewhere, key: str
) -> None:
    address = f"{elsewhere.url}/x.csv"
    file = {**file_of(address), "url": None, key: address, "orig_name": "x.csv"}
    event = ["Your file", None, file, None, None, None, 24]
    for path, body in (
        ("/gradio_api/run/predict", {"fn_index": 0, "data": event, "session_hash": "x"}),
        ("/gradio_api/run/show", {"data": event}),
        ("/gradio_api/call/show", {"data": event}),
        ("/gradio_api/run/forecast", {"data": [file, "", 24]}),
        ("/gradio_api/call/forecast", {"data": [file, "", 24]}),
        ("/gradio_api/call/v2/forecast", {"history": file, "start": "", "horizon": 24}),
        ("/gradio_api/queue/join", {"fn_index": 0, "data": event, "session_hash": "y"}),
    ):
        reply = query(page, "POST", path, json=body)
        assert "Traceback" not in reply.text
        assert len(reply.content) < 5000
    # The queue answers later: what it was given is read by then.
    events = requests.get(
        page.url + "/gradio_api/queue/data", {"session_hash": "y"}, timeout=30, stream=True
    )
    for line in events.iter_lines():
        if b"process_completed" in line or b"close_stream" in line or b"unexpected" in line:
            break
    events.close()
    assert elsewhere.visits == 0
    assert contacts(page) == set()


def test_gradios_own_form_logs_no_one_in(page: Page) -> None:
    for name in ("admin", "", "a" * 5000):
        reply = query(page, "POST", "/login", data={"username": name, "password": "x"})
        assert "access-token" not in reply.headers.get("set-cookie", "")
        assert reply.status_code in (302, 400, 401, 403, 404, 422)
    assert requests.get(page.url + "/gradio_api/user", timeout=30).status_code == 404


def test_nothing_was_written_by_all_of_that(page: Page) -> None:
    """The last test of this file: what the page's folder holds after it."""
    kept = {CONTACTS, page_process.LOG, "samples.csv"}
    assert {path.name for path in page.folder.rglob("*") if path.is_file()} <= kept
    assert Path(page.folder / CONTACTS).read_text().count("\n") < 1000
