"""Kubeflow Pipelines' API over HTTP as it answers with several users: objects, runs on a script.

Runs and tasks have the fields that KFP 2.17's `api_converter.go` fills in, its timestamps of the
years 1 and 1970 and its nodes for drivers and executors included.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

API = "/apis/v2beta1"
NOT_YET = "0001-01-01T00:00:00Z"
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
TOKEN = "open sesame"
Moment = tuple[str, dict[str, str]]
"""The state of a run, and of its steps by their task's name."""


@dataclass
class KfpDouble:
    """What KFP holds, and the requests that it got."""

    host: str = ""
    multi_user: bool = True
    token: str = TOKEN
    pipelines: list[dict[str, Any]] = field(default_factory=list)
    versions: list[dict[str, Any]] = field(default_factory=list)
    experiments: list[dict[str, Any]] = field(default_factory=list)
    recurring: list[dict[str, Any]] = field(default_factory=list)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    script: list[Moment] = field(default_factory=list)
    """What the looks at a run find, one after another; the last stays."""
    looks: int = 0
    away: list[int] = field(default_factory=list)
    """Statuses of the next answers to GET, in place of their content."""
    logs: dict[str, str] = field(default_factory=dict)
    """What pods printed."""
    calls: list[tuple[str, str]] = field(default_factory=list)
    delete_status: int = 200
    """With which a deletion is answered: nothing is deleted unless it is 200."""
    login: int = 401
    """Status for strangers: 302 leads to a login page, 200 is one."""
    terminated: list[str] = field(default_factory=list)

    def did(self, method: str, part: str) -> list[tuple[str, str]]:
        return [call for call in self.calls if call[0] == method and part in call[1]]


