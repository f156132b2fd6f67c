"""Step 1 of cluster-setup: clusters on a laptop, on machines and in virtual ones."""

import base64
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from kubernetes_objects import KUBERNETES
from setup_scripts import SETUP, Programs, call, versions

from kalecast.cluster.capacity import MODEL_SERVER, PAGE

STEP = SETUP / "1-kubernetes"
THREE = ["--control-plane", "cp1", "--control-plane", "cp2", "--control-plane", "cp3"]


def dry_run(script: str, *arguments: str) -> str:
    """What a script says it would run."""
    done = call(STEP / script, *arguments, "--dry-run", HOME="/nowhere", XDG_CACHE_HOME="")
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_one_version_of_kubernetes_everywhere():
    pinned = versions()
    assert pinned["KUBERNETES_MINOR"] == KUBERNETES
    assert pinned["KUBERNETES_VERSION"].startswith(f"{KUBERNETES}.")
    assert pinned["KUBERNETES_PACKAGE"].startswith(f"{pinned['KUBERNETES_VERSION']}-")
    assert f":v{pinned['KUBERNETES_VERSION']}@sha256:" in pinned["KIND_NODE_IMAGE"]


def test_kind_makes_three_nodes_that_this_machine_alone_reaches():
    cluster = yaml.safe_load((STEP / "kind" / "cluster.yaml").read_text())
    assert [node["role"] for node in cluster["nodes"]] == ["control-plane", "worker", "worker"]
    assert f"cluster={cluster['name']} " in (STEP / "kind" / "names.env").read_text()
    for node in cluster["nodes"]:
        for port in node.get("extraPortMappings", []):
            assert port["listenAddress"] == "127.0.0.1"


@pytest.mark.parametrize("mirrors", [True, False])
def test_kind_has_a_mirror_before_each_registry_unless_told_otherwise(mirrors: bool):
    printed = dry_run("kind/apply.sh", *([] if mirrors else ["--without-mirrors"]))
    for registry in ("docker.io", "ghcr.io", "quay.io", "registry.k8s.io"):
        assert (f"certs.d/{registry}/hosts.toml" in printed) is mirrors
    assert "certs.d/localhost:5001/hosts.toml" in printed


##### Machines #####


@pytest.mark.parametrize(
    ("arguments", "calls"),
    [
        (
            ["--control-plane", "cp1", "--worker", "w1", "--worker", "w2", "--user", "admin"],
            [
                *("admin@cp1 prepare.sh", "admin@w1 prepare.sh", "admin@w2 prepare.sh"),
                *("admin@cp1 control-plane.sh cp1", "admin@cp1 invite.sh", "admin@w1 join.sh -"),
                *("admin@cp1 invite.sh", "admin@w2 join.sh -"),
            ],
        ),
        (
            [*THREE, "--worker", "w1", "--endpoint", "k8s.example.org"],
            [
                *(f"root@{machine} prepare.sh" for machine in ("cp1", "cp2", "cp3", "w1")),
                "root@cp1 control-plane.sh k8s.example.org",
                *("root@cp1 invite.sh --control-plane", "root@cp2 join.sh -"),
                *("root@cp1 invite.sh --control-plane", "root@cp3 join.sh -"),
                *("root@cp1 invite.sh", "root@w1 join.sh -"),
            ],
        ),
    ],
)
def test_machines_are_prepared_then_joined_by_invitation(arguments: list[str], calls: list[str]):
    printed = re.findall(r"^\+ ssh (.*)$", dry_run("machines/apply.sh", *arguments), re.MULTILINE)
    assert [re.sub(r"(sudo )?\S*/", "", one).rstrip() for one in printed] == calls
    assert all(("sudo" in one) == one.startswith("admin@") for one in printed)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--worker", "w1"], "Expected at least one --control-plane"),
        (["--control-plane", "cp1"], "Expected at least one --worker"),
        ([*THREE[:4], "--worker", "c"], "one, three or five control planes, received 2"),
        ([*THREE, "--worker", "w1"], "Expected an --endpoint before 3 control planes"),
        (["--control-plane", "-oProxyCommand=touch x"], "Expected a host name"),
        (["--control-plane", "a;reboot"], "Expected a host name"),
    ],
)
def test_what_would_make_no_good_cluster_is_refused(arguments: list[str], reason: str):
    done = call(STEP / "machines" / "apply.sh", *arguments, "--dry-run")
    assert done.returncode in (1, 2)
    assert reason in done.stderr
    assert "+ " not in done.stderr


