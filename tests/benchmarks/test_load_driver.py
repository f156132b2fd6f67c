"""The load driver counts what clients got, against a small server that misbehaves on request."""

import asyncio
import json
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ports import free_ports

from benchmarks.load.answers import MalformedResponse, Response, ResponseReader

ROOT = Path(__file__).resolve().parents[2]

FORECAST = b'{"forecast": [1, 2, 3]}'
SILENCE = b""
"""Sent to a server that is to keep the connection open and say nothing."""

CLOSE = "Connection: close\r\n"

Behaviour = Callable[[int, bytes], bytes | None]
"""From a request's number and body to what is answered; None ends the connection."""


def reply(body: bytes = FORECAST, status: int = 200, more: str = "") -> bytes:
    head = f"HTTP/1.1 {status} Ok\r\n{more}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@dataclass
class Formatted:
    """What a server was sent."""

    address: str
    connections: int = 0
    bodies: list[bytes] = field(default_factory=list)


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[Formatted]:
    """A server in a thread, on a free port."""
    loop = asyncio.new_event_loop()
    listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
    message = Formatted(f"127.0.0.1:{listener.getsockname()[1]}")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        message.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
                message.bodies.append(await reader.readexactly(length))
                content = behaviour(len(message.bodies), message.bodies[-1])
                if content is None:
                    break
                writer.write(content)
                if CLOSE.encode() in content:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    server = loop.run_until_complete(asyncio.start_server(answer, sock=listener))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield message
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


class Driver:
    """Runs the driver with bodies of its own."""

    def __init__(self, folder: Path) -> None:
        self.bodies = folder / "bodies.jsonl"
        self.bodies.write_text("".join(f'{{"client": {at}}}\n' for at in range(1000)))

    def process(self, *addresses: str, **job: Any) -> subprocess.CompletedProcess[str]:
        content = {
            "shape": "burst",
            "addresses": addresses,
            "path": "/forecast",
            "bodies": str(self.bodies),
            "clients": 20,
            "forecast_at": ["forecast"],
            **job,
        }
        return subprocess.run(
            [sys.executable, "-m", "benchmarks.load.driver"],
            cwd=ROOT,
            input=json.dumps(content),
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    def __call__(self, *addresses: str, **job: Any) -> list[dict[str, Any]]:
        """The rounds of an outcome."""
        done = self.process(*addresses, **job)
        assert done.returncode == 0, done.stderr
        rounds: list[dict[str, Any]] = json.loads(done.stdout)["rounds"]
        return rounds


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    return Driver(tmp_path)


def test_a_burst_asks_once_for_each_client_over_a_connection_of_its_own(driver: Driver) -> None:
    with serving(lambda *_: reply()) as message:
        (only,) = driver(message.address, clients=300)
    assert (only["ok"], only["errors"], message.connections) == (300, 0, 300)
    assert sorted(json.loads(body)["client"] for body in message.bodies) == [*range(300)]
    assert 0 < only["p50"] <= only["p99"] <= only["slowest"] <= only["seconds"]
    assert sum(row["ok"] for row in only["timeline"]) == 300
    assert only["cpu_microseconds"] > 0


@pytest.mark.slow
def test_each_round_has_its_own_connections_and_counts(driver: Driver) -> None:
    with serving(lambda number, _: reply(status=500 if number > 20 else 200)) as message:
        first, second = driver(message.address, rounds=2)
    assert (first["ok"], first["errors"], second["ok"], second["errors"]) == (20, 0, 0, 20)
    assert message.connections == 40


def test_connections_can_be_opened_before_the_burst(driver: Driver) -> None:
    with serving(lambda *_: reply()) as message:
        (only,) = driver(message.address, connect_first=True)
    assert (only["ok"], message.connections) == (20, 20)


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("503", reply(b"{}", 503)),
        ("500", reply(b"{}", 500)),
        ("reset", None),
        ("malformed", b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
        ("wrong content", reply(b"<html>")),
        ("wrong content", reply(b'{"forecast": []}')),
        ("wrong content", reply(b'{"detail": "sorry"}')),
        ("wrong content", reply(b"[1]")),
        ("timeout", SILENCE),
        ("timeout", reply()[:-1]),
    ],
)
def test_errors_are_reported_by_kind(driver: Driver, kind: str, answer: bytes | None) -> None:
    with serving(lambda number, _: answer if number % 4 == 0 else reply()) as message:
        (only,) = driver(message.address, timeout=0.5)
    assert (only["ok"], only["errors"], only["kinds"]) == (15, 5, {kind: 5})
    assert only["slowest_error"] is not None


