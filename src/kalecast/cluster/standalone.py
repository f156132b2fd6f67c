"""The model server without Seldon's operator: the objects that it makes of a SeldonDeployment.

Names, labels, ports and selectors are those that the operator of Seldon Core 1.19 gives (its
`seldondeployment_controller.go`), so that whatever selects or addresses the pods need not know
how they were made.
"""

import argparse
import copy

import yaml

from kalecast.cluster.deployment import DeploymentSettings, render, service, service_of
from kalecast.cluster.seldon_deployment import Manifest, SeldonDeployment


def stand_alone(deployment: SeldonDeployment) -> list[Manifest]:
    """Deployment, Service, PodDisruptionBudget and, where it scales, HorizontalPodAutoscaler.

    Args:
        deployment: as `kalecast.cluster.deployment.render` makes it.
    """
    metadata = {
        "name": deployment.workload,
        "namespace": deployment.namespace,
        "labels": {**deployment.manifest["metadata"]["labels"], **deployment.selector},
    }
    objects = [
        _deployment(metadata, deployment),
        service_of({**metadata, "name": deployment.service}, {"seldon-app": deployment.service}),
        _budget(metadata, deployment),
    ]
    if "hpaSpec" in deployment.component:
        objects.append(_autoscaler(metadata, deployment.component["hpaSpec"]))
    return copy.deepcopy(objects)


def _deployment(metadata: Manifest, deployment: SeldonDeployment) -> Manifest:
    component, container = deployment.component, deployment.container
    environment = [{"name": "MODEL_URI", "value": deployment.model_uri}]
    template = {
        "metadata": {
            "labels": {**component["metadata"]["labels"], **deployment.selector},
            "annotations": component["metadata"]["annotations"],
        },
        "spec": {**component["spec"], "containers": [{**container, "env": environment}]},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        # How many pods there are is the autoscaler's to say.
        "spec": {
            "selector": {"matchLabels": deployment.selector},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "25%"},
            },
            "template": template,
        },
    }


def _budget(metadata: Manifest, deployment: SeldonDeployment) -> Manifest:
    budget = deployment.component["pdbSpec"]
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata,
        "spec": {**budget, "selector": {"matchLabels": deployment.selector}},
    }


def _autoscaler(metadata: Manifest, spec: Manifest) -> Manifest:
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
    deployment = render(given.model_uri, given.model_version, settings)
    server = stand_alone(deployment) if given.standalone else [deployment.manifest]
    print(yaml.safe_dump_all([*server, service(settings)], sort_keys=False), end="")
