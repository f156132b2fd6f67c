"""The runs of this machine over HTTP: their page, and what Kale's panel starts them with.

Starting a run means running any code as the user. So a request must carry the secret that is made
with each start (other users of the machine reach loopback too), must name this server as its host
(a name that resolves to loopback would not), and must not come from another site's page.

A browser sends cookies to every port of a host, to those of other users as well. So the cookie is
not the secret but follows from it, and opens what is only read: the page, its JSON, the reports.
A request that changes something needs the secret in a header. The page's script has it from the
link, and keeps it where pages of this port alone can read it.
"""

import hmac
import json
import logging
import secrets
import socket
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import tornado.httpserver
import tornado.netutil
from tornado.web import Application, HTTPError, RequestHandler

from kalecast.pipelines.lab.runs import Runs
from kalecast.pipelines.local.run_folder import full_disk, is_full_disk

HOST = "127.0.0.1"
PORT = 8780
"""The default, fixed so that a tunnel or a bookmark can use it."""
LARGEST_BODY = 16 * 1024 * 1024
NAME_LENGTH = 256
FILES = Path(__file__).resolve().parent / "page"
TYPES = {"runs.css": "text/css", "runs.js": "text/javascript", "favicon.svg": "image/svg+xml"}
LISTED = ("run_id", "pipeline", "state", "created_at", "seconds", "place", "error")
OWN_SITES = ("same-origin", "none")
NO_LINK = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Runs</title></head>
<body><h1>This page needs its link</h1><p>Open it by the link that <code>make lab</code> printed in
the terminal, or by <i>View</i> in JupyterLab.</p></body></html>"""


@dataclass
class RunsServer:
    """A server of the runs that listens on loopback."""

    port: int
    token: str
    runs: Runs
    server: tornado.httpserver.HTTPServer

    @property
    def host(self) -> str:
        """Its address."""
        return f"http://{HOST}:{self.port}"

    @property
    def page(self) -> str:
        """The address of the page, with the secret that opens it."""
        return f"{self.host}/?token={self.token}"

    async def close(self) -> None:
        """End the run that works, and serve no more."""
        await self.runs.close()
        self.server.stop()
        await self.server.close_all_connections()


def start_runs_server(runs_dir: Path, port: int | None = None) -> RunsServer:
    """Serve within the running event loop.

    Args:
        runs_dir: holds the folders of the runs.
        port: 0 is a free one, None is `PORT`, or a free one where that is taken.
    """
    logging.getLogger("tornado.access").setLevel(logging.ERROR)
    sockets = _listen(port)
    port, token, runs = sockets[0].getsockname()[1], secrets.token_urlsafe(24), Runs(runs_dir)
    options = {"runs": runs, "token": token, "port": port}
    application = Application(
        [(path, handler, options) for path, handler in ROUTES],
        default_handler_class=Nothing,
        default_handler_args=options,
    )
    server = tornado.httpserver.HTTPServer(
        application, max_body_size=LARGEST_BODY, max_buffer_size=LARGEST_BODY
    )
    server.add_sockets(sockets)
    return RunsServer(port, token, runs, server)


def _listen(port: int | None) -> list[socket.socket]:
    try:
        return tornado.netutil.bind_sockets(PORT if port is None else port, HOST)
    except OSError:
        if port is not None:
            raise SystemExit(
                f"Expected a free port for the page of runs, received: {port}. Choose another: "
                "make lab KFP_PORT=8781"
            ) from None
        return tornado.netutil.bind_sockets(0, HOST)


class Guarded(RequestHandler):
    """A handler that only the user's own programs and pages reach."""

    content_policy = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )

    def initialize(self, runs: Runs, token: str, port: int) -> None:
        """Take what the application holds."""
        self.runs = runs
        self._token = token
        self._hosts = (f"{HOST}:{port}", f"localhost:{port}")
        self._cookie = f"kalecast-runs-{port}"  # cookies know no ports
        self._pass = hmac.digest(token.encode(), b"reading", "sha256").hex()

    def set_default_headers(self) -> None:
        """Headers of every answer."""
        self.clear_header("Server")
        self.set_header("Content-Security-Policy", self.content_policy)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")
        self.set_header("Cache-Control", "no-store")

    def prepare(self) -> None:
        """Refuse what does not come from the user."""
        headers, only_reads = self.request.headers, self.request.method == "GET"
        if headers.get("Host", "").lower() not in self._hosts:
            raise HTTPError(403, "Expected a request to this server by its own name.")
        origin = headers.get("Origin")
        is_foreign = origin is not None and origin.lower() not in [
            f"http://{host}" for host in self._hosts
        ]
        if is_foreign or not (only_reads or headers.get("Sec-Fetch-Site", "none") in OWN_SITES):
            raise HTTPError(403, "Expected a request from this server's own page.")
        if not (self._has_secret() or (only_reads and self._may_read())):
            raise HTTPError(401, "Open the page by the link that `make lab` printed.")

    def _has_secret(self) -> bool:
        scheme, _, bearer = self.request.headers.get("Authorization", "").partition(" ")
        return scheme == "Bearer" and _equal(bearer, self._token)

    def _may_read(self) -> bool:
        return _equal(self.get_cookie(self._cookie) or "", self._pass) or _equal(
            self.get_query_argument("token", ""), self._token
        )

    def remember(self) -> None:
        """Let the browser read what is here until the next start."""
        self.set_cookie(self._cookie, self._pass, httponly=True, samesite="Strict")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Say in JSON what is wrong."""
        error = kwargs.get("exc_info", (None, None))[1]
        message = error.log_message if isinstance(error, HTTPError) else None
        if is_full_disk(error):
            self.set_status(507)
            message = full_disk(error)
        self.finish({"message": message or HTTPStatus(status_code).phrase})

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Refusals are no news; anything else is."""
        if not (isinstance(value, HTTPError) or is_full_disk(value)):
            super().log_exception(typ, value, tb)


