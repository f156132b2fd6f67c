"""Step 6, protection: what it sends, who may reach whom, and that its rules are all the same.

No cluster is here: `kubectl`, `helm` and `git` are stand-ins, kustomize and nginx the real ones.
"""

import base64
import hashlib
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import dockerfiles
import gateway_process
import pytest
import yaml
from kubernetes_objects import (
    ROOT,
    Object,
    manifests,
    of_kind,
    rendered,
    templates,
    validate,
)
from prometheus_process import promtool
from setup_scripts import Programs, versions

from kalecast.cluster.gateway import local as protect
from kalecast.cluster.gateway import nginx as gateway

STEP = ROOT / "cluster-setup" / "6-protection"

OVERLAYS = [name for name in manifests.overlays() if name.startswith("protection-")]
SIGN_IN = "protection-production-sign-in"
SERVICE = [name for name, at in manifests.overlays().items() if manifests.STEP in at.parents]
GATEWAY, PAGE = (
    {"app.kubernetes.io/name": "kalecast-gateway"},
    {"app.kubernetes.io/name": "kalecast-page"},
)
CONTROLLER = {"app.kubernetes.io/name": "nginx-ingress"}

overlays = pytest.mark.parametrize("overlay", OVERLAYS)

CHART_SETTINGS = """
controller.readOnlyRootFilesystem controller.autoscaling controller.podDisruptionBudget
controller.topologySpreadConstraints controller.strategy controller.resources
controller.initContainerResources controller.terminationGracePeriodSeconds controller.lifecycle
controller.service controller.enableSnippets controller.defaultTLS controller.ingressClass
controller.telemetryReporting controller.logFormat controller.config prometheus.create
"""
"""Of the names in the chart's values.yaml those that we set: Helm takes any other and does
nothing."""

CONFIGURATION_KEYS = """
server-tokens http2 ssl-protocols ssl-ciphers ssl-prefer-server-ciphers default-server-return
client-max-body-size proxy-connect-timeout worker-processes worker-connections worker-rlimit-nofile
worker-shutdown-timeout keepalive-timeout http-snippets log-format log-format-escaping
"""
"""Of the keys that the controller reads (internal/configs/configmaps.go) those that we set."""


@cache
def objects(overlay: str, kind: str) -> dict[str, Object]:
    return {one["metadata"]["name"]: one for one in of_kind(rendered()[overlay], kind)}


def only(overlay: str, kind: str, name: str) -> Any:
    return objects(overlay, kind)[name]


##### One set of rules #####


@overlays
def test_the_rules_are_those_of_the_gateway_on_ones_own_machine(overlay: str):
    here = gateway.files(gateway.Gateway(folder="/run/gateway"))
    mine = {name.partition("/")[2]: text for name, text in here.items() if "/" in name}
    assert only(overlay, "ConfigMap", "kalecast-gateway-rules")["data"] == mine
    assert protect.gateway is gateway, "both fill in the same files"


def test_the_pages_own_script_is_the_one_that_may_run():
    """As `kalecast.page.layout` puts it into the document."""
    script = f"(() => {{\n{(ROOT / 'src/kalecast/page/page.js').read_text()}}})();"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in (STEP / "gateway/headers.conf").read_text()


def test_keys_count_where_the_page_asks_for_them():
    base = only("protection-production", "ConfigMap", "kalecast-gateway")["data"]["limits.conf"]
    component = yaml.safe_load((STEP / "components/customers/configuration.yaml").read_text())
    assert component["data"].keys() == {"limits.conf"}
    keyed = component["data"]["limits.conf"]
    assert only(SIGN_IN, "ConfigMap", "kalecast-gateway")["data"]["limits.conf"] == keyed
    assert keyed.replace("$http_authorization;", '"";') == base


