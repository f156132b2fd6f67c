"""Step 2's passwords, refusals and removal, with stand-ins for kubectl, git and the distribution.

Rendering is kubectl's own: what a small distribution publishes must go through our overlays.
"""

import base64
import re
import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from kubernetes_objects import KUBERNETES, Object, manifests
from setup_scripts import SETUP, Programs, versions

from kalecast.cluster.capacity import MODEL_SERVER, PAGE
from kalecast.project import PROJECT

pytestmark = pytest.mark.slow

STEP = SETUP / "2-kubeflow"
OWNER, TEAM = "jo@example.org", "kubeflow-user-example-com"

KUBECTL = r"""
# Keeps Secrets, namespace/name:key a file, and what is sent; all that is awaited is there.
namespace=$(sed -n 's/.*--namespace \([^ ]*\).*/\1/p' <<<"$*")
secrets=$STATE/secrets/$namespace
case " $* " in
  *" kustomize "*) exec "$REAL" "$@" ;;
  *" get secrets "*)
    for file in "$secrets"/*; do
        [[ -e $file ]] || continue
        name=${file##*/}
        echo "$namespace ${name%%:*} ${name#*:} $(base64 --wrap=0 <"$file")"
    done ;;
  *" get secret "*" name "*) compgen -G "$secrets/$5:*" || true ;;
  *" get secret "*)
    file=$secrets/$5:$(sed "s/.*'\(.*\)'.*/\1/" <<<"$*")
    [[ ! -e $file ]] || base64 --wrap=0 <"$file" ;;
  *" get storageclasses "*) echo 'storageclass.kubernetes.io/is-default-class: "true"' ;;
  *" get configmap dex "*) sed -n '/^  config.yaml/,/^kind/p' "$STATE/sent" ;;
  *" get deployments "*" name "*) ! grep -q 'kind: Deployment' "$STATE/sent" || echo any ;;
  *" get persistentvolumeclaim "*) [[ ! -e $STATE/claims ]] || echo "persistentvolumeclaim/$5" ;;
  *" get deployments,statefulsets "*) echo "Deployment/any 1 1" ;;
  *" get deployments,statefulsets,"*) ;;
  *" get "*) echo any ;;
  *" create "*)
    text=$(cat)
    field() { awk -v key="$1:" '$1 == key { print $2 }' <<<"$text"; }
    folder=$STATE/secrets/$(field namespace)
    mkdir -p "$folder"
    sed -n '/^stringData/,$s/^  \([^:]*\): "\(.*\)"$/\1 \2/p' <<<"$text" |
        while read -r key value; do printf '%s' "$value" >"$folder/$(field name):$key"; done ;;
  *" apply "*) cat >>"$STATE/sent"; printf '\n---\n' >>"$STATE/sent" ;;
  *" rollout restart "*|*" delete "*) echo "$*" >>"$STATE/calls" ;;
esac
"""
GIT = '[[ $* != *rev-parse* ]] || sed -n "s/.*COMMIT=//p" "$VERSIONS" | grep "^${2##*-}"'

##### A small distribution #####


def one(kind: str, name: str, namespace: str | None = None, **more: object) -> Object:
    api_version = {"Deployment": "apps/v1", "Profile": "kubeflow.org/v1"}.get(kind, "v1")
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **more}


def secret(name: str, namespace: str, **content: str) -> Object:
    return one("Secret", name, namespace, stringData=content)


def database(name: str, *env: Object) -> Object:
    everyone = {"name": "MYSQL_ALLOW_EMPTY_PASSWORD", "value": "true"}
    container = {"name": name, "image": "mysql:8", "env": [everyone, *env]}
    template = {"spec": {"containers": [container]}}
    return one("Deployment", name, "kubeflow", spec={"template": template})


