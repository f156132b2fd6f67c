"""Faults on demand: something breaks under load, and what clients saw of it is reported."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.load.balancer import MISSING, NGINX
from benchmarks.load.driver_process import drive
from benchmarks.load.local_service import LocalService
from benchmarks.load.routes import Floats, LoadRoute, api_route, model_route
from benchmarks.load.stack import app, balancer, copied, model_server
from kalecast.artifact.contract import open_session, read_contract, version_of, write_contract
from kalecast.artifact.store import publish

CLIENTS = 200
THINK = 0.5
"""Seconds on average between an answer and the next question of a client."""

DEADLINE = 20.0
"""Seconds within which a client wants its answer, other tries included."""

QUIET = 3.0
"""Seconds of load before the fault, and some more after it."""

AWAY = 2.0
"""Seconds until a killed server is started again, as its keeper would."""

Act = Callable[[], None]


@dataclass(frozen=True)
class FaultContext:
    """What all faults have in common."""

    model: Path
    windows: Floats
    """One for each client."""
    folder: Path
    """For logs, bodies and temporary files."""

    def models(self, count: int) -> list[LocalService]:
        """Model servers, not started yet."""
        names = [f"model server {at + 1}" for at in range(count)]
        return [model_server(self.model, self.folder, name) for name in names]


@dataclass(frozen=True)
class FaultOutcome:
    """What clients saw of a fault."""

    name: str
    requested: str
    """Whom the clients asked."""
    retries: bool
    """Whether they tried again, within `DEADLINE`, after a lost connection or 503."""
    load: dict[str, Any]
    """The driver's summary."""
    seconds: float
    """From the fault until all was as before."""
    note: str = ""


def all_faults(context: FaultContext) -> Iterator[FaultOutcome]:
    """One fault after another, each with a stack and a folder of its own."""
    faults = [
        app_without_model_server,
        app_with_half_its_servers,
        model_swapped,
        replica_killed,
        replica_ended,
    ]
    if NGINX is None:
        print(f"  left out what needs a balancer: {MISSING}", flush=True)
    else:
        faults += [replica_killed_behind_balancer, replica_ended_behind_balancer, app_rolled_over]
    for fault in faults:
        yield fault(replace(context, folder=context.folder / fault.__name__))


def app_without_model_server(context: FaultContext) -> FaultOutcome:
    """The only model server is killed, and started again."""
    with _running(*context.models(1)) as (server,), app([server], context.folder) as page:
        route = api_route(page, context.windows, context.folder)
        return _seen("model server killed, started again", "app", route, _kill(server), True)


def app_with_half_its_servers(context: FaultContext) -> FaultOutcome:
    """One of the app's two model servers is killed; its clients do not try again."""
    with _running(*context.models(2)) as servers, app(servers, context.folder) as page:
        route = api_route(page, context.windows, context.folder)
        return _seen("one of two model servers killed", "app", route, _kill(servers[0]), False)


def replica_killed(context: FaultContext) -> FaultOutcome:
    """One of two model servers is killed; clients know both."""
    with _running(*context.models(2)) as servers:
        route = _of_all(servers, context)
        act = _kill(servers[0])
        return _seen("one of two model servers killed", "both model servers", route, act, True)


def replica_ended(context: FaultContext) -> FaultOutcome:
    """One of two model servers gets SIGTERM; clients know both.

    That it refuses connections afterwards is no loss, and clients try the other one; an answer
    that it owed would be a `reset`.
    """
    with _running(*context.models(2)) as servers:
        route = _of_all(servers, context)
        act = _restart(servers[0])
        return _seen("one of two model servers ended", "both model servers", route, act, True)


def replica_killed_behind_balancer(context: FaultContext) -> FaultOutcome:
    """One of two model servers is killed; clients see a balancer and do not try again."""
    with _running(*context.models(2)) as servers, _balancer(context, servers) as front:
        route = model_route(front, context.windows, context.folder)
        act = _kill(servers[0])
        return _seen("one of two model servers killed", "nginx", route, act, False)


