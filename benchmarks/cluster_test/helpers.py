"""The test's own objects: a store with the model, a client, a stranger, and leave for both."""

import base64
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.cluster_test.kube import Object
from benchmarks.cluster_test.options import Parameters
from benchmarks.cluster_test.rendering import PULL_SECRET
from benchmarks.load import routes
from benchmarks.load.job import Job
from kalecast.artifact.runtime import Forecaster
from kalecast.cluster.deployment import PORTS, USER

IN_POD = Path(__file__).parent / "in_pod"
DRIVER = Path(routes.__file__).parent
"""What of it runs in a pod, where it is a package of the same name."""
PACKAGE = "benchmarks/load"
LOAD_CLIENTS = "load_clients.py"
DRIVER_MODULES = ("answers", "clients", "driver", "job", "limits", "record")

STORE, CLIENT, STRANGER, CLOSED = (
    f"kalecast-test-{name}" for name in ("store", "client", "stranger", "closed")
)
LABEL = "kalecast-test"
STORE_PORT = 8333
PAGE_PORT, SERVER_PORT, GRPC_PORT = 7860, PORTS["http"], PORTS["grpc"]
PAGE_SERVICE, SERVER_SERVICE = "kalecast-page", "kalecast-model-server"

PIECE = 700_000
"""Bytes of a ConfigMap: an object holds at most a MiB."""

MOST_PIECES = 60
BODIES_BYTES = 600_000

CHANGES = (
    f"the model comes from a store of the test's own, the pod {STORE}: the Secret "
    "kalecast-model-store leads there",
    f"a NetworkPolicy more lets the model server out to {STORE}, another the pod {CLIENT} in to "
    "the page, in the ingress' place",
)


class ModelTooLargeError(ValueError):
    """A model file that does not fit into ConfigMaps."""


def script(name: str) -> str:
    """A program that runs in a pod."""
    return (IN_POD / name).read_text()


def namespace(name: str, labels: dict[str, str], run: str) -> Object:
    """The namespace, marked as this run's."""
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {**labels, LABEL: run}},
    }


@dataclass(frozen=True)
class Loads:
    """Jobs of the load driver, and the ConfigMaps with their bodies."""

    page: Job
    server: Job
    objects: list[Object]
    model: str
    """The model's name."""
    hours: int
    """Length of a history."""