DEX = "staticPasswords:\n- email: user@example.com\n  hashFromEnv: DEX_USER_PASSWORD\n"
STORES = [
    secret("mlpipeline-minio-artifact", "kubeflow", accesskey="minio", secretkey="minio123"),
    secret("mysql-secret", "kubeflow", username="root", password=""),
    database("mysql"),
]
UPSTREAM = "applications/pipeline/upstream"
ARGO = "https://github.com/argoproj/argo-workflows/manifests/base/workflow-controller?ref=v{}"
PUBLISHED: dict[str, list[Object]] = {
    "common/cert-manager/base": [one("Namespace", "cert-manager")],
    "common/cert-manager/overlays/kubeflow": [one("ConfigMap", "issuer")],
    "common/istio/istio-crds/base": [one("ConfigMap", "istio-crds")],
    "common/istio/istio-namespace/base": [one("Namespace", "istio-system")],
    "common/istio/istio-install/overlays/oauth2-proxy": [one("ConfigMap", "istio")],
    "common/oauth2-proxy/overlays/m2m-dex-only": [
        one("Namespace", "oauth2-proxy"),
        secret("oauth2-proxy", "oauth2-proxy", **{"cookie-secret": "any"}),
    ],
    "common/dex/overlays/oauth2-proxy": [
        one("Namespace", "auth"),
        one("ConfigMap", "dex", "auth", data={"config.yaml": DEX}),
        secret("dex-passwords", "auth", DEX_USER_PASSWORD="$2y$12$any"),
        secret("dex-oidc-client", "auth", OIDC_CLIENT_SECRET="any"),
    ],
    "common/kubeflow-namespace/base/kubeflow": [one("Namespace", "kubeflow")],
    "common/kubeflow-roles/base": [one("ConfigMap", "roles")],
    "common/istio/kubeflow-istio-resources/base": [one("ConfigMap", "gateway")],
    "applications/pipeline/overlays": STORES,
    "applications/katib/upstream/installs/katib-with-kubeflow": [
        secret("katib-mysql-secrets", "kubeflow", MYSQL_ROOT_PASSWORD="test"),
        database("katib-mysql", {"name": "MYSQL_ROOT_PASSWORD", "value": "from the Secret"}),
    ],
    "applications/dashboard/overlays/istio": [one("ConfigMap", "dashboard")],
    "applications/notebooks-v1/overlays/istio": [one("ConfigMap", "notebooks")],
    f"{UPSTREAM}/cluster-scoped-resources": [one("Namespace", "kubeflow")],
    f"{UPSTREAM}/env/platform-agnostic": STORES,
}


