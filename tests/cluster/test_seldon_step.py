"""Step 3, Seldon Core: what it sends, whom it lets do what, and what its check and removal query.

The chart is not here and no cluster either: `helm` and `git` are stand-ins that give the objects of
the chart that the step touches, `kubectl` one that keeps what is sent; kustomize is the real one.
"""

import ast
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from kubernetes_objects import (
    KUBERNETES,
    ROOT,
    Object,
    manifests,
    of_kind,
    policies,
    title,
    validate,
)

from kalecast.cluster.seldon_deployment import GROUP, PLURAL

pytestmark = pytest.mark.slow

STEP = ROOT / "cluster-setup" / "3-seldon-core"
MANAGER = "seldon-controller-manager"
TEAM = "team"

CHART_SETTINGS = """
ambassador.enabled certManager.enabled crd.create istio.enabled keda.enabled manager.cpuLimit
manager.cpuRequest manager.memoryLimit manager.memoryRequest singleNamespace usageMetrics.enabled
"""
"""Of the names in the chart's values.yaml those that we set: Helm takes any other and does
nothing."""

STAND_INS = {
    "git": 'test "$3" = rev-parse && echo "$SELDON_CORE_COMMIT"; exit 0',
    "helm": """
echo "$*" >>"$CALLS"
case "$*" in *--show-only*) cat "$CHART/definition.yaml" ;; *) cat "$CHART/chart.yaml" ;; esac
""",
    "kubectl": """
test "$1" = kustomize && exec "$REAL" "$@"
echo "$*" >>"$CALLS"
case "$*" in
  *"auth can-i"*--all-namespaces*|*kube-system*|*"--namespace default "*) echo "$ELSEWHERE" ;;
  *"auth can-i"*status*|*rolebindings*) echo "$ELSEWHERE" ;;
  *"auth can-i"*) echo yes ;;
  apply*) cat >>"$SENT"; echo '---' >>"$SENT" ;;
  delete*filename*) cat >>"$TAKEN"; echo '---' >>"$TAKEN" ;;
  *"get seldondeployments"*) echo "$LEFT" ;;
  *"get crd/seldon"*) echo "v1 v1alpha2" ;;
  *controller-id}*) echo team ;;
  *spartakus*) exit 1 ;;
  *create*dry-run*) if grep -q 'name: nobody'; then echo "$REFUSAL"; exit 1; fi ;;
esac
""",
}


def manager_of_the_chart() -> Object:
    """The Deployment of chart 1.19, but for what the step neither reads nor changes."""
    labels = {"app": "seldon", "control-plane": MANAGER}
    container = {
        "name": "manager",
        "image": "docker.io/seldonio/seldon-core-operator:1.19.0",
        "imagePullPolicy": "IfNotPresent",
        "ports": [
            {"name": "webhook-server", "containerPort": 4443, "protocol": "TCP"},
            {"name": "metrics", "containerPort": 8080, "protocol": "TCP"},
        ],
        "resources": {
            "limits": {"cpu": "500m", "memory": "300Mi"},
            "requests": {"cpu": "100m", "memory": "200Mi"},
        },
    }
    spec = {
        "containers": [container],
        "securityContext": {"runAsUser": 8888},
        "serviceAccountName": "seldon-manager",
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": MANAGER, "namespace": TEAM, "labels": labels},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def certificate_of_the_chart() -> Object:
    return {
        "apiVersion": "cert-manager.io/v1",
        "kind": "Certificate",
        "metadata": {"name": "seldon-serving-cert", "namespace": TEAM},
        "spec": {
            "commonName": f"seldon-webhook-service.{TEAM}.svc",
            "dnsNames": [f"seldon-webhook-service.{TEAM}.svc"],
            "issuerRef": {"kind": "Issuer", "name": "seldon-selfsigned-issuer"},
            "secretName": "seldon-webhook-server-cert",
        },
    }


def definition_of_the_chart() -> Object:
    annotations = {"cert-manager.io/inject-ca-from": f"{TEAM}/any", "other": "stays"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{PLURAL}.{GROUP}",
            "annotations": annotations,
        },
    }


