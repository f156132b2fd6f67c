"""What the gateway does with clients that are too fast, too slow, too large or too strange.

The page behind it is a stand-in that notes each request that reaches it.
"""

import contextlib
import gzip
import http.client
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psutil
import pytest
from gateway_process import Gateway, opened
from ports import free_ports

from benchmarks.protection import http2_frames as h2

pytestmark = pytest.mark.slow

LIMITS = {
    **{"forecast_rate": 1, "forecast_burst": 5, "key_rate": 1, "key_burst": 9},
    **{"document_rate": 1, "document_burst": 3, "open_connections": 8},
    **{"head_seconds": 1, "body_seconds": 4, "read_seconds": 1, "connections_of_one": 20},
    **{"large_connections": 2, "uploads_of_one": 1, "uploads_held": 2, "uploads_at_once": 1},
}
OPTIONS = [part for name, value in LIMITS.items() for part in ("--limit", f"{name}={value}")]
HISTORY = json.dumps({"history": "1,2,3"}).encode()
JSON = {"Content-Type": "application/json"}
TIMEOUT = 30.0
"""Seconds that anything may take; nothing here needs one of them on an idle machine."""


class Page:
    """Stands in for the page: answers everything, and waits first if requested.

    Where it breaks it ends the connection instead, once it has read a request.
    """

    def __init__(self) -> None:
        self.seen: list[tuple[str, bytes]] = []
        self.breaks = False
        self.answer = b"{}"
        self.may_answer = threading.Event()
        self.may_answer.set()
        owner = self

        class Handler(_Handler):
            page = owner

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    page: Page
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path != "/ready":
            self.page.seen.append((self.path, body))
            self.page.may_answer.wait(TIMEOUT)
            if self.page.breaks:
                self.close_connection = True
                return
        self.send_response(200)
        answer = b"{}" if self.path == "/ready" else self.page.answer
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(answer)

    do_POST = do_GET

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def place() -> Iterator[tuple[Gateway, Page]]:
    """A gateway with small limits and short times, and the page behind it."""
    page = Page()
    with opened(page.url, OPTIONS) as gateway:
        yield gateway, page
    page.server.shutdown()


@pytest.fixture
def gateway(place: tuple[Gateway, Page]) -> Gateway:
    return place[0]


@pytest.fixture
def page(place: tuple[Gateway, Page]) -> Iterator[Page]:
    """The page, before any request."""
    place[1].seen.clear()
    yield place[1]
    place[1].may_answer.set()
    place[1].answer = b"{}"


_addresses = iter(range(1, 250))


@pytest.fixture
def client() -> str:
    """An address from which no request has come."""
    return new_client()


def new_client() -> str:
    return f"127.40.0.{next(_addresses)}"


def send(  # noqa: PLR0913, PLR0917 - what a request is
    gateway: Gateway,
    client: str,
    path: str = "/api/forecast",
    body: bytes | None = HISTORY,
    headers: dict[str, str] | None = None,
    method: str = "",
) -> tuple[int, bytes]:
    """One request over a connection of its own; returns status and body."""
    connection = http.client.HTTPSConnection(
        "localhost",
        gateway.protected.port,
        timeout=TIMEOUT,
        source_address=(client, 0),
        context=ssl.create_default_context(cafile=gateway.certificate),
    )
    with contextlib.closing(connection):
        about = {**(JSON if body else {}), **(headers or {})}
        with contextlib.suppress(OSError):
            # A gateway that refuses a body need not have read it.
            connection.request(method or ("POST" if body else "GET"), path, body, about)
        answer = connection.getresponse()
        return answer.status, answer.read()


def statuses(gateway: Gateway, client: str, count: int, **request: Any) -> list[int]:
    return [send(gateway, client, **request)[0] for _ in range(count)]


@contextmanager
def connected(gateway: Gateway, client: str, protocol: str = "http/1.1") -> Iterator[ssl.SSLSocket]:
    context = ssl.create_default_context(cafile=gateway.certificate)
    context.set_alpn_protocols([protocol])
    plain = socket.create_connection(
        ("127.0.0.1", gateway.protected.port), timeout=TIMEOUT, source_address=(client, 0)
    )
    with context.wrap_socket(plain, server_hostname="localhost") as secure:
        yield secure


