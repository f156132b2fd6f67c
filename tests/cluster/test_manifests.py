"""The manifests: valid, no more allowed than needed, and of one mind with each other."""

import copy
import json
import re
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from kubernetes_objects import (
    ROOT,
    Object,
    Template,
    expanded,
    manifests,
    of_kind,
    rendered,
    templates,
    title,
    validate,
)

from kalecast.cluster import capacity, capacity_sheet, deployment
from kalecast.cluster.deployment import DeploymentSettings, render, service
from kalecast.cluster.standalone import stand_alone
from kalecast.page import settings
from kalecast.serving import configuration

OVERLAYS = sorted(manifests.overlays())
SERVICE = sorted(path.parent.name for path in manifests.STEP.glob("overlays/*/kustomization.yaml"))
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
MODEL_SERVER, PAGE = "kalecast-model-server", "kalecast-page"
LEAVE_SECONDS = 5
"""Between the order to end and SIGTERM: until each node knows that the pod is no endpoint."""

overlays = pytest.mark.parametrize("overlay", OVERLAYS)
service_overlays = pytest.mark.parametrize("overlay", SERVICE)


##### Valid #####


@overlays
def test_every_object_has_the_fields_of_its_kind_and_no_others(overlay: str):
    for one in rendered()[overlay]:
        try:
            validate(one)
        except Exception as error:
            pytest.fail(f"{overlay}: {title(one)}: {error}")
    titles = [title(one) for one in expanded()[overlay]]
    assert len(titles) == len(set(titles)), "two objects of one name"


@pytest.mark.parametrize(
    ("overlay", "kind", "path"),
    [
        ("production", "Deployment", "spec.template.spec.containers.0.resorces"),
        ("production", "HorizontalPodAutoscaler", "spec.behaviour"),
        ("production", "SeldonDeployment", "spec.predictors.0.componentSpecs.0.hpaSpec.behavior"),
        ("production", "SeldonDeployment", "spec.predictors.0.componentSpecs.0.spec.probe"),
        (
            "production",
            "SeldonDeployment",
            "spec.predictors.0.componentSpecs.0.spec.containers.0.lifecycle.preStop.sleep",
        ),
        ("production", "SeldonDeployment", "spec.predictors.0.graph.model_uri"),
        ("production-keda", "ScaledObject", "spec.triggers.1.metadata.treshold"),
        ("notebook-server", "Notebook", "spec.template.metadata"),
        ("notebook-server", "PodDefault", "spec.environment"),
    ],
)
def test_a_field_that_no_schema_knows_is_noticed(overlay: str, kind: str, path: str):
    (one, *_) = of_kind(copy.deepcopy(rendered()[overlay]), kind)
    *parents, last = path.split(".")
    inner: Any = one
    for step in parents:
        inner = inner[int(step) if step.isdigit() else step]
    inner[last] = {}
    with pytest.raises(Exception, match=last):
        validate(one)


@service_overlays
def test_every_object_is_in_the_overlays_namespace(overlay: str):
    namespaces = {one["metadata"].get("namespace") for one in rendered()[overlay]} - {None}
    assert len(namespaces) == 1
    made = {title(one) for one in of_kind(rendered()[overlay], "Namespace")}
    assert made <= {f"Namespace/{name}" for name in namespaces}


##### No more allowed than needed #####


def containers(template: Template) -> list[Object]:
    return [*template.spec["containers"], *template.spec.get("initContainers", [])]


def tag(image: str) -> str:
    return image.rpartition("/")[2].partition(":")[2]


@overlays
def test_pods_have_no_disk_of_the_node_and_no_variables_of_other_services(overlay: str):
    # What checkov does not check; for all else see test_policies.py.
    for template in templates(overlay):
        volumes = template.spec.get("volumes", [])
        assert not any("hostPath" in volume for volume in volumes), template.owner
        assert template.spec.get("enableServiceLinks") is False, template.owner


