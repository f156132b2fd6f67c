"""The gateway before a page, for tests: started on free ports, ended afterwards."""

import json
import shutil
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import requests
from missing import missing

from benchmarks.load.gateway import NAME, Protected, gateway
from benchmarks.load.local_service import LocalService
from kalecast.cluster.gateway import local
from kalecast.cluster.gateway.nginx import CRS_SETUP


def nginx() -> str:
    """The path of nginx, where ModSecurity and the Core Rule Set are with it."""
    found = shutil.which("nginx", path=local.PATH)
    if found is None or not Path(CRS_SETUP).is_file():
        missing(
            "nginx with ModSecurity", f"apt-get install --no-install-recommends {local.PACKAGES}"
        )
    return found


@dataclass(frozen=True)
class Gateway:
    """A gateway that answers."""

    protected: Protected
    page: LocalService
    """What it stands before, started elsewhere."""

    @property
    def url(self) -> str:
        return f"https://{NAME}:{self.protected.port}"

    @property
    def certificate(self) -> str:
        """For clients that need an authority to trust."""
        return str(self.protected.certificate)

    @property
    def log(self) -> str:
        """What it refused, and why."""
        return self.protected.error_log.read_text()

    def logged(self, route: str, since: int = 0) -> dict[str, Any]:
        """What the access log says of the first request of a route, from a size of it onwards.

        nginx logs a request once its answer is sent: its line may come after the answer, and after
        the line of a later request.
        """
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            text = self.protected.access_log.read_text()[since:]
            for line in text[: text.rfind("\n") + 1].splitlines():
                request: dict[str, Any] = json.loads(line)
                if request["route"] == route:
                    return request
            time.sleep(0.05)
        raise TimeoutError(f"No request of the route {route} was logged: {text}")

    def send(self, method: str, path: str, **options: Any) -> requests.Response:
        """One request, which is led nowhere else."""
        return requests.request(
            method,
            self.url + path,
            verify=self.certificate,
            allow_redirects=False,
            timeout=60,
            **options,
        )

    def connect(self, context: ssl.SSLContext) -> ssl.SSLSocket:
        """A connection of one's own."""
        plain = socket.create_connection(("127.0.0.1", self.protected.port), timeout=30)
        return context.wrap_socket(plain, server_hostname=NAME)


@contextmanager
def opened(page: str, options: Sequence[str] = ()) -> Iterator[Gateway]:
    """A gateway before the page at such an address, ended afterwards whatever happened.

    Started by root, nginx's workers are another user, who may not enter pytest's folders: this
    one may be entered by every user.
    """
    nginx()
    with TemporaryDirectory(prefix="kalecast-gateway-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        behind = LocalService("page", [], urlsplit(page).port or 0, "/ready", folder)
        found = gateway(behind, folder, options)
        with found.service:
            yield Gateway(found, behind)