def all_of(connection: socket.socket) -> bytes:
    """What comes until the gateway closes its side."""
    got = b""
    with contextlib.suppress(ConnectionResetError, ssl.SSLError):
        while data := connection.recv(65536):
            got += data
    return got


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def key(letter: str) -> dict[str, str]:
    """A key of the right form, which the gateway cannot check."""
    return {"Authorization": f"Bearer kalecast_k1_{letter * 43}"}


def memory(gateway: Gateway) -> int:
    """Of all its processes, in bytes."""
    process = gateway.protected.service.process
    assert process is not None
    first = psutil.Process(process.pid)
    return sum(one.memory_info().rss for one in (first, *first.children(recursive=True)))


def test_too_many_requests_get_a_message_and_others_are_served(
    gateway: Gateway, client: str
) -> None:
    began = time.monotonic()
    assert statuses(gateway, client, 12).count(200) <= forecasts_since(began)

    status, said = send(gateway, client)
    assert (status, list(json.loads(said))) == (429, ["detail", "error"])
    assert send(gateway, new_client())[0] == 200


@pytest.fixture(scope="module")
def keyed(place: tuple[Gateway, Page]) -> Iterator[Gateway]:
    """Such a gateway before a page that requires keys."""
    with opened(place[1].url, [*OPTIONS, "--keys"]) as gateway:
        yield gateway


def test_a_key_has_one_limit_wherever_it_is_used(keyed: Gateway) -> None:
    got = [send(keyed, new_client(), headers=key("a"))[0] for _ in range(16)]

    assert got.count(200) >= LIMITS["key_burst"]
    assert 429 in got
    assert send(keyed, new_client(), headers=key("b"))[0] == 200


def test_many_keys_of_one_client_have_the_limit_of_one(keyed: Gateway, client: str) -> None:
    assert asked_with_made_up_keys(keyed, client).count(429) >= 4
    assert send(keyed, new_client(), headers=key("Z"))[0] == 200


def test_made_up_keys_do_not_lift_a_clients_limit(gateway: Gateway, client: str) -> None:
    began = time.monotonic()
    got = asked_with_made_up_keys(gateway, client)

    assert 200 in got
    assert got.count(200) <= forecasts_since(began)


def forecasts_since(began: float) -> float:
    """How many a client without a key may have had, one more for each second of a busy machine."""
    seconds = time.monotonic() - began
    return LIMITS["forecast_burst"] + 2 + LIMITS["forecast_rate"] * seconds


def asked_with_made_up_keys(gateway: Gateway, client: str) -> list[int]:
    letters = [chr(ord("A") + number) for number in range(24)]
    return [send(gateway, client, headers=key(letter))[0] for letter in letters]


def test_a_head_that_comes_slowly_is_given_up(gateway: Gateway, client: str, page: Page) -> None:
    with connected(gateway, client) as connection:
        connection.sendall(b"POST /api/forecast HTTP/1.1\r\nHost: localhost\r\n")
        # The time is for the whole head: a line now and then does not lengthen it.
        for _ in range(60):
            with contextlib.suppress(OSError):
                connection.sendall(b"X-A: b\r\n")
            time.sleep(0.1)
            connection.settimeout(0.01)
            with contextlib.suppress(TimeoutError, ssl.SSLWantReadError):
                if not connection.recv(4096):
                    break
        else:
            pytest.fail("The gateway goes on waiting.")
    assert page.seen == []


def test_a_silent_connection_is_given_up(gateway: Gateway, client: str) -> None:
    with connected(gateway, client) as connection:
        all_of(connection)
    plain = socket.create_connection(("127.0.0.1", gateway.protected.port), TIMEOUT, (client, 0))
    with plain:
        all_of(plain)


