"""Deployment: the SeldonDeployment that serves a model file, rendered, and the Service before it.

    kalecast manifest s3://models/forecaster.onnx > model-server.yaml

writes both as the cluster's operators apply them, and with `--standalone` the same server as
objects that need no operator of Seldon's.
"""

import os
from dataclasses import dataclass
from urllib.parse import urlsplit

from kalecast.cluster.capacity import MODEL_SERVER
from kalecast.cluster.seldon_deployment import (
    DEFAULT,
    GROUP,
    VERSION,
    VERSION_ANNOTATION,
    DeploymentError,
    Manifest,
    SeldonDeployment,
)

STARTUP_SECONDS = 120
"""How long a container may take to fetch its model file and answer."""

PORTS = {"http": 9000, "grpc": 9500, "metrics": 6000}
"""The server's ports under the names that Seldon's operator knows them by."""

USER = 10001
"""The image's user."""

LEAVE_SECONDS = 5
"""Between the order to end and SIGTERM: until each node knows that the pod is no endpoint."""

END_SECONDS = 30
"""From the order to end to the kill: `LEAVE_SECONDS`, the server's `drain_seconds` and
`grace_seconds`, and some to spare."""


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
    predictor: Manifest = {
        "name": DEFAULT,
        # With the engine in between, each request would take another hop.
        "annotations": {"seldon.io/no-engine": "true"},
        "graph": {
            "name": "forecaster",
            "type": "MODEL",
            "parameters": [{"name": "model_uri", "type": "STRING", "value": model_uri}],
        },
        "componentSpecs": [
            {
                "metadata": {
                    "annotations": {VERSION_ANNOTATION: model_version},
                    "labels": pod_labels(settings),
                },
                # Of one predictor only: it selects all pods of the SeldonDeployment, and a pod
                # with two budgets cannot be evicted at all.
                "pdbSpec": {"maxUnavailable": 1},
                "spec": _pod(settings),
            }
        ],
    }
    if settings.scales:
        predictor["replicas"] = settings.minimum_replicas
        predictor["componentSpecs"][0]["hpaSpec"] = {
            "minReplicas": settings.minimum_replicas,
            "maxReplicas": settings.maximum_replicas,
            "metricsv2": [_cpu_target(MODEL_SERVER.cpu_percent)],
        }
    manifest = {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "SeldonDeployment",
        "metadata": {
            "name": settings.name,
            "namespace": settings.namespace,
            "labels": {"app.kubernetes.io/part-of": "kalecast"},
        },
        "spec": {"name": settings.name, "protocol": "seldon", "predictors": [predictor]},
    }
    return SeldonDeployment(manifest)


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


def pod_labels(settings: DeploymentSettings) -> dict[str, str]:
    """What the pods carry beside the operator's labels; network policies go by the name."""
    return {
        "app.kubernetes.io/name": settings.service,
        "app.kubernetes.io/part-of": "kalecast",
        # A proxy in each pod would be the hop that no-engine has just saved.
        "sidecar.istio.io/inject": "false",
    }


def _cpu_target(percent: int) -> Manifest:
    return {
        "type": "Resource",
        "resource": {
            "name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": percent},
        },
    }


def _pod(settings: DeploymentSettings) -> Manifest:
    return {
        "automountServiceAccountToken": False,
        # A Service named kalecast-… would set variables that read like settings.
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationGracePeriodSeconds": END_SECONDS,
        "topologySpreadConstraints": [
            _spread(key, settings)
            for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
        ],
        "containers": [_container(settings)],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}],
    }


def _spread(key: str, settings: DeploymentSettings) -> Manifest:
    """Over zones or nodes as far as they have room: a crowd is not left waiting for evenness."""
    return {
        "topologyKey": key,
        "maxSkew": 1,
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": {"app.kubernetes.io/name": settings.service}},
        # A rollout's new pods are spread among themselves.
        "matchLabelKeys": ["pod-template-hash"],
    }


def _container(settings: DeploymentSettings) -> Manifest:
    return {
        "name": "forecaster",
        "image": settings.image,
        "ports": [
            {"name": name, "containerPort": port, "protocol": "TCP"} for name, port in PORTS.items()
        ],
        # Of two entries of a name the last one counts.
        "envFrom": [
            {"secretRef": {"name": name, "optional": True}}
            for name in (settings.secret, settings.reader_secret)
        ],
        # No limit on the processor: it would slow a crowd's forecasts beside idle cores.
        "resources": {
            "requests": {"cpu": settings.cpu, "memory": settings.memory},
            "limits": {"memory": settings.memory},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        # Seldon's operator probes by TCP, first after 20 s, a container that has none of its own.
        "startupProbe": _probe("/health/ping", period=2, failures=STARTUP_SECONDS // 2),
        "readinessProbe": _probe("/health/status", period=5, failures=2),
        "livenessProbe": _probe("/health/ping", period=10, failures=3),
        # And it has one without a lifecycle of its own wait 10 s in a shell. Its definition does
        # not know Kubernetes' own `sleep`, of which it would leave an empty, invalid hook.
        "lifecycle": {"preStop": {"exec": {"command": ["sleep", str(LEAVE_SECONDS)]}}},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }


def _probe(path: str, period: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": period,
        "failureThreshold": failures,
        "timeoutSeconds": 5,
    }