@contextmanager
def serving(double: KfpDouble) -> Iterator[KfpDouble]:
    class Handler(_Handler):
        kfp = double

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    double.host = f"http://127.0.0.1:{server.server_port}"
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    kfp: KfpDouble

    def do_GET(self) -> None:
        if self._is_known() and not self._is_away():
            self._answer(*self._got())

    def do_POST(self) -> None:
        if self._is_known():
            self._answer(*self._posted())

    def do_DELETE(self) -> None:
        if not self._is_known():
            return
        if self.kfp.delete_status != 200:
            self._answer({"message": "no deletion"}, self.kfp.delete_status)
        else:
            recurring_id = self._path[-1]
            kept = [r for r in self.kfp.recurring if r["recurring_run_id"] != recurring_id]
            self.kfp.recurring[:] = kept
            self._answer({})

    def log_message(self, *_: Any) -> None:
        pass

    @property
    def _path(self) -> list[str]:
        return urlsplit(self.path).path.removeprefix(API).strip("/").split("/")

    @property
    def _query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}

    def _is_known(self) -> bool:
        self.kfp.calls.append((self.command, self.path))
        cookies = self.headers.get("Cookie", "").split("; ")  # by which a gateway knows people
        known = (
            self.headers.get("Authorization") == f"Bearer {self.kfp.token}"
            or f"session={self.kfp.token}" in cookies
        )
        if not known and self.kfp.login == 401:
            self._answer({"message": "who are you?", "code": 16}, 401)
        elif not known:
            self._answer("<html>log in</html>", self.kfp.login)
        return known

    def _is_away(self) -> bool:
        if not self.kfp.away or "/runs/" not in self.path:
            return False
        status = self.kfp.away.pop(0)
        if status:
            self._answer({"message": "no healthy upstream"}, status)
        else:
            self.close_connection = True
        return True

    def _answer(self, content: Any, status: int = 200) -> None:
        body = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        kind = "text/plain" if isinstance(content, str) else "application/json"
        kind = "text/html" if body.startswith(b"<html>") else kind
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/dex/auth")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _got(self) -> tuple[Any, int]:
        answer: Any = None
        match self._path:
            case ["k8s", "pod", "logs"]:
                answer = self.kfp.logs.get(self._query["podname"])
            case ["healthz"]:
                answer = {"multi_user": self.kfp.multi_user}
            case ["experiments"]:
                answer = {"experiments": self._named(self._own(self.kfp.experiments))}
            case ["pipelines"]:
                answer = {"pipelines": self._named(self._own(self.kfp.pipelines))}
            case ["pipelines", pipeline_id]:
                (answer,) = [p for p in self.kfp.pipelines if p["pipeline_id"] == pipeline_id]
            case ["pipelines", pipeline_id, "versions"]:
                found = [v for v in self.kfp.versions if v["pipeline_id"] == pipeline_id]
                answer = {"pipeline_versions": self._named(found)}
            case ["pipelines", _, "versions", version_id]:
                found = [v for v in self.kfp.versions if v["pipeline_version_id"] == version_id]
                (answer,) = found
            case ["recurringruns"]:
                answer = {"recurringRuns": self._named(self.kfp.recurring)}
            case ["runs", run_id] if run_id in self.kfp.runs:
                answer = self._run(run_id)
        return (answer, 200) if answer is not None else self._not_found()

    def _posted(self) -> tuple[Any, int]:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        answer: Any = None
        match self._path:
            case ["experiments"]:
                answer = {**json.loads(body), "experiment_id": f"e{len(self.kfp.experiments)}"}
                self.kfp.experiments.append(answer)
            case ["pipelines", "upload"]:
                answer = self._uploaded(f"p{len(self.kfp.pipelines)}", body, self._query["name"])
            case ["pipelines", "upload_version"]:
                answer = self._add_version(self._query["pipelineid"], body)
            case ["runs"]:
                run_id = f"run{len(self.kfp.runs)}"
                self.kfp.runs[run_id] = json.loads(body)
                answer = self._run(run_id)
            case ["runs", run] if run.endswith(":terminate"):
                self.kfp.terminated.append(run.removesuffix(":terminate"))
                self.kfp.script, answer = [("CANCELED", {})], {}
            case ["recurringruns"]:
                answer = self._add_recurring(json.loads(body))
            case ["recurringruns", one] if one.endswith(":disable"):
                answer = self._disable(one.removesuffix(":disable"))
        return (answer, 200) if answer is not None else self._not_found()

    def _not_found(self) -> tuple[Any, int]:
        return {"message": f"{self.path} not found", "code": 5}, 404

    def _disable(self, recurring_run_id: str) -> dict[str, Any]:
        for one in self.kfp.recurring:
            if one["recurring_run_id"] == recurring_run_id:
                one["status"] = "DISABLED"
        return {}

    def _own(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [item for item in items if item.get("namespace") == self._query.get("namespace")]

    def _named(self, items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if "filter" not in self._query:
            return items
        (wanted,) = json.loads(self._query["filter"])["predicates"]
        return [item for item in items if item[wanted["key"]] == wanted["stringValue"]]

    def _uploaded(self, pipeline_id: str, body: bytes, name: str) -> dict[str, Any]:
        """A new pipeline, whose first version takes its name and description."""
        made = {"pipeline_id": pipeline_id, "display_name": name}
        if "namespace" in self._query:
            made["namespace"] = self._query["namespace"]
        self.kfp.pipelines.append(made)
        self._add_version(pipeline_id, body)
        return made

    def _add_version(self, pipeline_id: str, body: bytes) -> dict[str, Any]:
        made = {
            "pipeline_id": pipeline_id,
            "pipeline_version_id": f"v{len(self.kfp.versions)}",
            "display_name": self._query["name"],
            "description": self._query.get("description", ""),
            "content": body.decode(),
        }
        self.kfp.versions.insert(0, made)
        return made

    def _add_recurring(self, body: dict[str, Any]) -> dict[str, Any]:
        made = {
            **body,
            "recurring_run_id": f"r{len(self.kfp.did('POST', 'recurringruns'))}",
            "status": "ENABLED" if body["mode"] == "ENABLE" else "DISABLED",
            "max_concurrency": str(body["max_concurrency"]),  # an int64, text in JSON
        }
        self.kfp.recurring.append(made)
        return made

    def _run(self, run_id: str) -> dict[str, Any]:
        state, steps = "PENDING", {}
        if self.kfp.script and self.command == "GET":
            state, steps = self.kfp.script[min(self.kfp.looks, len(self.kfp.script) - 1)]
            self.kfp.looks += 1
        is_over = state in ("SUCCEEDED", "FAILED", "CANCELED")
        failed = {"error": {"code": 2, "message": "child 'wf-2' failed"}}
        history = {"state_history": [{"state": state, **failed}]} if state == "FAILED" else {}
        return {
            **self.kfp.runs[run_id],
            **history,
            "run_id": run_id,
            "state": state,
            "created_at": _timestamp(0),
            "finished_at": _timestamp(90) if is_over else "1970-01-01T00:00:00Z",
            "run_details": {"task_details": list(_tasks(steps))},
        }


def _tasks(steps: dict[str, str]) -> Iterator[dict[str, Any]]:
    """The nodes of KFP's workflow: for each step its driver, itself and its executor."""
    yield _task("root-driver", "SUCCEEDED", 0, [])
    for number, (name, state) in enumerate(steps.items()):
        yield _task(f"{name}-driver", "SUCCEEDED", number, [])
        yield _task(name, state, 10 * number, [f"wf-{number}"])
        yield _task("executor", state, 10 * number, [])


def _task(name: str, state: str, start: int, children: list[str]) -> dict[str, Any]:
    return {
        "display_name": name,
        "state": state,
        "start_time": _timestamp(start),
        "end_time": NOT_YET if state == "RUNNING" else _timestamp(start + 12),
        "child_tasks": [{"pod_name": child} for child in children],
    }


def _timestamp(seconds: int) -> str:
    return (BEGIN + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
