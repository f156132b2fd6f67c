"""HTTP connections within limits, at the model server and at the page alike."""

import gzip
import json
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest
import requests
from page_process import running
from seldon_server import serving
from stand_in_server import StandInServer

pytestmark = pytest.mark.slow

HISTORY = [float(hour % 24) for hour in range(60)]
MESSAGE = json.dumps({"data": {"ndarray": [HISTORY]}}).encode()
TENSOR = {"name": "history", "shape": [1, 60], "datatype": "FP64", "data": HISTORY}
INFERENCE = json.dumps({"inputs": [TENSOR]}).encode()
TEXT = json.dumps({"history": ", ".join(map(str, HISTORY))}).encode()


class Site:
    """A server or a page: where it is, and the bodies that are sent to it."""

    def __init__(self, url: str, pid: int, bodies: dict[str, bytes]) -> None:
        self.url, self.bodies = url, bodies
        self.port = int(url.rpartition(":")[2])
        self.process = psutil.Process(pid)

    def connect(self, sent: bytes = b"") -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        connection.sendall(sent)
        return connection

    def answers(self) -> bool:
        return requests.get(self.url + "/health", timeout=10).ok

    @property
    def memory(self) -> int:
        return int(self.process.memory_info().rss)


@pytest.fixture(scope="module")
def server(model_file: Path) -> Iterator[Site]:
    with serving(
        model_file, KALECAST_REQUEST_SECONDS="1", KALECAST_ACCESS_LOG="off"
    ) as running_server:
        bodies = {
            "/api/v1.0/predictions": MESSAGE,
            "/v2/models/forecaster/infer": INFERENCE,
        }
        site = Site(running_server.url, running_server.process.pid, bodies)
        site.answers = lambda: requests.get(site.url + "/health/ping", timeout=10).ok  # type: ignore[method-assign]
        yield site


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    stand_in = StandInServer()
    stand_in.start()
    folder = tmp_path_factory.mktemp("page")
    with running(folder, stand_in.url, KALECAST_DEADLINE_SECONDS="1") as running_page:
        yield Site(running_page.url, running_page.process.pid, {"/api/forecast": TEXT})
    stand_in.stop()


@pytest.fixture(params=["server", "page"])
def site(request: pytest.FixtureRequest) -> Site:
    found: Site = request.getfixturevalue(request.param)
    return found


