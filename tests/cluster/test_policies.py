"""Checkov's policies: kept, or excepted with a reason; and that breaking one is noticed."""

import copy
from collections.abc import Callable
from functools import cache

import pytest
from kubernetes_objects import Object, expanded, of_kind, policies, templates

pytestmark = pytest.mark.slow

BREAKS: dict[str, tuple[Callable[[Object], object], str]] = {
    "a container that is privileged": (
        lambda pod: pod["containers"][0]["securityContext"].update(privileged=True),
        "CKV_K8S_16",
    ),
    "a root file system that can be written": (
        lambda pod: pod["containers"][0]["securityContext"].pop("readOnlyRootFilesystem"),
        "CKV_K8S_22",
    ),
    "a token for the Kubernetes API": (
        lambda pod: pod.pop("automountServiceAccountToken"),
        "CKV_K8S_38",
    ),
    "a privileged container that comes first": (
        lambda pod: pod.update(
            initContainers=[
                {"name": "first", "image": "first", "securityContext": {"privileged": True}}
            ]
        ),
        "CKV_K8S_16",
    ),
    "memory without an end": (
        lambda pod: pod["containers"][0]["resources"].pop("limits"),
        "CKV_K8S_13",
    ),
}
"""What is done to the pods of a manifest, and the policy that it breaks."""


@cache
def groups() -> dict[str, list[Object]]:
    return policies.groups()


@cache
def found() -> list[policies.Finding]:
    return policies.findings(groups())


@cache
def found_in_broken() -> list[policies.Finding]:
    """Of an overlay for each break, in one run."""
    production = expanded()["production"]
    made = {"whole": production}
    for name, (harm, _) in BREAKS.items():
        broken = copy.deepcopy(production)
        for one in of_kind(broken, "SeldonDeployment"):
            harm(one["spec"]["predictors"][0]["componentSpecs"][0]["spec"])
        made[name] = policies.expanded(of_kind(broken, "SeldonDeployment"))
    return policies.findings(made)


def unexplained_in(group: str) -> set[str]:
    return {
        one.check
        for one in policies.unexplained(found_in_broken(), policies.exceptions())
        if one.group == group
    }


def test_no_policy_fails_without_an_explanation():
    assert not [str(one) for one in policies.unexplained(found(), policies.exceptions())]


def test_every_exception_is_needed_and_says_why():
    accepted = policies.exceptions()
    assert not policies.needless(found(), accepted)
    names = {one.check: one.name for one in found()}
    for one in accepted:
        assert one.name == names[one.check], one.check
        assert len(one.why.split()) > 5, one.check


def test_an_exception_that_is_taken_away_is_missed():
    for one in policies.exceptions():
        others = [other for other in policies.exceptions() if other != one]
        assert {finding.check for finding in policies.unexplained(found(), others)} == {one.check}


def test_an_exception_that_is_not_needed_is_noticed():
    accepted = policies.exceptions()
    idle = policies.Accepted("CKV_K8S_16", "any", ".*", "any")
    elsewhere = policies.Accepted("CKV_K8S_11", "any", "Deployment/other", "any")
    assert policies.needless(found(), [*accepted, idle, elsewhere]) == [
        idle,
        elsewhere,
    ]


@pytest.mark.parametrize("name", sorted(BREAKS))
def test_what_a_custom_resource_breaks_is_noticed(name: str):
    assert not unexplained_in("whole")
    assert BREAKS[name][1] in unexplained_in(name)


def test_every_workload_of_an_overlay_is_checked():
    for overlay in expanded():
        owners = {template.owner.rpartition("/")[2] for template in templates(overlay)}
        workloads = of_kind(groups()[overlay], "Deployment", "StatefulSet")
        assert owners == {one["metadata"]["name"] for one in workloads}


def test_other_steps_are_checked_without_patches_and_settings():
    assert "Role/kalecast-deployer" in map(policies.title, groups()["3-seldon-core"])
    assert not of_kind(groups()["3-seldon-core"], "Deployment", "Kustomization")


def test_what_checkov_cannot_read_is_reported(tmp_path, monkeypatch: pytest.MonkeyPatch):
    program = tmp_path / "checkov"
    program.write_text("#!/bin/sh\necho out of order >&2\nexit 2\n")
    program.chmod(0o755)
    monkeypatch.setattr(policies, "CHECKOV", program)
    with pytest.raises(RuntimeError, match="out of order"):
        policies.findings({"any": []})