@overlays
def test_the_rest_differs_in_places_and_in_sign_in_alone(overlay: str):
    here = gateway.files(gateway.Gateway(folder="/run/gateway"))
    top = only(overlay, "ConfigMap", "kalecast-gateway")["data"]
    assert set(top) == {name for name in here if "/" not in name}
    different = {name for name, text in top.items() if text != here[name]}
    signs_in = {*gateway.SIGN_IN, "limits.conf"} if overlay == SIGN_IN else set()
    places = {"common.conf", "front.conf", "headers.conf", "list.conf", "nginx.conf"}
    places |= {
        "operators.conf",
        "signatures.conf",
        "signatures-nginx.conf",
        "forwarded-headers.conf",
    }
    assert signs_in <= different <= signs_in | places


def nginx_takes(folder: Path, *options: str | Path) -> None:
    """Have nginx test a configuration."""
    command = [gateway_process.nginx(), "-t", "-e", "stderr", "-p", folder, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@overlays
def test_nginx_takes_the_configuration(overlay: str, tmp_path: Path):
    (tmp_path / "run" / "files").mkdir(parents=True)
    for folder, name in (("etc", "kalecast-gateway"), ("run/rules", "kalecast-gateway-rules")):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for file, text in only(overlay, "ConfigMap", name)["data"].items():
            # Services have no address here.
            here = re.sub(r"\bkalecast-(page|sign-in):", "127.0.0.1:", text)
            (tmp_path / folder / file).write_text(here.replace("/run/gateway", f"{tmp_path}/run"))
    for name in ("nginx.conf", "signatures-nginx.conf"):
        nginx_takes(tmp_path / "run", "-c", tmp_path / "etc" / name)


##### Of one mind #####


@overlays
def test_image_and_pod_agree(overlay: str):
    (pod,) = (one for one in templates(overlay) if one.labels.items() >= GATEWAY.items())
    container, signatures = pod.spec["containers"]
    words = dict(dockerfiles.last_stage("cluster-setup/6-protection"))
    assert {int(port) for port in words["EXPOSE"].split()} == set(pod.ports.values())
    assert words["USER"] == str(pod.spec["securityContext"]["runAsUser"])
    assert words["STOPSIGNAL"] == "SIGQUIT"
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    started = yaml.safe_load(words["ENTRYPOINT"])
    assert str(Path(started[-1]).parent) in mounts
    assert started[started.index("-p") + 1] in mounts
    # The same program, the same files, of another beginning.
    assert signatures["command"][:-1] == started[:-1]
    assert signatures["command"][-1] == started[-1].replace("nginx.conf", "signatures-nginx.conf")
    assert signatures["volumeMounts"] == container["volumeMounts"]
    volumes = {volume["name"]: volume for volume in pod.spec["volumes"]}
    for path, mount in mounts.items():
        writable = "emptyDir" in volumes[mount["name"]]
        assert writable is not mount.get("readOnly", False), path
        if writable:
            assert "sizeLimit" in volumes[mount["name"]]["emptyDir"]
    nginx = only(overlay, "ConfigMap", "kalecast-gateway")["data"]["nginx.conf"]
    (grace,) = re.findall(r"worker_shutdown_timeout (\d+)s;", nginx)
    leave = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod.spec["terminationGracePeriodSeconds"] > leave + int(grace)


@overlays
def test_probes_ask_what_customers_do_not_reach(overlay: str):
    (pod,) = (one for one in templates(overlay) if one.labels.items() >= GATEWAY.items())
    operators = only(overlay, "ConfigMap", "kalecast-gateway")["data"]["operators.conf"]
    # The port is the first container's, so the second one has to say its number.
    ports = {"operators", pod.ports["operators"]}
    for container in pod.spec["containers"]:
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            target = container[probe]["httpGet"]
            assert target["port"] in ports
            assert f"location = {target['path']} " in operators
    service = only(overlay, "Service", "kalecast-gateway")
    assert [port["targetPort"] for port in service["spec"]["ports"]] == ["http"]


@overlays
def test_the_public_name_is_one_everywhere(overlay: str):
    name = manifests.PUBLIC_NAME
    server = only(overlay, "VirtualServer", "kalecast")["spec"]
    certificate = only(overlay, "Certificate", "kalecast-public")["spec"]
    assert server["host"] == name
    assert certificate["dnsNames"] == [name]
    assert certificate["secretName"] == server["tls"]["secret"]
    front = only(overlay, "ConfigMap", "kalecast-gateway")["data"]["front.conf"]
    assert f"server_name {name};" in front
    assert f"set_real_ip_from {manifests.POD_NETWORK};" in front
    assert versions()["POD_NETWORK"] == manifests.POD_NETWORK
    (page,) = of_kind(rendered()["production"], "ConfigMap")
    assert page["data"]["KALECAST_PUBLIC_URL"] == f"https://{name}"
    assert page["data"]["FORWARDED_ALLOW_IPS"] == "*"


@overlays
def test_the_controller_leads_to_the_gateway_by_policies_that_are_there(overlay: str):
    server = only(overlay, "VirtualServer", "kalecast")["spec"]
    for upstream in server["upstreams"]:
        service = only(overlay, "Service", upstream["service"])
        assert upstream["port"] in [port["port"] for port in service["spec"]["ports"]]
    assert {one["name"] for one in server["policies"]} == set(objects(overlay, "Policy"))
    # The edge is wider than the gateway.
    flood = only(overlay, "Policy", "kalecast-flood")["spec"]["rateLimit"]
    assert int(flood["rate"].removesuffix("r/s")) > gateway.Limits().all_rate
    assert flood["burst"] > gateway.Limits().all_burst
    for route in server["routes"]:
        # Not what a gateway or a page says itself.
        (replaced,) = route["errorPages"]
        assert not set(replaced["codes"]) & set(gateway.REFUSALS)


def in_bytes(size: str) -> int:
    """A size as nginx or Kubernetes writes it."""
    number, unit = re.fullmatch(r"(\d+)([kmKMG])i?", size).groups()
    return int(number) * 1024 ** (" kmg".index(unit.lower()))


def largest_bodies(overlay: str) -> dict[str, int]:
    """Bytes, by address; / stands for all that have none of their own."""
    front = only(overlay, "ConfigMap", "kalecast-gateway")["data"]["front.conf"]
    sizes = {"/": re.findall(r"^    client_max_body_size (\w+);", front, re.MULTILINE)[0]}
    for path, inside in re.findall(r"^    location = (\S+) {\n(.*?)^    }", front, re.M | re.S):
        if found := re.findall(r"client_max_body_size (\w+);", inside):
            sizes[path] = found[0]
    return {path: in_bytes(size) for path, size in sizes.items()}


@overlays
def test_each_address_has_its_largest_body_at_the_edge_too(overlay: str):
    server = only(overlay, "VirtualServer", "kalecast")["spec"]
    upstreams = {one["name"]: one for one in server["upstreams"]}
    routes = {
        route["path"].removeprefix("="): upstreams[route["action"]["proxy"]["upstream"]]
        for route in server["routes"]
    }
    largest = largest_bodies(overlay)
    assert routes.keys() == largest.keys()
    for path, upstream in routes.items():
        # Wider, so that the gateway answers clients that send a little too much.
        assert 1 < in_bytes(upstream["client-max-body-size"]) / largest[path] <= 2
        # Of a POST alone nginx repeats nothing but what was never sent.
        assert (upstream["next-upstream"] == "off") is (path == "/")


@overlays
def test_there_is_room_for_the_bodies_that_may_wait(overlay: str):
    limits, largest = gateway.Limits(), largest_bodies(overlay)
    event, upload = largest["/gradio_api/run/predict"], largest["/gradio_api/upload"]
    waiting = limits.uploads_held * upload + (limits.large_held - limits.uploads_held) * event
    # The second tier and the third have those that are whole.
    waiting += 2 * limits.uploads_at_once * upload
    (pod,) = (one for one in templates(overlay) if one.labels.items() >= GATEWAY.items())
    (work,) = (one["emptyDir"] for one in pod.spec["volumes"] if one["name"] == "work")
    assert waiting < in_bytes(work["sizeLimit"])
    for container in pod.spec["containers"]:
        assert in_bytes(container["resources"]["limits"]["ephemeral-storage"]) > in_bytes(
            work["sizeLimit"]
        )

    (of_all,) = re.findall(r"limit_conn kalecast_large_of_all (\d+);", snippets())
    server = only(overlay, "VirtualServer", "kalecast")["spec"]
    most = max(in_bytes(one["client-max-body-size"]) for one in server["upstreams"])
    edge = values()["controller"]["resources"]["limits"]["ephemeral-storage"]
    assert int(of_all) * most < in_bytes(edge)


def snippets() -> str:
    """What the controller's nginx gets beside its settings."""
    text: str = values()["controller"]["config"]["entries"]["http-snippets"]
    return text


def test_nginx_takes_the_controllers_snippets(tmp_path: Path):
    (tmp_path / "nginx.conf").write_text(f"events {{}}\nhttp {{\n{snippets()}\n}}\n")
    nginx_takes(tmp_path, "-c", "nginx.conf", "-g", f"pid {tmp_path}/pid;")


@overlays
def test_headers_of_the_controller_leave_the_head_of_a_request_known(overlay: str):
    for route in only(overlay, "VirtualServer", "kalecast")["spec"]["routes"]:
        headers = route["action"]["proxy"]["requestHeaders"]["set"]
        taken = {one["name"]: one["value"] for one in headers}
        assert taken == {"X-Real-IP": "", "X-Forwarded-Port": ""}
    heads = (STEP / "gateway" / "rules" / "benign-heads.conf").read_text()
    for added in ("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"):
        assert f"|{added}|" in heads or f"|{added})" in heads


def test_oauth2_proxy_and_the_gateway_agree():
    (made,) = (one for name, one in objects(SIGN_IN, "ConfigMap").items() if "sign-in" in name)
    text = made["data"]["oauth2-proxy.cfg"]
    options = dict(re.findall(r'^(\w+) = "?([^"\n]*)"?$', text, re.MULTILINE))
    maps = only(SIGN_IN, "ConfigMap", "kalecast-gateway")["data"]["sign-in-maps.conf"]
    assert f"(?:{options['cookie_name']}[" in maps
    (service,) = re.findall(r"server ([\w-]+):(\d+) ", maps)
    assert service[1] == options["http_address"].rpartition(":")[2]
    assert service[0] in objects(SIGN_IN, "Service")
    assert options["redirect_url"] == f"https://{manifests.PUBLIC_NAME}/oauth2/callback"
    for off in ("request_logging", "auth_logging"):
        assert options[off] == "false", "it would name people"
    assert options["cookie_secure"] == options["cookie_httponly"] == "true"
    (pod,) = (one for one in templates(SIGN_IN) if "sign-in" in one.owner)
    (container,) = pod.spec["containers"]
    folders = [mount["mountPath"] for mount in container["volumeMounts"]]
    for file in (options["client_secret_file"], options["cookie_secret_file"]):
        assert str(Path(file).parent) in folders


##### Who may reach whom #####


def matches(selector: Object | None, labels: dict[str, str]) -> bool:
    return selector is not None and selector.get("matchLabels", {}).items() <= labels.items()


def peers(overlay: str, direction: str, pod: dict[str, str]) -> list[tuple[Object, set[int]]]:
    """The peers of a pod, each with its ports, of all policies that select it."""
    return [
        (peer, {port["port"] for port in rule["ports"]})
        for one in objects(overlay, "NetworkPolicy").values()
        if policy_selects(one, pod)
        for rule in one["spec"].get(direction.lower(), [])
        for peer in rule.get("from", []) + rule.get("to", [])
    ]


def policy_selects(one: Object, pod: dict[str, str]) -> bool:
    selector = one["spec"]["podSelector"]
    for rule in selector.get("matchExpressions", []):
        assert rule["operator"] == "In"
        if pod.get(rule["key"]) not in rule["values"]:
            return False
    return matches(selector, pod)


def namespace(peer: Object) -> str | None:
    labels = peer.get("namespaceSelector", {}).get("matchLabels", {})
    return labels.get("kubernetes.io/metadata.name")


@overlays
def test_the_controller_alone_reaches_the_gateway_which_reaches_page_names_and_sign_in(
    overlay: str,
):
    ((peer, ports),) = peers(overlay, "Ingress", GATEWAY)
    assert namespace(peer) == "nginx-ingress"
    assert matches(peer["podSelector"], CONTROLLER)
    assert ports == {8080}
    reached = {
        (namespace(peer), *peer["podSelector"]["matchLabels"].values(), *sorted(ports))
        for peer, ports in peers(overlay, "Egress", GATEWAY)
    }
    wanted = {(None, "kalecast-page", 7860), ("kube-system", "kube-dns", 53)}
    if overlay == SIGN_IN:
        wanted |= {(None, "kalecast-sign-in", 4180)}
    assert reached == wanted


@pytest.mark.parametrize("overlay", SERVICE)
def test_the_page_admits_the_gateway_and_prometheus_alone(overlay: str):
    admitted = {
        (namespace(peer), *peer["podSelector"]["matchLabels"].values())
        for peer, ports in peers(overlay, "Ingress", PAGE)
    }
    assert admitted == {(None, "kalecast-gateway"), ("monitoring", "prometheus")}


def test_the_gateway_queries_oauth2_proxy_which_queries_dex():
    pod = {"app.kubernetes.io/name": "kalecast-sign-in"}
    ((peer, ports),) = peers(SIGN_IN, "Ingress", pod)
    assert namespace(peer) is None and matches(peer["podSelector"], GATEWAY)
    assert ports == {4180}
    reached = {namespace(peer) for peer, _ in peers(SIGN_IN, "Egress", pod)}
    assert reached == {"auth", "kube-system"}
    (dex,) = yaml.safe_load_all((STEP / "ingress" / "dex.yaml").read_text())
    (rule,) = dex["spec"]["ingress"]
    assert matches(rule["from"][0]["podSelector"], pod)


##### The ingress controller #####


def values() -> Any:
    return yaml.safe_load((STEP / "ingress" / "values.yaml").read_text())


def test_settings_are_those_of_the_chart_and_of_the_controller():
    named = {f"{part}.{name}" for part, inner in values().items() for name in inner}
    assert named == set(CHART_SETTINGS.split())
    entries = values()["controller"]["config"]["entries"]
    assert set(entries) == set(CONFIGURATION_KEYS.split())
    assert all(isinstance(value, str) for value in entries.values())
    assert values()["controller"]["enableSnippets"] is False
    tls = (STEP / "gateway" / "tls.conf").read_text()
    assert f"ssl_protocols {entries['ssl-protocols']};" in tls
    assert f"ssl_ciphers {entries['ssl-ciphers']};" in tls
    personal = ("remote_addr", "$request ", "request_uri", "args", "http_", "remote_user", "cookie")
    assert not [word for word in personal if word in entries["log-format"]]


@pytest.mark.parametrize("path", sorted(STEP.glob("ingress/**/*.yaml")), ids=lambda p: p.name)
def test_objects_beside_the_chart_are_valid(path: Path):
    if path.name != "values.yaml":
        for one in yaml.safe_load_all(path.read_text()):
            validate(one)


@pytest.mark.slow
def test_the_alert_on_certificates_fires_in_time(tmp_path: Path):
    objects = list(yaml.safe_load_all((STEP / "ingress" / "certificates.yaml").read_text()))
    (rule,) = of_kind(objects, "PrometheusRule")
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(rule["spec"]))
    name = "certmanager_certificate_expiration_timestamp_seconds"
    series = [
        {"series": f'{name}{{name="{one}",namespace="team"}}', "values": f"{days * 86400}x200"}
        for one, days in (("kalecast-public", 10), ("kubeflow-public", 40), ("other", 1))
    ]
    firing = "count by (alertname, severity, name) (ALERTS{alertstate='firing'})"
    fires = {
        "0m": [],
        "2h": [("KalecastCertificateEnds", "warning")],
        "170h": [
            ("KalecastCertificateEnding", "critical"),
            ("KalecastCertificateEnds", "warning"),
        ],
    }
    labels = '{{alertname="{}",severity="{}",name="kalecast-public"}}'
    expected = [
        {
            "expr": firing,
            "eval_time": after,
            "exp_samples": [{"labels": labels.format(*alert), "value": 1} for alert in alerts],
        }
        for after, alerts in fires.items()
    ]
    tests = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": "1h",
        "tests": [{"interval": "1h", "input_series": series, "promql_expr_test": expected}],
    }
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(tests))
    promtool("test", "rules", tmp_path / "tests.yml")


