"""Faults on demand: something breaks under load, and what clients saw of it is reported."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.load.load_report import Summary, without
from benchmarks.load.local_service import LocalService
from benchmarks.load.routes import Floats, LoadRoute, api_route, model_route
from benchmarks.load.stack import MISSING, NGINX, app, balancer, copied, drive, model_server
from kalecast.artifact.contract import open_session, read_contract, version_of, write_contract
from kalecast.artifact.store import publish

CLIENTS = 200
THINK = 0.5
"""Seconds on average between an answer and the next request of a client."""

DEADLINE = 20.0
"""Seconds within which a client wants its answer, other tries included."""

QUIET = 3.0
"""Seconds of load before the fault, and some more after it."""

AWAY = 2.0
"""Seconds until a killed server is started again, as its keeper would."""


def all_faults(model: Path, windows: Floats, folder: Path) -> Iterator[Summary]:
    """One fault after another, each with a stack and a folder of its own.

    Args:
        model: the file that is served.
        windows: one for each client.
        folder: for logs, bodies and temporary files.

    Yields:
        What clients saw: the driver's summary, with `fault`, `clients_reach` (whom they asked),
        `clients_retry`, `seconds_away` (from the fault until all was as before) and `note`.
    """
    faults: list[Callable[[Bench], Summary]] = [
        app_without_model_server,
        app_with_half_its_servers,
        model_swapped,
        replica_killed,
        replica_ended,
    ]
    if NGINX is None:
        print(f"  left out what needs a balancer: {MISSING}", flush=True)
    else:
        balanced = (partial(fault, balanced=True) for fault in (replica_killed, replica_ended))
        faults += [*balanced, app_rolled_over]
    for number, fault in enumerate(faults):
        with ExitStack() as stack:
            seen = fault(Bench(model, windows, folder / str(number), stack))
        yield seen


@dataclass(frozen=True)
class Bench:
    """Where a fault is tried; what is started in it ends with it."""

    model: Path
    windows: Floats
    folder: Path
    stack: ExitStack

    def models(self, count: int) -> list[LocalService]:
        """Running model servers."""
        names = [f"model server {at + 1}" for at in range(count)]
        return [
            self.stack.enter_context(model_server(self.model, self.folder, name)) for name in names
        ]

    def app(self, servers: list[LocalService], name: str = "app") -> LocalService:
        """A running app that calls these."""
        return self.stack.enter_context(app(servers, self.folder, name))

    def balancer(self, replicas: list[LocalService]) -> LocalService:
        """A running nginx before these."""
        return self.stack.enter_context(balancer(replicas, self.folder / "nginx"))

    def api(self, service: LocalService) -> LoadRoute:
        """The app's plain route."""
        return api_route(service, self.windows, self.folder)

    def predictions(self, service: LocalService) -> LoadRoute:
        """The model server's route."""
        return model_route(service, self.windows, self.folder)


def app_without_model_server(bench: Bench) -> Summary:
    """The only model server is killed, and started again."""
    servers = bench.models(1)
    route = bench.api(bench.app(servers))
    name = "model server killed, started again"
    return _seen(name, "app", route, lambda: _kill(servers[0]), retries=True)


def app_with_half_its_servers(bench: Bench) -> Summary:
    """One of the app's two model servers is killed; its clients do not try again."""
    servers = bench.models(2)
    route = bench.api(bench.app(servers))
    return _seen("one of two model servers killed", "app", route, lambda: _kill(servers[0]))


def replica_killed(bench: Bench, balanced: bool = False) -> Summary:
    """One of two model servers is killed.

    Clients know both and try the other one, or see a balancer and do not try again.
    """
    return _one_of_two(bench, balanced, "one of two model servers killed", _kill)


def replica_ended(bench: Bench, balanced: bool = False) -> Summary:
    """One of two model servers gets SIGTERM.

    That it refuses connections afterwards is no loss, and clients, or the balancer, try the other
    one; an answer that it owed would be a `reset`.
    """
    return _one_of_two(bench, balanced, "one of two model servers ended", _restart)


def _one_of_two(
    bench: Bench, balanced: bool, fault: str, lose: Callable[[LocalService], None]
) -> Summary:
    servers = bench.models(2)
    route = bench.predictions(bench.balancer(servers) if balanced else servers[0])
    if not balanced:
        addresses = tuple(server.address for server in servers)
        route = replace(route, job=replace(route.job, addresses=addresses))
    requested = "nginx" if balanced else "both model servers"
    return _seen(fault, requested, route, lambda: lose(servers[0]), retries=not balanced)


def model_swapped(bench: Bench) -> Summary:
    """Another model is published at the model's URI, and the server gets SIGHUP to load it."""
    store = bench.folder / "store"
    server = bench.stack.enter_context(model_server(copied(bench.model, store), bench.folder))
    contract = read_contract(open_session(bench.model))
    version = version_of(datetime.now(UTC), contract.data_fingerprint)
    newer = write_contract(bench.model.read_bytes(), replace(contract, version=version))

    def swap() -> None:
        publish(newer, str(store), "forecaster", version)
        server.send(signal.SIGHUP)

    seen = _seen("model swapped", "app", bench.api(bench.app([server])), swap, mark=version)
    new = seen["marked"]
    return seen | {"note": f"{new:,} answers of the new model" if new else "never swapped"}


def app_rolled_over(bench: Bench) -> Summary:
    """Each of two apps is ended and started again, one after the other."""
    servers = bench.models(1)
    apps = [bench.app(servers, f"app {at}") for at in (1, 2)]

    def roll() -> None:
        for replica in apps:
            _restart(replica)

    return _seen("app rolled over", "nginx", bench.api(bench.balancer(apps)), roll, seconds=60.0)


def _seen(  # noqa: PLR0913 - what a fault is
    fault: str,
    requested: str,
    route: LoadRoute,
    act: Callable[[], None],
    *,
    retries: bool = False,
    seconds: float = 20.0,
    mark: str = "",
) -> Summary:
    """Put a route under load, and act meanwhile."""
    took = 0.0

    def during() -> None:
        nonlocal took
        time.sleep(QUIET)
        began = time.monotonic()
        act()
        took = time.monotonic() - began

    print(f"  {fault}; clients use {requested}", flush=True)
    load: dict[str, Any] = {"seconds": seconds, "think": THINK, "timeout": DEADLINE}
    job = route.loaded("plateau", CLIENTS, retry=retries, mark=mark, **load)
    (summary,) = drive(job, during)
    return {
        "fault": fault,
        "clients_reach": requested,
        "clients_retry": retries,
        "seconds_away": round(took, 2),
        "note": "the load was over before it was back" if took > seconds - QUIET else "",
        **without(summary, "samples"),
    }


def _kill(server: LocalService) -> None:
    """Kill a server, and start it again after a while."""
    server.kill()
    time.sleep(AWAY)
    server.start()
    server.wait()


def _restart(server: LocalService) -> None:
    """Have a server end in order, and start it again once it has."""
    server.end()
    server.start()
    server.wait()
