"""A SeldonDeployment: what its manifest says, by name, and what a release changes in it.

It is one object from its rendering to the API. The manifest is in the form of Seldon Core 1.19's
custom resource.
"""

import copy
from dataclasses import dataclass
from typing import Any

GROUP, VERSION, PLURAL = "machinelearning.seldon.io", "v1", "seldondeployments"

DEFAULT, CANARY = "default", "canary"
"""Names of the predictor that serves, and of the one that a new model is tried in beside it."""

ID_LABEL = "seldon-deployment-id"
"""The operator's label on the pods of a SeldonDeployment."""

VERSION_ANNOTATION = "kalecast/model-version"
"""On each pod; a new version of the model changes it, so that the pods are rolled."""

WITHDRAWN_ANNOTATION = "kalecast/withdrawn-version"
REASON_ANNOTATION = "kalecast/withdrawn-reason"
SET_BY_CLUSTER = (
    *("creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"),
)

Manifest = dict[str, Any]


class DeploymentError(RuntimeError):
    """The cluster did not take the SeldonDeployment, or it did not become ready."""


@dataclass(frozen=True)
class SeldonDeployment:
    """A SeldonDeployment, as it is to be or as the cluster has it.

    What is said of its pods is said of those of `predictor`. Methods named `with…` return a changed
    copy, without the status that the cluster reports.

    Attributes:
        manifest: as the Kubernetes API takes and returns it.
    """

    manifest: Manifest

    @property
    def name(self) -> str:
        """The object's name."""
        return str(self.manifest["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """The object's namespace."""
        return str(self.manifest["metadata"]["namespace"])

    @property
    def state(self) -> str:
        """The operator's word on it, such as `Available`."""
        return (self.manifest.get("status") or {}).get("state") or "Creating"

    @property
    def description(self) -> str:
        """The operator's reason for the state; empty where it gives none."""
        return (self.manifest.get("status") or {}).get("description") or ""

    @property
    def predictors(self) -> list[Manifest]:
        """All of them; the canary, where there is one, comes last."""
        predictors: list[Manifest] = self.manifest["spec"]["predictors"]
        return predictors

    @property
    def predictor(self) -> Manifest:
        """The one that is no canary."""
        found = (one for one in self.predictors if one["name"] == DEFAULT)
        return next(found, self.predictors[0])

    @property
    def component(self) -> Manifest:
        """The template of its pods, and what the operator makes beside them."""
        component: Manifest = self.predictor["componentSpecs"][0]
        return component

    @property
    def container(self) -> Manifest:
        """The only container of its pods."""
        container: Manifest
        (container,) = self.component["spec"]["containers"]
        return container

    @property
    def replicas(self) -> int:
        """How many pods it has at least."""
        return int(self.predictor.get("replicas", 1))

    @property
    def model_uri(self) -> str:
        """Where its pods fetch the model file."""
        (uri,) = (one["value"] for one in self.predictor["graph"]["parameters"])
        return str(uri)

    @property
    def model_version(self) -> str | None:
        """The version of the model that its pods serve."""
        return _version(self.predictor)

    @property
    def has_canary(self) -> bool:
        """Whether a second predictor tries another model."""
        return len(self.predictors) > 1

    @property
    def newest(self) -> tuple[str | None, int]:
        """Version and number of the pods of the canary, or of the only predictor."""
        return _version(self.predictors[-1]), int(self.predictors[-1].get("replicas", 1))

    @property
    def service(self) -> str:
        """Name of the Service that the operator makes for its pods."""
        return f"{self.name}-{self.predictor['name']}"

    @property
    def workload(self) -> str:
        """Name of the Deployment that the operator makes for its pods."""
        return f"{self.service}-0-{self.predictor['graph']['name']}"

    @property
    def selector(self) -> dict[str, str]:
        """The operator's labels on its pods."""
        return {"seldon-app": self.service, **self.selector_of_all}

    @property
    def selector_of_all(self) -> dict[str, str]:
        """The operator's label on the pods of all predictors."""
        return {ID_LABEL: self.name}

    def port(self, name: str) -> int:
        """The port of its container that has the name `http`, `grpc` or `metrics`."""
        (port,) = (one["containerPort"] for one in self.container["ports"] if one["name"] == name)
        return int(port)

    def with_model_of(self, other: "SeldonDeployment") -> "SeldonDeployment":
        """With the model of another: its URI and version, and nothing else of it."""
        changed = self._copy()
        parameters = copy.deepcopy(other.predictor["graph"]["parameters"])
        changed.predictor["graph"]["parameters"] = parameters
        metadata = changed.component.setdefault("metadata", {})
        metadata.setdefault("annotations", {})[VERSION_ANNOTATION] = other.model_version
        return changed

    def with_canary(
        self, new: "SeldonDeployment", percent: int, replicas: int
    ) -> "SeldonDeployment":
        """With a second predictor, which serves another model.

        Args:
            new: the second predictor is the one of this.
            percent: of the requests through Istio, for the second.
            replicas: its pods.
        """
        changed, canary = self.without_canary(), new.without_canary()
        changed.predictor["traffic"] = 100 - percent
        # The budget of the first predictor selects the pods of both; two of one pod stop evictions.
        canary.component.pop("pdbSpec", None)
        canary.component.pop("hpaSpec", None)
        settings = {"name": CANARY, "replicas": replicas, "traffic": percent}
        changed.predictors.append(canary.predictor | settings)
        return changed

    def without_canary(self) -> "SeldonDeployment":
        """With one predictor alone, which gets all requests."""
        changed = self._copy()
        alone = {key: value for key, value in changed.predictor.items() if key != "traffic"}
        changed.manifest["spec"]["predictors"] = [alone]
        return changed

    def with_withdrawn(self, version: str | None, reason: str) -> "SeldonDeployment":
        """With a note that a version of the model did not hold as a canary, and why."""
        changed = self._copy()
        changed.manifest["metadata"].setdefault("annotations", {}).update(
            {WITHDRAWN_ANNOTATION: version, REASON_ANNOTATION: reason}
        )
        return changed

    def why_withdrawn(self, version: str | None) -> str | None:
        """The reason, where a note says that this version of the model did not hold."""
        annotations = self.manifest["metadata"].get("annotations") or {}
        if annotations.get(WITHDRAWN_ANNOTATION) != version:
            return None
        return str(annotations.get(REASON_ANNOTATION, ""))

    def to_send(self, replaced: "SeldonDeployment | None" = None) -> Manifest:
        """The manifest for the API, without what the cluster has added to it.

        Args:
            replaced: as the cluster has it, where it is to be replaced.
        """
        metadata = self.manifest["metadata"].items()
        kept = {key: value for key, value in metadata if key not in SET_BY_CLUSTER}
        if replaced:
            kept["resourceVersion"] = replaced.manifest["metadata"]["resourceVersion"]
        made = {key: value for key, value in self.manifest.items() if key != "status"}
        return {**made, "metadata": kept}

    def _copy(self) -> "SeldonDeployment":
        return SeldonDeployment(
            {key: copy.deepcopy(value) for key, value in self.manifest.items() if key != "status"}
        )


def _version(predictor: Manifest) -> str | None:
    metadata = predictor["componentSpecs"][0].get("metadata", {})
    annotations: dict[str, str] = metadata.get("annotations", {})
    return annotations.get(VERSION_ANNOTATION)
