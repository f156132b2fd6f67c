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
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psutil
import pytest
from gateway_process import Gateway, opened
from hpack import Encoder
from hyperframe.frame import ContinuationFrame, HeadersFrame, RstStreamFrame, SettingsFrame
from ports import free_ports
from stand_in_page import Answer, Received, answering

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
OPENING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SettingsFrame(0).serialize()
"""What a connection of HTTP/2 begins with."""
TIMEOUT = 30.0
"""Seconds that anything may take; nothing here needs one of them on an idle machine."""


@dataclass
class Page:
    """What each request to the page was, and what becomes of the next one."""

    seen: list[tuple[str, bytes]] = field(default_factory=list)
    breaks: bool = False
    """Whether it ends the connection without an answer, once it has read a request."""
    answer: bytes = b"{}"
    may_answer: threading.Event = field(default_factory=threading.Event)
    url: str = ""

    def __call__(self, received: Received) -> Answer | None:
        self.seen.append((received.path, received.body))
        self.may_answer.wait(TIMEOUT)
        return None if self.breaks else Answer(self.answer)

    def reset(self) -> None:
        self.seen.clear()
        self.breaks, self.answer = False, b"{}"
        self.may_answer.set()


@contextmanager
def standing_in() -> Iterator[Page]:
    page = Page()
    page.reset()
    with answering(page) as address:
        page.url = f"http://{address}"
        yield page


@pytest.fixture(scope="module")
def standing_page() -> Iterator[Page]:
    with standing_in() as page:
        yield page


@pytest.fixture(scope="module")
def gateway(standing_page: Page) -> Iterator[Gateway]:
    """A gateway with small limits and short times."""
    with opened(standing_page.url, OPTIONS) as gateway:
        yield gateway


@pytest.fixture
def page(standing_page: Page) -> Iterator[Page]:
    """The page behind it, before any request."""
    standing_page.reset()
    yield standing_page
    standing_page.reset()


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
def connected(
    gateway: Gateway, client: str, protocol: str = "http/1.1", window: int = 0
) -> Iterator[ssl.SSLSocket]:
    """A connection over TLS; `window` bytes are taken in unread, or as many as the kernel likes."""
    context = ssl.create_default_context(cafile=gateway.certificate)
    context.set_alpn_protocols([protocol])
    with socket.socket() as plain:
        if window:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        plain.settimeout(TIMEOUT)
        plain.bind((client, 0))
        plain.connect(("127.0.0.1", gateway.protected.port))
        with context.wrap_socket(plain, server_hostname="localhost") as secure:
            yield secure


def head(path: str, stream: int = 1, *flags: str) -> bytes:
    """A frame of HTTP/2 with a request's head, whole and without a body where no flags are said."""
    fields = {":method": "GET", ":scheme": "https", ":path": path, ":authority": "localhost"}
    flags = flags or ("END_HEADERS", "END_STREAM")
    return HeadersFrame(stream, Encoder().encode(fields), flags=flags).serialize()


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
def keyed(standing_page: Page) -> Iterator[Gateway]:
    """Such a gateway before a page that requires keys."""
    with opened(standing_page.url, [*OPTIONS, "--keys"]) as gateway:
        yield gateway


def test_a_key_has_one_limit_wherever_it_is_used(keyed: Gateway) -> None:
    got = [send(keyed, new_client(), headers=key("a"))[0] for _ in range(16)]

    assert got.count(200) >= LIMITS["key_burst"]
    assert 429 in got
    assert send(keyed, new_client(), headers=key("b"))[0] == 200


def test_many_keys_of_one_client_have_the_limit_of_one(keyed: Gateway, client: str) -> None:
    assert sent_with_made_up_keys(keyed, client).count(429) >= 4
    assert send(keyed, new_client(), headers=key("Z"))[0] == 200


def test_made_up_keys_do_not_lift_a_clients_limit(gateway: Gateway, client: str) -> None:
    began = time.monotonic()
    got = sent_with_made_up_keys(gateway, client)

    assert 200 in got
    assert got.count(200) <= forecasts_since(began)


def forecasts_since(began: float) -> float:
    """How many a client without a key may have had, one more for each second of a busy machine."""
    seconds = time.monotonic() - began
    return LIMITS["forecast_burst"] + 2 + LIMITS["forecast_rate"] * seconds


def sent_with_made_up_keys(gateway: Gateway, client: str) -> list[int]:
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