def test_nobody_there(driver: Driver) -> None:
    (port,) = free_ports(1)
    (only,) = driver(f"127.0.0.1:{port}", timeout=5)
    assert (only["ok"], only["kinds"], only["p50"]) == (0, {"refused": 20}, None)


def test_without_retry_nothing_is_tried_again(driver: Driver) -> None:
    with serving(lambda *_: reply(b"", 503)) as message:
        (only,) = driver(message.address)
    assert (only["errors"], only["retried"], len(message.bodies)) == (20, 0, 20)


def test_retries_hide_lost_connections_and_refusals(driver: Driver) -> None:
    answers = {1: reply(b"", 503), 2: None}
    with serving(lambda number, _: answers.get(number, reply())) as message:
        (only,) = driver(message.address, retry=True)
    assert (only["ok"], only["errors"], only["retried"]) == (20, 0, 2)
    assert only["hidden_by_retry"] == {"503": 1, "reset": 1}


def test_retries_go_on_to_the_next_address(driver: Driver) -> None:
    (port,) = free_ports(1)
    with serving(lambda *_: reply()) as message:
        (only,) = driver(f"127.0.0.1:{port}", message.address, retry=True)
    assert (only["ok"], only["errors"]) == (20, 0)
    assert only["hidden_by_retry"] == {"refused": 10}


@pytest.mark.slow
def test_retries_wait_as_the_server_asks(driver: Driver) -> None:
    busy = reply(b"", 503, "Retry-After: 1\r\n")
    with serving(lambda number, _: busy if number == 1 else reply()) as message:
        (only,) = driver(message.address, clients=1, retry=True)
    assert (only["ok"], only["retried"]) == (1, 1)
    assert 1.0 <= only["slowest"] < 1.5


def test_retries_end_at_the_deadline(driver: Driver) -> None:
    with serving(lambda *_: reply(b"", 503)) as message:
        (only,) = driver(message.address, retry=True, timeout=0.5)
    assert (only["ok"], only["retried"], sum(only["kinds"].values())) == (0, 0, 20)
    # The deadline may come while the last try is under way.
    assert only["kinds"].keys() <= {"503", "timeout"}
    assert len(message.bodies) > 20
    assert only["seconds"] < 5.0


def test_other_errors_are_not_tried_again(driver: Driver) -> None:
    with serving(lambda *_: reply(b"", 500)) as message:
        driver(message.address, retry=True)
    assert len(message.bodies) == 20


def test_steady_clients_ask_again_over_the_same_connections(driver: Driver) -> None:
    with serving(lambda *_: reply()) as message:
        (only,) = driver(message.address, shape="steady", clients=4, seconds=0.5)
    assert only["ok"] == len(message.bodies) > 100
    assert (only["errors"], message.connections) == (0, 4)
    assert 0.5 <= only["seconds"] < 1.0


def test_a_plateau_keeps_connections_and_its_rate(driver: Driver) -> None:
    with serving(lambda *_: reply()) as message:
        (only,) = driver(message.address, shape="plateau", clients=100, seconds=0.4, think=0.1)
    assert (only["errors"], message.connections) == (0, 100)
    assert 250 < only["ok"] == len(message.bodies) < 550  # 100 / 0.1 s for 0.4 s


def test_a_connection_that_the_server_ended_is_opened_again(driver: Driver) -> None:
    def once(number: int, _: bytes) -> bytes | None:
        return None if number == 5 else reply()

    with serving(once) as message:
        (only,) = driver(message.address, shape="steady", clients=1, seconds=0.3)
    assert (only["kinds"], message.connections) == ({"reset": 1}, 2)
    assert only["ok"] > 10


