"""The SeldonDeployment as the cluster receives it."""

from dataclasses import replace

import pytest
import yaml

from kalecast.cluster.deployment import DeploymentSettings, on_cluster, render, service
from kalecast.cluster.seldon_deployment import DeploymentError
from kalecast.cluster.standalone import main, stand_alone

URI = "s3://models/forecaster.onnx"
SETTINGS = DeploymentSettings(name="kalecast", namespace="team", image="registry.local/server:1")


def test_the_container_carries_the_graphs_name_uri_and_probes():
    (predictor,) = render(URI, "v1", SETTINGS).predictors
    (component,) = predictor["componentSpecs"]
    (container,) = component["spec"]["containers"]
    assert container["name"] == predictor["graph"]["name"]
    (parameter,) = predictor["graph"]["parameters"]
    assert parameter["value"] == URI
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"].startswith("/health/")
    assert component["metadata"]["annotations"]["kalecast/model-version"] == "v1"


def test_one_service_leads_to_the_pods_of_every_predictor():
    (predictor,) = render(URI, "v1", SETTINGS).predictors
    labels = predictor["componentSpecs"][0]["metadata"]["labels"]
    made = service(SETTINGS)
    assert made["metadata"]["name"] == SETTINGS.service
    assert made["spec"]["selector"].items() <= labels.items()


@pytest.mark.parametrize("scales", [True, False])
def test_the_operator_scales_unless_other_means_do(scales: bool):
    (predictor,) = render(URI, "v1", replace(SETTINGS, scales=scales)).predictors
    (component,) = predictor["componentSpecs"]
    assert component["pdbSpec"] == {"maxUnavailable": 1}
    assert ("replicas" in predictor) is ("hpaSpec" in component) is scales
    if scales:
        assert component["hpaSpec"]["minReplicas"] == predictor["replicas"]


@pytest.mark.parametrize("standalone", [False, True])
def test_the_command_writes_what_the_cluster_takes(
    standalone: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    options = ["--standalone"] if standalone else []
    monkeypatch.setattr("sys.argv", ["deployment", URI, "--model-version", "v1", *options])
    main()
    deployment = render(URI, "v1", DeploymentSettings())
    written = list(yaml.safe_load_all(capsys.readouterr().out))
    server = stand_alone(deployment) if standalone else [deployment.manifest]
    assert written == [*server, service(DeploymentSettings())]


def test_impossible_replicas_are_refused():
    with pytest.raises(ValueError, match="minimum_replicas"):
        DeploymentSettings(minimum_replicas=5, maximum_replicas=2)


def test_this_machine_is_no_cluster(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert not on_cluster()
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert on_cluster()


@pytest.mark.parametrize("uri", ["models/forecaster.onnx", "file:///models/forecaster.onnx"])
def test_a_path_is_refused_because_pods_cannot_reach_it(uri: str):
    with pytest.raises(DeploymentError, match="every pod can reach"):
        render(uri, "v1", SETTINGS)
