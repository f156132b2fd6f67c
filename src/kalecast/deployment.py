"""Deployment: the SeldonDeployment that serves a model file, rendered, applied, awaited."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

GROUP, VERSION, PLURAL = "machinelearning.seldon.io", "v1", "seldondeployments"

STARTUP_SECONDS = 120
"""How long a container may take to fetch its model file and answer."""


class DeploymentError(RuntimeError):
    """The cluster did not take the SeldonDeployment, or it did not become ready."""


@dataclass(frozen=True)
class DeploymentSettings:
    """What differs between one team's deployment and another's."""

    name: str = "kalecast"
    namespace: str = "kubeflow-user-example-com"
    image: str = "kalecast/model-server:0.1.0"
    minimum_replicas: int = 2
    maximum_replicas: int = 10
    cpu: str = "500m"
    memory: str = "512Mi"
    secret: str = "kalecast-model-store"
    """Secret whose entries become the container's environment, for the model store's keys."""

    def __post_init__(self) -> None:
        if not 1 <= self.minimum_replicas <= self.maximum_replicas:
            raise ValueError(
                "Expected 1 <= minimum_replicas <= maximum_replicas, received: "
                f"{self.minimum_replicas} and {self.maximum_replicas}"
            )


def on_cluster() -> bool:
    """Whether this process runs in a pod."""
    return "KUBERNETES_SERVICE_HOST" in os.environ


def render(model_uri: str, model_version: str, settings: DeploymentSettings) -> dict[str, Any]:
    """The SeldonDeployment as an object for the Kubernetes API.

    The model's version is an annotation of the pods, so that a new version rolls them.

    Raises:
        DeploymentError: the URI is a path, which pods elsewhere cannot reach.
    """
    if urlsplit(model_uri).scheme in ("", "file"):
        raise DeploymentError(
            "Expected a model URI that every pod can reach, such as 's3://models/forecaster.onnx', "
            f"received: '{model_uri}'. Set model_store to an s3: URI."
        )
    predictor = {
        "name": "default",
        "replicas": settings.minimum_replicas,
        "annotations": {"seldon.io/no-engine": "true"},
        "graph": {
            "name": "forecaster",
            "type": "MODEL",
            "parameters": [{"name": "model_uri", "type": "STRING", "value": model_uri}],
        },
        "componentSpecs": [
            {
                "metadata": {"annotations": {"kalecast/model-version": model_version}},
                "hpaSpec": {
                    "minReplicas": settings.minimum_replicas,
                    "maxReplicas": settings.maximum_replicas,
                    "metricsv2": [_cpu_target(70)],
                },
                "spec": {
                    "securityContext": {
                        "runAsNonRoot": True,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "terminationGracePeriodSeconds": 30,
                    # A Service named kalecast-… would set variables that read like settings.
                    "enableServiceLinks": False,
                    "containers": [_container(settings)],
                },
            }
        ],
    }
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "SeldonDeployment",
        "metadata": {
            "name": settings.name,
            "namespace": settings.namespace,
            "labels": {"app.kubernetes.io/part-of": "kalecast"},
        },
        "spec": {"name": settings.name, "protocol": "seldon", "predictors": [predictor]},
    }


def _cpu_target(percent: int) -> dict[str, Any]:
    return {
        "type": "Resource",
        "resource": {
            "name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": percent},
        },
    }


def _container(settings: DeploymentSettings) -> dict[str, Any]:
    return {
        "name": "forecaster",
        "image": settings.image,
        "envFrom": [{"secretRef": {"name": settings.secret, "optional": True}}],
        "resources": {
            "requests": {"cpu": settings.cpu, "memory": settings.memory},
            "limits": {"memory": settings.memory},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        # Seldon's operator probes by TCP, first after 20 s, a container that has none of its own.
        "startupProbe": _probe("/health/ping", period=2, failures=STARTUP_SECONDS // 2),
        "readinessProbe": _probe("/health/status", period=5, failures=2),
        "livenessProbe": _probe("/health/ping", period=10, failures=3),
    }


def _probe(path: str, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": path, "port": "http"},
        "periodSeconds": period,
        "failureThreshold": failures,
        "timeoutSeconds": 5,
    }


def apply(manifest: dict[str, Any], api: Any = None) -> None:
    """Create the SeldonDeployment, or bring the one that is there to the manifest.

    Args:
        manifest: as `render` makes it.
        api: a `kubernetes.client.CustomObjectsApi`; the pod's own service account where left
            out.

    Raises:
        DeploymentError: the cluster refuses it, with its reason.
    """
    from kubernetes.client.exceptions import ApiException

    api = api or _cluster_api()
    place = _place(manifest)
    name = manifest["metadata"]["name"]
    try:
        try:
            api.create_namespaced_custom_object(**place, body=manifest)
        except ApiException as error:
            if error.status != 409:
                raise
            api.patch_namespaced_custom_object(**place, name=name, body=manifest)
    except ApiException as error:
        raise DeploymentError(
            f"The cluster refused the SeldonDeployment '{name}' in namespace "
            f"'{place['namespace']}': {error.status} {error.reason}. {error.body or ''}".strip()
        ) from error


def wait_until_ready(
    manifest: dict[str, Any],
    timeout: float = 300.0,
    api: Any = None,
    report: Callable[[str], None] = print,
    interval: float = 3.0,
) -> None:
    """Wait until the operator calls the SeldonDeployment available.

    Args:
        manifest: the one applied.
        timeout: seconds.
        api: as for `apply`.
        report: is told each change of state.
        interval: seconds between two looks.

    Raises:
        DeploymentError: it failed, or was not available in time; with its last state.
    """
    api = api or _cluster_api()
    name = manifest["metadata"]["name"]
    deadline = time.monotonic() + timeout
    told = None
    while True:
        found = api.get_namespaced_custom_object(**_place(manifest), name=name)
        state, description = _state(found)
        if state != told:
            report(f"SeldonDeployment '{name}': {state}")
            told = state
        if state == "Available":
            return
        if state == "Failed" or time.monotonic() > deadline:
            raise DeploymentError(
                f"SeldonDeployment '{name}' is {state} "
                f"{'' if state == 'Failed' else f'after {timeout:.0f} s'}: {description}"
            )
        time.sleep(interval)


def _state(found: dict[str, Any]) -> tuple[str, str]:
    status = found.get("status") or {}
    description = status.get("description") or "the operator gives no reason"
    return status.get("state") or "Creating", description


def _place(manifest: dict[str, Any]) -> dict[str, str]:
    namespace = manifest["metadata"]["namespace"]
    return {"group": GROUP, "version": VERSION, "namespace": namespace, "plural": PLURAL}


def _cluster_api() -> Any:
    from kubernetes import client, config

    config.load_incluster_config()
    return client.CustomObjectsApi()
