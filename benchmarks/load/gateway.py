"""The gateway before an app, as benchmarks start it: `kalecast protect` on free ports."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from benchmarks.load.local_service import LocalService
from benchmarks.load.routes import LoadRoute
from benchmarks.load.stack import free_ports
from kalecast.cluster.gateway.nginx import Limits

NAME = "localhost"


@dataclass(frozen=True)
class Protected:
    """A gateway, not started yet."""

    service: LocalService
    """Its port is the operators'."""
    port: int
    """Where customers come in, over TLS and by the name `localhost` alone."""
    signatures_port: int
    """The second tier by itself: every address, no TLS, no limits."""

    @property
    def certificate(self) -> Path:
        """What signs it."""
        return self.service.folder / "certificate.pem"

    @property
    def error_log(self) -> Path:
        """Where refusals are logged."""
        return self.service.folder / "error.log"

    @property
    def access_log(self) -> Path:
        """A line of JSON a request."""
        return self.service.folder / "access.log"


def gateway(app: LocalService, folder: Path, options: Sequence[str] = ()) -> Protected:
    """The gateway before an app, not started yet.

    Args:
        app: what it protects.
        folder: for its files.
        options: further ones of `kalecast protect`.
    """
    port, operators, signatures, listed = free_ports(4)
    command = [sys.executable, "-m", "kalecast.cluster.gateway.local", "--page", app.address]
    command += ["--port", str(port), "--operators-port", str(operators)]
    command += ["--signatures-port", str(signatures), "--list-port", str(listed)]
    command += ["--folder", str(folder), *options]
    service = LocalService("gateway", command, operators, "/ready", folder)
    return Protected(service, port, signatures)


def through(route: LoadRoute, protected: Protected) -> LoadRoute:
    """The same route through the gateway: over TLS, each client from an address of its own."""
    job = replace(
        route.job,
        addresses=(f"127.0.0.1:{protected.port}",),
        certificate=str(protected.certificate),
        name=f"{NAME}:{protected.port}",
        own_addresses=True,
    )
    return replace(route, name=f"{route.name} through the gateway", job=job)


def without_limits() -> list[str]:
    """Options that take the limits on clients away, to measure what is behind them."""
    names = [field.name for field in fields(Limits)]
    return [part for name in names for part in ("--limit", f"{name}=60000")]
