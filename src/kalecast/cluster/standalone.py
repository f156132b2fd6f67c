"""The model server without Seldon's operator: the objects that it makes of a SeldonDeployment.

Names, labels, ports and selectors are those that the operator of Seldon Core 1.19 gives (its
`seldondeployment_controller.go`), so that whatever selects or addresses the pods need not know
how they were made.
"""

import argparse
import copy
from typing import Any

import yaml

from kalecast.cluster.deployment import DeploymentSettings, render, service, service_ports


def stand_alone(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """Deployment, Service, PodDisruptionBudget and, where it scales, HorizontalPodAutoscaler.

    Args:
        manifest: as `kalecast.cluster.deployment.render` makes it.
    """
    predictor = manifest["spec"]["predictors"][0]
    component = predictor["componentSpecs"][0]
    service = f"{manifest['metadata']['name']}-{predictor['name']}"
    name = f"{service}-0-{predictor['graph']['name']}"
    selector = {"seldon-app": service, "seldon-deployment-id": manifest["metadata"]["name"]}
    metadata = {
        "name": name,
        "namespace": manifest["metadata"]["namespace"],
        "labels": {**manifest["metadata"]["labels"], **selector},
    }
    objects = [
        _deployment(metadata, selector, predictor),
        _service({**metadata, "name": service}, selector),
        _budget(metadata, selector, component["pdbSpec"]),
    ]
    if "hpaSpec" in component:
        objects.append(_autoscaler(metadata, component["hpaSpec"]))
    return copy.deepcopy(objects)


def _deployment(
    metadata: dict[str, Any], selector: dict[str, str], predictor: dict[str, Any]
) -> dict[str, Any]:
    component = predictor["componentSpecs"][0]
    (container,) = component["spec"]["containers"]
    (uri,) = (one["value"] for one in predictor["graph"]["parameters"])
    template = {
        "metadata": {
            "labels": {**component["metadata"]["labels"], **selector},
            "annotations": component["metadata"]["annotations"],
        },
        "spec": {
            **component["spec"],
            "containers": [{**container, "env": [{"name": "MODEL_URI", "value": uri}]}],
        },
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        # How many pods there are is the autoscaler's to say.
        "spec": {
            "selector": {"matchLabels": selector},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"},
            },
            "template": template,
        },
    }


def _service(metadata: dict[str, Any], selector: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "selector": {"seldon-app": selector["seldon-app"]},
            "ports": service_ports(),
        },
    }


def _budget(
    metadata: dict[str, Any], selector: dict[str, str], spec: dict[str, Any]
) -> dict[str, Any]:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata,
        "spec": {**spec, "selector": {"matchLabels": selector}},
    }


def _autoscaler(metadata: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": metadata["name"]}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata,
        "spec": {
            "scaleTargetRef": target,
            "minReplicas": spec["minReplicas"],
            "maxReplicas": spec["maxReplicas"],
            "metrics": spec["metricsv2"],
        },
    }


def main() -> None:
    """Write the manifest of a model server."""
    parser = argparse.ArgumentParser(
        description="Write the SeldonDeployment of a model file, and the Service before it."
    )
    parser.add_argument("model_uri", help="such as s3://models/forecaster.onnx")
    parser.add_argument("--model-version", default="current")
    parser.add_argument(
        "--standalone", action="store_true", help="as objects that need no operator of Seldon's"
    )
    given = parser.parse_args()
    settings = DeploymentSettings()
    manifest = render(given.model_uri, given.model_version, settings)
    server = stand_alone(manifest) if given.standalone else [manifest]
    print(yaml.safe_dump_all([*server, service(settings)], sort_keys=False), end="")
