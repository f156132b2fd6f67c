"""A rollout ends with the new version's pods ready, or with the old ones back, and says why."""

import re
from collections.abc import Iterator

import pytest
from cluster_double import ClusterDouble, a_cluster

from kalecast.cluster.deployment import DeploymentSettings, render
from kalecast.cluster.rollout import Timeouts, roll_out
from kalecast.cluster.seldon_deployment import DeploymentError, SeldonDeployment

SETTINGS = DeploymentSettings(namespace="team", minimum_replicas=2)
QUICK = Timeouts(total=0.3, pulling=0.05, interval=0.01)


@pytest.fixture
def cluster() -> Iterator[ClusterDouble]:
    with a_cluster() as double:
        yield double


def deployment(version: str) -> SeldonDeployment:
    return render(f"s3://models/forecaster-{version}.onnx", version, SETTINGS)


def roll(cluster: ClusterDouble, version: str) -> list[str]:
    text: list[str] = []
    roll_out(deployment(version), cluster.cluster(), text.append, QUICK)
    return text


def failure(cluster: ClusterDouble, version: str) -> tuple[str, list[str]]:
    text: list[str] = []
    with pytest.raises(DeploymentError) as caught:
        roll_out(deployment(version), cluster.cluster(), text.append, QUICK)
    return str(caught.value), text


def test_a_first_version_is_created_and_awaited(cluster: ClusterDouble):
    assert roll(cluster, "v1") == [
        "SeldonDeployment 'kalecast': applying version v1",
        "SeldonDeployment 'kalecast': Available",
        "version v1 serves with 2 pods",
    ]
    assert cluster.version() == "v1"


def test_the_next_one_replaces_it_whole(cluster: ClusterDouble):
    manifest = deployment("v1").manifest
    cluster.cluster().custom.create_namespaced_custom_object(
        "machinelearning.seldon.io",
        "v1",
        "team",
        "seldondeployments",
        body=manifest | {"spec": {**manifest["spec"], "oauth_key": "old"}},
    )
    roll(cluster, "v2")
    assert cluster.version() == "v2"
    assert "oauth_key" not in cluster.objects["kalecast"]["spec"]


def test_the_operators_word_about_the_old_pods_is_not_taken_for_the_new_ones(
    cluster: ClusterDouble,
):
    roll(cluster, "v1")
    cluster.stale_looks = 4
    assert roll(cluster, "v2")[-1] == "version v2 serves with 2 pods"
    assert cluster.stale_looks < 0


def test_it_waits_until_old_pods_are_gone(cluster: ClusterDouble):
    roll(cluster, "v1")
    cluster.leftover_pods = ["v1"]
    message, _ = failure(cluster, "v2")
    assert re.match(r"Version v2 of 'kalecast' is Available after \d s", message)


@pytest.mark.parametrize(
    ("fate", "reason"),
    [
        ("no-image", "image 'an/image:1' cannot be pulled: manifest unknown"),
        ("no-secret", "container forecaster: secret not found"),
        ("crash", "ended with exit code 1 (Error): the model file is no ONNX file"),
        ("no-room", "no node has room for pod kalecast-v2-0: 0/3 nodes are available"),
        ("starting", "the operator gives no reason"),
    ],
)
def test_what_fails_is_reported_and_the_last_good_version_put_back(
    fate: str, reason: str, cluster: ClusterDouble
):
    roll(cluster, "v1")
    cluster.fates["v2"] = fate
    message, text = failure(cluster, "v2")
    assert reason in message
    assert message.endswith("Version v1 serves again.")
    assert cluster.version() == "v1"
    assert "rolling back to version v1" in text
    assert text[-1] == "version v1 serves with 2 pods"
    assert len(text) == len(set(text)) or text.count("SeldonDeployment 'kalecast': Available") == 2


def test_where_the_kubelet_has_lost_the_log_the_next_ones_is_read(cluster: ClusterDouble):
    cluster.fates["v1"] = "crash"
    cluster.log_before = "unable to retrieve container logs for containerd://0123abcd"
    cluster.log = "loading\nno room on the disk\n"
    assert "(Error): no room on the disk" in failure(cluster, "v1")[0]


def test_two_failures_in_a_row_end_with_the_last_good_version(cluster: ClusterDouble):
    roll(cluster, "v1")
    cluster.fates |= {"v2": "crash", "v3": "no-image"}
    for version in ("v2", "v3"):
        assert "Version v1 serves again." in failure(cluster, version)[0]


def test_a_first_version_that_fails_has_nothing_to_go_back_to(cluster: ClusterDouble):
    cluster.fates["v1"] = "crash"
    message, text = failure(cluster, "v1")
    assert "no ONNX file" in message
    assert "serves again" not in message
    assert not any("going back" in line for line in text)


def test_a_write_between_reading_and_writing_is_tried_again(cluster: ClusterDouble):
    roll(cluster, "v1")
    cluster.refusals = [(409, "the object has been modified")]
    assert roll(cluster, "v2")[-1] == "version v2 serves with 2 pods"


def test_a_refusal_names_object_namespace_and_reason(cluster: ClusterDouble):
    cluster.refusals = [(403, "no such right")]
    message, _ = failure(cluster, "v1")
    assert "'kalecast' in namespace 'team': 403" in message
    assert "no such right" in message