class Kubeflow(Programs):
    """A cluster, the repositories in the cache, and the step's scripts."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, kubectl=KUBECTL, git=GIT, sleep="")
        (self.state / "sent").touch()
        self.environment |= {"REAL": manifests.kubectl(), "VERSIONS": str(SETUP / "versions.env")}
        pinned = versions()
        cache = Path(self.environment["KALECAST_CACHE"])
        self.distribution = cache / f"community-distribution-{pinned['KUBEFLOW_COMMIT'][:12]}"
        argo = cache / f"argo-workflows-{pinned['ARGO_COMMIT'][:12]}"
        for path, objects in PUBLISHED.items():
            up = "../" * (path.count("/") + 1)
            argos = [f"{up}{UPSTREAM}/third-party/argo/base"] if objects is STORES else []
            self.publish(self.distribution / path, objects, *argos)
        self.argo = self.distribution / UPSTREAM / "third-party/argo/base"
        self.publish(self.argo, [], ARGO.format(pinned["ARGO_VERSION"]))
        self.publish(
            argo / "manifests/base/workflow-controller", [one("ConfigMap", "workflows", "any")]
        )

    def publish(self, folder: Path, objects: list[Object], *more: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "objects.yaml").write_text(yaml.safe_dump_all(objects))
        head = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
        whole = {**head, "resources": ["objects.yaml", *more]}
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(whole))

    def apply(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run(STEP / "apply.sh", *arguments)

    @property
    def secrets(self) -> dict[str, str]:
        found = sorted(self.state.glob("secrets/*/*"))
        return {f"{path.parent.name}/{path.name}": path.read_text() for path in found}


@pytest.fixture
def kubeflow(tmp_path: Path) -> Kubeflow:
    return Kubeflow(tmp_path)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Kubeflow, str]:
    """A cluster with everything, and the output."""
    kubeflow = Kubeflow(tmp_path_factory.mktemp("full"))
    done = kubeflow.apply("full", "--user", OWNER)
    assert done.returncode == 0, done.stderr
    for value in kubeflow.secrets.values():
        assert len(value) < 16 or value not in done.stderr
    return kubeflow, done.stdout


##### Passwords #####


def test_every_password_is_made_and_none_is_a_published_one(installed: tuple[Kubeflow, str]):
    secrets = installed[0].secrets
    made = {name: value for name, value in secrets.items() if not name.endswith(("-id", "_ID"))}
    assert made.pop("kubeflow/mysql-secret:username") == "root"
    assert made.pop("kubeflow/mlpipeline-minio-artifact:accesskey") == "kubeflow-admin"
    assert made.pop("auth/dex-passwords:DEX_USER_PASSWORD").startswith("$2y$12$")
    shared = ("auth/dex-oidc-client:OIDC_CLIENT_SECRET", "oauth2-proxy/oauth2-proxy:client-secret")
    assert set(made) == {
        *shared,
        "oauth2-proxy/oauth2-proxy:cookie-secret",
        "kubeflow/mlpipeline-minio-artifact:secretkey",
        "kubeflow/mysql-secret:password",
        "kubeflow/katib-mysql-secrets:MYSQL_ROOT_PASSWORD",
    }
    assert all(re.fullmatch("[0-9a-f]{32}", value) for value in made.values())
    assert len(set(made.values())) == len(made) - 1
    assert made[shared[0]] == made[shared[1]], "Dex and oauth2-proxy share one"


def test_the_login_is_reported_and_only_its_hash_is_kept(installed: tuple[Kubeflow, str]):
    kubeflow, message = installed
    assert OWNER in message
    (password,) = re.findall(r"^password  ([0-9a-f]{32})$", message, re.MULTILINE)
    kept = kubeflow.secrets["auth/dex-passwords:DEX_USER_PASSWORD"]
    crypt = ["perl", "-e", "print crypt($ARGV[0], $ARGV[1])", password, kept]
    assert subprocess.check_output(crypt, text=True) == kept
    assert password not in "".join(kubeflow.secrets.values())


def test_what_is_sent_is_the_teams_and_holds_no_secret_and_no_open_database(
    installed: tuple[Kubeflow, str],
):
    sent = installed[0].objects()
    assert not [name for name in sent if name.startswith("Secret/")]
    env = {
        name: sent[f"Deployment/{name}"]["spec"]["template"]["spec"]["containers"][0]["env"]
        for name in ("mysql", "katib-mysql")
    }
    key = {"secretKeyRef": {"name": "mysql-secret", "key": "password"}}
    assert env["mysql"] == [{"name": "MYSQL_ROOT_PASSWORD", "valueFrom": key}]
    assert env["katib-mysql"] == [{"name": "MYSQL_ROOT_PASSWORD", "value": "from the Secret"}]
    assert sent[f"Profile/{TEAM}"]["spec"]["owner"] == {"kind": "User", "name": OWNER}
    assert f"email: {OWNER}" in sent["ConfigMap/dex"]["data"]["config.yaml"]
    for name in (f"Namespace/{TEAM}", "LimitRange/requests-of-who-names-none"):
        kubernetes_validate.validate(sent[name], KUBERNETES, strict=True)
    assert sent["LimitRange/requests-of-who-names-none"]["metadata"]["namespace"] == TEAM


def test_the_second_time_makes_what_is_missing_and_nothing_else(installed: tuple[Kubeflow, str]):
    kubeflow, _ = installed
    before = kubeflow.secrets
    for path in kubeflow.state.glob("secrets/oauth2-proxy/*"):
        path.unlink()
    done = kubeflow.apply("full")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    changed = {name for name, value in kubeflow.secrets.items() if value != before[name]}
    assert changed == {"oauth2-proxy/oauth2-proxy:cookie-secret"}
    restarts = kubeflow.text("calls").splitlines()
    assert restarts == ["--namespace oauth2-proxy rollout restart deployment"]


def test_pipelines_alone_get_a_team_without_a_profile(kubeflow: Kubeflow):
    done = kubeflow.apply("pipelines-only", "--namespace", "team")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    sent = kubeflow.objects()
    labels = sent["Namespace/team"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/part-of"] == "kubeflow-profile"
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {"ConfigMap/workflows", "Deployment/mysql"} <= sent.keys()
    made = {name.split(":")[0] for name in kubeflow.secrets}
    assert made == {"kubeflow/mlpipeline-minio-artifact", "kubeflow/mysql-secret"}


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
    kubeflow: Kubeflow, namespace: str, name: str, key: str, value: str
):
    path = kubeflow.state / "secrets" / namespace / f"{name}:{key}"
    path.parent.mkdir(parents=True)
    path.write_text(value)
    for script in ("apply.sh", "check.sh"):
        done = kubeflow.run(STEP / script, "pipelines-only")
        assert done.returncode == 1
        assert f"in the Secrets {namespace}/{name}" in done.stderr
    assert not kubeflow.objects()


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (secret("another", "kubeflow", password="any"), "a Secret with content is left"),
        (one("ConfigMap", "config", data={"key": "minio123"}), "a published password is left"),
        (
            one("ConfigMap", "config", data={"a": base64.b64encode(b"minio123").decode()}),
            "a published password is left",
        ),
        (database("another"), "a published password is left"),
        (None, "want an Argo other than"),
    ],
)
def test_what_a_newer_distribution_leaves_open_is_refused(
    kubeflow: Kubeflow, more: Object | None, reason: str
):
    if more is None:
        kubeflow.publish(kubeflow.argo, [], ARGO.format("9.9.9"))
    else:
        published = kubeflow.distribution / UPSTREAM / "env/platform-agnostic" / "objects.yaml"
        published.write_text(yaml.safe_dump_all([*STORES, more]))
    done = kubeflow.apply("pipelines-only")
    assert done.returncode == 1
    assert reason in done.stderr
    assert not kubeflow.objects() and not kubeflow.secrets


def test_a_database_whose_password_is_lost_is_left_alone(kubeflow: Kubeflow):
    (kubeflow.state / "claims").touch()
    done = kubeflow.apply("pipelines-only")
    assert done.returncode == 1
    assert "Secret kubeflow/mysql-secret, which held it, is gone" in done.stderr


def test_a_second_login_is_refused(installed: tuple[Kubeflow, str]):
    done = installed[0].apply("full", "--user", "ann@example.org")
    assert done.returncode == 1
    assert f"the login is {OWNER}" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("half",), "Expected full or pipelines-only, received: 'half'"),
        (("full", "full"), "unknown argument full"),
        (("full",), "there is no login yet: name its address with --user"),
        (("full", "--user", "a|b@c"), "Expected an address such as jo@example.org"),
        (("full", "--namespace", "Team_1"), "Expected a namespace's name, received: 'Team_1'"),
    ],
)
def test_wrong_calls(kubeflow: Kubeflow, arguments: tuple[str, ...], reason: str):
    done = kubeflow.apply(*arguments)
    assert done.returncode == 2
    assert reason in done.stderr


def test_removal_needs_a_yes_and_profiles_go_first(kubeflow: Kubeflow):
    done = kubeflow.run(STEP / "remove.sh", "full")
    assert done.returncode == 1
    assert "Lost with it" in done.stderr
    assert kubeflow.text("calls") == ""
    assert kubeflow.run(STEP / "remove.sh", "full", "--yes").returncode == 0
    profiles, *files = kubeflow.text("calls").splitlines()
    assert "profiles.kubeflow.org --all" in profiles
    assert "notebooks-v1" in files[0] and "cert-manager_base" in files[-1]


##### Sums #####


def cores(text: str | float) -> float:
    text = str(text)
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)


def gibibytes(text: str) -> float:
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
    requested = container["resources"]["requests"]
    of_pods = sum(cores(part.cpu) * number for part, number in pods.items())
    of_steps = max(cores(step["resourceCpuRequest"]) for step in steps)
    assert of_pods + 2 * cores(requested["cpu"]) + 2 * of_steps <= float(hard["requests.cpu"]) * 0.9
    of_pods = (640 * pods[PAGE] + 512 * pods[MODEL_SERVER]) / 1024
    of_steps = max(gibibytes(step["resourceMemoryRequest"]) for step in steps)
    memory = of_pods + 2 * gibibytes(requested["memory"]) + 2 * of_steps
    assert memory <= gibibytes(hard["requests.memory"]) * 0.9
    assert sum(pods.values()) < int(hard["pods"]) / 2
