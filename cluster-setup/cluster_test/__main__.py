"""The command: say what will be done, do it in a namespace of its own, say what was seen."""

import contextlib
import json
import secrets
import sys
import time
from collections.abc import Callable, Sequence

import manifests
import yaml

from kalecast.contract import ContractError
from kalecast.runtime import Forecaster

from . import helpers, parameters, rendering
from .checks import NAMES, Check, chosen, make
from .kube import Kube, KubeError, call
from .outcomes import CheckFailed, Result, as_json, counts, table
from .own_namespace import (
    Ends,
    NamespaceLeftError,
    NamespaceNotOursError,
    Stopped,
    own_namespace,
)
from .parameters import ParameterError, Parameters
from .rendering import Rendered
from .scene import Scene, is_ready, trouble

PERMANENT = (helpers.STORE, helpers.CLIENT, helpers.STRANGER)
"""The test's own pods."""


class CannotStartError(RuntimeError):
    """There is nothing to test, or nothing to test it on."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Test; 0: all as it should be, 1: not, 2: it could not begin, more: stopped by a signal."""
    began = time.monotonic()

    def log(line: str) -> None:
        # A closed terminal must not keep the namespace from being removed.
        with contextlib.suppress(OSError):
            print(f"[{time.monotonic() - began:5.0f} s] {line}", file=sys.stderr, flush=True)

    try:
        asked, kube, rendered = _prepared(arguments)
        work, model = _model(asked)
        print(plan(asked, rendered, _cluster(kube, asked)), flush=True)
    except (ParameterError, CannotStartError, helpers.ModelTooLargeError) as error:
        print(f"cluster_test: {error}", file=sys.stderr)
        return 2
    if asked.dry_run or work is None:
        return 0
    scene = Scene(kube, asked, rendered, work, rendering.least_pods(rendered.objects), log)
    return _run(scene, model, log, began)


def plan(asked: Parameters, rendered: Rendered, cluster: str) -> str:
    """What is going to happen, in words."""
    listed = "\n".join(f"  - {line}" for line in (*rendered.changes, *helpers.CHANGES))
    left_out = "".join(f"\n  - not applied: {one}" for one in rendered.left_out)
    checks = "\n".join(f"  {check.name:<10} {check.description}" for check in _chosen(asked))
    images = "".join(
        f"\n  {name}: {image}" for name, image in rendering.images(rendered.objects).items()
    )
    after = "is left there (--keep)" if asked.keep else "is removed at the end, whatever happens"
    return (
        f"Cluster: {cluster}\n"
        f"Makes the namespace {asked.namespace}, which {after}; no other is touched. Should this "
        f"be killed: kubectl delete namespace {asked.namespace}\n"
        f"Applies there the {len(rendered.objects)} objects of the overlay {asked.overlay}, with "
        f"the images{images}\nDifferent from the overlay:\n{listed}{left_out}\n"
        f"Looks at:\n{checks}\n"
    )


def _prepared(arguments: Sequence[str] | None) -> tuple[Parameters, Kube, Rendered]:
    overlays = {
        name: folder
        for name, folder in manifests.overlays().items()
        if folder.parent == manifests.STEP / "overlays"
    }
    asked = parameters.read(arguments, tuple(overlays), NAMES)
    try:
        command = manifests.kubectl()
        built = manifests.build(overlays[asked.overlay], command)
    except (manifests.NoKubectlError, RuntimeError) as error:
        raise CannotStartError(str(error)) from error
    rendered = rendering.render(list(yaml.safe_load_all(built)), asked)
    return asked, Kube(command, asked.namespace), rendered


def _model(asked: Parameters) -> tuple[helpers.Loads | None, bytes]:
    if asked.dry_run:
        return None, b""
    model = asked.model.read_bytes()
    try:
        return helpers.loads(Forecaster(model)), model
    except ContractError as error:
        raise CannotStartError(f"{asked.model}: {error}") from error


def _cluster(kube: Kube, asked: Parameters) -> str:
    """The server's name and version.

    Raises:
        CannotStartError: none answers.
    """
    if asked.dry_run:
        return "none is asked (--dry-run)"
    try:
        version = json.loads(call(kube.command, "version", "--output=json"))["serverVersion"]
    except (KubeError, KeyError) as error:
        raise CannotStartError(
            f"no cluster answers: does KUBECONFIG name the right one? {error}"
        ) from error
    return f"{_address(kube)}, Kubernetes {version['gitVersion']}"


def _address(kube: Kube) -> str:
    """Of the API, for whoever wants to be sure that it is the right one."""
    with contextlib.suppress(KubeError, IndexError, TypeError):
        config = call(kube.command, "config", "view", "--minify", "--output=json")
        return str(json.loads(config)["clusters"][0]["cluster"]["server"])
    return "the one that this pod runs on"


def _run(scene: Scene, model: bytes, log: Callable[[str], None], began: float) -> int:
    asked, results, reported_trouble, code = scene.parameters, [], "", 0
    made = helpers.namespace(asked.namespace, scene.rendered.namespace_labels, secrets.token_hex(8))
    try:
        with Ends(log) as ends, own_namespace(scene.kube, made, ends, asked.keep, log):
            _set_up(scene, model)
            # One by one: those before a failure or a signal are told, too.
            for result in make(_chosen(asked), scene, log):
                results += [result]
    except Stopped as stopped:
        reported_trouble, code = f"stopped by {stopped}", stopped.exit_code
    except (NamespaceNotOursError, NamespaceLeftError, CheckFailed, KubeError) as error:
        reported_trouble, code = str(error), 1
    _print(results, asked, reported_trouble, time.monotonic() - began)
    return code or int(bool(counts(results, asked.required)))


def _set_up(scene: Scene, model: bytes) -> None:
    """The test's own pods, ready."""
    image = rendering.images(scene.rendered.objects)[rendering.SERVER]
    for one in helpers.objects(image, model, scene.work, scene.parameters):
        scene.kube.apply([one])

    def missing() -> str:
        pods = {pod["metadata"]["name"]: pod for pod in scene.kube.items("pods")}
        waiting = [name for name in PERMANENT if name not in pods or not is_ready(pods[name])]
        why = next(filter(None, (trouble(pods[name]) for name in waiting if name in pods)), "")
        return f"{', '.join(waiting)} {why}".strip() if waiting else ""

    scene.wait("the test's own pods", missing)


def _print(results: list[Result], asked: Parameters, reported_trouble: str, seconds: float) -> None:
    print(f"\n{table(results)}\n")
    wrong = [one.check for one in counts(results, asked.required)]
    if wrong:
        print(f"Not as it should be: {', '.join(wrong)}")
    if reported_trouble:
        print(reported_trouble)
    summary = {
        "overlay": asked.overlay,
        "namespace": asked.namespace,
        "seconds": round(seconds, 1),
        "error": reported_trouble,
        **as_json(results, asked.required),
    }
    summary["ok"] = summary["ok"] and not reported_trouble
    print(json.dumps(summary), flush=True)


def _chosen(asked: Parameters) -> list[Check]:
    return chosen(asked.only)


if __name__ == "__main__":
    sys.exit(main())
