"""Rendered manifests, what controllers make of them, and the schemas they are held against."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

from kalecast.cluster import manifests, policies
from kalecast.cluster.policies import title
from kalecast.cluster.seldon_deployment import SeldonDeployment
from kalecast.cluster.standalone import stand_alone

ROOT = Path(__file__).resolve().parents[2]

KUBERNETES = "1.35"
"""The newest that Seldon Core 1.19 and Kubeflow 26.03.1 both name as theirs."""

SELDONS_KUBERNETES = "1.28"
"""Whose pods the SeldonDeployment's definition in Seldon's chart 1.19.0 knows: it cuts off what is
newer, such as the hook `sleep`."""

Object = dict[str, Any]


@cache
def rendered() -> dict[str, list[Object]]:
    """What each overlay sends to the cluster."""
    command = manifests.kubectl()
    return {
        name: list(yaml.safe_load_all(manifests.build(folder, command)))
        for name, folder in manifests.overlays().items()
    }


@cache
def expanded() -> dict[str, list[Object]]:
    """The same, and beside custom resources what their operators make of them."""
    return {name: policies.expanded(objects) for name, objects in rendered().items()}


def of_kind(objects: list[Object], *kinds: str) -> list[Object]:
    """Those of some kinds."""
    return [one for one in objects if one["kind"] in kinds]


@dataclass(frozen=True)
class Template:
    """The pods that an object leads to."""

    overlay: str
    owner: str
    metadata: Object
    spec: Object

    @property
    def labels(self) -> dict[str, str]:
        """The pods' labels."""
        labels: dict[str, str] = self.metadata.get("labels", {})
        return labels

    @property
    def ports(self) -> dict[str, int]:
        """Their containers' ports by name."""
        return {
            port["name"]: port["containerPort"]
            for container in self.spec["containers"]
            for port in container.get("ports", [])
        }


def templates(overlay: str) -> Iterator[Template]:
    """Every pod template of an overlay, out of custom resources too."""
    for one in expanded()[overlay]:
        if one["kind"] in ("Deployment", "Notebook"):
            found = one["spec"]["template"]
            yield Template(overlay, title(one), found.get("metadata", {}), found["spec"])


##### Schemas #####


def validate(one: Object) -> None:
    """Hold an object against its schema, without a field that the schema does not know.

    Raises:
        Exception: names the field.
    """
    if one["kind"] not in custom_resources():
        kubernetes_validate.validate(one, KUBERNETES, strict=True)
        return
    resource = custom_resources()[one["kind"]]
    assert one["apiVersion"] == resource["apiVersion"]
    jsonschema.validate(one["spec"], resource["spec"])
    for version, part in _kubernetes_own(one):
        kubernetes_validate.validate(part, version, strict=True)


@cache
def custom_resources() -> dict[str, Object]:
    """Of each kind its `apiVersion`, and the schema of its `spec`."""
    text = Path(__file__).with_name("custom_resources.yaml").read_text()
    found: dict[str, Object] = _closed(yaml.safe_load(text))
    return found


def _closed(schema: Any) -> Any:
    """A schema whose objects have no other properties than those that it names."""
    if isinstance(schema, list):
        return [_closed(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: _closed(value) for key, value in schema.items()}
    is_object = isinstance(schema.get("properties"), dict)
    return {"type": "object", "additionalProperties": False, **inner} if is_object else inner


def _kubernetes_own(one: Object) -> Iterator[tuple[str, Object]]:
    """What of a custom resource Kubernetes' own schemas know, each with its version."""
    spec = one["spec"]
    if one["kind"] == "SeldonDeployment":
        for predictor in spec["predictors"]:
            for component in predictor["componentSpecs"]:
                yield SELDONS_KUBERNETES, _template(component["spec"])
        for made in stand_alone(SeldonDeployment(one)):
            yield KUBERNETES, made
    elif one["kind"] == "ScaledObject":
        # The autoscaler that KEDA makes of it, but for the metrics.
        config = spec.get("advanced", {}).get("horizontalPodAutoscalerConfig", {})
        made = {
            "scaleTargetRef": spec["scaleTargetRef"],
            "minReplicas": spec["minReplicaCount"],
            "maxReplicas": spec["maxReplicaCount"],
            **({"behavior": config["behavior"]} if "behavior" in config else {}),
        }
        kind = {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler"}
        yield KUBERNETES, {**kind, "spec": made}
    elif one["kind"] == "Notebook":
        yield KUBERNETES, _template(spec["template"]["spec"])
    elif one["kind"] == "PodDefault":
        # A pod with what it adds.
        added = {key: spec[key] for key in ("env", "envFrom", "volumeMounts") if key in spec}
        container = {"name": "any", "image": "any", **added}
        volumes = spec.get("volumes", [])
        yield KUBERNETES, _template({"containers": [container], "volumes": volumes})


def _template(spec: Object) -> Object:
    return {"apiVersion": "v1", "kind": "PodTemplate", "template": {"spec": spec}}