class Nothing(Guarded):
    """Every path that is not served."""

    def prepare(self) -> None:
        """Answer 404 to authorised callers."""
        super().prepare()
        raise HTTPError(404, "Nothing is served at this address.")


class RunsPage(Guarded):
    """The page itself."""

    def get(self) -> None:
        """Show the page, whose script takes the secret out of the address."""
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.remember()
        self.finish((FILES / "runs.html").read_text(encoding="utf-8"))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Say to people what they need."""
        if status_code == HTTPStatus.UNAUTHORIZED:
            self.set_header("Content-Type", "text/html; charset=utf-8")
            self.finish(NO_LINK)
        else:
            super().write_error(status_code, **kwargs)


class PageFile(Guarded):
    """A file that the page needs."""

    def get(self, name: str) -> None:
        """Send one of the three."""
        if name not in TYPES:
            raise HTTPError(404, "No such file.")
        self.set_header("Content-Type", f"{TYPES[name]}; charset=utf-8")
        self.finish((FILES / name).read_text(encoding="utf-8"))


class RunTable(Guarded):
    """All runs."""

    def get(self) -> None:
        """List them in short, the newest first."""
        runs = self.runs.newest()
        self.finish({"runs": [{key: run[key] for key in LISTED} for run in runs]})

    def post(self) -> None:
        """Queue a run of the compiled pipeline in the request."""
        try:
            body = json.loads(self.request.body)
            name, package = body["name"], body["pipeline"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise HTTPError(400, "Expected a JSON object with name and pipeline.") from error
        if not isinstance(package, str) or not isinstance(name, str) or len(name) > NAME_LENGTH:
            raise HTTPError(400, "Expected texts as name and pipeline.")
        self.finish(self.runs.view(self.runs.add(name, package)))


class RunDetails(Guarded):
    """One run."""

    def get(self, run_id: str) -> None:
        """Describe, with the log of one step: the one requested, else the one to look at."""
        run = self.runs.view(run_id)
        step = self.get_query_argument("step", "") or _step_to_look_at(run["steps"])
        self.finish({**run, "log": self.runs.log(run_id, step)})


class Stop(Guarded):
    """The end of a run."""

    def post(self, run_id: str) -> None:
        """Begin it."""
        self.runs.stop(run_id)
        self.finish({})


class Report(Guarded):
    """A step's report: what cells showed, which is not to be trusted."""

    content_policy = (
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'none'; "
        "base-uri 'none'; frame-ancestors 'none'; sandbox"
    )

    def get(self, run_id: str, step: str) -> None:
        """Send the report."""
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(self.runs.report(run_id, step).read_text(encoding="utf-8"))


def _step_to_look_at(steps: list[dict[str, Any]]) -> str:
    begun = [step for step in steps if step["state"] not in ("PENDING", "SKIPPED")]
    return str(begun[-1]["name"]) if begun else ""


def _equal(given: str, wanted: str) -> bool:
    return hmac.compare_digest(given.encode(), wanted.encode())


ROUTES: list[tuple[str, type[Guarded]]] = [
    (r"/", RunsPage),
    (r"/page/([a-z.]+)", PageFile),
    (r"/runs", RunTable),
    (r"/runs/([^/]+)", RunDetails),
    (r"/runs/([^/]+)/stop", Stop),
    (r"/runs/([^/]+)/reports/([^/]+)", Report),
]