def test_more_connections_than_a_client_may_hold_are_closed_and_others_served(
    gateway: Gateway, client: str
) -> None:
    def held() -> ssl.SSLSocket:
        connection = stack.enter_context(connected(gateway, client))
        connection.sendall(b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(4096)
        return connection

    with contextlib.ExitStack() as stack:
        first, *_ = [held() for _ in range(LIMITS["connections_of_one"])]
        with pytest.raises(OSError), connected(gateway, client):
            pass
        assert send(gateway, new_client())[0] == 200
        first.close()
        until(lambda: statuses(gateway, client, 1) == [200])


def test_unencrypted_requests_are_sent_on(page: Page) -> None:
    (port,) = free_ports(1)
    with opened(page.url, ["--plain-port", str(port)]):
        plain = http.client.HTTPConnection("localhost", port, timeout=TIMEOUT)
        with contextlib.closing(plain):
            plain.request("GET", "/?a=b")
            answer = plain.getresponse()
            answer.read()
            # Only to where this service is: a name that a client chose leads nowhere.
            plain.request("GET", "/", headers={"Host": "elsewhere.example"})
            assert plain.getresponse().status == 421
    assert answer.status == 308
    assert answer.headers["Location"].startswith("https://localhost:")
    assert answer.headers["Location"].endswith("/?a=b")


def test_a_second_gateway_leaves_the_first_ones_folder_alone(gateway: Gateway) -> None:
    folder = gateway.protected.service.folder
    ports = [str(port) for port in free_ports(4)]
    options = ["--port", "--operators-port", "--signatures-port", "--list-port"]
    command = [sys.executable, "-m", "kalecast.cluster.gateway.local", "--folder", str(folder)]
    command += [part for pair in zip(options, ports, strict=True) for part in pair]

    second = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT)

    assert second.returncode == 1
    assert second.stderr == (
        f"Another gateway uses {folder}. End it, or choose another folder with --folder.\n"
    )
    assert send(gateway, new_client())[0] == 200


def test_the_page_never_sees_part_of_a_body(gateway: Gateway, client: str, page: Page) -> None:
    head = b"POST /api/forecast HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with connected(gateway, client) as connection:
        connection.sendall(head + b"Content-Length: 400\r\n\r\n" + HISTORY)
        assert all_of(connection)[9:12] in {b"408", b""}
    with connected(gateway, client) as connection:
        connection.sendall(head + b"Content-Length: 400\r\n\r\n" + HISTORY)

    assert send(gateway, new_client())[0] == 200
    assert page.seen == [("/api/forecast", HISTORY)]


class Slow:
    """A body that is sent for as long as the block runs, a byte now and then."""

    def __init__(self, gateway: Gateway, client: str, path: str, kind: str, size: int) -> None:
        self._gateway, self._client = gateway, client
        self._head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
        self._head += f"Content-Length: {size}\r\n\r\n"
        self._ended = threading.Event()

    def __enter__(self) -> ssl.SSLSocket:
        self._stack = contextlib.ExitStack()
        connection = self._stack.enter_context(connected(self._gateway, self._client))
        connection.sendall(self._head.encode())
        self._thread = threading.Thread(target=self._send, args=(connection,))
        self._thread.start()
        return connection

    def _send(self, connection: ssl.SSLSocket) -> None:
        with contextlib.suppress(OSError):
            while not self._ended.wait(0.2):
                connection.sendall(b"1")

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._stack.close()


def is_held(connection: ssl.SSLSocket) -> bool:
    """Whether the gateway still waits for a body, and has not refused it."""
    connection.settimeout(0.5)
    try:
        return not connection.recv(64)
    except TimeoutError:
        return True
    except OSError:
        return False


EVENT = "/gradio_api/run/predict"
UPLOAD = "/gradio_api/upload?upload_id=a"
FORM = "multipart/form-data; boundary=0000aaaa"
FILE = (
    b'--0000aaaa\r\nContent-Disposition: form-data; name="files"; filename="a.csv"\r\n'
    b"Content-Type: text/csv\r\n\r\nds,y\n2026-01-01,1\n\r\n--0000aaaa--\r\n"
)


