"""Step 3, Seldon Core: what it sends, whom it lets do what, and what its removal leaves alone.

The chart is not here and no cluster either: `helm` and `git` are stand-ins that give the objects of
the chart that the step touches, `kubectl` one that keeps what is sent; kustomize is the real one.
"""

import ast
import re
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
from setup_scripts import SETUP, Programs, versions

from kalecast.cluster.seldon_deployment import GROUP, PLURAL

pytestmark = pytest.mark.slow

STEP = SETUP / "3-seldon-core"
MANAGER = "seldon-controller-manager"
TEAM = "team"

CHART_SETTINGS = """
ambassador.enabled certManager.enabled crd.create istio.enabled keda.enabled manager.cpuLimit
manager.cpuRequest manager.memoryLimit manager.memoryRequest singleNamespace usageMetrics.enabled
"""
"""Of the names in the chart's values.yaml those that we set: Helm takes any other and does
nothing."""

GIT = '[[ $* != *rev-parse* ]] || echo "$SELDON_CORE_COMMIT"'
HELM = """
echo "$*" >>"$STATE/calls"
case "$*" in *--show-only*) cat "$STATE/definition.yaml" ;; *) cat "$STATE/chart.yaml" ;; esac
"""
KUBECTL = """
test "$1" = kustomize && exec "$REAL" "$@"
echo "$*" >>"$STATE/calls"
case "$*" in
  *"get namespace nowhere"*) exit 1 ;;
  apply*) cat >>"$STATE/sent"; echo '---' >>"$STATE/sent" ;;
  delete*filename*) cat >>"$STATE/taken"; echo '---' >>"$STATE/taken" ;;
  *"get seldondeployments"*) echo "$LEFT" ;;
esac
"""

# Of chart 1.19 what the step reads or changes.
LABELS = {"app": "seldon", "control-plane": MANAGER}
CHART = yaml.safe_load(f"""
- apiVersion: apps/v1
  kind: Deployment
  metadata: {{name: {MANAGER}, namespace: {TEAM}, labels: &labels {LABELS}}}
  spec:
    replicas: 1
    selector: {{matchLabels: *labels}}
    template:
      metadata: {{labels: *labels}}
      spec:
        serviceAccountName: seldon-manager
        securityContext: {{runAsUser: 8888}}
        containers:
        - name: manager
          image: docker.io/seldonio/seldon-core-operator:1.19.0
          imagePullPolicy: IfNotPresent
          ports:
          - {{name: webhook-server, containerPort: 4443, protocol: TCP}}
          - {{name: metrics, containerPort: 8080, protocol: TCP}}
          resources:
            limits: {{cpu: 500m, memory: 300Mi}}
            requests: {{cpu: 100m, memory: 200Mi}}
- apiVersion: cert-manager.io/v1
  kind: Certificate
  metadata: {{name: seldon-serving-cert, namespace: {TEAM}}}
  spec:
    commonName: seldon-webhook-service.{TEAM}.svc
    dnsNames: [seldon-webhook-service.{TEAM}.svc]
    issuerRef: {{kind: Issuer, name: seldon-selfsigned-issuer}}
    secretName: seldon-webhook-server-cert
""")
DEFINITION = f"""
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: {PLURAL}.{GROUP}
  annotations:
    cert-manager.io/inject-ca-from: {TEAM}/any
    other: stays
"""


def seldon_step(folder: Path) -> Programs:
    step = Programs(folder, git=GIT, helm=HELM, kubectl=KUBECTL)
    (step.state / "chart.yaml").write_text(yaml.safe_dump_all(CHART))
    (step.state / "definition.yaml").write_text(DEFINITION)
    step.environment |= {"REAL": manifests.kubectl(), "LEFT": ""}
    return step


@pytest.fixture
def step(tmp_path: Path) -> Programs:
    return seldon_step(tmp_path)


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Programs:
    """The step after apply.sh."""
    step = seldon_step(tmp_path_factory.mktemp("step"))
    done = step.run(STEP / "apply.sh", "--namespace", TEAM)
    assert done.returncode == 0, done.stderr
    return step


@pytest.fixture(scope="module")
def sent(applied: Programs) -> dict[str, Object]:
    """What apply.sh sends."""
    return applied.objects()


##### The operator #####


def test_what_is_sent_is_valid_and_in_the_teams_namespace(sent: dict[str, Object]):
    definition, *others = sent.values()
    assert definition["kind"] == "CustomResourceDefinition"
    assert definition["metadata"]["annotations"] == {"other": "stays"}
    for one in others:
        if one["kind"] not in ("Certificate", "Issuer"):
            validate(one)
        assert one["metadata"]["namespace"] == TEAM
        assert one["metadata"]["labels"]["app.kubernetes.io/part-of"] == "kalecast"


def test_the_operator_keeps_the_policies(sent: dict[str, Object]):
    found = policies.findings({"3-seldon-core": list(sent.values())})
    explained = {
        "CKV_K8S_15": "no need to pull a version anew",
        "CKV_K8S_38": "it speaks to the Kubernetes API",
        "CKV_K8S_40": "8888, the image's user",
        "CKV_K8S_43": "no digest could be had; SELDON_CORE_DIGEST takes one",
    }
    assert {one.check for one in found} == set(explained)
    assert {one.title for one in found} == {f"Deployment/{MANAGER}"}


