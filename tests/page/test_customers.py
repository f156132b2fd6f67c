"""Who is calling: customers' keys and quotas at a page, and people who are signed in."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import page_process
import pytest
import requests
from page_process import WEEK, Page
from ports import free_ports
from stand_in_server import standing_in

from kalecast.page.callers import Callers
from kalecast.page.settings import Settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.slow

SIGNED_IN = "X-Auth-Request-User"
PASTED = ("Your numbers", None, None, None, WEEK, "", 24)
MANY = "100000"


@dataclass(frozen=True)
class Gateway:
    """A page with authentication."""

    page: Page
    secret: Path
    """The folder in which Kubernetes would mount a Secret."""
    keys: dict[str, str]
    metrics: str
    """The operators' address."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    written, secret = folder / "customers.json", folder / "secret"
    secret.mkdir()
    keys = {
        "first": new("acme-7f3a", "--per-minute", MANY, file=written),
        "second": new("acme-7f3a", file=written),
        "small": new("globex-91c2", "--per-minute", "1", "--burst", "2", file=written),
        "other": new("initech-04d8", "--per-minute", MANY, file=written),
        "ended": new("initech-04d8", file=written),
    }
    content = json.loads(written.read_text())
    content["customers"][2]["keys"][1]["until"] = "2020-01-31"
    mount(secret, "1", json.dumps(content))
    (secret / "customers.json").symlink_to("..data/customers.json")
    (port,) = free_ports(1)
    with (
        standing_in() as server,
        page_process.running(
            folder / "page",
            server.url,
            KALECAST_CUSTOMERS=str(secret / "customers.json"),
            KALECAST_SIGNED_IN_HEADER=SIGNED_IN,
            KALECAST_PAGE_QUOTA="30",
            KALECAST_METRICS_PORT=str(port),
        ) as page,
    ):
        yield Gateway(page, secret, keys, f"http://127.0.0.1:{port}/metrics")


def new(*arguments: str, file: Path) -> str:
    """A new customer's key, made by the command."""
    command = [sys.executable, "-m", "kalecast.page.keys", "new", *arguments]
    done = subprocess.run([*command, "--file", str(file)], capture_output=True, check=True)
    return done.stdout.decode().strip()


def mount(folder: Path, version: str, text: str) -> None:
    """Mount a Secret as Kubernetes does: a new folder, to which a link is turned."""
    (folder / f"..{version}").mkdir()
    (folder / f"..{version}" / "customers.json").write_text(text)
    link = folder / "..data_tmp"
    link.symlink_to(f"..{version}")
    link.replace(folder / "..data")


def query(page: Page, authorization: str | None = None) -> requests.Response:
    headers = {} if authorization is None else {"Authorization": authorization}
    url = page.url + "/api/forecast"
    return requests.post(url, json={"history": WEEK}, headers=headers, timeout=30)


def show(page: Page, person: str | None, controls: tuple[Any, ...] = PASTED) -> requests.Response:
    """Ask the page's own event, as whom the proxy names."""
    config = requests.get(page.url + "/config", headers={SIGNED_IN: "tests"}, timeout=30).json()
    (number,) = [d["id"] for d in config["dependencies"] if d["api_name"] == "show"]
    return requests.post(
        page.url + "/gradio_api/run/predict",
        json={"fn_index": number, "session_hash": "x", "data": controls},
        headers={} if person is None else {SIGNED_IN: person},
        timeout=30,
    )


def test_programs_need_a_key(gateway: Gateway) -> None:
    for reply in (query(gateway.page), requests.get(gateway.page.url + "/api/model", timeout=10)):
        assert reply.status_code == 401
        assert reply.headers["WWW-Authenticate"] == "Bearer"
        assert "Authorization: Bearer kalecast_" in reply.json()["detail"]


def test_each_of_a_customers_keys_holds(gateway: Gateway) -> None:
    for name in ("first", "second", "other"):
        reply = query(gateway.page, f"Bearer {gateway.keys[name]}")
        assert len(reply.json()["forecast"]["0.5"]) == 24
        headers = {"Authorization": f"bearer {gateway.keys[name]}"}
        assert requests.get(gateway.page.url + "/api/model", headers=headers, timeout=10).ok


def test_an_ended_key_is_reported_so(gateway: Gateway) -> None:
    reply = query(gateway.page, f"Bearer {gateway.keys['ended']}")
    assert (reply.status_code, reply.json()["detail"][:18]) == (401, "This key has ended")