@service_overlays
def test_what_no_policy_names_is_denied_to_every_pod(overlay: str):
    denying = [
        one["spec"]
        for one in of_kind(rendered()[overlay], "NetworkPolicy")
        if set(one["spec"]["policyTypes"]) == {"Ingress", "Egress"}
        and not {"ingress", "egress"} & set(one["spec"])
    ]
    for template in templates(overlay):
        assert any(selects(spec["podSelector"], template.labels) for spec in denying)


@service_overlays
def test_the_page_has_an_account_that_may_do_nothing(overlay: str):
    (account,) = of_kind(rendered()[overlay], "ServiceAccount")
    assert account["automountServiceAccountToken"] is False
    assert pods(overlay, PAGE).spec["serviceAccountName"] == account["metadata"]["name"]
    assert not of_kind(rendered()[overlay], "Role", "RoleBinding", "ClusterRoleBinding")


##### Of one mind #####


def pods(overlay: str, name: str) -> Template:
    (found,) = (
        one for one in templates(overlay) if one.labels.get("app.kubernetes.io/name") == name
    )
    return found


def selects(selector: Object, labels: dict[str, str]) -> bool:
    """Whether a label selector finds a pod."""
    assert set(selector) <= {"matchLabels", "matchExpressions"}
    for rule in selector.get("matchExpressions", []):
        if rule["operator"] == "In":
            if labels.get(rule["key"]) not in rule["values"]:
                return False
        else:
            assert rule["operator"] == "Exists"
            if rule["key"] not in labels:
                return False
    return selector.get("matchLabels", {}).items() <= labels.items()


@service_overlays
def test_every_replica_of_the_page_signs_with_one_key(overlay: str):
    (configured,) = of_kind(rendered()[overlay], "ConfigMap")
    page = pods(overlay, PAGE).spec
    (mount,) = (m for m in page["containers"][0]["volumeMounts"] if m["name"] == "token-key")
    (volume,) = (v for v in page["volumes"] if v["name"] == "token-key")
    assert configured["data"]["KALECAST_TOKEN_KEY_FILE"] == mount["mountPath"] + "/key"
    assert mount["readOnly"] and page["securityContext"]["fsGroup"] == 10001
    made = (manifests.STEP / "apply.sh").read_text()
    assert f"secret={volume['secret']['secretName']}\n" in made


@service_overlays
def test_every_service_leads_to_ports_of_pods(overlay: str):
    services = of_kind(expanded()[overlay], "Service")
    seldons = "kalecast-default"  # the operator's, to the pods of one predictor
    assert {one["metadata"]["name"] for one in services} == {MODEL_SERVER, PAGE, seldons}
    for one in services:
        (found,) = (
            t for t in templates(overlay) if one["spec"]["selector"].items() <= t.labels.items()
        )
        for port in one["spec"]["ports"]:
            assert port["targetPort"] in found.ports
            assert port["port"] == found.ports[port["targetPort"]]
            assert port["name"] != "metrics", "customers' Service must not lead to the counters"


@service_overlays
def test_every_deployment_has_one_autoscaler_and_one_budget(overlay: str):
    objects = expanded()[overlay]
    wanted = sorted(one["metadata"]["name"] for one in of_kind(objects, "Deployment"))
    scalers = of_kind(objects, "HorizontalPodAutoscaler", "ScaledObject")
    targets = [one["spec"]["scaleTargetRef"] for one in scalers]
    assert sorted(target["name"] for target in targets) == wanted
    assert {(target["apiVersion"], target["kind"]) for target in targets} == {
        ("apps/v1", "Deployment")
    }
    for template in templates(overlay):
        budgets = of_kind(objects, "PodDisruptionBudget")
        assert sum(selects(one["spec"]["selector"], template.labels) for one in budgets) == 1
    for one in of_kind(objects, "Deployment"):
        assert "replicas" not in one["spec"], "each apply would undo the autoscaler's work"
        assert selects(one["spec"]["selector"], one["spec"]["template"]["metadata"]["labels"])


