"""Cluster-setup's step 2 with stand-ins for kubectl, git and the distribution's manifests.

Rendering is kubectl's own: what a small distribution publishes must go through our overlays.
"""

import base64
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import kubernetes_validate
import pytest
import yaml
from kubernetes_objects import KUBERNETES, Object, manifests, title

from kalecast.cluster.capacity import MODEL_SERVER, PAGE
from kalecast.project import PROJECT

pytestmark = pytest.mark.slow

STEP = PROJECT / "cluster-setup" / "2-kubeflow"
OWNER = "jo@example.org"
TEAM = "kubeflow-user-example-com"

KUBECTL = r"""#!/bin/bash
# Keeps Secrets, namespace/name.key a file, and logs its arguments.
namespace=$(sed -n 's/.*--namespace \([^ ]*\).*/\1/p' <<<"$*")
echo "$*" >> "$STATE/calls"
case " $* " in
  *" kustomize "*) exec "$REAL" "$@" ;;
  *" version "*|*" rollout "*) ;;
  *" current-context "*) echo stand-in ;;
  *" get secrets "*)
    for file in "$STATE/secrets/$namespace/"*; do
        [[ -e $file ]] || continue
        name=${file##*/}
        echo "$namespace ${name%%:*} ${name#*:} $(base64 --wrap=0 < "$file")"
    done ;;
  *" get secret "*" name "*) compgen -G "$STATE/secrets/$namespace/$5:*" ;  exit 0 ;;
  *" get secret "*)
    file=$STATE/secrets/$namespace/$5:$(sed "s/.*'\(.*\)'.*/\1/" <<<"$*")
    [[ ! -e $file ]] || base64 --wrap=0 < "$file" ;;
  *" get storageclasses "*) cat "$STATE/storageclasses" ;;
  *" get configmap dex "*) sed -n '/^  config.yaml/,/^kind/p' "$STATE/sent" ;;
  *" get deployments "*" name "*) ! grep -q 'kind: Deployment' "$STATE/sent" || echo any ;;
  *" get "*webhookconfigurations*) cat "$STATE/webhooks" ;;
  *" get deployments "*"go-template"*) cat "$STATE/open" ;;
  *" get persistentvolumeclaim "*) [[ ! -e $STATE/claims ]] || echo "persistentvolumeclaim/$5" ;;
  *" get customresourcedefinition "*jsonpath*) printf '%s' "$DEFINED" ;;
  *" get deployments,statefulsets,"*) ;;
  *" get deployments,statefulsets "*) echo "Deployment/any 1 1" ;;
  *" get endpointslices "*) printf '%s' "$READY" ;;
  *" get namespace "*pod-security*) echo "$4 baseline" ;;
  *" get "*) echo any ;;
  *" port-forward "*) echo "Forwarding from 127.0.0.1:$FORWARD -> 1"; exec /bin/sleep 60 ;;
  *" create "*)
    text=$(cat)
    name=$(awk '$1 == "name:" { print $2 }' <<<"$text")
    namespace=$(awk '$1 == "namespace:" { print $2 }' <<<"$text")
    mkdir -p "$STATE/secrets/$namespace"
    sed -n '/^stringData/,$s/^  \([^:]*\): "\(.*\)"$/\1 \2/p' <<<"$text" |
    while read -r key value; do
        printf '%s' "$value" > "$STATE/secrets/$namespace/$name:$key"
    done ;;
  *" apply "*)
    text=$(cat)
    grep -o '^  name: .*' <<<"$text" >> "$STATE/calls"
    if [[ -e $STATE/busy && $text == *WantsWebhook* ]]; then
        rm "$STATE/busy"; echo "failed calling webhook" >&2; exit 1
    fi
    printf '%s\n---\n' "$text" >> "$STATE/sent" ;;
  *" wait "*|*" delete "*) ;;
  *) echo "unexpected: $*" >&2; exit 64 ;;
esac
"""

GIT = """#!/bin/sh
case " $* " in
  *" rev-parse "*) sed -n "s/.*COMMIT=//p" "$VERSIONS" | grep "^${2##*-}" ;;
  *) exit 64 ;;
esac
"""

##### A small distribution #####


def _object(kind: str, name: str, namespace: str | None = None, **more: object) -> Object:
    api_version = {"Deployment": "apps/v1", "Profile": "kubeflow.org/v1"}.get(kind, "v1")
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **more}


def _secret(name: str, namespace: str, **content: str) -> Object:
    return _object("Secret", name, namespace, stringData=content)


