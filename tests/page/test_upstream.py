"""The page's client of the model server, through a page in front of two replicas.

The page sends one request at a time to each replica, of at most eight forecasts.
"""

import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import page_process
import pytest
import requests
from model_files import contract
from page_process import Page
from stand_in_server import Behaviour, StandInServer, standing_in

from kalecast.page.upstream import MOMENT, MOST_FAILURES, RESERVE, SHARE, Replica, RetryBudget

pytestmark = pytest.mark.slow

DEADLINE = 4.0
MOST_WAITING = 40
BUSY = "Very many people are asking just now; please try again in a few seconds."
DOWN = "The forecasting service is not answering just now; please try again in a minute."

Replicas = tuple[StandInServer, StandInServer]


@pytest.fixture(scope="module")
def both() -> Iterator[Replicas]:
    with standing_in() as one, standing_in() as other:
        yield one, other


@pytest.fixture(scope="module")
def page(both: Replicas, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with page_process.running(
        tmp_path_factory.mktemp("page"),
        ",".join(replica.url for replica in both),
        KALECAST_UPSTREAM_REQUESTS="1",
        KALECAST_UPSTREAM_WINDOWS="8",
        KALECAST_MOST_WAITING=str(MOST_WAITING),
        KALECAST_DEADLINE_SECONDS=str(DEADLINE),
    ) as page:
        yield page


@pytest.fixture
def replicas(page: Page, both: Replicas) -> Iterator[Replicas]:
    """Both replicas, healthy and known as such before and after each test."""
    _heal(page, both)
    yield both
    _heal(page, both)


def _heal(page: Page, both: Replicas) -> None:
    for replica in both:
        replica.stop()
        replica.behaviour = Behaviour()
        replica.serve(contract())
        replica.start()
    _until(lambda: all(query(page).ok for _ in range(10)))
    for replica in both:
        replica.batches.clear()
    _until(lambda: query(page).ok and all(replica.batches for replica in both))
    for replica in both:
        replica.batches.clear()


def _until(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def query(page: Page, level: float = 0.0) -> requests.Response:
    """Ask for a forecast of a day's rhythm at a level of its own."""
    history = ",".join(str(hour % 24 + level) for hour in range(168))
    body = {"history": history, "horizon": 3}
    return requests.post(page.url + "/api/forecast", json=body, timeout=30)


def query_all(page: Page, levels: list[float]) -> list[requests.Response]:
    with ThreadPoolExecutor(len(levels)) as pool:
        return list(pool.map(lambda level: query(page, level), levels))


def peaks(replies: list[requests.Response]) -> list[Any]:
    """The median that each caller received, to compare with its own history."""
    return [reply.json().get("forecast", {}).get("0.5") for reply in replies]


def expected(levels: list[float]) -> list[Any]:
    return [[level, 1 + level, 2 + level] for level in levels]


def windows(replicas: Replicas) -> int:
    return sum(sum(replica.batches) for replica in replicas)


def test_forecasts_at_the_same_time_share_requests(page: Page, replicas: Replicas) -> None:
    for replica in replicas:
        replica.behaviour = Behaviour(pause=0.3)
    levels = [100.0 * at for at in range(30)]
    assert peaks(query_all(page, levels)) == expected(levels)
    batches = [size for replica in replicas for size in replica.batches]
    assert sum(batches) == 30
    assert max(batches) == 8
    assert len(batches) <= 10
    assert all(replica.batches for replica in replicas)


def test_a_lone_forecast_waits_for_no_other(page: Page, replicas: Replicas) -> None:
    start = time.monotonic()
    assert query(page).ok
    assert time.monotonic() - start < 0.3
    assert windows(replicas) == 1


def test_a_refused_history_does_not_spoil_the_others(page: Page, replicas: Replicas) -> None:
    for replica in replicas:
        replica.behaviour = Behaviour(pause=0.1, refuses=lambda history: history[0] == 500)
    levels = [100.0 * at for at in range(12)]
    replies = query_all(page, levels)
    assert [reply.status_code for reply in replies] == [400 if at == 5 else 200 for at in range(12)]
    assert replies[5].json()["detail"] == "Expected another history."
    assert peaks(replies)[6:] == expected(levels)[6:]
    asked = windows(replicas)
    assert query(page, 500.0).status_code == 400
    assert windows(replicas) == asked + 1, "a refusal is repeated"


def test_another_replica_answers_for_one_that_is_down(page: Page, replicas: Replicas) -> None:
    replicas[0].stop()
    assert all(query(page).ok for _ in range(30))
    assert sum(replicas[1].batches) == 30
    replicas[0].start()
    _until(lambda: query(page).ok and bool(replicas[0].batches))


def test_no_request_is_lost_with_the_replica_that_worked_on_it(
    page: Page, replicas: Replicas
) -> None:
    for replica in replicas:
        replica.behaviour = Behaviour(pause=0.3)
    levels = [100.0 * at for at in range(30)]
    with ThreadPoolExecutor() as pool:
        pending = pool.submit(query_all, page, levels)
        _until(lambda: bool(replicas[0].batches))
        replicas[0].stop()
        assert peaks(pending.result()) == expected(levels)


@pytest.mark.parametrize("trouble", [Behaviour(hangs_up=True), Behaviour(status=502)])
def test_a_replica_that_fails_is_left_alone(
    page: Page, replicas: Replicas, trouble: Behaviour
) -> None:
    replicas[0].behaviour = trouble
    assert all(query(page).ok for _ in range(40))
    assert len(replicas[0].batches) <= 8


def test_a_busy_replica_is_spared_until_its_retry_after(page: Page, replicas: Replicas) -> None:
    replicas[0].behaviour = Behaviour(status=503, headers={"Retry-After": "30"})
    assert all(query(page).ok for _ in range(20))
    assert len(replicas[0].batches) <= 1


def test_busy_replicas_get_requests_again_after_their_retry_after(
    page: Page, replicas: Replicas
) -> None:
    for replica in replicas:
        replica.behaviour = Behaviour(status=503, headers={"Retry-After": "1"})
    with ThreadPoolExecutor() as pool:
        pending = pool.submit(query, page)
        _until(lambda: all(replica.batches for replica in replicas))
        for replica in replicas:
            replica.behaviour = Behaviour()
        assert pending.result().ok
    assert windows(replicas) == 3


def test_busy_for_longer_than_there_is_time(page: Page, replicas: Replicas) -> None:
    for replica in replicas:
        replica.behaviour = Behaviour(status=503, headers={"Retry-After": "5"})
    start = time.monotonic()
    reply = query(page)
    assert time.monotonic() - start < 1
    assert (reply.status_code, reply.json()["detail"]) == (503, BUSY)
    assert int(reply.headers["Retry-After"]) > 0
    time.sleep(5)  # until they may receive requests again


def test_without_a_replica_the_answer_comes_at_once(page: Page, replicas: Replicas) -> None:
    for replica in replicas:
        replica.stop()
    for _ in range(5):
        query(page)
    start = time.monotonic()
    reply = query(page)
    assert time.monotonic() - start < 0.5
    assert (reply.status_code, reply.json()["detail"]) == (503, DOWN)


def test_beyond_the_queue_the_refusal_comes_at_once(page: Page, replicas: Replicas) -> None:
    for replica in replicas:
        replica.behaviour = Behaviour(pause=0.7)
    levels = [float(at) for at in range(MOST_WAITING + 40)]
    start = time.monotonic()
    replies = query_all(page, levels)
    refused = [reply for reply in replies if reply.status_code == 503]
    assert 10 <= len(refused) <= 40
    assert all(reply.json()["detail"] == BUSY for reply in refused)
    assert all(reply.elapsed.total_seconds() < 1 for reply in refused)
    assert sum(reply.ok for reply in replies) == len(levels) - len(refused)
    assert time.monotonic() - start < DEADLINE


def test_the_deadline_holds(page: Page, replicas: Replicas) -> None:
    for replica in replicas:
        replica.behaviour = Behaviour(pause=DEADLINE + 3)
    start = time.monotonic()
    assert query(page).status_code == 503
    assert time.monotonic() - start < DEADLINE + 1


def test_no_forecast_is_requested_for_a_client_that_has_gone(
    page: Page, replicas: Replicas
) -> None:
    for replica in replicas:
        replica.behaviour = Behaviour(pause=2.5)
    with ThreadPoolExecutor() as pool:
        in_flight = []
        for sent in (1, 2):  # one by one: together they would share a request and leave room
            in_flight.append(pool.submit(query, page, float(sent)))
            _until(lambda sent=sent: windows(replicas) == sent)
        host, port = page.url.removeprefix("http://").split(":")
        body = json.dumps({"history": ",".join(map(str, range(168)))}).encode()
        head = f"POST /api/forecast HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n"
        for _ in range(5):
            with socket.create_connection((host, int(port))) as connection:
                connection.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
                time.sleep(0.02)
        assert all(reply.result().ok for reply in in_flight)
    assert query(page, 3.0).ok
    assert windows(replicas) == 3


def test_no_connection_is_kept_for_ever(page: Page, replicas: Replicas) -> None:
    before = {connection for replica in replicas for connection in replica.connections}
    assert before
    levels = [3.0] * 8

    def are_all_new() -> bool:
        assert all(reply.ok for reply in query_all(page, levels))
        return not any(before & replica.connections for replica in replicas)

    _until(are_all_new, seconds=60)


def test_a_new_model_on_one_replica_first(page: Page, replicas: Replicas) -> None:
    replicas[0].serve(contract(version="next", horizon=48))
    seen = {
        (answer["model"]["version"], len(answer["forecast"]["0.5"]))
        for answer in (
            requests.post(
                page.url + "/api/forecast",
                json={"history": ",".join(map(str, range(168)))},
                timeout=30,
            ).json()
            for _ in range(30)
        )
    }
    assert seen == {("next", 48), (contract().version, 24)}
    replicas[1].serve(contract(version="next", horizon=48))
    _until(lambda: query(page).json()["model"]["version"] == "next")
    assert requests.get(page.url + "/api/model", timeout=10).json()["version"] == "next"


def test_retries_are_a_share_of_the_requests() -> None:
    budget = RetryBudget()
    assert budget.spend(int(RESERVE)) and not budget.spend(1)
    again = 0
    for _ in range(1000):
        budget.earn(64)
        again += 64 * budget.spend(64)
    assert SHARE * 64_000 * 0.9 < again <= SHARE * 64_000


def test_a_circuit_opens_tries_once_and_closes() -> None:
    replica = Replica("http://127.0.0.1:9")
    for _ in range(MOST_FAILURES):
        assert not replica.is_open
        replica.sent()
        replica.failed()
    assert replica.is_open
    time.sleep(1.3 * MOMENT)
    assert not replica.is_open
    replica.sent()
    assert replica.is_open, "one is trying it"
    replica.failed()
    assert replica.is_open
    time.sleep(1.3 * MOMENT)
    replica.sent()
    replica.answered()
    assert not replica.is_open and replica.in_flight == 0
