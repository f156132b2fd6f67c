"""The command: say what will be done, do it in a namespace of its own, say what was seen."""

import contextlib
import json
import secrets
import sys
import time
from collections.abc import Callable

import yaml

from benchmarks.cluster_test import helpers, rendering
from benchmarks.cluster_test import options as parameters
from benchmarks.cluster_test.checks import NAMES, chosen, make
from benchmarks.cluster_test.context import Context
from benchmarks.cluster_test.kube import Kube, KubeError, call
from benchmarks.cluster_test.options import Parameters
from benchmarks.cluster_test.outcomes import CheckFailed, Result, as_json, counts, table
from benchmarks.cluster_test.own_namespace import (
    NamespaceError,
    StoppedBySignal,
    own_namespace,
)
from benchmarks.cluster_test.rendering import Rendered
from kalecast.artifact.contract import ContractError
from kalecast.artifact.runtime import Forecaster
from kalecast.cluster import manifests
from kalecast.cluster.pods import Pod

PERMANENT = (helpers.STORE, helpers.CLIENT, helpers.STRANGER)
"""The test's own pods."""


class CannotStartError(RuntimeError):
    """There is nothing to test, or nothing to test it on."""


def main(arguments: list[str] | None = None) -> int:
    """Test; 0: all as it should be, 1: not, 2: it could not begin, more: stopped by a signal."""
    began = time.monotonic()

    def log(line: str) -> None:
        # A closed terminal must not keep the namespace from being removed.
        with contextlib.suppress(OSError):
            print(f"[{time.monotonic() - began:5.0f} s] {line}", file=sys.stderr, flush=True)

    try:
        options, kube, rendered = _prepared(arguments)
        work, model = _model(options)
        print(plan(options, rendered, _cluster(kube, options)), flush=True)
    except (CannotStartError, helpers.ModelTooLargeError) as error:
        print(f"cluster_test: {error}", file=sys.stderr)
        return 2
    if options.dry_run or work is None:
        return 0
    context = Context(kube, options, rendered, work, rendering.least_pods(rendered.objects), log)
    return _run(context, model, log, began)


def plan(options: Parameters, rendered: Rendered, cluster: str) -> str:
    """What is going to happen, in words."""
    listed = "\n".join(f"  - {line}" for line in (*rendered.changes, *helpers.CHANGES))
    left_out = "".join(f"\n  - not applied: {one}" for one in rendered.left_out)
    checks = "\n".join(f"  {one.name:<10} {one.description}" for one in chosen(options.only))
    images = "".join(
        f"\n  {name}: {image}" for name, image in rendering.images(rendered.objects).items()
    )
    after = "is left there (--keep)" if options.keep else "is removed at the end, whatever happens"
    return (
        f"Cluster: {cluster}\n"
        f"Makes the namespace {options.namespace}, which {after}; no other is touched. Should this "
        f"be killed: kubectl delete namespace {options.namespace}\n"
        f"Applies there the {len(rendered.objects)} objects of the overlay {options.overlay}, with "
        f"the images{images}\nDifferent from the overlay:\n{listed}{left_out}\n"
        f"Looks at:\n{checks}\n"
    )


def _prepared(arguments: list[str] | None) -> tuple[Parameters, Kube, Rendered]:
    overlays = {
        name: folder
        for name, folder in manifests.overlays().items()
        if folder.parent == manifests.STEP / "overlays"
    }
    options = parameters.read(arguments, tuple(overlays), NAMES)
    try:
        command = manifests.kubectl()
        built = manifests.build(overlays[options.overlay], command)
    except (manifests.NoKubectlError, RuntimeError) as error:
        raise CannotStartError(str(error)) from error
    rendered = rendering.render(list(yaml.safe_load_all(built)), options)
    return options, Kube(command, options.namespace), rendered


def _model(options: Parameters) -> tuple[helpers.Loads | None, bytes]:
    if options.dry_run:
        return None, b""
    model = options.model.read_bytes()
    try:
        return helpers.loads(Forecaster(model)), model
    except ContractError as error:
        raise CannotStartError(f"{options.model}: {error}") from error


def _cluster(kube: Kube, options: Parameters) -> str:
    """The server's name and version.

    Raises:
        CannotStartError: none answers.
    """
    if options.dry_run:
        return "none is contacted (--dry-run)"
    try:
        version = json.loads(call(kube.command, "version", "--output=json"))["serverVersion"]
    except (KubeError, KeyError) as error:
        raise CannotStartError(
            f"no cluster answers: does KUBECONFIG name the right one? {error}"
        ) from error
    return f"{_address(kube)}, Kubernetes {version['gitVersion']}"


def _address(kube: Kube) -> str:
    """Of the API, to be sure that it is the right one."""
    with contextlib.suppress(KubeError, IndexError, TypeError):
        config = call(kube.command, "config", "view", "--minify", "--output=json")
        return str(json.loads(config)["clusters"][0]["cluster"]["server"])
    return "the one that this pod runs on"


def _run(context: Context, model: bytes, log: Callable[[str], None], began: float) -> int:
    options, results, problem, code = context.parameters, [], "", 0
    made = helpers.namespace(
        options.namespace, context.rendered.namespace_labels, secrets.token_hex(8)
    )
    try:
        with own_namespace(context.kube, made, options.keep, log):
            _set_up(context, model)
            # One by one: those before a failure or a signal are reported, too.
            for result in make(chosen(options.only), context, log):
                results += [result]
    except StoppedBySignal as stopped:
        problem, code = f"stopped by {stopped}", stopped.exit_code
    except (NamespaceError, CheckFailed, KubeError) as error:
        problem, code = str(error), 1
    _print(results, options, problem, time.monotonic() - began)
    return code or int(bool(counts(results, options.required)))


def _set_up(context: Context, model: bytes) -> None:
    """The test's own pods, ready."""
    image = rendering.images(context.rendered.objects)[rendering.SERVER]
    for one in helpers.objects(image, model, context.work, context.parameters):
        context.kube.apply([one])

    def missing() -> str:
        pods = {pod.name: pod for pod in map(Pod.of, context.kube.items("pods"))}
        waiting = [name for name in PERMANENT if name not in pods or not pods[name].is_ready]
        there = (pods[name] for name in waiting if name in pods)
        why = [str(problem) for pod in there for problem in pod.problems(context.read_log)]
        return " ".join([", ".join(waiting), *why[:1]])

    context.wait("the test's own pods", missing)


def _print(results: list[Result], options: Parameters, problem: str, seconds: float) -> None:
    print(f"\n{table(results)}\n")
    wrong = [one.check for one in counts(results, options.required)]
    if wrong:
        print(f"Not as it should be: {', '.join(wrong)}")
    if problem:
        print(problem)
    summary = {
        "overlay": options.overlay,
        "namespace": options.namespace,
        "seconds": round(seconds, 1),
        "error": problem,
        **as_json(results, options.required),
    }
    summary["ok"] = summary["ok"] and not problem
    print(json.dumps(summary), flush=True)


if __name__ == "__main__":
    sys.exit(main())
