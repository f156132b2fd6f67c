"""Deployment: the SeldonDeployment that serves a model file, rendered, and the Service before it.

    kalecast manifest s3://models/forecaster.onnx > model-server.yaml

writes both as the cluster's operators apply them, and with `--standalone` the same server as
objects that need no operator of Seldon's.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from kalecast.cluster.capacity import MODEL_SERVER
from kalecast.cluster.seldon_deployment import DeploymentError, Manifest, SeldonDeployment

TEMPLATE = Path(__file__).with_name("model-server.yaml")

PORTS = {"http": 9000, "grpc": 9500, "metrics": 6000}
"""The server's ports under the names that Seldon's operator knows them by."""

USER = 10001
"""The image's user."""


@dataclass(frozen=True)
class DeploymentSettings:
    """What differs between one team's deployment and another's."""

    name: str = "kalecast"
    namespace: str = "kubeflow-user-example-com"
    service: str = "kalecast-model-server"
    """Service that all its pods answer under, whichever predictor they belong to."""
    image: str = "kalecast/model-server:0.1.0"
    minimum_replicas: int = MODEL_SERVER.minimum_replicas
    maximum_replicas: int = MODEL_SERVER.maximum_replicas
    cpu: str = MODEL_SERVER.cpu
    memory: str = "512Mi"
    secret: str = "kalecast-model-store"
    """Secret whose entries become the container's environment, for the model store's keys."""
    reader_secret: str = "kalecast-model-reader"
    """Secret whose entries replace those, where it is there: a key that may only read."""
    scales: bool = True
    """Whether Seldon's operator makes an autoscaler; without, an autoscaler of one's own (KEDA's)
    sets the number of pods, which the operator then leaves alone."""

    def __post_init__(self) -> None:
        if not 1 <= self.minimum_replicas <= self.maximum_replicas:
            raise ValueError(
                "Expected 1 <= minimum_replicas <= maximum_replicas, received: "
                f"{self.minimum_replicas} and {self.maximum_replicas}"
            )


def on_cluster() -> bool:
    """Whether this process runs in a pod."""
    return "KUBERNETES_SERVICE_HOST" in os.environ


def render(model_uri: str, model_version: str, settings: DeploymentSettings) -> SeldonDeployment:
    """The SeldonDeployment that serves a model file.

    Args:
        model_uri: where every pod can fetch the file.
        model_version: an annotation of the pods, so that a new version rolls them.
        settings: the team's.

    Raises:
        DeploymentError: the URI is a path, which pods elsewhere cannot reach.
    """
    if urlsplit(model_uri).scheme in ("", "file"):
        raise DeploymentError(
            "Expected a model URI that every pod can reach, such as 's3://models/forecaster.onnx', "
            f"received: '{model_uri}'. Set model_store to an s3: URI."
        )
    values = {
        "NAME": settings.name,
        "NAMESPACE": settings.namespace,
        "SERVICE": settings.service,
        "IMAGE": settings.image,
        "CPU": settings.cpu,
        "MEMORY": settings.memory,
        "SECRET": settings.secret,
        "READER_SECRET": settings.reader_secret,
        "MODEL_URI": model_uri,
        "MODEL_VERSION": model_version,
    }
    deployment = SeldonDeployment(_filled_in(yaml.safe_load(TEMPLATE.read_text()), values))
    if settings.scales:
        cpu = {"type": "Utilization", "averageUtilization": MODEL_SERVER.cpu_percent}
        deployment.predictor["replicas"] = settings.minimum_replicas
        deployment.component["hpaSpec"] = {
            "minReplicas": settings.minimum_replicas,
            "maxReplicas": settings.maximum_replicas,
            "metricsv2": [{"type": "Resource", "resource": {"name": "cpu", "target": cpu}}],
        }
    return deployment


def _filled_in(template: Any, values: dict[str, str]) -> Any:
    """A template with values in place of the texts that name them."""
    if isinstance(template, dict):
        return {key: _filled_in(inner, values) for key, inner in template.items()}
    if isinstance(template, list):
        return [_filled_in(inner, values) for inner in template]
    return values.get(template, template) if isinstance(template, str) else template


def service(settings: DeploymentSettings) -> Manifest:
    """The Service that the model server answers under.

    The operator makes one for each predictor. This one leads to the pods of all of them, so that
    a canary gets its share of the requests.
    """
    metadata = {
        "name": settings.service,
        "namespace": settings.namespace,
        "labels": {"app.kubernetes.io/part-of": "kalecast"},
    }
    return service_of(metadata, {"app.kubernetes.io/name": settings.service})


def service_of(metadata: Manifest, selector: dict[str, str]) -> Manifest:
    """A Service with the model server's ports, for the pods with certain labels."""
    ports = [
        {"name": name, "port": PORTS[name], "targetPort": name, "protocol": "TCP"}
        for name in ("http", "grpc")
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"selector": selector, "ports": ports},
    }