def test_an_upgrade_goes_from_machine_to_machine_and_drains_each():
    printed = dry_run("machines/upgrade.sh", "--control-plane", "cp1", "--worker", "w1")
    order = re.findall(r"^\+ (?:kubectl (drain \S+)|ssh (\S+) \S*upgrade\.sh(.*))", printed, re.M)
    assert [" ".join(one).split() for one in order] == [
        *(["drain", "cp1"], ["root@cp1", "--first"], ["drain", "w1"], ["root@w1"])
    ]


@pytest.mark.parametrize(
    ("script", "arguments"),
    [("machines/remove.sh", ["--control-plane", "cp1"]), ("virtual/remove.sh", ["libvirt"])],
)
def test_a_cluster_is_not_ended_in_passing(script: str, arguments: list[str]):
    done = call(STEP / script, *arguments)
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("--yes")


def test_a_command_arrives_on_the_other_machine_as_it_was_sent(tmp_path: Path):
    programs = Programs(tmp_path, ssh='exec sh -c "${@: -1}"')
    lines = "on w1 printf '%s|' 'a b' '$HOME' \"it's\" ';exit 3'"
    done = programs.source("1-kubernetes/machines/lib.sh", lines)
    assert (done.returncode, done.stdout) == (0, "a b|$HOME|it's|;exit 3|")


def test_a_file_is_written_once_and_with_its_mode(tmp_path: Path):
    programs, file = Programs(tmp_path), tmp_path / "a" / "file"
    lines = f'put "{file}" 0600 <<<"content"\necho "$changes"'
    printed = [programs.source("1-kubernetes/on-machine/lib.sh", lines).stdout for _ in range(2)]
    assert printed == ["1\n", "0\n"]
    assert file.read_text() == "content\n"
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif(not shutil.which("gpg"), reason="no gpg")
def test_a_key_is_known_by_its_primary_fingerprint(tmp_path: Path):
    home = tmp_path / "gnupg"
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--batch", "--quiet", "--homedir", str(home)]
    subprocess.run(
        [*gpg, "--passphrase", "", "--quick-gen-key", "t@example.org", "ed25519"], check=True
    )
    listed = subprocess.check_output([*gpg, "--list-keys", "--with-colons"], text=True)
    (fingerprint,) = re.findall(r"^fpr:+([0-9A-F]{40}):", listed, flags=re.MULTILINE)
    key = subprocess.check_output([*gpg, "--armor", "--export"], text=True)
    lines = f"fingerprints <<'KEY'\n{key}\nKEY"
    done = Programs(tmp_path).source("1-kubernetes/on-machine/lib.sh", lines)
    assert done.stdout == f"{fingerprint}\n", done.stderr


##### What machines are set to #####


def test_kubelets_agree_with_containerd_and_end_one_process_alone_without_memory():
    kubeadm = list(yaml.safe_load_all((STEP / "on-machine" / "kubeadm.yaml").read_text()))
    kind = yaml.safe_load((STEP / "kind" / "cluster.yaml").read_text())
    patches = [yaml.safe_load(patch) for patch in kind["kubeadmConfigPatches"]]
    for documents in (kubeadm, patches):
        (kubelet,) = (one for one in documents if one["kind"] == "KubeletConfiguration")
        assert kubelet["apiVersion"] == "kubelet.config.k8s.io/v1beta1"
        assert kubelet["singleProcessOOMKill"] is True
    (kubelet,) = (one for one in kubeadm if one["kind"] == "KubeletConfiguration")
    assert kubelet["cgroupDriver"] == "systemd"
    assert kubelet["serverTLSBootstrap"] is True
    assert "SystemdCgroup = true" in (STEP / "on-machine" / "containerd.toml").read_text()