def test_what_needs_nginx_plus_says_so_and_is_not_applied():
    for path in STEP.glob("ingress/plus/*.yaml"):
        assert path.read_text().startswith("# Needs NGINX Plus")
    assert not [one for one in STEP.glob("*.sh") if "plus" in one.read_text()]


##### The scripts #####

KUBECTL = """
test "$1" = kustomize && exec "$REAL" "$@"
echo "$*" >>"$STATE/calls"
case "$*" in
  *"get virtualserver/kalecast"*) echo "$NAME" ;;
  *"get virtualserver/kubeflow"*) ;;
  *"get secret kalecast-sign-in"*) test -n "$SECRET" ;;
  *"create secret"*) cat >>"$STATE/made" ;;
  *filename*" -"|*"filename - ") cat >>"$STATE/sent"; echo '---' >>"$STATE/sent" ;;
esac
"""
HELM = 'echo "helm $*" >>"$STATE/calls"; echo "kind: Deployment"'
GIT = '[[ $* != *rev-parse* ]] || echo "$NGINX_INGRESS_COMMIT"'
NAMED = ("production", "--without-controller", "--name", "f.example.org")
SIGNING_IN = ("production-sign-in", *NAMED[1:])
KUBEFLOW = ("--kubeflow", "k.example.org")