@contextmanager
def slow(gateway: Gateway, client: str, path: str, kind: str, size: int) -> Iterator[ssl.SSLSocket]:
    """A body that is sent for as long as the block runs, a byte now and then."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
    ended = threading.Event()

    def send_slowly() -> None:
        with contextlib.suppress(OSError):
            while not ended.wait(0.2):
                connection.sendall(b"1")

    with connected(gateway, client) as connection:
        connection.sendall(f"{head}Content-Length: {size}\r\n\r\n".encode())
        with ThreadPoolExecutor() as sending:
            sending.submit(send_slowly)
            try:
                yield connection
            finally:
                ended.set()


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

    event = (gateway, client, EVENT, "application/json", 200_000)
    with slow(*event) as first, slow(*event) as second, slow(*event) as third:
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

    with slow(gateway, client, UPLOAD, FORM, 5000) as first:
        until(lambda: send(gateway, client, **upload)[0] == 429)
        assert send(gateway, new_client(), **upload)[0] == 200
        with slow(gateway, new_client(), UPLOAD, FORM, 5000) as second:
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
    with ThreadPoolExecutor() as reading:
        reading.submit(send, gateway, client, **upload)
        until(lambda: bool(page.seen))
        assert send(gateway, new_client(), **upload)[0] == 429
        page.may_answer.set()
    assert send(gateway, new_client(), **upload)[0] == 200


@pytest.mark.parametrize("protocol", ["http/1.1", "h2"])
def test_an_answer_that_is_not_read_is_given_up(
    gateway: Gateway, client: str, page: Page, protocol: str
) -> None:
    page.answer = b"x" * 8_000_000
    path = f"/assets/large-{protocol[-1]}.js"
    before = len(gateway.protected.access_log.read_text())
    with connected(gateway, client, protocol, window=4096) as connection:
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        connection.sendall(OPENING + head(path) if protocol == "h2" else request)
        request_logged = gateway.logged("asset", since=before)
    # What is in the kernel's hands meanwhile is not megabytes.
    assert request_logged["sent"] < 1_000_000


def test_more_at_a_time_than_is_allowed_is_refused(
    gateway: Gateway, client: str, page: Page
) -> None:
    page.may_answer.clear()
    with ThreadPoolExecutor(12) as clients:
        asset = {"path": "/favicon.ico", "body": None}
        sent = [clients.submit(send, gateway, client, **asset) for _ in range(12)]
        until(lambda: sum(one.done() for one in sent) == 4)
        page.may_answer.set()

    assert sorted(one.result()[0] for one in sent) == [200] * 8 + [429] * 4


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
    with (
        standing_in() as one,
        standing_in() as other,
        opened(one.url, ["--page", other.url.removeprefix("http://")]) as gateway,
    ):
        yield gateway, [one, other]


@pytest.mark.parametrize("route", ROUTES)
def test_what_broke_one_replica_reaches_no_other(
    replicas: tuple[Gateway, list[Page]], client: str, route: dict[str, Any]
) -> None:
    gateway, pages = replicas
    for page in pages:
        page.reset()
    # Connections that were kept open, too, end without an answer.
    assert statuses(gateway, client, 4, **route) == [200] * 4
    for page in pages:
        page.seen.clear()
        page.breaks = True

    status, said = send(gateway, client, **route)

    assert (status, list(json.loads(said))) == (503, ["detail", "error"])
    assert sum(len(page.seen) for page in pages) == 1


@pytest.fixture(scope="module")
def gone(standing_page: Page) -> Iterator[Gateway]:
    (port,) = free_ports(1)
    with opened(standing_page.url, ["--page", f"127.0.0.1:{port}"]) as gateway:
        yield gateway


@pytest.mark.parametrize("route", ROUTES)
def test_a_replica_that_is_gone_is_passed_over(
    page: Page, client: str, route: dict[str, Any], gone: Gateway
) -> None:
    assert statuses(gone, client, 8, **route) == [200] * 8


def test_streams_opened_and_reset_end_the_connection_and_not_the_gateway(
    gateway: Gateway, client: str, page: Page
) -> None:
    with connected(gateway, client, "h2") as connection, contextlib.suppress(OSError):
        connection.sendall(OPENING)
        for number in range(0, 6000, 50):
            streams = range(2 * number + 1, 2 * number + 101, 2)
            resets = (RstStreamFrame(stream, error_code=8).serialize() for stream in streams)
            heads = (head("/favicon.ico", stream) for stream in streams)
            connection.sendall(b"".join(map(bytes.__add__, heads, resets)))
        all_of(connection)

    assert send(gateway, new_client())[0] == 200
    assert len(page.seen) < 1000


def test_a_head_without_an_end_is_given_up(gateway: Gateway, client: str) -> None:
    more = ContinuationFrame(1, Encoder().encode({"x-a": "b" * 4000})).serialize()
    with connected(gateway, client, "h2") as connection:
        connection.sendall(OPENING + head("/", 1, "END_STREAM"))
        with contextlib.suppress(OSError):
            for _ in range(1000):
                connection.sendall(more)
        all_of(connection)

    assert send(gateway, new_client())[0] == 200


def test_floods_do_not_fill_the_gateways_memory(gateway: Gateway, client: str) -> None:
    large, headers = b"x" * 500_000, {f"X-{at}": "a" * 2000 for at in range(9)}

    def flood() -> None:
        for _ in range(30):
            with contextlib.suppress(OSError):
                send(gateway, client, body=large, headers=headers)

    flood()
    before = memory(gateway)
    with ThreadPoolExecutor(6) as clients:
        for _ in range(6):
            clients.submit(flood)

    assert memory(gateway) - before < 64 * 2**20
