"""What cluster-setup's step 4 sends to a cluster, with a stand-in for kubectl."""

import base64
import os
import subprocess
from pathlib import Path

import pytest
import yaml
from kubernetes_objects import Object, manifests, title

STAND_IN = """\
#!/bin/sh
case " $* " in
  *" kustomize "*) exec "$REAL" "$@" ;;
  *" version "*) exit "$UNREACHABLE" ;;
  *" get namespace "*) echo namespace/any ;;
  *" get "*model_uri*|*" get "*MODEL_URI*) printf '%s' "$SERVED_URI" ;;
  *" get "*model-version*) printf '%s' "$SERVED_VERSION" ;;
  *" get secret kalecast-page-token-key "*) cat "$SENT.key-name" 2>/dev/null ;;
  *" create secret "*" kalecast-page-token-key --from-env-file=/dev/stdin ")
    echo secret/kalecast-page-token-key > "$SENT.key-name"; cat >> "$SENT.keys" ;;
  *" get crd/scaledobjects.keda.sh "*) printf '%s' "$KEDA" ;;
  *" get deployment/kalecast-default-0-forecaster "*) printf '%s' "$SERVER" ;;
  *" apply "*) echo "$*" >> "$SENT.commands"; cat >> "$SENT" ;;
  *" wait "*) echo "$*" >> "$SENT.commands" ;;
  *) echo "unexpected: $*" >&2; exit 64 ;;
esac
"""


class Cluster:
    """Has KEDA, keeps what is sent, and serves a model or none."""

    def __init__(self, folder: Path) -> None:
        kubectl = folder / "bin" / "kubectl"
        kubectl.parent.mkdir()
        kubectl.write_text(STAND_IN)
        kubectl.chmod(0o755)
        self.sent = folder / "sent.yaml"
        self.environment = {
            **os.environ,
            "PATH": f"{kubectl.parent}:{os.environ['PATH']}",
            "REAL": manifests.kubectl(),
            "SENT": str(self.sent),
            "UNREACHABLE": "0",
            "SERVED_URI": "",
            "SERVED_VERSION": "",
            "SERVER": "",
            "KEDA": "customresourcedefinition/scaledobjects.keda.sh",
        }

    def serves(self, uri: str, version: str) -> None:
        self.environment |= {
            "SERVED_URI": uri,
            "SERVED_VERSION": version,
            "SERVER": "deployment/kalecast-default-0-forecaster",
        }

    def apply(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [manifests.STEP / "apply.sh", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def objects(self) -> dict[str, Object]:
        found = yaml.safe_load_all(self.sent.read_text())
        return {title(one): one for one in found if one}

    @property
    def commands(self) -> list[str]:
        return Path(f"{self.sent}.commands").read_text().splitlines()


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


def model_of(objects: dict[str, Object]) -> tuple[str, str]:
    (predictor,) = objects["SeldonDeployment/kalecast"]["spec"]["predictors"]
    (parameter,) = predictor["graph"]["parameters"]
    (component,) = predictor["componentSpecs"]
    return parameter["value"], component["metadata"]["annotations"]["kalecast/model-version"]


def test_the_model_that_is_named_is_served(cluster: Cluster):
    done = cluster.apply("kind", "--model-uri", "s3://b/a-1.onnx", "--model-version", "2026")
    assert done.returncode == 0, done.stderr
    assert model_of(cluster.objects) == ("s3://b/a-1.onnx", "2026")


def test_the_next_apply_leaves_the_model_that_is_served(cluster: Cluster):
    cluster.serves("s3://b/forecaster-7.onnx", "7")
    assert cluster.apply("production").returncode == 0
    assert model_of(cluster.objects) == ("s3://b/forecaster-7.onnx", "7")


def test_the_key_of_the_pages_tokens_is_made_once(cluster: Cluster):
    cluster.serves("s3://b/forecaster-7.onnx", "7")
    assert cluster.apply("production", "--dry-run").returncode == 0
    assert not Path(f"{cluster.sent}.keys").exists()
    for _ in range(2):
        done = cluster.apply("production")
        assert done.returncode == 0, done.stderr
    (line,) = Path(f"{cluster.sent}.keys").read_text().splitlines()
    name, _, key = line.partition("=")
    assert (name, len(base64.b64decode(key))) == ("key", 32)
    assert key not in done.stderr + done.stdout + cluster.sent.read_text()


def test_without_operator_too(cluster: Cluster):
    cluster.serves("s3://b/forecaster-7.onnx", "7")
    assert cluster.apply("standalone").returncode == 0
    deployed = cluster.objects["Deployment/kalecast-default-0-forecaster"]
    (container,) = deployed["spec"]["template"]["spec"]["containers"]
    assert container["env"] == [{"name": "MODEL_URI", "value": "s3://b/forecaster-7.onnx"}]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "Expected one of the overlays kind production"),
        (("nowhere",), "received: 'nowhere'"),
        (("kind",), "no model is served in namespace 'kubeflow-user-example-com' yet"),
        (("kind", "--model-uri", "models/a.onnx"), "Expected a model URI such as s3://"),
        (("kind", "--model-uri", "s3://a/b|e id"), "Expected a model URI such as s3://"),
        (("standalone", "--without-model-server"), "for overlays with Seldon's operator"),
    ],
)
def test_what_cannot_be_applied_is_said_before_anything_is(
    cluster: Cluster, arguments: tuple[str, ...], reason: str
):
    done = cluster.apply(*arguments)
    assert done.returncode == 1
    assert reason in done.stderr
    assert not cluster.sent.exists()