def test_pods_have_the_time_that_they_ask_for_when_a_machine_goes_down():
    text = (STEP / "on-machine" / "kubeadm.yaml").read_text()
    seconds = {key: int(value) for key, value in re.findall(r"(shutdown\w+): (\d+)s", text)}
    for name in ("page.yaml", "model-server.yaml"):
        manifest = (SETUP / "4-model-and-app" / "base" / name).read_text()
        (requested,) = re.findall(r"terminationGracePeriodSeconds: (\d+)", manifest)
        assert int(requested) <= (
            seconds["shutdownGracePeriod"] - seconds["shutdownGracePeriodCriticalPods"]
        )


@pytest.mark.parametrize("kind", ["libvirt", "multipass"])
def test_virtual_machines_become_a_cluster(kind: str):
    printed = dry_run("virtual/apply.sh", kind, "--workers", "2")
    assert set(re.findall(r"--name (kalecast-\S+) ", printed)) == {
        *("kalecast-control-plane", "kalecast-worker-1", "kalecast-worker-2")
    }


def test_who_has_the_key_alone_gets_into_a_virtual_machine():
    data = yaml.safe_load((STEP / "virtual" / "user-data.yaml").read_text())
    default, user = data["users"]
    assert default == "default"
    assert user["ssh_authorized_keys"] == ["SSH_PUBLIC_KEY"]
    assert user["lock_passwd"] is True
    assert data["ssh_pwauth"] is False


##### Certificates of kubelets #####

KUBECTL = """
case "$*" in
  *"get certificatesigningrequests "*) echo "csr-1 $REQUESTER " ;;
  *"get certificatesigningrequest csr-1"*) printf %s "$REQUEST" ;;
  *"get node w1 "*) printf 'InternalIP 10.0.0.7\\nHostname w1\\n' ;;
  *"certificate approve csr-1") touch "$STATE/approved" ;;
  "version "*) ;;
  *) exit 1 ;;
esac
"""
OURS, GROUP = "system:node:w1", "/O=system:nodes/CN=system:node:w1"


def request(subject: str, names: str) -> str:
    pem = subprocess.check_output(
        [
            *("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-keyout", "/dev/null", "-subj", subject),
            *("-addext", f"subjectAltName={names}"),
        ],
        stderr=subprocess.DEVNULL,
    )
    return base64.b64encode(pem).decode()


@pytest.mark.parametrize(
    ("user", "subject", "names", "approved"),
    [
        (OURS, GROUP, "DNS:w1,IP:10.0.0.7", True),
        (OURS, GROUP, "IP:10.0.0.7", True),
        (OURS, GROUP, "DNS:w1,IP:10.0.0.8", False),
        (OURS, GROUP, "DNS:w1,DNS:api.example.org", False),
        ("system:node:w2", GROUP, "DNS:w1,IP:10.0.0.7", False),
        ("somebody", GROUP, "DNS:w1,IP:10.0.0.7", False),
        (OURS, "/O=system:masters/CN=system:node:w1", "DNS:w1", False),
    ],
)
def test_a_kubelet_gets_a_certificate_for_its_own_names_alone(
    tmp_path: Path, user: str, subject: str, names: str, approved: bool
):
    programs = Programs(tmp_path, kubectl=KUBECTL)
    script = STEP / "machines" / "approve-certificates.sh"
    done = programs.run(script, REQUESTER=user, REQUEST=request(subject, names))
    assert done.returncode == 0, done.stderr
    assert (programs.state / "approved").exists() == approved
    assert approved or "left alone: csr-1" in done.stderr


##### Sizes #####


def test_the_sums_of_the_sizes_are_right_and_have_the_capacity_of_the_service():
    text = (STEP / "sizes.md").read_text().replace("**", "")
    rows = re.findall(r"^\| ([^|]+) \| (\d+) \| (\d+) \| (\d+) \|", text, flags=re.MULTILINE)
    running = [0, 0, 0]
    for part, *figures in rows:
        if part in ("in quiet", "with a team at work", "at most"):
            assert [int(figure) for figure in figures] == running, part
        else:
            running = [total + int(one) for total, one in zip(running, figures, strict=True)]
    assert len(rows) == 13
    quiet, most = (
        sum(part.millicores * getattr(part, f"{which}_replicas") for part in (PAGE, MODEL_SERVER))
        for which in ("minimum", "maximum")
    )
    assert f"| model server and page, in quiet | {quiet:.0f} |" in text
    assert f"other pods of model server and page | {most - quiet:.0f} |" in text