def test_a_connection_that_was_given_up_unused_is_opened_again_and_counted(driver: Driver) -> None:
    with serving(lambda number, _: None if number == 5 else reply()) as message:
        (only,) = driver(message.address, connect_first=True)
    assert (only["ok"], only["errors"], only["hidden_by_retry"]) == (20, 0, {"reset": 1})

    # Once, and not for ever.
    with serving(lambda *_: None) as message:
        (only,) = driver(message.address, connect_first=True)
    assert (only["kinds"], len(message.bodies)) == ({"reset": 20}, 40)


def test_a_connection_that_the_server_is_to_end_is_not_used_again(driver: Driver) -> None:
    with serving(lambda *_: reply(more=CLOSE)) as message:
        (only,) = driver(message.address, shape="steady", clients=4, seconds=0.3)
    assert only["errors"] == 0
    assert 10 < only["ok"] <= message.connections <= only["ok"] + 4


def test_marked_answers_are_counted(driver: Driver) -> None:
    newer = reply(b'{"forecast": [1], "version": "newer"}')
    with serving(lambda number, _: newer if number > 15 else reply()) as message:
        (only,) = driver(message.address, mark='"newer"')
    assert (only["ok"], only["marked"]) == (20, 5)


def test_samples_say_whose_answer_they_are(driver: Driver) -> None:
    with serving(lambda _, body: reply(b'{"forecast": [' + body + b"]}")) as message:
        (only,) = driver(message.address)
    assert len(only["samples"]) == 20
    for sample in only["samples"]:
        assert json.loads(sample["body"])["forecast"] == [{"client": sample["client"]}]


def test_too_many_clients_are_refused_in_words(driver: Driver) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    done = driver.process("127.0.0.1:1", clients=max(hard, 65536))
    assert done.returncode == 2
    assert "ulimit" in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": "wave"}, "Expected a shape among"),
        ({"clients": 0}, "Expected at least one client"),
        ({"colour": "red"}, "received: ['colour']"),
        ({"bodies": "nowhere.jsonl"}, "nowhere.jsonl"),
    ],
)
def test_bad_jobs_are_refused_in_words(
    driver: Driver, change: dict[str, Any], message: str
) -> None:
    done = driver.process("127.0.0.1:1", **change)
    assert done.returncode == 2
    assert message in done.stderr and "Traceback" not in done.stderr


ANSWERS = {
    "declared length": (reply(), FORECAST),
    "nothing": (reply(b""), b""),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "chunks": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"4\r\nfore\r\n4;part=2\r\ncast\r\n0\r\n\r\n",
        b"forecast",
    ),
    "chunks and trailers": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"A\r\n0123456789\r\n0\r\nX: y\r\n\r\n",
        b"0123456789",
    ),
    "an interim answer before": (
        b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + reply(),
        FORECAST,
    ),
}


@pytest.mark.parametrize("size", [1, 2, 7, 4096])
@pytest.mark.parametrize("case", ANSWERS)
def test_answers_are_read_in_pieces_of_any_size(case: str, size: int) -> None:
    raw, body = ANSWERS[case]
    reader = ResponseReader()
    for _ in range(2):  # on a connection that is kept
        pieces = [reader.feed(raw[at : at + size]) for at in range(0, len(raw), size)]
        assert pieces[:-1] == [None] * (len(pieces) - 1)
        assert isinstance(pieces[-1], Response)
        assert pieces[-1].body == body


def test_a_body_without_a_length_ends_with_the_connection() -> None:
    reader = ResponseReader()
    assert reader.feed(b"HTTP/1.1 200 OK\r\n\r\nfore") is None
    assert reader.feed(b"cast") is None
    assert reader.end() == Response(200, b"forecast")


@pytest.mark.parametrize("raw", [reply()[:-1], b"HTTP/1.1 200 OK\r\n", b""])
def test_an_answer_cut_short_is_none(raw: bytes) -> None:
    reader = ResponseReader()
    assert reader.feed(raw) is None
    assert reader.end() is None


@pytest.mark.parametrize(
    "raw",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        reply() + b"more than was declared",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
    ],
)
def test_what_is_no_answer_is_refused(raw: bytes) -> None:
    with pytest.raises(MalformedResponse, match="Expected"):
        ResponseReader().feed(raw)
