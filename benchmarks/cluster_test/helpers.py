"""The test's own objects, out of objects.yaml: a store with the model, a client, a stranger."""

import base64
import copy
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from benchmarks.cluster_test.kube import Object
from benchmarks.cluster_test.options import Parameters
from benchmarks.cluster_test.rendering import PULL_SECRET
from benchmarks.load import routes
from benchmarks.load.job import Job
from kalecast.artifact.runtime import Forecaster
from kalecast.cluster.deployment import PORTS

HERE = Path(__file__).parent
DRIVER = Path(routes.__file__).parent
"""What of it runs in a pod, where it is a package of the same name."""
PACKAGE = "benchmarks/load"
LOAD_CLIENTS = "load_clients.py"
DRIVER_MODULES = ("clients", "driver", "job")

LABEL = "kalecast-test"
STORE, CLIENT, STRANGER, CLOSED = (
    f"{LABEL}-{name}" for name in ("store", "client", "stranger", "closed")
)
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
    return (HERE / "in_pod" / name).read_text()


def namespace(name: str, labels: dict[str, str], run: str) -> Object:
    """The namespace, marked as this run's."""
    metadata = {"name": name, "labels": {**labels, LABEL: run}}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


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
            _config(f"bodies-{key}", data={f"{key}.jsonl": Path(job.bodies).read_text()})
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
    pieces = list(_pieces(model))
    stored = [{"configMap": {"name": one["metadata"]["name"]}} for one in pieces]
    described = _described("objects")
    for one in described:
        if one["kind"] == "Pod" and one["metadata"]["name"] == STORE:
            one["spec"]["volumes"][0]["projected"]["sources"] = stored
    driver = {f"{name}.py": (DRIVER / f"{name}.py").read_text() for name in DRIVER_MODULES}
    made = [
        *_login(parameters),
        _config("store", data={"s3_store.py": script("s3_store.py")}),
        *pieces,
        _config("clients", data={LOAD_CLIENTS: script(LOAD_CLIENTS)}),
        _config("driver", data=driver),
        *work.objects,
        *described,
    ]
    return [_placed(one, image, parameters) for one in made]


def closed(image: str, parameters: Parameters) -> list[Object]:
    """A pod that listens, and a policy that denies all ingress: is it enforced?"""
    return [_placed(one, image, parameters) for one in _described("closed")]


def _described(key: str) -> list[Object]:
    # Copies: what YAML's anchors share is one object.
    found: list[Object] = yaml.safe_load((HERE / "objects.yaml").read_text())[key]
    return [copy.deepcopy(one) for one in found]


def _placed(one: Object, image: str, parameters: Parameters) -> Object:
    """An object in the run's namespace, with its label, and a pod with image and login."""
    name = one["metadata"]["name"]
    labels = {**one["metadata"].get("labels", {}), LABEL: name}
    placed = {
        **one,
        "metadata": {"name": name, "namespace": parameters.namespace, "labels": labels},
    }
    if one["kind"] == "Pod":
        (container,) = one["spec"]["containers"]
        placed["spec"] = {**one["spec"], "containers": [{**container, "image": image}]}
        if parameters.pull_secret:
            placed["spec"]["imagePullSecrets"] = [{"name": PULL_SECRET}]
    return placed


def _pieces(model: bytes) -> Iterator[Object]:
    cut = [model[at : at + PIECE] for at in range(0, len(model), PIECE)]
    if len(cut) > MOST_PIECES:
        raise ModelTooLargeError(
            f"Expected a model file of at most {MOST_PIECES * PIECE // 10**6} MB, "
            f"received: {len(model) / 1e6:.0f} MB"
        )
    for at, piece in enumerate(cut):
        content = base64.b64encode(piece).decode()
        yield _config(f"model-{at}", binaryData={f"piece-{at:03}": content})


def _login(parameters: Parameters) -> Iterator[Object]:
    if parameters.pull_secret:
        content = base64.b64encode(parameters.pull_secret.encode()).decode()
        yield {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": PULL_SECRET},
            "type": "kubernetes.io/dockerconfigjson",
            "data": {".dockerconfigjson": content},
        }


def _config(name: str, **content: dict[str, str]) -> Object:
    metadata = {"name": f"{LABEL}-{name}"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, **content}
