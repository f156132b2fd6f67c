"""Hold every manifest against checkov's policies for Kubernetes: `make policies`.

What is checked is what runs: each overlay as kustomize renders it, with what operators make of
custom resources (checkov looks past those), and the other steps' objects. What may fail, and why,
is said in policy-exceptions.yaml. Nothing is fetched from the network.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kalecast.cluster import manifests
from kalecast.cluster.seldon_deployment import SeldonDeployment
from kalecast.cluster.standalone import stand_alone
from kalecast.project import PROJECT

CHECKOV = PROJECT / ".venv" / "policies" / "bin" / "checkov"
EXCEPTIONS = PROJECT / "cluster-setup" / "policy-exceptions.yaml"

ELSEWHERE = "CKV2_K8S_6"
"""Whether each pod has a network policy. It takes one overlay's for another's, and is content with
any; tests/cluster/test_manifests.py looks for one in each that denies both directions."""

PARTS = ("base", "components", "overlays")
"""Folders of step 6 whose objects are looked at as kustomize renders them."""

Object = dict[str, Any]


@dataclass(frozen=True, order=True)
class Finding:
    """A policy that an object does not keep."""

    group: str
    """The overlay or step that the object is of."""
    title: str
    """Its kind and name."""
    check: str
    name: str
    """What the policy requires, in checkov's words."""

    def __str__(self) -> str:
        return f"{self.group}: {self.title}: {self.check} {self.name}"


@dataclass(frozen=True)
class Accepted:
    """A policy that some objects need not keep."""

    check: str
    name: str
    objects: str
    """Their titles, as a regular expression."""
    why: str

    def covers(self, finding: Finding) -> bool:
        """Whether it explains a finding."""
        return finding.check == self.check and bool(re.fullmatch(self.objects, finding.title))


def title(one: Object) -> str:
    """Kind and name."""
    return f"{one['kind']}/{one['metadata']['name']}"


##### What is checked #####


def groups() -> dict[str, list[Object]]:
    """The objects by overlay, and by step where a step has no overlays of its own."""
    command = manifests.kubectl()
    rendered = {
        name: list(yaml.safe_load_all(manifests.build(folder, command)))
        for name, folder in manifests.overlays().items()
    }
    return {name: expanded(objects) for name, objects in {**rendered, **_other_steps()}.items()}


def expanded(objects: Iterable[Object]) -> list[Object]:
    """Objects, and beside custom resources what their operators make of them."""
    return [more for one in objects for more in (one, *_made_of(one))]


def _made_of(one: Object) -> Iterator[Object]:
    if one["kind"] == "SeldonDeployment":
        yield from stand_alone(SeldonDeployment(one))
    if one["kind"] == "Notebook":
        labels = {"statefulset": one["metadata"]["name"]}
        template = {"metadata": {"labels": labels}, **one["spec"]["template"]}
        yield {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {key: one["metadata"][key] for key in ("name", "namespace")},
            "spec": {"selector": {"matchLabels": labels}, "template": template},
        }


def _other_steps() -> dict[str, list[Object]]:
    """Whole objects in the files of the other steps; not settings, patches and templates."""
    found: dict[str, list[Object]] = {}
    rendered = (manifests.STEP, *(manifests.PROTECTION / part for part in PARTS))
    for path in sorted(manifests.STEP.parent.glob("*/**/*.yaml")):
        if not set(rendered) & set(path.parents):
            step = path.relative_to(manifests.STEP.parent).parts[0]
            found.setdefault(step, []).extend(filter(_is_whole, _documents(path)))
    return {step: objects for step, objects in found.items() if objects}


def _documents(path: Path) -> list[Any]:
    try:
        return list(yaml.safe_load_all(path.read_text()))
    except yaml.YAMLError:  # a template of something else
        return []


def _is_whole(document: Any) -> bool:
    if not isinstance(document, dict) or not {"apiVersion", "kind", "metadata"} <= set(document):
        return False
    return all("image" in container for container in _containers(document))


def _containers(one: Object) -> list[Object]:
    spec = one.get("spec") or {}
    pod = spec.get("jobTemplate", {}).get("spec", spec).get("template", {}).get("spec", spec)
    return [*pod.get("containers", []), *pod.get("initContainers", [])]


##### What checkov says #####


def findings(groups: dict[str, list[Object]]) -> list[Finding]:
    """The policies that objects do not keep.

    Raises:
        RuntimeError: checkov's own words, where it cannot read them all.
    """
    with tempfile.TemporaryDirectory() as folder:
        written: dict[str, tuple[str, Object]] = {}
        for group, objects in groups.items():
            for number, one in enumerate(objects):
                path = Path(folder, group, f"{number}.yaml")
                path.parent.mkdir(exist_ok=True)
                path.write_text(yaml.safe_dump(_in_namespace(one, group)))
                written[f"/{group}/{path.name}"] = (group, one)
        report = _report(folder)
    if report["summary"]["parsing_errors"]:
        raise RuntimeError(f"checkov cannot read: {report['results']['parsing_errors']}")
    return sorted(
        Finding(group, title(one), failed["check_id"], failed["check_name"])
        for failed in report["results"]["failed_checks"]
        for group, one in [written[failed["file_path"]]]
    )


def _in_namespace(one: Object, group: str) -> Object:
    """With a namespace, which kustomize gives to what has none in its file."""
    return {**one, "metadata": {"namespace": group, **one["metadata"]}}


def _report(folder: str) -> Any:
    options = ("--framework=kubernetes", "--skip-download", "--compact", "--output=json")
    done = subprocess.run(
        [CHECKOV, f"--directory={folder}", f"--skip-check={ELSEWHERE}", *options],
        cwd=folder,
        env={**os.environ, "LOG_LEVEL": "ERROR"},
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        report = json.loads(done.stdout)
    except json.JSONDecodeError:
        raise RuntimeError(f"checkov: {done.stderr.strip() or done.stdout.strip()}") from None
    return report


##### What may fail #####


def exceptions() -> list[Accepted]:
    """Those of policy-exceptions.yaml."""
    return [Accepted(**one) for one in yaml.safe_load(EXCEPTIONS.read_text())]


def unexplained(found: list[Finding], accepted: list[Accepted]) -> list[Finding]:
    """Findings that no exception covers."""
    return [one for one in found if not any(exception.covers(one) for exception in accepted)]


def needless(found: list[Finding], accepted: list[Accepted]) -> list[Accepted]:
    """Exceptions that cover no finding."""
    return [one for one in accepted if not any(one.covers(finding) for finding in found)]


def main() -> int:
    """Print what fails, and why it may."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    found, accepted = findings(groups()), exceptions()
    for exception in accepted:
        covered = sorted({f"{one.group}/{one.title}" for one in found if exception.covers(one)})
        print(f"accepted  {exception.check} {exception.name}: {', '.join(covered)}")
        print(f"          {exception.why}")
    failures = [
        *(f"FAILED    {one}" for one in unexplained(found, accepted)),
        *(f"NEEDLESS  {one.check} for {one.objects}" for one in needless(found, accepted)),
    ]
    print("\n".join(failures) or "No policy fails without an explanation.")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
