"""A model that is none, and a URI where nothing is: neither is served, and the old one stays."""

import json

from benchmarks.cluster_test.context import MODEL_SERVER, Context
from benchmarks.cluster_test.loads import light, under_load
from benchmarks.cluster_test.outcomes import CheckFailed
from kalecast.cluster.deployment import DeploymentSettings, render
from kalecast.cluster.kubernetes_api import Cluster
from kalecast.cluster.pods import Pod, last_log_line
from kalecast.cluster.rollout import Timeouts, roll_out
from kalecast.cluster.seldon_deployment import (
    VERSION_ANNOTATION,
    DeploymentError,
    SeldonDeployment,
)

BAD = {
    "no-model": "s3://kalecast/models/no-model.onnx",
    "not-there": "s3://kalecast/models/not-there.onnx",
}
"""Versions and their URIs, in the test's store."""


def bad_model(context: Context) -> str:
    """Roll out each under load: no forecast may fail, and the rollback must work."""
    results = []
    page, server = light(context.work.page, False), light(context.work.server, False)
    roll = _with_operator if context.rendered.has_seldon else _without_operator
    with under_load(context.kube, page, server) as (through, direct):
        for version, uri in BAD.items():
            results.append(f"{version}: {roll(context, version, uri)}")
            context.settle()
    for totals in (through, direct):
        totals.judge()
    return f"{'; '.join(results)}; page {through}; model server {direct}"


def _without_operator(context: Context, version: str, uri: str) -> str:
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
    context.kube.do("patch", deployment, "--type=strategic", f"--patch={patch}")
    try:
        context.wait("a pod with it to end", lambda: _still_runs(context, version))
        bad = _of_version(context, version)[0]
        log_line = last_log_line(bad, MODEL_SERVER.container, context.read_log)
        serving = [pod for pod in context.ready_pods(MODEL_SERVER) if pod.model_version != version]
        if len(serving) < context.least[MODEL_SERVER.deployment]:
            raise CheckFailed(f"only {len(serving)} pods with the model before are left")
    finally:
        context.kube.do("rollout", "undo", deployment)
    return f"its pod ended with '{log_line}', {len(serving)} pods went on serving, undone"


def _with_operator(context: Context, version: str, uri: str) -> str:
    """As the pipeline's step `deploy` does it."""
    (manifest,) = context.rendered.of_kind("SeldonDeployment")
    bad = SeldonDeployment(manifest).with_model_of(render(uri, version, DeploymentSettings()))
    try:
        roll_out(bad, _cluster(), context.log, Timeouts(total=context.parameters.timeout))
    except DeploymentError as error:
        if "serves again" not in str(error):
            raise CheckFailed(str(error)) from error
        return str(error)
    raise CheckFailed("the rollout says that it serves")


def _cluster() -> Cluster:
    """The client that the rollout uses, by the same KUBECONFIG."""
    from kubernetes import config

    return Cluster(config.new_client_from_config())


def _still_runs(context: Context, version: str) -> str:
    pods = _of_version(context, version)
    if any(pod.is_ready for pod in pods):
        raise CheckFailed(f"a pod with the bad model ({version}) takes requests")
    if any(one.restarts or one.terminated for pod in pods for one in pod.containers):
        return ""
    return "no pod with the bad model yet" if not pods else "it has not ended yet"


def _of_version(context: Context, version: str) -> list[Pod]:
    return [pod for pod in context.pods(MODEL_SERVER) if pod.model_version == version]