class SeldonStep:
    """The step's scripts before stand-ins, and what reached them."""

    def __init__(self, folder: Path) -> None:
        programs = folder / "bin"
        programs.mkdir()
        for name, text in STAND_INS.items():
            (programs / name).write_text(f"#!/bin/bash\n{text}")
            (programs / name).chmod(0o755)
        chart = [manager_of_the_chart(), certificate_of_the_chart()]
        (folder / "chart.yaml").write_text(yaml.safe_dump_all(chart))
        (folder / "definition.yaml").write_text(yaml.safe_dump(definition_of_the_chart()))
        self.folder = folder
        self.environment = {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "REAL": manifests.kubectl(),
            "CHART": str(folder),
            "KALECAST_CACHE": str(folder / "cache"),
            **{name.upper(): str(folder / name) for name in ("calls", "sent", "taken")},
            "REFUSAL": "Can't find container for Predictive Unit",
            "ELSEWHERE": "no",
            "LEFT": "",
        }

    def call(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [STEP / f"{script}.sh", "--namespace", TEAM, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def objects(self, name: str) -> list[Object]:
        return [one for one in yaml.safe_load_all((self.folder / name).read_text()) if one]


@pytest.fixture
def step(tmp_path: Path) -> SeldonStep:
    return SeldonStep(tmp_path)


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> list[Object]:
    """What apply.sh sends."""
    step = SeldonStep(tmp_path_factory.mktemp("step"))
    done = step.call("apply")
    assert done.returncode == 0, done.stderr
    return step.objects("sent")


def one_of(objects: list[Object], wanted: str) -> Object:
    (found,) = (one for one in objects if title(one) == wanted)
    return found


##### The operator #####


def test_what_is_sent_is_valid_and_in_the_teams_namespace(sent: list[Object]):
    for one in sent:
        if one["kind"] not in ("CustomResourceDefinition", "Certificate", "Issuer"):
            validate(one)
        if one["kind"] != "CustomResourceDefinition":
            assert one["metadata"]["namespace"] == TEAM
            assert one["metadata"]["labels"]["app.kubernetes.io/part-of"] == "kalecast"
    assert len({title(one) for one in sent}) == len(sent)


def test_the_definition_is_no_namespaces_own(sent: list[Object]):
    first, *others = sent
    assert first["kind"] == "CustomResourceDefinition"
    assert first["metadata"]["annotations"] == {"other": "stays"}
    assert not of_kind(others, "CustomResourceDefinition")


def test_the_operator_keeps_the_policies(sent: list[Object]):
    found = policies.findings({"3-seldon-core": sent})
    explained = {
        "CKV_K8S_15": "no need to pull a version anew",
        "CKV_K8S_38": "it speaks to the Kubernetes API",
        "CKV_K8S_40": "8888, the image's user",
        "CKV_K8S_43": "no digest could be had; SELDON_CORE_DIGEST takes one",
    }
    assert {one.check for one in found} == set(explained)
    assert {one.title for one in found} == {f"Deployment/{MANAGER}"}


def test_one_operator_of_two_may_go(sent: list[Object]):
    manager = one_of(sent, f"Deployment/{MANAGER}")["spec"]
    budget = one_of(sent, f"PodDisruptionBudget/{MANAGER}")["spec"]
    assert budget["maxUnavailable"] < manager["replicas"]
    labels = manager["template"]["metadata"]["labels"]
    assert budget["selector"]["matchLabels"].items() <= labels.items()
    (spread,) = manager["template"]["spec"]["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"].items() <= labels.items()


def test_only_webhook_and_metrics_can_be_reached(sent: list[Object]):
    (policy,) = of_kind(sent, "NetworkPolicy")
    manager = one_of(sent, f"Deployment/{MANAGER}")["spec"]["template"]
    assert (
        policy["spec"]["podSelector"]["matchLabels"].items()
        <= manager["metadata"]["labels"].items()
    )
    (container,) = manager["spec"]["containers"]
    there = {port["name"] for port in container["ports"]}
    opened = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
    probed = {
        container["readinessProbe"]["tcpSocket"]["port"],
        container["livenessProbe"]["httpGet"]["port"],
    }
    assert opened == probed == there


def test_the_webhooks_certificate_is_signed_by_an_authority_that_stays(sent: list[Object]):
    serving = one_of(sent, "Certificate/seldon-serving-cert")["spec"]
    authority = one_of(sent, "Certificate/seldon-authority")["spec"]
    issuer = one_of(sent, f"Issuer/{serving['issuerRef']['name']}")["spec"]
    assert issuer["ca"]["secretName"] == authority["secretName"] != serving["secretName"]
    assert authority["isCA"]
    assert "commonName" not in serving, "longer than a certificate takes, where the namespace is"


def test_settings_are_those_of_the_chart():
    settings = yaml.safe_load((STEP / "values.yaml").read_text())
    named = {
        f"{name}.{inner}" if isinstance(value, dict) else name
        for name, value in settings.items()
        for inner in (value if isinstance(value, dict) else [""])
    }
    assert named == set(CHART_SETTINGS.split())
    assert settings["singleNamespace"] is True
    assert settings["usageMetrics"]["enabled"] is False


def test_helm_gets_versions_and_namespace(step: SeldonStep):
    step.call("apply")
    calls = [
        line for line in (step.folder / "calls").read_text().splitlines() if "template" in line
    ]
    definition, operator = calls
    assert "crd.create=true --show-only" in definition
    for call in (definition, operator):
        assert f"--namespace {TEAM} --kube-version {KUBERNETES}" in call
        assert re.search(r"--set image\.tag=1\.19\.0 --set executor\.image\.tag=1\.19\.0 ", call)


def test_without_a_namespace_nothing_is_sent(step: SeldonStep):
    kubectl = step.folder / "bin" / "kubectl"
    kubectl.write_text(
        kubectl.read_text().replace('case "$*" in', 'case "$*" in\n  get*namespace*) exit 1 ;;', 1)
    )
    done = step.call("apply")
    assert done.returncode == 1
    assert f"there is no namespace '{TEAM}'" in done.stderr
    assert not (step.folder / "sent").exists()


##### Rights #####

CALLS = {
    "get_namespaced_custom_object": (GROUP, PLURAL, "get"),
    "create_namespaced_custom_object": (GROUP, PLURAL, "create"),
    "replace_namespaced_custom_object": (GROUP, PLURAL, "update"),
    "list_namespaced_pod": ("", "pods", "list"),
    "read_namespaced_pod_log": ("", "pods/log", "get"),
}
"""Methods of the Kubernetes client, and the right that each takes."""

BY_HAND = {(GROUP, PLURAL, verb) for verb in ("list", "patch", "delete")}
"""For people at kubectl in a notebook, which runs as the same account."""


def called() -> set[str]:
    """What the library requests of the Kubernetes API."""
    return {
        node.attr
        for path in (ROOT / "src" / "kalecast").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Attribute)
        and node.value.attr in ("custom", "core")
    }


def test_the_pipelines_account_may_what_the_rollout_calls_and_no_more(sent: list[Object]):
    given = {
        (group, resource, verb)
        for rule in one_of(sent, "Role/kalecast-deployer")["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert {CALLS[name] for name in called()} | BY_HAND == given


@pytest.mark.parametrize(
    ("arguments", "account"),
    [
        ((), {"kind": "ServiceAccount", "name": "default-editor", "namespace": TEAM}),
        (
            ("--account", "kubeflow:pipeline-runner"),
            {"kind": "ServiceAccount", "name": "pipeline-runner", "namespace": "kubeflow"},
        ),
    ],
)
def test_the_account_that_is_named_gets_them(
    step: SeldonStep, arguments: tuple[str, ...], account: Object
):
    step.call("apply", *arguments)
    binding = one_of(step.objects("sent"), "RoleBinding/kalecast-deployer")
    assert binding["subjects"] == [account]
    assert binding["roleRef"]["name"] == "kalecast-deployer"
    assert not of_kind(step.objects("sent"), "ClusterRole", "ClusterRoleBinding")


@pytest.mark.parametrize("account", ["kubeflow:", ":runner", "a:b:c", "Team"])
def test_an_account_that_is_none_is_refused(step: SeldonStep, account: str):
    done = step.call("apply", "--account", account)
    assert done.returncode == 2
    assert "Expected an account such as kubeflow:pipeline-runner" in done.stderr


##### Check and removal #####


def test_the_check_passes_where_all_is_well(step: SeldonStep):
    done = step.call("check")
    assert done.returncode == 0, done.stderr
    assert all(line.startswith("ok ") for line in done.stdout.splitlines())
    assert len(done.stdout.splitlines()) == 7


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("ELSEWHERE", "yes", "Expected no, received: yes"),
        ("ELSEWHERE", "", "Expected no, received: no answer"),
        ("REFUSAL", "connection refused", "does not say why it refuses: connection refused"),
    ],
)
def test_the_check_reports_what_is_amiss(step: SeldonStep, variable: str, value: str, reason: str):
    step.environment[variable] = value
    done = step.call("check")
    assert done.returncode == 1
    assert reason in done.stderr


def test_what_was_sent_is_taken_away_but_the_definition(step: SeldonStep, sent: list[Object]):
    done = step.call("remove")
    assert done.returncode == 0, done.stderr
    definition, *others = map(title, sent)
    assert sorted(map(title, step.objects("taken"))) == sorted(others)
    assert definition.startswith("CustomResourceDefinition/")
    assert "crd/" not in (step.folder / "calls").read_text()


def test_the_definition_goes_on_demand(step: SeldonStep):
    assert step.call("remove", "--with-definition").returncode == 0
    calls = (step.folder / "calls").read_text()
    assert f"delete --ignore-not-found crd/{PLURAL}.{GROUP}" in calls


def test_nothing_is_taken_from_under_a_seldon_deployment(step: SeldonStep):
    step.environment["LEFT"] = f"{TEAM}/kalecast"
    done = step.call("remove")
    assert done.returncode == 1
    assert f"SeldonDeployments are left in namespace '{TEAM}', delete them first" in done.stderr
    assert not (step.folder / "taken").exists()