def replica_ended_behind_balancer(context: FaultContext) -> FaultOutcome:
    """One of two model servers gets SIGTERM; clients see a balancer and do not try again."""
    with _running(*context.models(2)) as servers, _balancer(context, servers) as front:
        route = model_route(front, context.windows, context.folder)
        act = _restart(servers[0])
        return _seen("one of two model servers ended", "nginx", route, act, False)


def model_swapped(context: FaultContext) -> FaultOutcome:
    """Another model is published at the model's URI, and the server gets SIGHUP to load it."""
    store = context.folder / "store"
    server = model_server(copied(context.model, store), context.folder)
    contract = read_contract(open_session(context.model))
    version = version_of(datetime.now(UTC), contract.data_fingerprint)
    newer = write_contract(context.model.read_bytes(), replace(contract, version=version))

    def swap() -> None:
        publish(newer, str(store), "forecaster", version)
        server.send(signal.SIGHUP)

    with server, app([server], context.folder) as page:
        route = api_route(page, context.windows, context.folder)
        marked = LoadRoute(route.name, replace(route.job, mark=version), route.read)
        seen = _seen("model swapped", "app", marked, swap, False)
    new = seen.load["marked"]
    return replace(seen, note=f"{new:,} answers of the new model" if new else "never swapped")


def app_rolled_over(context: FaultContext) -> FaultOutcome:
    """Each of two apps is ended and started again, one after the other."""
    with _running(*context.models(1)) as (server,), ExitStack() as stack:
        apps = [app([server], context.folder, f"app {at}") for at in (1, 2)]
        for replica in apps:
            stack.enter_context(replica)
        front = stack.enter_context(_balancer(context, apps))

        def roll() -> None:
            for replica in apps:
                _restart(replica)()

        route = api_route(front, context.windows, context.folder)
        return _seen("app rolled over", "nginx", route, roll, False, seconds=60.0)


def _seen(  # noqa: PLR0913, PLR0917 - what a fault is
    name: str, requested: str, route: LoadRoute, act: Act, retries: bool, seconds: float = 20.0
) -> FaultOutcome:
    """Put a route under load, and act meanwhile."""
    took = 0.0

    def during() -> None:
        nonlocal took
        time.sleep(QUIET)
        began = time.monotonic()
        act()
        took = time.monotonic() - began

    print(f"  {name}; clients use {requested}", flush=True)
    job = route.loaded(
        "plateau", CLIENTS, seconds=seconds, think=THINK, timeout=DEADLINE, retry=retries
    )
    (load,) = drive(job, during)["rounds"]
    note = "the load was over before it was back" if took > seconds - QUIET else ""
    return FaultOutcome(name, requested, retries, load, round(took, 2), note)


def _kill(server: LocalService) -> Act:
    """Kill a server, and start it again after a while."""

    def act() -> None:
        server.kill()
        time.sleep(AWAY)
        server.start()
        server.wait()

    return act


def _restart(server: LocalService) -> Act:
    """Tell a server to end, and start it again once it has."""

    def act() -> None:
        server.end()
        server.start()
        server.wait()

    return act


def _of_all(servers: list[LocalService], context: FaultContext) -> LoadRoute:
    """A route whose clients are spread over all servers, and know the others too."""
    route = model_route(servers[0], context.windows, context.folder)
    addresses = tuple(server.address for server in servers)
    return LoadRoute(route.name, replace(route.job, addresses=addresses), route.read)


def _balancer(context: FaultContext, replicas: list[LocalService]) -> LocalService:
    return balancer(replicas, context.folder / "nginx")


@contextmanager
def _running(*services: LocalService) -> Iterator[list[LocalService]]:
    with ExitStack() as stack:
        yield [stack.enter_context(service) for service in services]