class Step(Programs):
    """The scripts between stand-ins, and what the last one has sent."""

    def call(self, script: str, *words: str, **environment: str) -> Any:
        for name in ("sent", "calls", "made"):
            (self.state / name).unlink(missing_ok=True)
        return self.run(STEP / f"{script}.sh", *words, **environment)


@pytest.fixture
def step(tmp_path: Path) -> Step:
    step = Step(tmp_path, kubectl=KUBECTL, helm=HELM, git=GIT)
    step.environment |= {"REAL": manifests.kubectl(), "NAME": "", "SECRET": ""}
    step.environment["NGINX_INGRESS_COMMIT"] = versions()["NGINX_INGRESS_COMMIT"]
    return step


def test_what_is_called_for_stands_everywhere(step: Step):
    words = ("--namespace", "team", "--issuer", "ours", "--pod-network", "10.9.0.0/16")
    done = step.call("apply", *NAMED, *words)
    assert done.returncode == 0, done.stderr
    text, sent = step.text("sent"), step.objects()
    assert "example.com" not in re.sub(r"registry\.example\.com", "", text)
    assert "10.244" not in text
    for one in sent.values():
        validate(one)
        name = one["metadata"]["name"]
        watches = "certificate" in name or name == "kalecast-prometheus"
        namespaces = {"team", "cert-manager"} if watches else {"team"}
        assert one["metadata"]["namespace"] in namespaces
    assert sent["VirtualServer/kalecast"]["spec"]["host"] == "f.example.org"
    assert sent["Certificate/kalecast-public"]["spec"]["issuerRef"]["name"] == "ours"
    front = sent["ConfigMap/kalecast-gateway"]["data"]["front.conf"]
    assert "server_name f.example.org;" in front
    assert "set_real_ip_from 10.9.0.0/16;" in front
    assert step.call("remove", *NAMED).returncode == 0
    assert set(step.objects()) == set(sent), "remove takes what apply brings"
    assert "delete" in step.text("calls")


