"""Secrets stay with the host that they were meant for, wherever a redirect leads."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from kalecast.client.rest import ServerAddress, request_json
from kalecast.pipelines.kubeflow.connection import connection_of, problem_with

SECRETS = {"Authorization": "Bearer secret", "Cookie": "session=secret"}


class Host:
    """A server that notes what it is sent, and leads from `/away` to another."""

    def __init__(self) -> None:
        self.url = self.leads_to = ""
        self.got: list[dict[str, str]] = []

    @property
    def secrets(self) -> list[str]:
        """Those of the last request."""
        return [name for name in SECRETS if name in self.got[-1]]


@contextmanager
def serving() -> Iterator[Host]:
    host = Host()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host.got.append(dict(self.headers))
            if self.path.startswith("/away"):
                self.send_response(302)
                self.send_header("Location", f"{host.leads_to}/here")
            else:
                self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    host.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield host
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    with ExitStack() as stack:
        yield stack.enter_context(serving()), stack.enter_context(serving())


def test_another_host_is_not_shown_who_asks(hosts: tuple[Host, Host]) -> None:
    first, other = hosts
    first.leads_to = other.url
    assert request_json(ServerAddress(first.url, SECRETS), "/away") == {}
    assert first.secrets == list(SECRETS)
    assert other.secrets == []


def test_the_same_host_still_is(hosts: tuple[Host, Host]) -> None:
    first, _ = hosts
    first.leads_to = first.url
    assert request_json(ServerAddress(first.url, SECRETS), "/away") == {}
    assert len(first.got) == 2
    assert first.secrets == list(SECRETS)


@pytest.mark.parametrize("secret", ["KF_PIPELINES_TOKEN", "KF_PIPELINES_COOKIES"])
def test_neither_is_a_login_page_of_kfp_elsewhere(secret: str, hosts: tuple[Host, Host]) -> None:
    first, other = hosts
    first.leads_to = other.url
    environment = {"KFP_HOST": f"{first.url}/away", secret: "secret"}
    connection = connection_of(environment)
    assert connection
    assert problem_with(connection, environment) is None
    assert len(first.secrets) == 1
    assert other.secrets == []