def test_the_model_server_may_be_left_to_the_pipeline(cluster: Cluster):
    assert cluster.apply("kind", "--without-model-server").returncode == 0
    assert "SeldonDeployment/kalecast" not in cluster.objects
    assert "Deployment/kalecast-page" in cluster.objects


def test_a_dry_run_is_one(cluster: Cluster):
    cluster.serves("s3://b/forecaster-7.onnx", "7")
    for overlay in ("production", "production-keda", "standalone"):
        done = cluster.apply(overlay, "--dry-run")
        assert done.returncode == 0
        assert done.stderr.endswith("would be applied; nothing was changed\n")
    assert all("--dry-run=" in command for command in cluster.commands)


@pytest.mark.parametrize("overlay", ["kind", "production", "production-keda", "standalone"])
def test_a_dry_run_without_a_cluster_prints_what_would_be_sent(cluster: Cluster, overlay: str):
    cluster.environment["UNREACHABLE"] = "1"
    done = cluster.apply(overlay, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "no cluster answers" in done.stderr
    assert "unexpected" not in done.stderr
    assert done.stderr.endswith("would be applied; nothing was changed\n")
    assert not cluster.sent.exists()
    assert "value: s3://kalecast/models/forecaster.onnx" in done.stdout
    printed = {title(one) for one in yaml.safe_load_all(done.stdout) if one}
    assert "Deployment/kalecast-page" in printed


def order(cluster: Cluster) -> list[str]:
    words = (word for command in cluster.commands for word in command.split())
    return [word for word in words if word == "apply" or word.startswith("--for=")]


@pytest.mark.parametrize("served", [True, False])
def test_keda_comes_when_the_model_server_is_there_and_the_other_autoscaler_has_gone(
    cluster: Cluster, served: bool
):
    if served:
        cluster.serves("s3://b/forecaster-7.onnx", "7")
    model = () if served else ("--model-uri", "s3://b/forecaster-1.onnx")
    done = cluster.apply("production-keda", *model)
    assert done.returncode == 0, done.stderr
    assert order(cluster) == ["apply", "--for=create", "--for=delete", "apply"]
    first = cluster.sent.read_text().split("kind: ScaledObject")[0]
    assert first.count("kind: SeldonDeployment") == 1


def test_keda_scales_the_pipelines_model_server_once_it_is_there(cluster: Cluster):
    done = cluster.apply("production-keda", "--without-model-server")
    assert done.returncode == 0, done.stderr
    assert "call 'apply.sh production-keda' again" in done.stderr
    assert "ScaledObject/kalecast-model-server" not in cluster.objects
    assert "ScaledObject/kalecast-page" in cluster.objects
    assert order(cluster) == ["apply", "apply"]

    cluster.serves("s3://b/forecaster-7.onnx", "7")
    assert cluster.apply("production-keda", "--without-model-server").returncode == 0
    assert "ScaledObject/kalecast-model-server" in cluster.objects


def test_nothing_is_sent_where_keda_is_missing(cluster: Cluster):
    cluster.serves("s3://b/forecaster-7.onnx", "7")
    cluster.environment["KEDA"] = ""
    done = cluster.apply("production-keda")
    assert done.returncode == 1
    assert "5-observability/apply.sh OVERLAY --with-keda" in done.stderr
    assert not cluster.sent.exists()
    assert cluster.apply("production").returncode == 0


def test_where_only_a_uri_helps_nothing_else_is_recommended(cluster: Cluster):
    done = cluster.apply("standalone")
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("name one with --model-uri")
