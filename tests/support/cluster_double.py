"""A Kubernetes API over HTTP that keeps SeldonDeployments and makes their pods up.

What becomes of a version's pods is chosen by its name: `FATES` has what the kubelet would say.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from kubernetes import client

from kalecast.cluster.kubernetes_api import Cluster
from kalecast.cluster.seldon_deployment import VERSION_ANNOTATION

FATES: dict[str, dict[str, Any]] = {
    "good": {"state": {"running": {}}, "ready": True},
    "starting": {"state": {"running": {}}, "ready": False},
    "no-image": {
        "state": {"waiting": {"reason": "ImagePullBackOff", "message": "manifest unknown"}},
        "ready": False,
    },
    "no-secret": {
        "state": {
            "waiting": {"reason": "CreateContainerConfigError", "message": "secret not found"}
        },
        "ready": False,
    },
    "crash": {
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}},
        "restartCount": 3,
        "ready": False,
    },
    "no-room": {"unschedulable": "0/3 nodes are available: 3 Insufficient cpu."},
}


@dataclass
class ClusterDouble:
    """What the API holds, and what happened to it."""

    port: int = 0
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    refusals: list[tuple[int, str]] = field(default_factory=list)
    """Answers to the next writes, in place of doing them."""
    fates: dict[str, str] = field(default_factory=dict)
    """By version of the model; what is not named is good."""
    addresses: dict[str, str] = field(default_factory=dict)
    """Of the pods, by version."""
    started_again: dict[str, int] = field(default_factory=dict)
    """How often the containers of a good version's pods have been."""
    stale_looks: int = 0
    """So many times the operator still talks of the pods before a change."""
    leftover_pods: list[str] = field(default_factory=list)
    """Versions of pods that are being deleted, or will not go."""
    log_before: str = "loading\nthe model file is no ONNX file\n"
    """What a container printed before it ended."""
    log: str = "loading\n"
    """What the one after it has printed."""

    def cluster(self) -> Cluster:
        configuration = client.Configuration(host=f"http://127.0.0.1:{self.port}")
        return Cluster(client.ApiClient(configuration))

    def version(self, name: str = "kalecast") -> str:
        """The version of the object that is there."""
        component = self.objects[name]["spec"]["predictors"][0]["componentSpecs"][0]
        return str(component["metadata"]["annotations"][VERSION_ANNOTATION])

    def fate(self, version: str) -> str:
        return self.fates.get(version, "good")

    def versions(self, name: str) -> list[tuple[str, int]]:
        """Of each predictor, with its number of pods."""
        if name not in self.objects:
            return []
        return [
            (
                predictor["componentSpecs"][0]["metadata"]["annotations"][VERSION_ANNOTATION],
                predictor["replicas"],
            )
            for predictor in self.objects[name]["spec"]["predictors"]
        ]

    ##### What the handler requests #####

    def write(self, name: str, content: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if self.refusals:
            status, message = self.refusals.pop(0)
            return status, {"message": message}
        held = self.objects.get(name)
        sent = content["metadata"].get("resourceVersion")
        if held and sent != held["metadata"]["resourceVersion"]:
            return 409, {"reason": "Conflict"}
        number = int(held["metadata"]["resourceVersion"]) + 1 if held else 1
        content["metadata"] |= {"resourceVersion": str(number), "uid": "a-b-c", "generation": 1}
        self.objects[name] = content
        return 200, content

    def read(self, name: str) -> tuple[int, dict[str, Any]]:
        if name not in self.objects:
            return 404, {"reason": "NotFound"}
        self.stale_looks -= 1
        all_good = all(self.fate(version) == "good" for version, _ in self.versions(name))
        state = "Available" if all_good or self.stale_looks >= 0 else "Creating"
        return 200, {**self.objects[name], "status": {"state": state}}

    def pods(self, name: str) -> dict[str, Any]:
        stale = self.stale_looks >= 0
        pods = [
            self._pod(f"{name}-{version}-{i}", version, "starting" if stale else self.fate(version))
            for version, replicas in self.versions(name)
            for i in range(replicas)
        ]
        pods += [self._pod(f"old-{i}", v, "good") for i, v in enumerate(self.leftover_pods)]
        return {"items": pods}

    def _pod(self, name: str, version: str, fate: str) -> dict[str, Any]:
        state = FATES[fate]
        ready = {"type": "Ready", "status": str(state.get("ready", False))}
        conditions, statuses = [ready], []
        if "unschedulable" in state:
            conditions.append(
                {"type": "PodScheduled", "status": "False", "message": state["unschedulable"]}
            )
        else:
            container = {"name": "forecaster", "image": "an/image:1", "imageID": "", **state}
            again = self.started_again.get(version, 0)
            statuses = [{"restartCount": again, "lastState": {}, **container}]
        metadata = {"name": name, "namespace": "team", "annotations": {VERSION_ANNOTATION: version}}
        return {
            "metadata": metadata,
            "status": {
                "conditions": conditions,
                "containerStatuses": statuses,
                "podIP": self.addresses.get(version, "127.0.0.1"),
            },
        }


class _Handler(BaseHTTPRequestHandler):
    double: ClusterDouble

    def handle_call(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        content = json.loads(self.rfile.read(length)) if length else {}
        parts = urlsplit(self.path)
        name = parts.path.rsplit("/", 1)[1]
        self.double.calls.append((self.command, parts.path))
        if parts.path.endswith("/log"):
            previous = parse_qs(parts.query).get("previous") == ["True"]
            self.reply(200, self.double.log_before if previous else self.double.log)
        elif name == "pods":
            label = parse_qs(parts.query)["labelSelector"][0]
            name = label.partition("=")[2]
            self.reply(
                200, self.double.pods(name) if name in self.double.objects else {"items": []}
            )
        elif self.command == "GET":
            self.reply(*self.double.read(name))
        else:
            self.reply(*self.double.write(content["metadata"]["name"], content))

    do_GET = do_POST = do_PUT = handle_call

    def reply(self, status: int, content: dict[str, Any] | str) -> None:
        is_text = isinstance(content, str)
        body = (content if is_text else json.dumps(content)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if is_text else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def a_cluster() -> Iterator[ClusterDouble]:
    """Serve one for as long as the context lasts."""
    double = ClusterDouble()
    handler = type("Handler", (_Handler,), {"double": double})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    double.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield double
    finally:
        server.shutdown()
        server.server_close()