def test_what_is_no_key_is_refused(gateway: Gateway) -> None:
    key = gateway.keys["first"]
    prefix, identity, secret = key.split("_", 2)
    wrong = [
        f"Basic {key}",
        key,
        "Bearer",
        f"Bearer {key}x",
        f"Bearer {key}, Bearer {key}",
        f"Bearer {key[:-1]}",
        f"Bearer {key.upper()}",
        f"Bearer {prefix}_{identity}_{secret[::-1]}",
        f"Bearer {prefix}_{gateway.keys['other'].split('_')[1]}_{secret}",
        f"Bearer {prefix}_0000000000_{secret}",
        f"Bearer {prefix}__{secret}",
        "Bearer " + "a" * 5000,
    ]
    assert {query(gateway.page, text).status_code for text in wrong} == {401}


def test_an_unknown_key_is_refused_as_a_wrong_one_is(gateway: Gateway) -> None:
    prefix, identity, secret = gateway.keys["first"].split("_", 2)
    wrong = query(gateway.page, f"Bearer {prefix}_{identity}_{secret[::-1]}")
    unknown = query(gateway.page, f"Bearer {prefix}_0000000000_{secret}")
    assert wrong.text == unknown.text
    assert wrong.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert unknown.headers["WWW-Authenticate"] == wrong.headers["WWW-Authenticate"]


@pytest.mark.parametrize("header", ["Authorization", SIGNED_IN])
def test_a_name_given_twice_is_no_sign_in(gateway: Gateway, header: str) -> None:
    key = f"Bearer {gateway.keys['first']}"
    names = (key, key) if header == "Authorization" else ("jo", "ann")
    connection = HTTPConnection(gateway.page.url.removeprefix("http://"), timeout=10)
    connection.putrequest("GET", "/api/model" if header == "Authorization" else "/config")
    for name in names:
        connection.putheader(header, name)
    connection.endheaders()
    assert connection.getresponse().status == 401
    connection.close()


def test_probes_and_the_example_are_open(gateway: Gateway) -> None:
    for path in ("/health", "/ready", "/api/example.csv"):
        assert requests.get(gateway.page.url + path, timeout=10).ok


def test_a_spent_quota_says_when_to_retry(gateway: Gateway) -> None:
    key = f"Bearer {gateway.keys['small']}"
    assert [query(gateway.page, key).status_code for _ in range(3)] == [200, 200, 429]
    reply = query(gateway.page, key)
    assert "You have 1 forecast a minute" in reply.json()["detail"]
    assert 1 <= int(reply.headers["Retry-After"]) <= 60
    assert requests.get(
        gateway.page.url + "/api/model", headers={"Authorization": key}, timeout=10
    ).ok
    assert query(gateway.page, f"Bearer {gateway.keys['first']}").ok


def test_the_page_needs_a_sign_in(gateway: Gateway) -> None:
    url = gateway.page.url
    for path in ("/", "/config"):
        reply = requests.get(url + path, timeout=10)
        assert (reply.status_code, reply.text[:21]) == (401, "You are not signed in")
        assert reply.headers["Content-Type"].startswith("text/plain")
        assert "WWW-Authenticate" not in reply.headers
    assert requests.get(url, headers={SIGNED_IN: "jo"}, timeout=10).ok
    for name in ("", "a" * 300):
        assert requests.get(url, headers={SIGNED_IN: name}, timeout=10).status_code == 401


def test_a_key_does_not_open_the_page_nor_a_name_the_routes(gateway: Gateway) -> None:
    headers = {"Authorization": f"Bearer {gateway.keys['first']}"}
    assert requests.get(gateway.page.url, headers=headers, timeout=10).status_code == 401
    url = gateway.page.url + "/api/forecast"
    reply = requests.post(url, json={"history": WEEK}, headers={SIGNED_IN: "jo"}, timeout=10)
    assert reply.status_code == 401


def test_gradios_own_files_are_open(gateway: Gateway) -> None:
    document = requests.get(gateway.page.url, headers={SIGNED_IN: "jo"}, timeout=10).text
    paths = set(re.findall(r'(?:src|href)="\.?(/assets/[^"?]+)', document))
    assert paths
    for path in [*paths, "/favicon.ico", "/theme.css"]:
        assert requests.get(gateway.page.url + path, timeout=10).ok, path


def test_no_bypass_through_gradios_own_files(gateway: Gateway) -> None:
    for path in ("/assets/../config", "/assets/..%2fconfig", "/static/%2e%2e/config"):
        connection = HTTPConnection(gateway.page.url.removeprefix("http://"), timeout=10)
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status in (401, 403, 404), path
        assert b"dependencies" not in answer.read()
        connection.close()


def test_the_event_needs_a_sign_in(gateway: Gateway) -> None:
    (banner, reading, *_) = show(gateway.page, None).json()["data"]
    assert "You are not signed in" in banner["value"]
    assert reading["visible"] is False
    (banner, reading, *_) = show(gateway.page, "jo").json()["data"]
    assert banner["visible"] is False
    assert reading["visible"] is True


