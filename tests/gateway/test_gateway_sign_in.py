"""Signing in at the gateway: no one gets further without it, and no client can say who it is.

The gateway is the real one. Behind it stand an echo for the page, and for oauth2-proxy what its
manual says of its four addresses.
"""

import json
from collections.abc import Iterator
from typing import Any

import gateway_process
import pytest
import requests
from stand_in_page import Answer, Received, answering

pytestmark = pytest.mark.slow

SESSION = "__Host-kalecast=djEuAb-_9Q==|1790000000|dG9rZW4_-w=="
BROWSER = {"Accept": "text/html,application/xhtml+xml", "User-Agent": "curl/8.5.0"}
EVENT, UPLOAD, FORECAST = "/gradio_api/run/predict", "/gradio_api/upload", "/api/forecast"
HEADER = "X-Auth-Request-User"


def page(received: Received) -> Answer:
    """Tells how a request came."""
    seen = {"path": received.path, "headers": received.headers, "read": len(received.body)}
    return Answer(json.dumps(seen).encode(), headers={"Content-Type": "application/json"})


def sign_in(received: Received) -> Answer:
    """oauth2-proxy: 202 with who it is, or 401; the start leads to the provider."""
    if received.path != "/oauth2/auth":
        start = {"Location": "https://login.example.org/auth"}
        return page(received)._replace(status=302, headers=start)
    if SESSION not in dict(received.headers).get("Cookie", ""):
        return Answer(b"Unauthorized", 401)
    who = {"X-Auth-Request-User": "jo", "X-Auth-Request-Email": "jo@example.org"}
    return Answer(b"", 202, who)


@pytest.fixture(scope="module")
def gateway() -> Iterator[gateway_process.Gateway]:
    with (
        answering(page) as echo,
        answering(sign_in) as login,
        gateway_process.opened(f"http://{echo}", ["--sign-in", login]) as gateway,
    ):
        yield gateway


def send(
    gateway: gateway_process.Gateway, method: str, path: str, cookie: str = "", **options: Any
) -> requests.Response:
    headers = {"User-Agent": "curl/8.5.0", **options.pop("headers", {})}
    return gateway.send(
        method, path, headers=headers | ({"Cookie": cookie} if cookie else {}), **options
    )


def headers_seen(answer: requests.Response) -> list[tuple[str, str]]:
    """The headers that the page has seen."""
    assert answer.status_code == 200, answer.text
    return [(name.lower(), value) for name, value in answer.json()["headers"]]


def values(answer: requests.Response, name: str) -> list[str]:
    return [value for found, value in headers_seen(answer) if found == name.lower()]


def test_who_opens_the_page_without_a_session_is_led_to_the_login(gateway: gateway_process.Gateway):
    answer = send(gateway, "GET", "/", headers=BROWSER)
    assert answer.status_code == 302
    assert answer.headers["Location"] == "/oauth2/start?rd=%2F"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", EVENT),
        ("POST", f"{UPLOAD}?upload_id=abc"),
        ("GET", "/gradio_api/upload_progress?upload_id=abc"),
    ],
)
def test_the_pages_scripts_get_json(gateway: gateway_process.Gateway, method: str, path: str):
    answer = send(gateway, method, path, json={} if method == "POST" else None)
    assert answer.status_code == 401
    assert "sign in" in answer.json()["detail"]


@pytest.mark.parametrize(
    "cookie",
    [
        SESSION.replace("kalecast", "kalecasts"),
        SESSION[:-4],
        "__Host-kalecast=",
        f"other={SESSION.partition('=')[2]}",
    ],
)
def test_another_cookie_is_no_session(gateway: gateway_process.Gateway, cookie: str):
    assert send(gateway, "GET", "/", cookie, headers=BROWSER).status_code == 302


def test_the_page_learns_who_has_signed_in(gateway: gateway_process.Gateway):
    opened = send(gateway, "GET", "/", SESSION, headers=BROWSER)
    assert values(opened, HEADER) == ["jo"]
    event = send(gateway, "POST", EVENT, SESSION, json={"data": []})
    assert values(event, HEADER) == ["jo"]
    assert event.json()["read"] == len('{"data": []}')


@pytest.mark.parametrize(
    "name", [HEADER, "X_Auth_Request_User", "x-auth-request_user", "x-auth-request-email"]
)
def test_no_client_can_say_itself_who_it_is(gateway: gateway_process.Gateway, name: str):
    claim = {name: "root"}
    assert send(gateway, "GET", "/", headers={**BROWSER, **claim}).status_code == 302
    signed_in = send(gateway, "GET", "/", SESSION, headers={**BROWSER, **claim})
    assert values(signed_in, HEADER) == ["jo"]
    # Programs come with a key and without a session.
    program = send(gateway, "POST", FORECAST, headers=claim, json={"history": "1,2,3"})
    assert "root" not in [value for _, value in headers_seen(program)]
    assert values(program, HEADER) == []


def test_the_sessions_cookie_reaches_oauth2_proxy_alone(gateway: gateway_process.Gateway):
    signed_in = send(gateway, "GET", "/", SESSION, headers=BROWSER)
    assert values(signed_in, "Cookie") == []
    assert SESSION not in signed_in.text
    # Nothing in it is for signatures; what comes with it is.
    attack = send(gateway, "GET", "/", f"{SESSION}; a=' or 1=1 -- ", headers=BROWSER)
    assert attack.status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/oauth2/start",
        "/oauth2/start?rd=%2F",
        "/oauth2/callback?code=abc-_.~&state=d0%3A%2F",
        "/oauth2/sign_out",
    ],
)
def test_the_addresses_of_the_login_lead_to_oauth2_proxy(
    gateway: gateway_process.Gateway, path: str
):
    answer = send(
        gateway, "GET", path, SESSION, headers={"X-Evil": "1", "Authorization": "Bearer x"}
    )
    assert answer.status_code == 302
    seen = json.loads(answer.text)
    assert seen["path"] == path
    headers = {name.lower(): value for name, value in seen["headers"]}
    assert headers["cookie"] == SESSION
    assert headers["x-forwarded-proto"] == "https"
    assert not {"x-evil", "authorization", HEADER.lower()} & set(headers)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/oauth2/auth", 404),
        ("GET", "/oauth2/sign_in", 404),
        ("GET", "/oauth2/userinfo", 404),
        ("GET", "/oauth2/static/css/all.min.css", 404),
        ("GET", "/oauth2/start?rd=https%3A%2F%2Fevil.example", 404),
        ("GET", "/oauth2/start?rd=//evil.example", 404),
        ("GET", "/oauth2/sign_out?rd=https://evil.example", 404),
        ("GET", "/oauth2/callback", 404),
        ("GET", "/oauth2/callback?code=a;b", 404),
        ("GET", "/oauth2/callback?redirect=a", 404),
        ("POST", "/oauth2/start", 405),
        ("POST", "/oauth2/callback?code=a&state=b", 405),
    ],
)
def test_nothing_else_of_oauth2_proxy_can_be_reached(
    gateway: gateway_process.Gateway, method: str, path: str, status: int
):
    answer = send(gateway, method, path, SESSION)
    assert answer.status_code == status
    assert "login.example.org" not in answer.headers.get("Location", "")


def test_programs_need_a_key_and_no_session(gateway: gateway_process.Gateway):
    assert headers_seen(send(gateway, "POST", FORECAST, json={"history": "1,2,3"}))
    assert headers_seen(send(gateway, "GET", "/api/model"))


def test_assets_are_public(gateway: gateway_process.Gateway):
    assert headers_seen(send(gateway, "GET", "/theme.css"))