def test_another_configuration_is_another_rollout_and_the_same_is_none(step: Step):
    def digest(*words: str) -> str:
        assert step.call("apply", *words).returncode == 0
        template = step.objects()["Deployment/kalecast-gateway"]["spec"]["template"]
        found: str = template["metadata"]["annotations"]["kalecast/configuration"]
        return found

    first = digest(*NAMED)
    assert re.fullmatch("[0-9a-f]{32}", first)
    assert digest(*NAMED) == first
    assert digest(*NAMED[:-1], "g.example.org") != first


def test_the_name_that_is_there_stays_and_so_does_a_certificate_of_ones_own(step: Step):
    words = ("production", "--without-controller")
    done = step.call("apply", *words, "--own-certificate", NAME="now.example.org")
    assert done.returncode == 0, done.stderr
    assert step.objects()["VirtualServer/kalecast"]["spec"]["host"] == "now.example.org"
    assert "Certificate/kalecast-public" not in step.objects()
    assert step.call("apply", *words).returncode == 2


def test_signing_in_needs_kubeflows_name_and_makes_its_secrets_once(step: Step):
    assert "--kubeflow" in step.call("apply", *SIGNING_IN).stderr
    done = step.call("apply", *SIGNING_IN, *KUBEFLOW)
    assert done.returncode == 0, done.stderr
    made = re.findall(r"^(?:client|cookie)-secret=(\S{32})$", step.text("made"), re.MULTILINE)
    assert len(set(made)) == 2
    assert not any(secret in step.text("calls") + done.stdout + done.stderr for secret in made)
    assert 'login_url = "https://k.example.org/dex/auth"' in step.text("sent")
    sent = step.objects()
    assert sent["VirtualServer/kubeflow"]["spec"]["host"] == "k.example.org"
    pod = sent["Deployment/kalecast-sign-in"]["spec"]["template"]["spec"]
    assert re.search(r":v\d+\.\d+\.\d+$", pod["containers"][0]["image"])
    assert step.call("apply", *SIGNING_IN, *KUBEFLOW, SECRET="there").returncode == 0
    assert "create secret" not in step.text("calls")


@pytest.mark.parametrize(("more", "watched"), [((), r"team\n"), (KUBEFLOW, r"team\\,istio-system")])
def test_the_controller_watches_the_namespaces_that_it_serves(
    step: Step, more: tuple[str, ...], watched: str
):
    named = ("production", "--name", "f.example.org", "--namespace", "team")
    done = step.call("apply", *named, *more)
    assert done.returncode == 0, done.stderr
    assert re.search(rf"controller\.watchNamespace={watched}", step.text("calls"))
    assert "Namespace/nginx-ingress" in step.objects()


@pytest.mark.parametrize(
    "words",
    [
        ("nowhere",),
        ("production", "--name", "f.example.org;"),
        ("production", "--namespace", "Team"),
        ("production", "--pod-network", "10.9.0.0"),
    ],
)
def test_a_wrong_call_is_refused_before_anything_is_done(step: Step, words: tuple[str, ...]):
    done = step.call("apply", *words)
    assert done.returncode == 2
    assert not step.text("sent")
    assert "received: '" in done.stderr
