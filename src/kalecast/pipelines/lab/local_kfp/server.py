"""The stand-in as a server on loopback."""

import logging
from dataclasses import dataclass
from pathlib import Path

import tornado.httpserver
import tornado.web

from kalecast.pipelines.lab.local_kfp import kfp_api as api
from kalecast.pipelines.lab.local_kfp import runs_page as page
from kalecast.pipelines.lab.local_kfp.address import HOST, LocalAddress, open_address
from kalecast.pipelines.lab.local_kfp.catalogue import Catalogue
from kalecast.pipelines.lab.local_kfp.guarded import Nothing
from kalecast.pipelines.lab.local_kfp.run_queue import RunQueue
from kalecast.pipelines.lab.local_kfp.runs import Runs

LARGEST_BODY = 16 * 1024 * 1024


@dataclass
class LocalKfp:
    """A stand-in that serves."""

    address: LocalAddress
    runs: Runs
    server: tornado.httpserver.HTTPServer

    @property
    def host(self) -> str:
        """The address, as a client of KFP takes it."""
        return f"http://{HOST}:{self.address.port}"

    @property
    def page(self) -> str:
        """The address of the page, with the secret that opens it."""
        return f"{self.host}/?token={self.address.token}"

    async def close(self) -> None:
        """End the run that works, and serve no more."""
        await self.runs.close()
        self.server.stop()
        await self.server.close_all_connections()


def start_local_kfp(runs_dir: Path, port: int | None = None) -> LocalKfp:
    """Serve within the running event loop, at a port as `open_address` takes it."""
    logging.getLogger("tornado.access").setLevel(logging.ERROR)
    sockets, address = open_address(port)
    runs = Runs(runs_dir.resolve(), RunQueue())
    guard = {"token": address.token, "port": address.port}
    with_runs = {**guard, "runs": runs}
    for_api = {**with_runs, "catalogue": Catalogue()}
    application = tornado.web.Application(
        [(pattern, handler, for_api) for pattern, handler in api.ROUTES]
        + [(pattern, handler, with_runs) for pattern, handler in page.ROUTES],
        default_handler_class=Nothing,
        default_handler_args=guard,
    )
    server = tornado.httpserver.HTTPServer(
        application, max_body_size=LARGEST_BODY, max_buffer_size=LARGEST_BODY
    )
    server.add_sockets(sockets)
    return LocalKfp(address, runs, server)