def post(path: str, body: bytes, *headers: str) -> bytes:
    """A request as it travels."""
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: x",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def received(connection: socket.socket) -> bytes:
    """All that comes until the connection is closed."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def status_of(connection: socket.socket) -> int:
    return int(connection.recv(65536).split(b" ", 2)[1])


H2C = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAAB")
WEBSOCKET = ("Upgrade: websocket", "Connection: keep-alive, Upgrade", "Sec-WebSocket-Version: 13")


@pytest.mark.parametrize("offer", [H2C, WEBSOCKET, ("Connection: upgrade", "Upgrade: x/1, y/2")])
def test_an_offer_to_upgrade_is_declined_and_the_request_answered(
    site: Site, offer: tuple[str, ...]
) -> None:
    for path, body in site.bodies.items():
        plain = requests.post(
            site.url + path, body, headers={"Content-Type": "application/json"}, timeout=20
        )
        with site.connect() as connection:
            # In pieces, as a head and its body often come, and again on the same connection.
            sent = post(path, body, *offer)
            for at in range(0, len(sent), 150):
                connection.sendall(sent[at : at + 150])
                time.sleep(0.002)
            connection.sendall(sent + post(path, body, *offer, "Connection: close"))
            answer = received(connection)
        assert answer.count(b"HTTP/1.1 200 OK") == 3
        assert answer.count(plain.content) == 3
        assert b"101" not in answer[:20] and b"upgrade" not in answer.lower()


def test_a_chunked_body_with_an_offer_is_kept(site: Site) -> None:
    for path, body in site.bodies.items():
        lines = [f"POST {path} HTTP/1.1", "Host: x", "Content-Type: application/json", *H2C]
        head = "\r\n".join([*lines, "Transfer-Encoding: chunked", "", ""]).encode()
        chunks = b"%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (9, body[:9], len(body) - 9, body[9:])
        with site.connect(head + chunks) as connection:
            assert status_of(connection) == 200


@pytest.mark.parametrize(
    "line",
    [b"a: v\r\n", b"X-Long: " + b"v" * 1000 + b"\r\n", b"v" * 65536],
    ids=["headers", "long headers", "one header"],
)
def test_an_endless_head_is_refused(site: Site, line: bytes) -> None:
    memory = site.memory
    with site.connect(b"GET /health HTTP/1.1\r\nHost: x\r\nX: ") as connection:
        answer = b""
        try:
            for _ in range(100 * 2**20 // len(line)):
                connection.sendall(line * (65536 // len(line) + 1))
        except OSError:
            pass
        answer = received(connection)
    assert answer.startswith(b"HTTP/1.1 431") or not answer  # a reset may take the answer with it
    assert site.memory - memory < 8 * 2**20
    assert site.answers()


def test_a_head_up_to_the_limits_is_read(site: Site) -> None:
    fits = "".join(f"X-{at}: {'v' * 400}\r\n" for at in range(120))
    for added, expected in ((fits, 200), (fits + f"X: {'v' * 20_000}\r\n", 431)):
        request = f"GET /health/ping HTTP/1.1\r\nHost: x\r\n{added}\r\n"
        path = "/health/ping" if site.bodies.keys() - {"/api/forecast"} else "/health"
        with site.connect(request.replace("/health/ping", path).encode()) as connection:
            assert status_of(connection) == expected


@pytest.mark.parametrize(
    "half",
    [b"GET /he", b"GET /health HTTP/1.1\r\nHost: x\r\nX: ", b"\r\n", post("/none", b"x" * 9)[:-5]],
    ids=["line", "header", "blank line", "body that is not read"],
)
def test_half_a_request_is_given_up(site: Site, half: bytes) -> None:
    with site.connect(half) as connection:
        started = time.monotonic()
        received(connection)
        assert time.monotonic() - started < 15


def test_a_trailer_without_end_is_refused(site: Site) -> None:
    memory = site.memory
    path = next(iter(site.bodies))
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    begun = head.encode() + b"Transfer-Encoding: chunked\r\n\r\n1\r\n1\r\n0\r\nX: "
    with site.connect(begun) as connection:
        try:
            for _ in range(1600):
                connection.sendall(b"v" * 65536)
        except OSError:
            pass
        assert not received(connection).startswith(b"HTTP/1.1 200")
    assert site.memory - memory < 8 * 2**20
    assert site.answers()


def test_pipelined_requests_are_answered_in_order(site: Site) -> None:
    path, body = next(iter(site.bodies.items()))
    requests_sent = [post(path, body if at % 2 else b"[]") for at in range(100)]
    with site.connect(b"".join([*requests_sent, b"GET / nonsense\r\n\r\n"])) as connection:
        lines = [line for line in received(connection).split(b"\r\n") if b"HTTP/1.1 " in line]
    codes = [int(line.partition(b"HTTP/1.1 ")[2][:3]) for line in lines]
    assert codes == [200 if at % 2 else 400 for at in range(100)]


def test_pipelines_without_end_keep_no_other_waiting(site: Site) -> None:
    memory = site.memory
    with ExitStack() as stack:
        for _ in range(30):
            connection = stack.enter_context(site.connect())
            connection.settimeout(0.2)
            with suppress(OSError):
                connection.sendall(b"GET /none HTTP/1.1\r\n\r\n" * 12_000)
        assert site.answers()
        assert site.memory - memory < 96 * 2**20


def test_who_never_reads_is_dropped(site: Site) -> None:
    path, body = next(iter(site.bodies.items()))
    memory = site.memory
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", site.port))
        connection.settimeout(60)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            while True:
                connection.sendall(post(path, body) * 10)
    assert site.memory - memory < 32 * 2**20
    assert site.answers()


def test_silent_connections_lock_no_other_out(model_file: Path) -> None:
    with serving(model_file) as server, ExitStack() as stack:
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (120, 120))
        # The server reads its limit with its first connection.
        for _ in range(300):
            connection = socket.create_connection(("127.0.0.1", server.ports.http), timeout=5)
            stack.enter_context(connection)
        started = time.monotonic()
        assert requests.get(server.url + "/health/ping", timeout=5).ok
        assert time.monotonic() - started < 1


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "x", "gzip, identity"])
def test_an_encoded_body_is_refused_by_its_coding(site: Site, coding: str) -> None:
    for path, body in site.bodies.items():
        headers = {"Content-Type": "application/json", "Content-Encoding": coding}
        reply = requests.post(site.url + path, gzip.compress(body), headers=headers, timeout=20)
        assert reply.status_code == 415
        assert repr(coding) in reply.text
    for path, body in site.bodies.items():
        headers = {"Content-Type": "application/json", "Content-Encoding": "Identity"}
        assert requests.post(site.url + path, body, headers=headers, timeout=20).ok


def test_the_pages_own_routes_refuse_encoded_bodies_too(page: Site) -> None:
    for path in ("/gradio_api/run/predict", "/gradio_api/upload"):
        headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        reply = requests.post(page.url + path, gzip.compress(b"{}"), headers=headers, timeout=20)
        assert reply.status_code == 415
        assert "'gzip'" in reply.text