def test_an_upload_needs_a_sign_in(gateway: Gateway) -> None:
    def upload(headers: dict[str, str]) -> requests.Response:
        files = {"files": ("a.csv", b"ds,y\n2026-01-01 00:00,1\n")}
        url = gateway.page.url + "/gradio_api/upload?upload_id=x"
        return requests.post(url, files=files, headers=headers, timeout=30)

    refused, taken = (upload(headers).json()[0] for headers in ({}, {SIGNED_IN: "jo"}))
    assert refused != taken
    controls = ("Your file", None, {"path": refused}, None, "", "", 24)
    (banner, *_) = show(gateway.page, "jo", controls).json()["data"]
    assert "You are not signed in" in banner["value"]
    progress = gateway.page.url + "/gradio_api/upload_progress?upload_id=x"
    assert requests.get(progress, timeout=10).status_code == 401


def test_each_person_has_a_quota(gateway: Gateway) -> None:
    banners = [show(gateway.page, "ann") for _ in range(60)]
    over = [reply for reply in banners if reply.json()["data"][0]["visible"]]
    assert over
    assert {reply.status_code for reply in banners} == {200}
    assert "30 forecasts a minute" in over[-1].json()["data"][0]["value"]
    assert int(over[-1].headers["Retry-After"]) >= 1
    assert show(gateway.page, "bo").json()["data"][0]["visible"] is False


def test_gradio_itself_does_not_forecast(gateway: Gateway) -> None:
    config = requests.get(
        gateway.page.url + "/config", headers={SIGNED_IN: "jo"}, timeout=10
    ).json()
    assert [d["api_name"] for d in config["dependencies"]] == ["show"]
    arguments: dict[str, Any] = {"json": {"data": [WEEK, "", 24]}, "timeout": 10}
    for path in ("run/forecast", "api/forecast", "call/forecast"):
        url = f"{gateway.page.url}/gradio_api/{path}"
        assert requests.post(url, headers={SIGNED_IN: "jo"}, **arguments).status_code == 404
        assert requests.post(url, **arguments).status_code == 404


def test_counters_say_why_and_no_customer_is_named(gateway: Gateway) -> None:
    query(gateway.page)
    show(gateway.page, None)
    show(gateway.page, "jo@example.org")
    query(gateway.page, f"Bearer {gateway.keys['small']}")
    query(gateway.page, f"Bearer {gateway.keys['small']}")
    query(gateway.page, f"Bearer {gateway.keys['small']}")
    counters = requests.get(gateway.metrics, timeout=10).text
    event = 'code="401",route="/gradio_api/run/predict"'
    assert f"kalecast_page_requests_total{{{event}}}" in counters
    for reason in ("key", "sign-in", "quota"):
        assert f'kalecast_page_turned_away_total{{reason="{reason}"}}' in counters
    assert 'kalecast_page_requests_total{code="401",route="/api/forecast"}' in counters
    assert 'kalecast_page_requests_total{code="429",route="/api/forecast"}' in counters
    exposed = counters + gateway.page.log
    named = ("acme", "globex", "example.org", *(key.split("_")[1] for key in gateway.keys.values()))
    assert not [name for name in named if name in exposed]


def test_a_page_in_a_browser_until_its_sign_in_ends(gateway: Gateway, browser: "Browser") -> None:
    context = browser.new_context(extra_http_headers={SIGNED_IN: "cleo"})
    page = context.new_page()
    page.goto(gateway.page.url)
    page.locator("#kc-plot .main-svg").first.wait_for(timeout=60_000)
    context.set_extra_http_headers({})
    page.locator("#kc-forecast").click()
    page.get_by_text("You are not signed in").first.wait_for(timeout=60_000)
    context.close()


def test_new_keys_are_known_without_a_restart(gateway: Gateway, tmp_path: Path) -> None:
    file = tmp_path / "customers.json"
    key = new("acme-7f3a", "--per-minute", MANY, file=file)
    assert query(gateway.page, f"Bearer {key}").status_code == 401
    mount(gateway.secret, "broken", "{")
    _until(lambda: "Expected JSON" in gateway.page.log)
    assert query(gateway.page, f"Bearer {gateway.keys['first']}").ok
    mount(gateway.secret, "2", file.read_text())
    _until(lambda: query(gateway.page, f"Bearer {key}").ok)
    assert query(gateway.page, f"Bearer {gateway.keys['first']}").status_code == 401


def _until(is_so: Any) -> None:
    for _ in range(300):
        if is_so():
            return
        time.sleep(0.1)
    raise AssertionError("Expected something that did not come.")


def test_half_a_protection_is_warned_of(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    Callers(Settings())
    assert not caplog.messages
    monkeypatch.setenv("KALECAST_SIGNED_IN_HEADER", SIGNED_IN)
    Callers(Settings())
    assert caplog.messages == [
        "KALECAST_CUSTOMERS is not set: /api/forecast accepts unauthenticated requests."
    ]