def test_a_client_has_few_large_bodies_in_progress(
    gateway: Gateway, client: str, page: Page
) -> None:
    large = json.dumps({"history": "1," * 60_000}).encode()

    def slow() -> Slow:
        return Slow(gateway, client, EVENT, "application/json", 200_000)

    with slow() as first, slow() as second, slow() as third:
        assert b" 429 " in third.recv(4096)
        assert is_held(first)
        assert is_held(second)
        assert send(gateway, client, body=large)[0] == 429
        assert send(gateway, client)[0] == 200
        assert send(gateway, new_client(), body=large)[0] == 200


def test_slow_uploads_do_not_take_the_turns_of_others(
    gateway: Gateway, client: str, page: Page
) -> None:
    upload = {"path": UPLOAD, "body": FILE, "headers": {"Content-Type": FORM}}

    with Slow(gateway, client, UPLOAD, FORM, 5000) as first:
        until(lambda: send(gateway, client, **upload)[0] == 429)
        assert send(gateway, new_client(), **upload)[0] == 200
        with Slow(gateway, new_client(), UPLOAD, FORM, 5000) as second:
            assert is_held(first)
            assert is_held(second)
            # As many as there is room for on the disk.
            assert send(gateway, new_client(), **upload)[0] == 429
            assert send(gateway, new_client())[0] == 200


def test_whole_uploads_are_read_one_after_another(
    gateway: Gateway, client: str, page: Page
) -> None:
    upload = {"path": UPLOAD, "body": FILE, "headers": {"Content-Type": FORM}}
    page.may_answer.clear()
    reading = threading.Thread(target=send, args=(gateway, client), kwargs=upload)
    reading.start()
    until(lambda: bool(page.seen))

    refused = send(gateway, new_client(), **upload)[0]
    page.may_answer.set()
    reading.join()

    assert refused == 429
    assert send(gateway, new_client(), **upload)[0] == 200


@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
def test_an_answer_that_is_not_read_is_given_up(
    gateway: Gateway, client: str, page: Page, protocol: str
) -> None:
    page.answer = b"x" * 8_000_000
    path = f"/assets/large-{protocol[-1]}.js"
    context = ssl.create_default_context(cafile=gateway.certificate)
    context.set_alpn_protocols([protocol])
    before = len(gateway.protected.access_log.read_text())

    def logged() -> str:
        return gateway.protected.access_log.read_text()[before:]

    with socket.socket() as plain:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        plain.settimeout(TIMEOUT)
        plain.bind((client, 0))
        plain.connect(("127.0.0.1", gateway.protected.port))
        with context.wrap_socket(plain, server_hostname="localhost") as connection:
            if protocol == "h2":
                connection.sendall(h2.OPENING + h2.opened(1, h2.head("GET", path, "localhost")))
            else:
                connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            until(lambda: bool(logged()))
    # What is in the kernel's hands meanwhile is not megabytes.
    assert json.loads(logged())["sent"] < 1_000_000


def test_more_at_a_time_than_is_allowed_is_refused(
    gateway: Gateway, client: str, page: Page
) -> None:
    page.may_answer.clear()
    got: list[int] = []

    def ask_for_key(letter: str) -> None:
        got.append(send(gateway, client, path="/favicon.ico", body=None)[0])

    threads = [threading.Thread(target=ask_for_key, args=(letter,)) for letter in "abcdefghijkl"]
    for thread in threads:
        thread.start()
    until(lambda: len(got) == 4)
    page.may_answer.set()
    for thread in threads:
        thread.join()

    assert sorted(got) == [200] * 8 + [429] * 4


@pytest.mark.parametrize(
    ("status", "request_"),
    [
        (431, {"headers": {"X-A": "a" * 9000}}),
        (431, {"headers": {f"X-{number}": "a" * 2000 for number in range(40)}}),
        (413, {"body": b"1," * 300_000}),
        (414, {"path": "/api/forecast?" + "a" * 9000}),
        (421, {"headers": {"Host": "elsewhere.example"}}),
        (400, {"body": gzip.compress(HISTORY), "headers": {"Content-Encoding": "gzip"}}),
        (400, {"body": b"[" * 10_000 + b"]" * 10_000}),
        (413, {"method": "POST", "body": None, "headers": {"Content-Length": "1099511627776"}}),
    ],
)
def test_what_is_too_much_is_refused_in_one_form(
    gateway: Gateway, client: str, page: Page, status: int, request_: dict[str, Any]
) -> None:
    got, said = send(gateway, client, **request_)

    assert got == status
    assert list(json.loads(said)) == ["detail", "error"]
    assert page.seen == []


