"""What cluster-setup's step 4 sends to a cluster, with a stand-in for kubectl."""

import base64
import re
from pathlib import Path

import pytest
import yaml
from kubernetes_objects import manifests, title
from setup_scripts import Programs

KUBECTL = """
case " $* " in
  *" kustomize "*) exec "$REAL" "$@" ;;
  *" version "*) exit "$UNREACHABLE" ;;
  *" get namespace "*) echo namespace/any ;;
  *" get "*model_uri*|*" get "*MODEL_URI*) printf '%s' "$SERVED" ;;
  *" get "*model-version*) printf '%s' "${SERVED:+7}" ;;
  *" get secret kalecast-page-token-key "*) cat "$STATE/key-name" 2>/dev/null || true ;;
  *" create secret "*" kalecast-page-token-key --from-env-file=/dev/stdin ")
    echo secret/kalecast-page-token-key >"$STATE/key-name"; cat >>"$STATE/keys" ;;
  *" get crd/scaledobjects.keda.sh "*) printf '%s' "$KEDA" ;;
  *" get deployment/kalecast-default-0-forecaster "*) printf '%s' "$SERVED" ;;
  *" apply "*) echo "$*" >>"$STATE/calls"; cat >>"$STATE/sent" ;;
  *" wait "*) echo "$*" >>"$STATE/calls" ;;
esac
"""
APPLY = manifests.STEP / "apply.sh"
URI = "s3://b/forecaster-7.onnx"


@pytest.fixture
def cluster(tmp_path: Path) -> Programs:
    """Has KEDA, and serves no model yet."""
    programs = Programs(tmp_path, kubectl=KUBECTL)
    programs.environment |= {"REAL": manifests.kubectl(), "UNREACHABLE": "0"}
    programs.environment |= {"SERVED": "", "KEDA": "customresourcedefinition/scaledobjects.keda.sh"}
    return programs


def model_of(cluster: Programs) -> tuple[str, str]:
    (predictor,) = cluster.objects()["SeldonDeployment/kalecast"]["spec"]["predictors"]
    (parameter,) = predictor["graph"]["parameters"]
    (component,) = predictor["componentSpecs"]
    return parameter["value"], component["metadata"]["annotations"]["kalecast/model-version"]


def order(cluster: Programs) -> list[str]:
    return re.findall(r"\bapply\b|--for=\w+", cluster.text("calls"))


def test_the_model_that_is_named_is_served_else_the_one_that_is_served_stays(cluster: Programs):
    done = cluster.run(APPLY, "kind", "--model-uri", "s3://b/a-1.onnx", "--model-version", "2026")
    assert done.returncode == 0, done.stderr
    assert model_of(cluster) == ("s3://b/a-1.onnx", "2026")
    (cluster.state / "sent").unlink()
    cluster.environment["SERVED"] = URI
    assert cluster.run(APPLY, "production").returncode == 0
    assert model_of(cluster) == (URI, "7")
    assert cluster.run(APPLY, "standalone").returncode == 0
    deployed = cluster.objects()["Deployment/kalecast-default-0-forecaster"]
    (container,) = deployed["spec"]["template"]["spec"]["containers"]
    assert container["env"] == [{"name": "MODEL_URI", "value": URI}]


def test_the_key_of_the_pages_tokens_is_made_once_and_never_shown(cluster: Programs):
    cluster.environment["SERVED"] = URI
    assert cluster.run(APPLY, "production", "--dry-run").returncode == 0
    assert cluster.text("keys") == ""
    for _ in range(2):
        done = cluster.run(APPLY, "production")
        assert done.returncode == 0, done.stderr
    (line,) = cluster.text("keys").splitlines()
    name, _, key = line.partition("=")
    assert (name, len(base64.b64decode(key))) == ("key", 32)
    assert key not in done.stderr + done.stdout + cluster.text("sent")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "Expected one of the overlays kind production"),
        (("nowhere",), "received: 'nowhere'"),
        (("kind",), "no model is served in namespace 'kubeflow-user-example-com' yet"),
        (("standalone",), "name one with --model-uri\n"),
        (("kind", "--model-uri", "models/a.onnx"), "Expected a model URI such as s3://"),
        (("kind", "--model-uri", "s3://a/b|e id"), "Expected a model URI such as s3://"),
        (("standalone", "--without-model-server"), "for overlays with Seldon's operator"),
    ],
)
def test_what_cannot_be_applied_is_said_before_anything_is(
    cluster: Programs, arguments: tuple[str, ...], reason: str
):
    done = cluster.run(APPLY, *arguments)
    assert done.returncode == 1
    assert reason in done.stderr
    assert cluster.text("sent") == ""


@pytest.mark.parametrize("overlay", ["kind", "production", "production-keda", "standalone"])
def test_a_dry_run_changes_nothing_with_a_cluster_and_without(cluster: Programs, overlay: str):
    done = cluster.run(APPLY, overlay, "--dry-run", UNREACHABLE="1")
    assert done.returncode == 0, done.stderr
    assert "no cluster answers" in done.stderr
    assert cluster.text("sent") == ""
    assert "value: s3://kalecast/models/forecaster.onnx" in done.stdout
    printed = {title(one) for one in yaml.safe_load_all(done.stdout) if one}
    assert "Deployment/kalecast-page" in printed
    there = cluster.run(APPLY, overlay, "--dry-run", SERVED=URI)
    assert there.returncode == 0, there.stderr
    assert all("--dry-run=" in call for call in cluster.text("calls").splitlines())
    for printed_by in (done, there):
        assert printed_by.stderr.endswith("would be applied; nothing was changed\n")


@pytest.mark.parametrize("served", ["", URI])
def test_keda_comes_when_the_model_server_is_there_and_the_other_autoscaler_has_gone(
    cluster: Programs, served: str
):
    model = () if served else ("--model-uri", "s3://b/forecaster-1.onnx")
    done = cluster.run(APPLY, "production-keda", *model, SERVED=served)
    assert done.returncode == 0, done.stderr
    assert order(cluster) == ["apply", "--for=create", "--for=delete", "apply"]
    first = cluster.text("sent").split("kind: ScaledObject")[0]
    assert first.count("kind: SeldonDeployment") == 1


def test_the_model_server_may_be_left_to_the_pipeline_and_keda_follows(cluster: Programs):
    done = cluster.run(APPLY, "production-keda", "--without-model-server")
    assert done.returncode == 0, done.stderr
    assert "call 'apply.sh production-keda' again" in done.stderr
    sent = cluster.objects()
    assert {"ScaledObject/kalecast-page", "Deployment/kalecast-page"} <= sent.keys()
    assert not {"ScaledObject/kalecast-model-server", "SeldonDeployment/kalecast"} & sent.keys()
    assert order(cluster) == ["apply", "apply"]
    again = cluster.run(APPLY, "production-keda", "--without-model-server", SERVED=URI)
    assert again.returncode == 0
    assert "ScaledObject/kalecast-model-server" in cluster.objects()


def test_nothing_is_sent_where_keda_is_missing(cluster: Programs):
    done = cluster.run(APPLY, "production-keda", SERVED=URI, KEDA="")
    assert done.returncode == 1
    assert "5-observability/apply.sh OVERLAY --with-keda" in done.stderr
    assert cluster.text("sent") == ""