def _database(name: str, *env: Object) -> Object:
    container = {
        "name": name,
        "image": "mysql:8",
        "env": [{"name": "MYSQL_ALLOW_EMPTY_PASSWORD", "value": "true"}, *env],
    }
    template = {"spec": {"containers": [container]}}
    return _object("Deployment", name, "kubeflow", spec={"template": template})


DEX = """staticPasswords:
- email: user@example.com
  hashFromEnv: DEX_USER_PASSWORD
"""
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "issuers.cert-manager.io"},
}
ARGO = "https://github.com/argoproj/argo-workflows/manifests/base/workflow-controller?ref=v{}"
STORES = [
    _secret("mlpipeline-minio-artifact", "kubeflow", accesskey="minio", secretkey="minio123"),
    _secret("mysql-secret", "kubeflow", username="root", password=""),
    _database("mysql"),
]
UPSTREAM = "applications/pipeline/upstream"

PUBLISHED: dict[str, list[Object]] = {
    "common/cert-manager/base": [_object("Namespace", "cert-manager"), DEFINITION],
    "common/cert-manager/overlays/kubeflow": [_object("WantsWebhook", "issuer")],
    "common/istio/istio-crds/base": [_object("ConfigMap", "istio-crds")],
    "common/istio/istio-namespace/base": [_object("Namespace", "istio-system")],
    "common/istio/istio-install/overlays/oauth2-proxy": [_object("ConfigMap", "istio")],
    "common/oauth2-proxy/overlays/m2m-dex-only": [
        _object("Namespace", "oauth2-proxy"),
        _secret(
            "oauth2-proxy",
            "oauth2-proxy",
            **{"cookie-secret": "7d16fee92f8d11b8940b081b3f8b8acb"},
        ),
    ],
    "common/dex/overlays/oauth2-proxy": [
        _object("Namespace", "auth"),
        _object("ConfigMap", "dex", "auth", data={"config.yaml": DEX}),
        _secret("dex-passwords", "auth", DEX_USER_PASSWORD="$2y$12$any"),
        _secret("dex-oidc-client", "auth", OIDC_CLIENT_SECRET="any"),
    ],
    "common/kubeflow-namespace/base/kubeflow": [_object("Namespace", "kubeflow")],
    "common/kubeflow-roles/base": [_object("ConfigMap", "roles")],
    "common/istio/kubeflow-istio-resources/base": [_object("ConfigMap", "gateway")],
    "applications/pipeline/overlays": STORES,
    "applications/katib/upstream/installs/katib-with-kubeflow": [
        _secret("katib-mysql-secrets", "kubeflow", MYSQL_ROOT_PASSWORD="test"),
        _database("katib-mysql", {"name": "MYSQL_ROOT_PASSWORD", "value": "from the Secret"}),
    ],
    "applications/dashboard/overlays/istio": [_object("ConfigMap", "dashboard")],
    "applications/notebooks-v1/overlays/istio": [_object("ConfigMap", "notebooks")],
    f"{UPSTREAM}/cluster-scoped-resources": [_object("Namespace", "kubeflow")],
    f"{UPSTREAM}/env/platform-agnostic": STORES,
}


def _folder(path: Path, objects: list[Object], *more: str) -> None:
    path.mkdir(parents=True)
    (path / "objects.yaml").write_text(yaml.safe_dump_all(objects))
    head = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n"
    resources = "".join(f"- {resource}\n" for resource in ("objects.yaml", *more))
    (path / "kustomization.yaml").write_text(head + resources)


