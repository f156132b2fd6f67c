"""An overlay's objects, for another namespace and with other images."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from benchmarks.cluster_test.kube import Object
from benchmarks.cluster_test.options import Parameters
from kalecast.cluster.seldon_deployment import SeldonDeployment

SERVER, PAGE = "forecaster", "page"
"""Names of the containers."""

PULL_SECRET = "kalecast-test-pull"

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
"""What the pods are meant to meet."""


@dataclass
class Rendered:
    """What is applied, and how it differs from the overlay."""

    objects: list[Object]
    namespace_labels: dict[str, str] = field(default_factory=dict)
    changes: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def of_kind(self, kind: str) -> list[Object]:
        """The objects of a kind."""
        return [one for one in self.objects if one["kind"] == kind]

    @property
    def has_seldon(self) -> bool:
        """Whether the model server is left to Seldon's operator."""
        return bool(self.of_kind("SeldonDeployment"))


def render(overlay: list[Object], parameters: Parameters) -> Rendered:
    """Move an overlay's objects into the test's namespace.

    Args:
        overlay: as `kubectl kustomize` renders it; stays as it is.
        parameters: what to change.
    """
    made = Rendered([], dict(RESTRICTED), [f"the namespace is {parameters.namespace}"])
    for one in copy.deepcopy(overlay):
        if one["kind"] == "Namespace":
            made.namespace_labels |= one["metadata"].get("labels", {})
        elif "namespace" not in one["metadata"]:
            made.left_out.append(f"{title(one)}: it lies in no namespace")
        else:
            made.objects.append(moved(one, one["metadata"]["namespace"], parameters.namespace))
    _set_images(made, parameters)
    _set_pods(made, parameters)
    _set_quiet(made, parameters)
    return made


def title(one: Object) -> str:
    """Kind and name."""
    return f"{one['kind']}/{one['metadata']['name']}"


def moved(value: Any, old: str, new: str) -> Any:
    """The same with another namespace, in fields of that name and in a query's quotes."""
    if isinstance(value, dict):
        return {
            key: new if key == "namespace" and inner == old else moved(inner, old, new)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [moved(inner, old, new) for inner in value]
    if isinstance(value, str):
        return value.replace(f'namespace="{old}"', f'namespace="{new}"')
    return value


def pod_specs(one: Object) -> list[Object]:
    """The pods that an object leads to."""
    if one["kind"] == "SeldonDeployment":
        return [SeldonDeployment(one).component["spec"]]
    return [one["spec"]["template"]["spec"]] if one["kind"] == "Deployment" else []


def images(objects: list[Object]) -> dict[str, str]:
    """The images by the names of their containers."""
    return {
        container["name"]: container["image"]
        for one in objects
        for spec in pod_specs(one)
        for container in spec["containers"]
    }


def least_pods(objects: list[Object]) -> dict[str, int]:
    """How many pods there are at rest, by the names of their Deployments."""
    return {one.target: one.spec[one.least] for one in autoscalers(objects)}


@dataclass(frozen=True)
class Autoscaler:
    """What scales a Deployment, of whichever kind.

    Attributes:
        target: the Deployment's name.
        spec: holds the numbers of pods.
        least: the field of the least number.
        most: the field of the most.
        config: may hold a `behavior`, how fast pods are removed; none where it cannot be said.
    """

    target: str
    spec: Object
    least: str = "minReplicas"
    most: str = "maxReplicas"
    config: Object | None = None


def autoscalers(objects: list[Object]) -> Iterator[Autoscaler]:
    """Those of an overlay; what is changed in them is changed in its objects."""
    for one in objects:
        spec = one.get("spec", {})
        if one["kind"] == "HorizontalPodAutoscaler":
            yield Autoscaler(spec["scaleTargetRef"]["name"], spec, config=spec)
        elif one["kind"] == "ScaledObject":
            config = spec["advanced"]["horizontalPodAutoscalerConfig"]
            fields = ("minReplicaCount", "maxReplicaCount")
            yield Autoscaler(spec["scaleTargetRef"]["name"], spec, *fields, config)
        elif one["kind"] == "SeldonDeployment":
            seldon = SeldonDeployment(one)
            if "hpaSpec" in seldon.component:
                yield Autoscaler(seldon.workload, seldon.component["hpaSpec"])


def _set_images(made: Rendered, parameters: Parameters) -> None:
    wanted = {SERVER: parameters.server_image, PAGE: parameters.page_image}
    for one in made.objects:
        for spec in pod_specs(one):
            for container in spec["containers"]:
                container["image"] = wanted.get(container["name"]) or container["image"]
            if parameters.pull_secret:
                spec["imagePullSecrets"] = [{"name": PULL_SECRET}]
    made.changes += [f"the {name}'s image is {image}" for name, image in wanted.items() if image]
    if parameters.pull_secret:
        made.changes.append("images are pulled with the login of --pull-secret")


def _set_pods(made: Rendered, parameters: Parameters) -> None:
    if parameters.pods is None:
        return
    least, most = parameters.pods
    for one in autoscalers(made.objects):
        one.spec.update({one.least: least, one.most: most})
        if "fallback" in one.spec:
            one.spec["fallback"]["replicas"] = least
    for found in made.of_kind("SeldonDeployment"):
        if "hpaSpec" in SeldonDeployment(found).component:
            SeldonDeployment(found).predictor["replicas"] = least
    made.changes.append(f"autoscalers keep {least} to {most} pods (--pods)")


def _set_quiet(made: Rendered, parameters: Parameters) -> None:
    if parameters.quiet is None:
        return
    found = [one.config for one in autoscalers(made.objects)]
    for config in found:
        if config is not None:
            down = config.setdefault("behavior", {}).setdefault("scaleDown", {})
            down["stabilizationWindowSeconds"] = parameters.quiet
    made.changes.append(f"autoscalers scale in after {parameters.quiet} quiet seconds (--quiet)")
    if None in found:
        made.changes.append("but for the one that Seldon's operator makes, which takes 300")