@service_overlays
def test_pods_are_spread_among_their_own_kind(overlay: str):
    for template in templates(overlay):
        spreads = template.spec["topologySpreadConstraints"]
        assert {one["topologyKey"] for one in spreads} == {
            "topology.kubernetes.io/zone",
            "kubernetes.io/hostname",
        }
        for one in spreads:
            assert selects(one["labelSelector"], template.labels)


@service_overlays
def test_network_policies_name_pods_and_ports_that_are_there(overlay: str):
    known = list(templates(overlay))
    for one in of_kind(rendered()[overlay], "NetworkPolicy"):
        spec = one["spec"]
        selected = [t for t in known if selects(spec["podSelector"], t.labels)]
        assert selected, title(one)
        open_ports = {port for t in selected for port in t.ports.values()}
        for rule in spec.get("ingress", []):
            assert {port["port"] for port in rule["ports"]} <= open_ports, title(one)
        for rule in spec.get("egress", []):
            for peer in rule["to"]:
                if set(peer) == {"podSelector"}:
                    met = [t for t in known if selects(peer["podSelector"], t.labels)]
                    requested = {port["port"] for port in rule["ports"]}
                    assert met and all(requested <= set(t.ports.values()) for t in met), title(one)


def from_namespace(peer: Object, namespace: str | None) -> bool:
    """Whether a rule's peer is meant for pods of a namespace; None: the policy's own."""
    if "namespaceSelector" not in peer:
        return namespace is None
    labels = {"kubernetes.io/metadata.name": namespace} if namespace else {}
    return selects(peer["namespaceSelector"], labels)


def allowed(
    overlay: str, source: dict[str, str], target: str, namespace: str | None = None
) -> set[int]:
    """Ports of `target` that pods with the labels `source` may reach; None: in its namespace."""
    ports = set()
    for one in of_kind(rendered()[overlay], "NetworkPolicy"):
        if selects(one["spec"]["podSelector"], pods(overlay, target).labels):
            for rule in one["spec"].get("ingress", []):
                if any(
                    from_namespace(peer, namespace) and selects(peer["podSelector"], source)
                    for peer in rule["from"]
                ):
                    ports |= {port["port"] for port in rule["ports"]}
    return ports


@service_overlays
def test_the_namespaces_other_pods_reach_what_they_need_and_no_more(overlay: str):
    page = pods(overlay, PAGE).labels
    assert allowed(overlay, page, MODEL_SERVER) == {9000}
    steps, notebooks = {"pipeline/runid": "1"}, {"notebook-name": "kalecast"}
    assert allowed(overlay, steps, MODEL_SERVER) == {6000, 9000, 9500}
    assert allowed(overlay, notebooks, MODEL_SERVER) == {9000, 9500}
    # With Pipelines alone steps run in its namespace.
    assert allowed(overlay, steps, MODEL_SERVER, "kubeflow") == {6000, 9000, 9500}
    assert allowed(overlay, {"app": "stranger"}, MODEL_SERVER, "kubeflow") == set()
    assert allowed(overlay, steps, MODEL_SERVER, "elsewhere") == set()
    for team in (steps, notebooks):
        assert allowed(overlay, team, PAGE) == set()
        for one in of_kind(rendered()[overlay], "NetworkPolicy"):
            assert not selects(one["spec"]["podSelector"], team), "a step would be cut off"
    assert allowed(overlay, {"app": "stranger"}, MODEL_SERVER) == set()


