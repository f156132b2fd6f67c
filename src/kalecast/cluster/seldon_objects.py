"""SeldonDeployments in a cluster: read, written whole, and what stands in them."""

import copy
from typing import Any

from kalecast.cluster.deployment import DEFAULT, GROUP, PLURAL, VERSION, DeploymentError
from kalecast.cluster.pods import VERSION_ANNOTATION, Cluster, call

WITHDRAWN_ANNOTATION = "kalecast/withdrawn-version"
REASON_ANNOTATION = "kalecast/withdrawn-reason"
WRITE_ATTEMPTS = 5
SET_BY_CLUSTER = (
    *("creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"),
)

Manifest = dict[str, Any]


def current(manifest: Manifest, cluster: Cluster) -> Manifest | None:
    """The object of the same name as the cluster has it, where it has one.

    Raises:
        DeploymentError: the cluster gives no answer.
    """
    from kubernetes.client.exceptions import ApiException

    try:
        found: Manifest = call(
            cluster.custom.get_namespaced_custom_object,
            **_place(manifest),
            name=name_of(manifest),
        )
    except ApiException as error:
        if error.status == 404:
            return None
        raise _refused(manifest, error) from error
    return found


def put(manifest: Manifest, before: Manifest | None, cluster: Cluster) -> None:
    """Create an object, or replace the one before it whole: a patch would leave old fields.

    Raises:
        DeploymentError: the cluster refuses it, and why.
    """
    from kubernetes.client.exceptions import ApiException

    for attempts_left in reversed(range(WRITE_ATTEMPTS)):
        try:
            if before is None:
                call(
                    cluster.custom.create_namespaced_custom_object,
                    **_place(manifest),
                    body=_as_sent(manifest),
                )
            else:
                call(
                    cluster.custom.replace_namespaced_custom_object,
                    **_place(manifest),
                    name=name_of(manifest),
                    body=_as_sent(manifest, before),
                )
            return
        except ApiException as error:
            # The operator wrote its status meanwhile, or another client was first.
            if error.status != 409 or not attempts_left:
                raise _refused(manifest, error) from error
            before = current(manifest, cluster)


def _as_sent(manifest: Manifest, before: Manifest | None = None) -> Manifest:
    """An object without what the cluster has added to it, to replace the one before it."""
    metadata = {k: v for k, v in manifest["metadata"].items() if k not in SET_BY_CLUSTER}
    if before:
        metadata["resourceVersion"] = before["metadata"]["resourceVersion"]
    return {**{k: v for k, v in manifest.items() if k != "status"}, "metadata": metadata}


def _refused(manifest: Manifest, error: Any) -> DeploymentError:
    return DeploymentError(
        f"The cluster refused the SeldonDeployment {name_of(manifest)!r} in namespace "
        f"{namespace_of(manifest)!r}: {error.status} {error.reason}. {error.body or ''}".strip()
    )


def _place(manifest: Manifest) -> dict[str, str]:
    namespace = namespace_of(manifest)
    return {"group": GROUP, "version": VERSION, "namespace": namespace, "plural": PLURAL}


def with_one_predictor(manifest: Manifest) -> Manifest:
    """A copy with the default predictor alone: without a canary left behind."""
    alone = copy.deepcopy(manifest)
    predictors = alone["spec"]["predictors"]
    predictor = next((one for one in predictors if one["name"] == DEFAULT), predictors[0])
    predictor.pop("traffic", None)
    alone["spec"]["predictors"] = [predictor]
    return alone


def with_model_of(serving: Manifest, manifest: Manifest) -> Manifest:
    """What serves, with the model of another object: its URI and version."""
    renewed = copy.deepcopy(serving)
    (old,), (new,) = (one["spec"]["predictors"] for one in (renewed, manifest))
    old["graph"]["parameters"] = copy.deepcopy(new["graph"]["parameters"])
    metadata = old["componentSpecs"][0].setdefault("metadata", {})
    metadata.setdefault("annotations", {})[VERSION_ANNOTATION] = version_of(manifest)
    return renewed


def with_withdrawn(manifest: Manifest, serving: Manifest, reason: str) -> Manifest:
    """What serves, with a note that the version of `manifest` did not hold, and why."""
    noted = copy.deepcopy(serving)
    noted["metadata"].setdefault("annotations", {}).update(
        {WITHDRAWN_ANNOTATION: version_of(manifest), REASON_ANNOTATION: reason}
    )
    return noted


def why_withdrawn(manifest: Manifest, serving: Manifest) -> str | None:
    """The reason, where what serves has a note that this version did not hold."""
    annotations = serving["metadata"].get("annotations") or {}
    if annotations.get(WITHDRAWN_ANNOTATION) != version_of(manifest):
        return None
    return str(annotations.get(REASON_ANNOTATION, ""))


def name_of(manifest: Manifest) -> str:
    """The object's name."""
    return str(manifest["metadata"]["name"])


def namespace_of(manifest: Manifest) -> str:
    """Where it is."""
    return str(manifest["metadata"]["namespace"])


def version_of(manifest: Manifest) -> str | None:
    """The version of the model that its first predictor serves."""
    component = manifest["spec"]["predictors"][0]["componentSpecs"][0]
    version: str | None = (
        component.get("metadata", {}).get("annotations", {}).get(VERSION_ANNOTATION)
    )
    return version


def port_of(manifest: Manifest, name: str) -> int:
    """A port of its container, by the port's name."""
    (container,) = manifest["spec"]["predictors"][0]["componentSpecs"][0]["spec"]["containers"]
    (port,) = (one["containerPort"] for one in container["ports"] if one["name"] == name)
    return int(port)


def state_of(found: Manifest | None) -> str:
    """The operator's word on it."""
    return ((found or {}).get("status") or {}).get("state") or "Creating"
