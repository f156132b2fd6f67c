"""The page of the runs: its files, and the JSON that it requests."""

from pathlib import Path
from typing import Any

from kalecast.pipelines.lab.local_kfp.api_errors import ApiError
from kalecast.pipelines.lab.local_kfp.guarded import Readable
from kalecast.pipelines.lab.local_kfp.runs import Runs

FILES = Path(__file__).resolve().parent / "page"
TYPES = {
    "runs.css": "text/css",
    "runs.js": "text/javascript",
    "favicon.svg": "image/svg+xml",
}
LISTED = ("run_id", "name", "pipeline", "state", "created_at", "seconds", "place", "error")
NO_LINK = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Runs</title></head>
<body><h1>This page needs its link</h1><p>Open it by the link that <code>make lab</code> printed in
the terminal, or by <i>View</i> in JupyterLab.</p></body></html>"""


class RunsPage(Readable):
    """The page itself."""

    def _check_secret(self) -> None:
        """`get` refuses without it, with a page for people."""

    def get(self) -> None:
        """Show the page, whose script takes the secret out of the address."""
        self.set_header("Content-Type", "text/html; charset=utf-8")
        if not self.may_read():
            self.set_status(401)
            self.finish(NO_LINK)
            return
        self.remember()
        self.finish((FILES / "runs.html").read_text(encoding="utf-8"))


class PageFile(Readable):
    """A file that the page needs."""

    def get(self, name: str) -> None:
        """Send one of the three."""
        if name not in TYPES:
            raise ApiError(404, f"No file {name}.")
        self.set_header("Content-Type", f"{TYPES[name]}; charset=utf-8")
        self.finish((FILES / name).read_text(encoding="utf-8"))


class RunHandler(Readable):
    """What the page requests about runs."""

    def initialize(self, **options: Any) -> None:
        """Take what the application holds."""
        super().initialize(**options)
        self.runs: Runs = options["runs"]


class RunTable(RunHandler):
    """All runs, in short."""

    def get(self) -> None:
        """List, the newest first."""
        runs = self.runs.newest()
        self.answer({"runs": [{key: run[key] for key in LISTED} for run in runs]})


class RunDetails(RunHandler):
    """One run."""

    def get(self, run_id: str) -> None:
        """Describe, with the log of one step: the one requested, else the one to look at."""
        run = self.runs.view(run_id)
        step = self.get_query_argument("step", "") or _step_to_look_at(run["steps"])
        self.answer({**run, "log": self.runs.log(run_id, step)})


class Report(RunHandler):
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


ROUTES = [
    (r"/", RunsPage),
    (r"/page/([a-z.]+)", PageFile),
    (r"/runs", RunTable),
    (r"/runs/([^/]+)", RunDetails),
    (r"/runs/([^/]+)/reports/([^/]+)", Report),
]