ROUTES = [
    {},
    {"path": "/gradio_api/run/predict", "body": json.dumps({"fn_index": 0, "data": []}).encode()},
    {"headers": {"X-Unlisted": "for signatures"}},
    {"path": "/api/model", "body": None},
    {"path": "/", "body": None},
    {"path": "/", "body": None, "headers": {"X-Unlisted": "for signatures"}},
]
"""Requests that come to the page by each of the routes that lead there."""


@pytest.fixture(scope="module")
def replicas() -> Iterator[tuple[Gateway, list[Page]]]:
    pages = [Page(), Page()]
    with opened(pages[0].url, ["--page", pages[1].url.removeprefix("http://")]) as gateway:
        yield gateway, pages
    for page in pages:
        page.server.shutdown()


@pytest.mark.parametrize("route", ROUTES)
def test_what_broke_one_replica_reaches_no_other(
    replicas: tuple[Gateway, list[Page]], client: str, route: dict[str, Any]
) -> None:
    gateway, pages = replicas
    for page in pages:
        page.breaks = False
    # Connections that were kept open, too, end without an answer.
    assert statuses(gateway, client, 4, **route) == [200] * 4
    for page in pages:
        page.seen.clear()
        page.breaks = True

    status, said = send(gateway, client, **route)

    assert (status, list(json.loads(said))) == (503, ["detail", "error"])
    assert sum(len(page.seen) for page in pages) == 1


@pytest.mark.parametrize("route", ROUTES)
def test_a_replica_that_is_gone_is_passed_over(
    page: Page, client: str, route: dict[str, Any], gone: Gateway
) -> None:
    assert statuses(gone, client, 8, **route) == [200] * 8


@pytest.fixture(scope="module")
def gone(place: tuple[Gateway, Page]) -> Iterator[Gateway]:
    (port,) = free_ports(1)
    with opened(place[1].url, ["--page", f"127.0.0.1:{port}"]) as gateway:
        yield gateway


def test_streams_opened_and_reset_end_the_connection_and_not_the_gateway(
    gateway: Gateway, client: str, page: Page
) -> None:
    block = h2.head("GET", "/favicon.ico", "localhost")
    with connected(gateway, client, "h2") as connection, contextlib.suppress(OSError):
        connection.sendall(h2.OPENING)
        for number in range(0, 6000, 50):
            streams = range(2 * number + 1, 2 * number + 101, 2)
            connection.sendall(b"".join(h2.opened(at, block) + h2.reset(at) for at in streams))
        all_of(connection)

    assert send(gateway, new_client())[0] == 200
    assert len(page.seen) < 1000


def test_a_head_without_an_end_is_given_up(gateway: Gateway, client: str) -> None:
    block = h2.head("GET", "/", "localhost")
    more = h2.continued(1, h2.field("x-a", "b" * 4000))
    with connected(gateway, client, "h2") as connection:
        connection.sendall(h2.OPENING + h2.opened(1, block, whole=False))
        with contextlib.suppress(OSError):
            for _ in range(1000):
                connection.sendall(more)
        all_of(connection)

    assert send(gateway, new_client())[0] == 200


def test_floods_do_not_fill_the_gateways_memory(gateway: Gateway, client: str) -> None:
    large = b"x" * 500_000

    def flood() -> None:
        for _ in range(30):
            with contextlib.suppress(OSError):
                send(
                    gateway, client, body=large, headers={f"X-{at}": "a" * 2000 for at in range(9)}
                )

    flood()
    before = memory(gateway)
    threads = [threading.Thread(target=flood) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert memory(gateway) - before < 64 * 2**20