class Cluster:
    """A cluster, the repositories in the cache, and the step's scripts."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"
        (self.state / "secrets").mkdir(parents=True)
        for name in ("sent", "open", "webhooks"):
            (self.state / name).touch()
        (self.state / "storageclasses").write_text(
            'storageclass.kubernetes.io/is-default-class: "true"\n'
        )
        programs = folder / "bin"
        programs.mkdir()
        for name, text in {"kubectl": KUBECTL, "git": GIT, "sleep": "#!/bin/sh\n"}.items():
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        versions = PROJECT / "cluster-setup" / "versions.env"
        pinned = dict(re.findall(r"^(\w+)=(\S+)$", versions.read_text(), re.MULTILINE))
        cache = folder / "cache"
        self.distribution = cache / f"community-distribution-{pinned['KUBEFLOW_COMMIT'][:12]}"
        argo = cache / f"argo-workflows-{pinned['ARGO_COMMIT'][:12]}"
        for path, objects in PUBLISHED.items():
            up = "../" * (path.count("/") + 1)
            argos = [f"{up}{UPSTREAM}/third-party/argo/base"] if objects is STORES else []
            _folder(self.distribution / path, objects, *argos)
        self.argos = self.distribution / UPSTREAM / "third-party/argo/base"
        _folder(self.argos, [], ARGO.format(pinned["ARGO_VERSION"]))
        _folder(
            argo / "manifests/base/workflow-controller", [_object("ConfigMap", "workflows", "any")]
        )
        self.environment = {
            **os.environ,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "REAL": manifests.kubectl(),
            "STATE": str(self.state),
            "VERSIONS": str(versions),
            "KALECAST_CACHE": str(cache),
            "DEFINED": "True",
            "READY": "x",
        }

    def run(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [STEP / script, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def publishes(self, path: str, *objects: Object) -> None:
        (self.distribution / path / "objects.yaml").write_text(yaml.safe_dump_all(objects))

    def keeps(self, namespace: str, name: str, key: str, value: str) -> None:
        path = self.state / "secrets" / namespace / f"{name}:{key}"
        path.parent.mkdir(exist_ok=True)
        path.write_text(value)

    @property
    def secrets(self) -> dict[str, str]:
        found = sorted(self.state.glob("secrets/*/*"))
        return {f"{path.parent.name}/{path.name}": path.read_text() for path in found}

    @property
    def sent(self) -> list[Object]:
        return [one for one in yaml.safe_load_all((self.state / "sent").read_text()) if one]

    @property
    def calls(self) -> list[str]:
        return (self.state / "calls").read_text().splitlines()


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(tmp_path)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Cluster, str]:
    """A cluster with everything, a webhook of which did not answer at first, and the output."""
    cluster = Cluster(tmp_path_factory.mktemp("full"))
    (cluster.state / "busy").touch()
    done = cluster.run("apply.sh", "full", "--user", OWNER)
    assert done.returncode == 0, done.stderr
    for value in cluster.secrets.values():
        assert len(value) < 16 or value not in done.stderr
    return cluster, done.stdout


##### Passwords #####


def test_every_password_is_made_and_none_is_a_published_one(installed: tuple[Cluster, str]):
    secrets = installed[0].secrets
    made = {name: value for name, value in secrets.items() if not name.endswith(("-id", "_ID"))}
    assert made.pop("kubeflow/mysql-secret:username") == "root"
    assert made.pop("kubeflow/mlpipeline-minio-artifact:accesskey") == "kubeflow-admin"
    assert made.pop("auth/dex-passwords:DEX_USER_PASSWORD").startswith("$2y$12$")
    assert set(made) == {
        "auth/dex-oidc-client:OIDC_CLIENT_SECRET",
        "oauth2-proxy/oauth2-proxy:client-secret",
        "oauth2-proxy/oauth2-proxy:cookie-secret",
        "kubeflow/mlpipeline-minio-artifact:secretkey",
        "kubeflow/mysql-secret:password",
        "kubeflow/katib-mysql-secrets:MYSQL_ROOT_PASSWORD",
    }
    assert all(re.fullmatch("[0-9a-f]{32}", value) for value in made.values())
    assert len(set(made.values())) == len(made) - 1, "Dex and oauth2-proxy share one"
    assert (
        secrets["auth/dex-oidc-client:OIDC_CLIENT_SECRET"]
        == secrets["oauth2-proxy/oauth2-proxy:client-secret"]
    )


def test_the_login_is_reported_and_only_its_hash_is_kept(installed: tuple[Cluster, str]):
    cluster, message = installed
    assert OWNER in message
    (password,) = re.findall(r"^password  ([0-9a-f]{32})$", message, re.MULTILINE)
    kept = cluster.secrets["auth/dex-passwords:DEX_USER_PASSWORD"]
    hashed = subprocess.run(
        ["perl", "-e", "print crypt($ARGV[0], $ARGV[1])", password, kept],
        capture_output=True,
        text=True,
        check=True,
    )
    assert hashed.stdout == kept
    assert password not in "".join(cluster.secrets.values())


def test_what_is_sent_holds_no_secret_and_no_open_database(installed: tuple[Cluster, str]):
    sent = installed[0].sent
    assert not [one for one in sent if one["kind"] == "Secret"]
    databases = [one for one in sent if one["kind"] == "Deployment"]
    env = {
        database["metadata"]["name"]: database["spec"]["template"]["spec"]["containers"][0]["env"]
        for database in databases
    }
    assert env["mysql"] == [
        {
            "name": "MYSQL_ROOT_PASSWORD",
            "valueFrom": {"secretKeyRef": {"name": "mysql-secret", "key": "password"}},
        }
    ]
    assert env["katib-mysql"] == [{"name": "MYSQL_ROOT_PASSWORD", "value": "from the Secret"}]


def test_the_second_time_makes_what_is_missing_and_nothing_else(installed: tuple[Cluster, str]):
    cluster, _ = installed
    before = cluster.secrets
    for path in cluster.state.glob("secrets/oauth2-proxy/*"):
        path.unlink()
    done = cluster.run("apply.sh", "full")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    cookies = "oauth2-proxy/oauth2-proxy:cookie-secret"
    changed = {name for name, value in cluster.secrets.items() if value != before[name]}
    assert changed == {cookies}
    assert [call for call in cluster.calls if "rollout restart" in call] == [
        "--namespace oauth2-proxy rollout restart deployment"
    ]


##### Refusals, before anything is changed #####


@pytest.mark.parametrize(
    ("namespace", "name", "key", "value"),
    [
        ("auth", "dex-oidc-client", "OIDC_CLIENT_SECRET", "pUBnBOY80SnXgjibTYM9ZWNzY2xreNGQok"),
        ("oauth2-proxy", "oauth2-proxy-d4fm8", "cookie-secret", "7d16fee92f8d11b8940b081b3f8b8acb"),
        ("kubeflow", "mlpipeline-minio-artifact", "secretkey", "minio123"),
        ("kubeflow", "mysql-secret", "password", ""),
        ("kubeflow", "katib-mysql-secrets", "MYSQL_ROOT_PASSWORD", "test"),
    ],
)
def test_published_passwords_of_a_cluster_are_refused(
    cluster: Cluster, namespace: str, name: str, key: str, value: str
):
    cluster.keeps(namespace, name, key, value)
    for script in ("apply.sh", "check.sh"):
        done = cluster.run(script, "pipelines-only")
        assert done.returncode == 1
        assert f"in the Secrets {namespace}/{name}" in done.stderr
    assert not cluster.sent


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (_secret("another", "kubeflow", password="any"), "a Secret with content is left"),
        (_object("ConfigMap", "config", data={"key": "minio123"}), "a published password is left"),
        (
            _object("ConfigMap", "config", data={"a": base64.b64encode(b"minio123").decode()}),
            "a published password is left",
        ),
        (_database("another"), "a published password is left"),
    ],
)
def test_published_passwords_of_a_newer_distribution_are_refused(
    cluster: Cluster, more: Object, reason: str
):
    cluster.publishes(f"{UPSTREAM}/env/platform-agnostic", *STORES, more)
    done = cluster.run("apply.sh", "pipelines-only")
    assert done.returncode == 1
    assert reason in done.stderr
    assert not cluster.sent
    assert not cluster.secrets


def test_another_argo_than_the_pinned_one_is_refused(cluster: Cluster):
    kustomization = cluster.argos / "kustomization.yaml"
    kustomization.write_text(re.sub(r"=v.*", "=v9.9.9", kustomization.read_text()))
    done = cluster.run("apply.sh", "pipelines-only")
    assert done.returncode == 1
    assert "want an Argo other than" in done.stderr


def test_a_database_whose_password_is_lost_is_left_alone(cluster: Cluster):
    (cluster.state / "claims").touch()
    done = cluster.run("apply.sh", "pipelines-only")
    assert done.returncode == 1
    assert "Secret kubeflow/mysql-secret, which held it, is gone" in done.stderr


def test_a_cluster_without_storage_is_refused(cluster: Cluster):
    (cluster.state / "storageclasses").write_text("items: []\n")
    done = cluster.run("apply.sh", "pipelines-only")
    assert done.returncode == 1
    assert "no default StorageClass" in done.stderr


def test_a_second_login_is_refused(installed: tuple[Cluster, str]):
    done = installed[0].run("apply.sh", "full", "--user", "ann@example.org")
    assert done.returncode == 1
    assert f"the login is {OWNER}" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "Expected full or pipelines-only, received: ''"),
        (("half",), "Expected full or pipelines-only, received: 'half'"),
        (("full", "full"), "unknown argument full"),
        (("full",), "there is no login yet: name its address with --user"),
        (("full", "--user", "a|b@c"), "Expected an address such as jo@example.org"),
        (("full", "--namespace", "Team_1"), "Expected a namespace's name, received: 'Team_1'"),
        (("full", "--force"), "unknown argument --force"),
    ],
)
def test_wrong_calls(cluster: Cluster, arguments: tuple[str, ...], reason: str):
    done = cluster.run("apply.sh", *arguments)
    assert done.returncode == 2
    assert reason in done.stderr


##### Order, names, dry runs #####


def test_each_comes_after_what_it_needs(installed: tuple[Cluster, str]):
    cluster, _ = installed
    first = cluster.calls
    order = [
        next(number for number, call in enumerate(first) if re.search(wanted, call))
        for wanted in (
            r"^  name: auth$",
            r"^create --filename -$",
            r"^  name: issuers\.cert-manager\.io$",
            r"^wait --for=condition=Established",
            r"^--namespace cert-manager get deployments,statefulsets,daemonsets",
            r"^  name: issuer$",
            r"^--namespace istio-system get deployments",
            r"^--namespace auth get deployments,",
            r"^  name: workflows$",
            r"^  name: katib-mysql$",
            r"^  name: dashboard$",
            r"^  name: notebooks$",
            rf"^wait --for=create --timeout=180s namespace/{TEAM}",
            r"^  name: requests-of-who-names-none$",
        )
    ]
    assert order == sorted(order)


def test_what_a_webhook_refused_is_sent_again(installed: tuple[Cluster, str]):
    cluster, _ = installed
    assert not (cluster.state / "busy").exists()
    assert "WantsWebhook/issuer" in {title(one) for one in cluster.sent}


def test_owner_and_team_are_written_everywhere(installed: tuple[Cluster, str]):
    sent = {title(one): one for one in installed[0].sent}
    assert sent[f"Profile/{TEAM}"]["spec"]["owner"] == {"kind": "User", "name": OWNER}
    assert f"email: {OWNER}" in sent["ConfigMap/dex"]["data"]["config.yaml"]
    assert sent["LimitRange/requests-of-who-names-none"]["metadata"]["namespace"] == TEAM
    for name in (f"Namespace/{TEAM}", "LimitRange/requests-of-who-names-none"):
        kubernetes_validate.validate(sent[name], KUBERNETES, strict=True)


def test_pipelines_alone(cluster: Cluster):
    done = cluster.run("apply.sh", "pipelines-only", "--namespace", "team")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert not [call for call in cluster.calls if "rollout restart" in call]
    sent = {title(one): one for one in cluster.sent}
    labels = sent["Namespace/team"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/part-of"] == "kubeflow-profile"
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {"ConfigMap/workflows", "Deployment/mysql"} <= sent.keys()
    assert {name.split(":")[0] for name in cluster.secrets} == {
        "kubeflow/mlpipeline-minio-artifact",
        "kubeflow/mysql-secret",
    }


@pytest.mark.parametrize("script", ["apply.sh", "remove.sh"])
@pytest.mark.parametrize("variant", ["full", "pipelines-only"])
def test_a_dry_run_needs_neither_cluster_nor_network(
    cluster: Cluster, tmp_path: Path, script: str, variant: str
):
    for program in ("kubectl", "git"):
        (tmp_path / "bin" / program).write_text("#!/bin/sh\nexit 99\n")
    cluster.environment["KALECAST_CACHE"] = "/nowhere"
    done = cluster.run(script, variant, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "+ git fetch https://github.com/kubeflow/community-distribution.git" in done.stderr
    assert not re.search("[0-9a-f]{32}(?![0-9a-f])", re.sub("[0-9a-f]{40}", "", done.stderr))


##### Removing and checking #####


def test_nothing_is_removed_without_a_yes(cluster: Cluster):
    done = cluster.run("remove.sh", "pipelines-only")
    assert done.returncode == 1
    assert "Lost with it" in done.stderr
    assert not [call for call in cluster.calls if call.startswith("delete")]


def test_removal_goes_backwards_and_profiles_go_first(cluster: Cluster):
    assert cluster.run("remove.sh", "full", "--yes").returncode == 0
    deleted = [call for call in cluster.calls if call.startswith("delete")]
    assert "profiles.kubeflow.org --all" in deleted[0]
    files = [Path(call.split()[-1]).stem for call in deleted[1:]]
    assert files[0] == "distribution_applications_notebooks-v1_overlays_istio"
    assert files[-1] == "distribution_common_cert-manager_base"
    assert not [file for file in files if "profile" in file]


class Gateway(BaseHTTPRequestHandler):
    """What port-forwards of a healthy Kubeflow lead to."""

    answers: ClassVar = {
        "/apis/v2beta1/healthz": 200,
        "/": 403,
        "/oauth2/start?rd=/": 302,
        "/dex/.well-known/openid-configuration": 200,
    }

    def do_GET(self) -> None:
        self.send_response(self.answers.get(self.path, 404))
        self.send_header("Location", "/dex/auth?client_id=any")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def healthy(cluster: Cluster) -> Iterator[Cluster]:
    server = HTTPServer(("127.0.0.1", 0), Gateway)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    cluster.environment["FORWARD"] = str(server.server_port)
    (cluster.state / "webhooks").write_text("katib katib-controller kubeflow yes\nother a b \n")
    yield cluster
    server.shutdown()
    server.server_close()


def test_the_check_passes_what_is_healthy(healthy: Cluster):
    done = healthy.run("check.sh", "full")
    assert done.returncode == 0, done.stderr
    assert all(line.startswith("ok ") for line in done.stdout.splitlines())
    assert "1 webhooks have a certificate" in done.stdout
    assert "the dashboard requires a login" in done.stdout
    alone = healthy.run("check.sh", "pipelines-only")
    assert alone.returncode == 0, alone.stderr
    assert "dashboard" not in alone.stdout


def _no_definitions(cluster: Cluster) -> None:
    cluster.environment["DEFINED"] = ""


def _no_certificate(cluster: Cluster) -> None:
    (cluster.state / "webhooks").write_text("katib katib-controller kubeflow \n")


def _no_webhook_pod(cluster: Cluster) -> None:
    cluster.environment["READY"] = ""


def _open_database(cluster: Cluster) -> None:
    (cluster.state / "open").write_text("mysql ")


def _no_login_required(_: Cluster) -> None:
    Gateway.answers["/"] = 200


@pytest.mark.parametrize(
    ("break_it", "reason"),
    [
        (_no_definitions, "the cluster does not know workflows.argoproj.io"),
        (_no_certificate, "webhooks of katib have no certificate yet"),
        (_no_webhook_pod, "a webhook of katib leads to no ready pod of Service kubeflow/"),
        (_open_database, "databases may go without a password: mysql"),
        (_no_login_required, "the dashboard answers 200 without a login"),
    ],
)
def test_the_check_says_what_is_wrong(
    healthy: Cluster, monkeypatch: pytest.MonkeyPatch, break_it, reason: str
):
    monkeypatch.setattr(Gateway, "answers", dict(Gateway.answers))
    break_it(healthy)
    done = healthy.run("check.sh", "full")
    assert done.returncode == 1
    assert reason in done.stderr


##### Sums #####


def _cores(text: str | float) -> float:
    text = str(text)
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)


def _gibibytes(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", text).groups()
    return float(number) / (1024 if unit == "Mi" else 1)


def test_the_quota_has_room_for_what_is_promised():
    """Model server and page at their most, while one rolls over; two notebooks; two runs."""
    profile = yaml.safe_load((STEP / "overlays/profile/profile.yaml").read_text())
    hard = profile["spec"]["resourceQuotaSpec"]["hard"]
    pods = {PAGE: PAGE.maximum_replicas + 1, MODEL_SERVER: MODEL_SERVER.maximum_replicas * 5 // 4}
    folder = PROJECT / "kale"
    pipeline = next(yaml.safe_load_all((folder / "forecast-pipeline.pipeline.yaml").read_text()))
    steps = [
        executor["container"]["resources"]
        for executor in pipeline["deploymentSpec"]["executors"].values()
    ]
    notebook = yaml.safe_load((folder / "kubernetes/notebook.yaml").read_text())
    (container,) = notebook["spec"]["template"]["spec"]["containers"]
    cores = (
        sum(_cores(part.cpu) * number for part, number in pods.items())
        + 2 * _cores(container["resources"]["requests"]["cpu"])
        + 2 * max(_cores(step["resourceCpuRequest"]) for step in steps)
    )
    memory = (
        (640 * pods[PAGE] + 512 * pods[MODEL_SERVER]) / 1024
        + 2 * _gibibytes(container["resources"]["requests"]["memory"])
        + 2 * max(_gibibytes(step["resourceMemoryRequest"]) for step in steps)
    )
    assert cores <= float(hard["requests.cpu"]) * 0.9
    assert memory <= _gibibytes(hard["requests.memory"]) * 0.9
    assert sum(pods.values()) < int(hard["pods"]) / 2