def test_one_operator_of_two_may_go_and_its_own_ports_alone_can_be_reached(
    sent: dict[str, Object],
):
    manager = sent[f"Deployment/{MANAGER}"]["spec"]
    template = manager["template"]
    budget = sent[f"PodDisruptionBudget/{MANAGER}"]["spec"]
    assert budget["maxUnavailable"] < manager["replicas"]
    (spread,) = template["spec"]["topologySpreadConstraints"]
    (policy,) = of_kind(list(sent.values()), "NetworkPolicy")
    for selector in (
        budget["selector"],
        spread["labelSelector"],
        policy["spec"]["podSelector"],
    ):
        assert selector["matchLabels"].items() <= template["metadata"]["labels"].items()
    (container,) = template["spec"]["containers"]
    probes = {
        container["readinessProbe"]["tcpSocket"]["port"],
        container["livenessProbe"]["httpGet"]["port"],
    }
    opened = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
    assert opened == probes == {port["name"] for port in container["ports"]}


def test_the_webhooks_certificate_is_signed_by_an_authority_that_stays(sent: dict[str, Object]):
    serving = sent["Certificate/seldon-serving-cert"]["spec"]
    authority = sent["Certificate/seldon-authority"]["spec"]
    issuer = sent[f"Issuer/{serving['issuerRef']['name']}"]["spec"]
    assert issuer["ca"]["secretName"] == authority["secretName"] != serving["secretName"]
    assert authority["isCA"]
    assert "commonName" not in serving, "longer than a certificate takes, where the namespace is"


def test_the_chart_gets_settings_that_it_knows_versions_and_namespace(applied: Programs):
    settings = yaml.safe_load((STEP / "values.yaml").read_text())
    named = {
        f"{name}.{inner}" if isinstance(value, dict) else name
        for name, value in settings.items()
        for inner in (value if isinstance(value, dict) else [""])
    }
    assert named == set(CHART_SETTINGS.split())
    assert settings["singleNamespace"] is True
    assert settings["usageMetrics"]["enabled"] is False
    definition, operator = re.findall(r"^template .*$", applied.text("calls"), re.MULTILINE)
    assert "crd.create=true --show-only" in definition
    version = versions()["SELDON_CORE_VERSION"]
    for call in (definition, operator):
        assert f"--namespace {TEAM} --kube-version {KUBERNETES}" in call
        assert f"--set image.tag={version} --set executor.image.tag={version} " in call


def test_without_a_namespace_nothing_is_sent(step: Programs):
    done = step.run(STEP / "apply.sh", "--namespace", "nowhere")
    assert done.returncode == 1
    assert "there is no namespace 'nowhere'" in done.stderr
    assert not step.objects()


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


def test_the_pipelines_account_may_what_the_rollout_calls_and_no_more(sent: dict[str, Object]):
    given = {
        (group, resource, verb)
        for rule in sent["Role/kalecast-deployer"]["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert {CALLS[name] for name in called()} | BY_HAND == given
    assert not of_kind(list(sent.values()), "ClusterRole", "ClusterRoleBinding")


def test_the_account_that_is_named_gets_them_and_no_other(step: Programs, sent: dict[str, Object]):
    named = ("--namespace", TEAM, "--account", "kubeflow:pipeline-runner")
    assert step.run(STEP / "apply.sh", *named).returncode == 0
    accounts = (("default-editor", TEAM, sent), ("pipeline-runner", "kubeflow", step.objects()))
    for name, namespace, objects in accounts:
        binding = objects["RoleBinding/kalecast-deployer"]
        account = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
        assert binding["subjects"] == [account]
        assert binding["roleRef"]["name"] == "kalecast-deployer"


@pytest.mark.parametrize("account", ["kubeflow:", ":runner", "a:b:c", "Team"])
def test_an_account_that_is_none_is_refused(step: Programs, account: str):
    done = step.run(STEP / "apply.sh", "--account", account)
    assert done.returncode == 2
    assert "Expected an account such as kubeflow:pipeline-runner" in done.stderr


##### Removal #####


def test_what_was_sent_is_taken_away_and_the_definition_on_demand(
    step: Programs, sent: dict[str, Object]
):
    done = step.run(STEP / "remove.sh", "--namespace", TEAM)
    assert done.returncode == 0, done.stderr
    definition, *others = sent
    assert sorted(map(title, step.objects("taken").values())) == sorted(others)
    assert "crd/" not in step.text("calls")
    assert step.run(STEP / "remove.sh", "--with-definition").returncode == 0
    assert f"delete --ignore-not-found crd/{definition.partition('/')[2]}" in step.text("calls")


def test_nothing_is_taken_from_under_a_seldon_deployment(step: Programs):
    done = step.run(STEP / "remove.sh", "--namespace", TEAM, LEFT=f"{TEAM}/kalecast")
    assert done.returncode == 1
    assert f"SeldonDeployments are left in namespace '{TEAM}', delete them first" in done.stderr
    assert not step.objects("taken")