@service_overlays
def test_the_page_knows_each_variable_and_finds_the_model_server(
    overlay: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (configured,) = of_kind(rendered()[overlay], "ConfigMap")
    (container,) = pods(overlay, PAGE).spec["containers"]
    assert container["envFrom"] == [{"configMapRef": {"name": configured["metadata"]["name"]}}]
    source = Path(settings.__file__).read_text()
    read_by_uvicorn = {"FORWARDED_ALLOW_IPS"}
    names = {name.removesuffix("_FILE") for name in configured["data"]}
    assert {name for name in names if f'"{name}"' not in source} <= read_by_uvicorn
    key = tmp_path / "key"
    key.write_text("k" * 44)
    for name, value in {**configured["data"], "KALECAST_TOKEN_KEY_FILE": str(key)}.items():
        monkeypatch.setenv(name, value)
    page = settings.Settings()
    assert page.token_keys == (b"k" * 44,)
    (address,) = (urlsplit(one) for one in page.model_servers)
    (service,) = (
        one
        for one in of_kind(expanded()[overlay], "Service")
        if one["metadata"]["name"] == address.hostname
    )
    assert address.port in [port["port"] for port in service["spec"]["ports"]]
    assert pods(overlay, PAGE).ports == {"http": page.port, "metrics": page.metrics_port}
    assert page.host == "0.0.0.0"


@service_overlays
def test_pods_have_the_time_to_end_well(overlay: str):
    server, page = configuration.Configuration, settings.Settings()
    needed = {
        MODEL_SERVER: server.drain_seconds + server.grace_seconds,
        PAGE: page.drain + page.deadline,
    }
    for name, seconds in needed.items():
        spec = pods(overlay, name).spec
        (container,) = spec["containers"]
        hook = container["lifecycle"]["preStop"]
        leave = hook["sleep"]["seconds"] if "sleep" in hook else int(hook["exec"]["command"][1])
        assert leave >= LEAVE_SECONDS
        assert spec["terminationGracePeriodSeconds"] > leave + seconds


@service_overlays
def test_probes_ask_for_addresses_that_are_served(overlay: str):
    routes = {
        MODEL_SERVER: set(
            json.loads((ROOT / "src/kalecast/serving/openapi.json").read_text())["paths"]
        ),
        PAGE: set(
            re.findall(
                r'"(/\w+)": Route\("GET"', (ROOT / "src/kalecast/page/building.py").read_text()
            )
        ),
    }
    for name, served in routes.items():
        (container,) = pods(overlay, name).spec["containers"]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            target = container[probe]["httpGet"]
            assert target["port"] == "http"
            assert target["path"] in served


@service_overlays
def test_queries_ask_for_metrics_that_are_exposed(overlay: str):
    exposed = (ROOT / "src/kalecast/serving/service.py").read_text() + (
        ROOT / "src/kalecast/page/metrics.py"
    ).read_text()
    for one in of_kind(rendered()[overlay], "ScaledObject"):
        for trigger in one["spec"]["triggers"]:
            if trigger["type"] == "prometheus":
                query = trigger["metadata"]["query"]
                (metric,) = re.findall(r"kalecast_\w+", query)
                assert f'"{metric}"' in exposed
                assert f'namespace="{one["metadata"]["namespace"]}"' in query


@pytest.mark.parametrize(("folder", "name"), [("seldon", MODEL_SERVER), ("gradio_app", PAGE)])
@service_overlays
def test_images_and_manifests_agree_on_user_and_ports(overlay: str, folder: str, name: str):
    dockerfile = (ROOT / folder / "Dockerfile").read_text()
    template = pods(overlay, name)
    (exposed,) = re.findall(r"^EXPOSE (.*)$", dockerfile, re.MULTILINE)
    assert {int(port) for port in exposed.split()} == set(template.ports.values())
    context = template.spec["securityContext"]
    assert re.findall(r"^USER (\d+)$", dockerfile, re.MULTILINE) == [str(context["runAsUser"])]


def test_the_renderers_ports_are_the_servers():
    server = configuration.Configuration
    assert {
        "http": server.port,
        "grpc": server.grpc_port,
        "metrics": server.metrics_port,
    } == deployment.PORTS


@overlays
def test_every_image_is_of_this_version(overlay: str):
    for template in templates(overlay):
        for container in containers(template):
            if "kalecast/" in container["image"]:
                assert tag(container["image"]) == VERSION, template.owner


def test_other_files_that_name_an_image_name_this_version():
    files = [
        *("seldon/Dockerfile", "gradio_app/Dockerfile", "gradio_app/README.md", "kale/Dockerfile"),
        *("kale/README.md", "kale/forecast-pipeline.kale.py", "src/kalecast/model/tuning.py"),
        *("kale/forecast-pipeline.pipeline.yaml", "notebooks/forecast_pipeline.ipynb"),
        *("cluster-setup/README.md", "cluster-setup/4-model-and-app/README.md"),
        *("cluster-setup/6-protection/README.md", "cluster-setup/6-protection/Dockerfile"),
    ]
    named = re.compile(r"kalecast/(?:model-server|page|workbench|gateway):([\w.]+[\w])")
    for path in files:
        assert set(named.findall((ROOT / path).read_text())) <= {VERSION}, path
    assert DeploymentSettings().image == f"kalecast/model-server:{VERSION}"


@service_overlays
def test_the_model_stores_keys_come_from_the_secret_that_notebooks_use(overlay: str):
    example = yaml.safe_load((ROOT / "kale/kubernetes/model-store-secret.example.yaml").read_text())
    (container,) = pods(overlay, MODEL_SERVER).spec["containers"]
    both, reading = (source["secretRef"] for source in container["envFrom"])
    assert both == {"name": example["metadata"]["name"], "optional": True}
    # The last one counts: a key that only reads takes the place of the one that writes, too.
    assert reading == {"name": "kalecast-model-reader", "optional": True}


##### One renderer #####


def committed(folder: str) -> list[Object]:
    path = manifests.STEP / folder / "model-server.yaml"
    return list(yaml.safe_load_all(path.read_text()))


def test_the_base_is_what_the_step_deploy_renders():
    deployment = render(manifests.MODEL_URI, "current", DeploymentSettings())
    assert committed("base") == [deployment.manifest, service(DeploymentSettings())]
    assert committed("overlays/standalone") == stand_alone(deployment)


@pytest.mark.parametrize("path", manifests.written(), ids=lambda path: path.name)
def test_what_is_committed_is_what_make_manifests_writes(path: Path):
    assert path.read_text() == manifests.written()[path]


@pytest.mark.parametrize(("overlay", "scales"), [("production", True), ("production-keda", False)])
def test_an_overlay_changes_no_more_than_image_place_and_number(overlay: str, scales: bool):
    image = f"registry.example.com/kalecast/model-server:{VERSION}"
    settings = DeploymentSettings(image=image, scales=scales)
    (found,) = of_kind(rendered()[overlay], "SeldonDeployment")
    assert found == render(manifests.MODEL_URI, "current", settings).manifest


def test_standalone_stands_for_what_the_operator_makes():
    def by_title(overlay: str) -> dict[str, Object]:
        objects = of_kind(expanded()[overlay], "Deployment", "Service", "PodDisruptionBudget")
        return copy.deepcopy({title(one): one["spec"] for one in objects if PAGE not in title(one)})

    made, alone = by_title("production"), by_title("standalone")
    assert set(made) == set(alone)
    for container in (made, alone):
        deployed = container["Deployment/kalecast-default-0-forecaster"]
        deployed["template"]["spec"]["containers"][0].pop("image")
    assert made == alone


##### Enough #####


def test_pods_have_the_memory_of_the_sums_and_on_a_quiet_day_a_crowds_cores():
    figures = capacity_sheet.figures()
    assert figures["server_need"] <= figures["server_memory"]
    assert figures["page_need"] <= figures["page_memory"]
    assert figures["crowd_seconds"] <= figures["wait"]


@service_overlays
def test_the_page_asks_with_as_many_requests_as_the_sums_count_on(overlay: str):
    (configured,) = of_kind(rendered()[overlay], "ConfigMap")
    assert int(configured["data"]["KALECAST_UPSTREAM_REQUESTS"]) == capacity.UPSTREAM_REQUESTS