def loads(forecaster: Forecaster) -> Loads:
    """Forecasts to request through both Services."""
    length = forecaster.contract.input_length
    windows = routes.histories(max(4, min(64, BODIES_BYTES // (10 * length))), length)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        page = routes.api_route(_InCluster(f"{PAGE_SERVICE}:{PAGE_PORT}"), windows, folder)
        server = routes.model_route(_InCluster(f"{SERVER_SERVICE}:{SERVER_PORT}"), windows, folder)
        made = {
            key: route.loaded("plateau", 1) for key, route in (("page", page), ("server", server))
        }
        objects = [
            _config(f"{LABEL}-bodies-{key}", {f"{key}.jsonl": Path(job.bodies).read_text()})
            for key, job in made.items()
        ]
    placed = {key: replace(job, bodies=f"/load/{key}.jsonl") for key, job in made.items()}
    return Loads(placed["page"], placed["server"], objects, forecaster.contract.name, length)


@dataclass(frozen=True)
class _InCluster:
    """A Service, for the load driver's routes."""

    address: str


def objects(image: str, model: bytes, work: Loads, parameters: Parameters) -> list[Object]:
    """All of them, but for the namespace.

    Args:
        image: the model server's, which all of the test's own pods run.
        model: the file's bytes.
        work: what the client requests.
        parameters: of the test.

    Raises:
        ModelTooLargeError: more than `MOST_PIECES` ConfigMaps.
    """
    pieces = _pieces(model)
    modules = {f"{name}.py": (DRIVER / f"{name}.py").read_text() for name in DRIVER_MODULES}
    made = [
        *_login(parameters),
        _store_keys(),
        _config(f"{LABEL}-store", {"s3_store.py": script("s3_store.py")}),
        *pieces,
        _config(f"{LABEL}-clients", {LOAD_CLIENTS: script(LOAD_CLIENTS)}),
        _config(f"{LABEL}-driver", modules),
        *work.objects,
        _store(image, pieces),
        _store_service(),
        _client(image, work),
        _pod(STRANGER, image, _sleep(), []),
        *_policies(),
    ]
    for one in made:
        one["metadata"] |= {"namespace": parameters.namespace}
        if one["kind"] == "Pod" and parameters.pull_secret:
            one["spec"]["imagePullSecrets"] = [{"name": PULL_SECRET}]
    return made


def closed(image: str, parameters: Parameters) -> list[Object]:
    """A pod that listens, and a policy that denies all ingress: is it enforced?"""
    serve = ["python", "-m", "http.server", str(STORE_PORT), "--directory", "/tmp"]
    policy = _policy(CLOSED, {LABEL: CLOSED}, {"policyTypes": ["Ingress"]})
    pod = _pod(CLOSED, image, serve, [])
    if parameters.pull_secret:
        pod["spec"]["imagePullSecrets"] = [{"name": PULL_SECRET}]
    for one in (policy, pod):
        one["metadata"]["namespace"] = parameters.namespace
    return [policy, pod]


def _pieces(model: bytes) -> list[Object]:
    cut = [model[at : at + PIECE] for at in range(0, len(model), PIECE)]
    if len(cut) > MOST_PIECES:
        raise ModelTooLargeError(
            f"Expected a model file of at most {MOST_PIECES * PIECE // 10**6} MB, "
            f"received: {len(model) / 1e6:.0f} MB"
        )
    return [
        {
            **_config(f"{LABEL}-model-{at}", {}),
            "binaryData": {f"piece-{at:03}": base64.b64encode(piece).decode()},
        }
        for at, piece in enumerate(cut)
    ]


def _login(parameters: Parameters) -> list[Object]:
    if not parameters.pull_secret:
        return []
    content = base64.b64encode(parameters.pull_secret.encode()).decode()
    return [
        {
            **_object("v1", "Secret", PULL_SECRET),
            "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": content},
        }
    ]


def _store_keys() -> Object:
    """The usual variables; the store does not look at the keys."""
    return {
        **_object("v1", "Secret", "kalecast-model-store"),
        "stringData": {
            "AWS_ENDPOINT_URL": f"http://{STORE}:{STORE_PORT}",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        },
    }


def _store(image: str, pieces: list[Object]) -> Object:
    sources = [{"configMap": {"name": one["metadata"]["name"]}} for one in pieces]
    volumes = [
        {"name": "model", "projected": {"sources": sources}},
        {"name": "script", "configMap": {"name": f"{LABEL}-store"}},
    ]
    pod = _pod(STORE, image, ["python", "/script/s3_store.py", "/model"], volumes)
    pod["spec"]["containers"][0]["readinessProbe"] = {
        "httpGet": {"path": "/ready", "port": STORE_PORT},
        "periodSeconds": 1,
        "timeoutSeconds": 5,
    }
    return pod


def _store_service() -> Object:
    return {
        **_object("v1", "Service", STORE),
        "spec": {
            "selector": {LABEL: STORE},
            "ports": [{"name": "http", "port": STORE_PORT, "protocol": "TCP"}],
        },
    }


def _client(image: str, work: Loads) -> Object:
    names = [f"{LABEL}-clients", *(one["metadata"]["name"] for one in work.objects)]
    placed = [{"key": f"{one}.py", "path": f"{PACKAGE}/{one}.py"} for one in DRIVER_MODULES]
    sources: list[Object] = [{"configMap": {"name": name}} for name in names]
    sources.append({"configMap": {"name": f"{LABEL}-driver", "items": placed}})
    volumes = [{"name": "load", "projected": {"sources": sources}}, {"name": "tmp", "emptyDir": {}}]
    pod = _pod(CLIENT, image, _sleep(), volumes)
    # One of the team's programs, to the model server's policy.
    pod["metadata"]["labels"]["notebook-name"] = CLIENT
    return pod


def _sleep() -> list[str]:
    return ["python", "-c", "import time; time.sleep(10**6)"]


def _pod(name: str, image: str, command: list[str], volumes: list[Object]) -> Object:
    """A pod that meets the level `restricted`."""
    return {
        **_object("v1", "Pod", name),
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "main",
                    "image": image,
                    "command": command,
                    "resources": {
                        "requests": {"cpu": "20m", "memory": "64Mi"},
                        "limits": {"memory": "512Mi"},
                    },
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                        "readOnlyRootFilesystem": True,
                    },
                    "volumeMounts": [
                        {"name": one["name"], "mountPath": f"/{one['name']}"} for one in volumes
                    ],
                }
            ],
            "volumes": volumes,
        },
    }


def _policies() -> list[Object]:
    server, page = ({"app.kubernetes.io/name": one} for one in (SERVER_SERVICE, PAGE_SERVICE))
    to_store: Object = {
        "policyTypes": ["Egress"],
        "egress": [_rule("to", {LABEL: STORE}, STORE_PORT)],
    }
    from_client: Object = {
        "policyTypes": ["Ingress"],
        "ingress": [_rule("from", {LABEL: CLIENT}, PAGE_PORT)],
    }
    return [
        _policy(f"{LABEL}-store", server, to_store),
        _policy(f"{LABEL}-client", page, from_client),
    ]


def _rule(direction: str, labels: dict[str, str], port: int) -> Object:
    return {
        direction: [{"podSelector": {"matchLabels": labels}}],
        "ports": [{"protocol": "TCP", "port": port}],
    }


def _policy(name: str, labels: dict[str, str], spec: Object) -> Object:
    policy = _object("networking.k8s.io/v1", "NetworkPolicy", name)
    return {**policy, "spec": {"podSelector": {"matchLabels": labels}, **spec}}


def _config(name: str, data: dict[str, str]) -> Object:
    return {**_object("v1", "ConfigMap", name), **({"data": data} if data else {})}


def _object(api_version: str, kind: str, name: str) -> dict[str, Any]:
    metadata = {"name": name, "labels": {LABEL: name}}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}
