"""A model that is none, and a URI where nothing is: neither is served, and the old one stays."""

import copy
import json

from kalecast.deployment import DeploymentError
from kalecast.pods import VERSION_ANNOTATION, Cluster
from kalecast.rollout import Timeouts, roll_out

from .kube import Object
from .loads import light, under_load
from .outcomes import CheckFailed
from .scene import MODEL_SERVER, Scene, ends, is_ready

BAD = {
    "no-model": "s3://kalecast/models/no-model.onnx",
    "not-there": "s3://kalecast/models/not-there.onnx",
}
"""Versions and their URIs, in the test's store."""


def bad_model(scene: Scene) -> str:
    """Roll out each under load: no forecast may fail, and the way back must work."""
    results = []
    page, server = light(scene.work.page, False), light(scene.work.server, False)
    roll = _with_operator if scene.rendered.has_seldon else _without_operator
    with under_load(scene.kube, page, server) as (through, direct):
        for version, uri in BAD.items():
            results.append(f"{version}: {roll(scene, version, uri)}")
            scene.settle()
    for totals in (through, direct):
        totals.judge()
    return f"{'; '.join(results)}; page {through}; model server {direct}"


def _without_operator(scene: Scene, version: str, uri: str) -> str:
    """A rollout of the Deployment: it must get stuck at its first pod, and can be undone."""
    deployment = f"deployment/{MODEL_SERVER.deployment}"
    change = {
        "metadata": {"annotations": {VERSION_ANNOTATION: version}},
        "spec": {
            "containers": [
                {"name": MODEL_SERVER.container, "env": [{"name": "MODEL_URI", "value": uri}]}
            ]
        },
    }
    patch = json.dumps({"spec": {"template": change}})
    scene.kube.do("patch", deployment, "--type=strategic", f"--patch={patch}")
    try:
        scene.wait("a pod with it to end", lambda: _still_runs(scene, version))
        bad = _of_version(scene, version)[0]["metadata"]["name"]
        words = scene.last_words(bad, MODEL_SERVER.container)
        serving = [one for one in scene.ready_pods(MODEL_SERVER) if _version(one) != version]
        if len(serving) < scene.least[MODEL_SERVER.deployment]:
            raise CheckFailed(f"only {len(serving)} pods with the model before are left")
    finally:
        scene.kube.do("rollout", "undo", deployment)
    return f"its pod ended with '{words}', {len(serving)} pods went on serving, undone"


def _with_operator(scene: Scene, version: str, uri: str) -> str:
    """As the pipeline's step `deploy` does it."""
    (manifest,) = copy.deepcopy(scene.rendered.of_kind("SeldonDeployment"))
    (predictor,) = manifest["spec"]["predictors"]
    for parameter in predictor["graph"]["parameters"]:
        if parameter["name"] == "model_uri":
            parameter["value"] = uri
    (component,) = predictor["componentSpecs"]
    component["metadata"]["annotations"][VERSION_ANNOTATION] = version
    try:
        roll_out(manifest, _cluster(), scene.log, Timeouts(total=scene.parameters.patience))
    except DeploymentError as error:
        if "serves again" not in str(error):
            raise CheckFailed(str(error)) from error
        return str(error)
    raise CheckFailed("the rollout says that it serves")


def _cluster() -> Cluster:
    """What the rollout asks, by the same KUBECONFIG."""
    from kubernetes import client, config

    api = config.new_client_from_config()
    return Cluster(client.CustomObjectsApi(api), client.CoreV1Api(api))


def _still_runs(scene: Scene, version: str) -> str:
    pods = _of_version(scene, version)
    if any(map(is_ready, pods)):
        raise CheckFailed(f"a pod with the bad model ({version}) takes requests")
    if any(map(ends, pods)):
        return ""
    return "no pod with the bad model yet" if not pods else "it has not ended yet"


def _of_version(scene: Scene, version: str) -> list[Object]:
    return [pod for pod in scene.pods(MODEL_SERVER) if _version(pod) == version]


def _version(pod: Object) -> str:
    return str(pod["metadata"].get("annotations", {}).get(VERSION_ANNOTATION))
