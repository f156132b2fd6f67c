"""Step 1 of cluster-setup: clusters on a laptop, on machines and in virtual ones."""

import base64
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from kubernetes_objects import KUBERNETES
from test_cluster_scripts import SETUP, call, versions

from kalecast.cluster.capacity import MODEL_SERVER, PAGE

STEP = SETUP / "1-kubernetes"


def dry_run(script: str, *arguments: str) -> list[str]:
    """The lines that a script says it would run."""
    done = call(STEP / script, *arguments, "--dry-run", HOME="/nowhere", XDG_CACHE_HOME="")
    assert done.returncode == 0, done.stderr
    return done.stderr.splitlines()


##### Versions #####


def test_one_version_of_kubernetes_everywhere():
    pinned = versions()
    assert pinned["KUBERNETES_MINOR"] == KUBERNETES
    assert pinned["KUBERNETES_VERSION"].startswith(f"{KUBERNETES}.")
    assert pinned["KUBERNETES_PACKAGE"].startswith(f"{pinned['KUBERNETES_VERSION']}-")
    assert f":v{pinned['KUBERNETES_VERSION']}@sha256:" in pinned["KIND_NODE_IMAGE"]


def test_the_signing_key_is_a_whole_fingerprint():
    assert re.fullmatch(r"[0-9A-F]{40}", versions()["KUBERNETES_KEY"])


##### Laptop #####


def test_kind_makes_one_control_plane_and_two_workers():
    cluster = yaml.safe_load((STEP / "kind" / "cluster.yaml").read_text())
    assert [node["role"] for node in cluster["nodes"]] == ["control-plane", "worker", "worker"]
    assert f"cluster={cluster['name']} " in (STEP / "kind" / "names.env").read_text()
    for node in cluster["nodes"]:
        for port in node.get("extraPortMappings", []):
            assert port["listenAddress"] == "127.0.0.1"


def test_kind_has_a_mirror_before_each_registry_by_default():
    registries = ("docker.io", "ghcr.io", "quay.io", "registry.k8s.io")
    with_mirrors = "\n".join(dry_run("kind/apply.sh"))
    without = "\n".join(dry_run("kind/apply.sh", "--without-mirrors"))
    for registry in registries:
        assert f"--name kalecast-mirror-{registry} " in with_mirrors
        assert f"certs.d/{registry}/hosts.toml" in with_mirrors
        assert f"certs.d/{registry}/hosts.toml" not in without
    assert "certs.d/localhost:5001/hosts.toml" in without


##### Machines #####

THREE = [f"--control-plane=cp{index}" for index in (1, 2, 3)]


def machines(*options: str) -> list[str]:
    split = [part for option in options for part in option.split("=")]
    return [line for line in dry_run("machines/apply.sh", *split) if line.startswith("+ ssh")]


def test_machines_are_prepared_then_joined_by_invitation():
    lines = machines("--control-plane=cp1", "--worker=w1", "--worker=w2", "--user=admin")
    printed = [re.sub(r"sudo .*/", "", line).rstrip() for line in lines]
    assert printed == [
        "+ ssh admin@cp1 prepare.sh",
        "+ ssh admin@w1 prepare.sh",
        "+ ssh admin@w2 prepare.sh",
        "+ ssh admin@cp1 control-plane.sh cp1",
        "+ ssh admin@cp1 invite.sh",
        "+ ssh admin@w1 join.sh -",
        "+ ssh admin@cp1 invite.sh",
        "+ ssh admin@w2 join.sh -",
    ]


def test_other_control_planes_join_as_such_behind_the_endpoint():
    printed = "\n".join(machines(*THREE, "--worker=w1", "--endpoint=k8s.example.org"))
    assert "control-plane.sh k8s.example.org" in printed
    assert printed.count("invite.sh --control-plane") == 2
    assert "root@cp1" in printed
    assert "sudo" not in printed


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--worker", "w1"], "Expected at least one --control-plane"),
        (["--control-plane", "cp1"], "Expected at least one --worker"),
        (
            ["--control-plane", "a", "--control-plane", "b", "--worker", "c"],
            "Expected one, three or five control planes, received 2",
        ),
        (
            [*" ".join(THREE).replace("=", " ").split(), "--worker", "w1"],
            "Expected an --endpoint before 3 control planes",
        ),
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
    lines = dry_run(
        "machines/upgrade.sh", "--control-plane", "cp1", "--worker", "w1", "--worker", "w2"
    )
    printed = [line for line in lines if "kubectl drain" in line or "upgrade.sh" in line]
    assert [
        re.sub(r"^\+ (kubectl (drain) (\S+)|ssh root@(\S+)).*", r"\2\3\4", line) for line in printed
    ] == [
        "draincp1",
        "cp1",
        "drainw1",
        "w1",
        "drainw2",
        "w2",
    ]
    assert printed[1].rstrip().endswith("upgrade.sh --first")


@pytest.mark.parametrize(
    ("script", "arguments"),
    [("machines/remove.sh", ["--control-plane", "cp1"]), ("virtual/remove.sh", ["libvirt"])],
)
def test_a_cluster_is_not_ended_in_passing(script: str, arguments: list[str]):
    done = call(STEP / script, *arguments)
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("--yes")


def test_the_control_plane_has_what_the_machines_are_set_to():
    documents = {
        one["kind"]: one
        for one in yaml.safe_load_all((STEP / "on-machine" / "kubeadm.yaml").read_text())
    }
    kubelet = documents["KubeletConfiguration"]
    assert kubelet["cgroupDriver"] == "systemd"
    assert "SystemdCgroup = true" in (STEP / "on-machine" / "containerd.toml").read_text()
    assert kubelet["serverTLSBootstrap"] is True


def test_a_process_without_memory_ends_alone_in_every_cluster():
    kubeadm = yaml.safe_load_all((STEP / "on-machine" / "kubeadm.yaml").read_text())
    kind = yaml.safe_load((STEP / "kind" / "cluster.yaml").read_text())
    patches = [yaml.safe_load(patch) for patch in kind["kubeadmConfigPatches"]]
    for documents in (kubeadm, patches):
        (kubelet,) = (one for one in documents if one["kind"] == "KubeletConfiguration")
        assert kubelet["apiVersion"] == "kubelet.config.k8s.io/v1beta1"
        assert kubelet["singleProcessOOMKill"] is True


def test_pods_have_the_time_that_they_ask_for_when_a_machine_goes_down():
    text = (STEP / "on-machine" / "kubeadm.yaml").read_text()
    seconds = {key: int(value) for key, value in re.findall(r"(shutdown\w+): (\d+)s", text)}
    for name in ("page.yaml", "model-server.yaml"):
        manifest = (SETUP / "4-model-and-app" / "base" / name).read_text()
        (requested,) = re.findall(r"terminationGracePeriodSeconds: (\d+)", manifest)
        assert int(requested) <= (
            seconds["shutdownGracePeriod"] - seconds["shutdownGracePeriodCriticalPods"]
        )


def test_a_command_arrives_on_the_other_machine_as_it_was_sent(tmp_path: Path):
    (tmp_path / "ssh").write_text(
        '#!/bin/sh\nwhile [ $# -gt 1 ]; do shift; done\nexec sh -c "$1"\n'
    )
    (tmp_path / "ssh").chmod(0o755)
    script = tmp_path / "try.sh"
    script.write_text(
        f'#!/usr/bin/env bash\nsource "{STEP}/machines/lib.sh"\n'
        "on w1 printf '%s|' 'a b' '$HOME' \"it's\" ';exit 3'\n"
    )
    script.chmod(0o755)
    done = call(script, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert (done.returncode, done.stdout) == (0, "a b|$HOME|it's|;exit 3|")


##### On a machine #####


def on_machine(folder: Path, lines: str) -> subprocess.CompletedProcess[str]:
    script = folder / "try.sh"
    script.write_text(f'#!/usr/bin/env bash\nsource "{STEP}/on-machine/lib.sh"\n{lines}\n')
    script.chmod(0o755)
    return call(script)


def test_a_file_is_written_once(tmp_path: Path):
    lines = f'put "{tmp_path}/a/file" 0600 <<<"content"\necho "$changes"'
    first, second = on_machine(tmp_path, lines), on_machine(tmp_path, lines)
    assert (first.stdout, second.stdout) == ("1\n", "0\n")
    assert second.stderr == ""
    file = tmp_path / "a" / "file"
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
    done = on_machine(tmp_path, f"fingerprints <<'KEY'\n{key}\nKEY")
    assert done.stdout == f"{fingerprint}\n", done.stderr


##### Virtual machines #####


@pytest.mark.parametrize("kind", ["libvirt", "multipass"])
def test_virtual_machines_become_a_cluster(kind: str):
    printed = "\n".join(dry_run("virtual/apply.sh", kind, "--workers", "3"))
    for name in ("control-plane", "worker-1", "worker-2", "worker-3"):
        assert f"--name kalecast-{name} " in printed
        assert f"kalecast@address-of-kalecast-{name} " in printed
    assert "worker-4" not in printed


def test_user_data_lets_in_who_has_the_key_alone():
    data = yaml.safe_load((STEP / "virtual" / "user-data.yaml").read_text())
    default, user = data["users"]
    assert default == "default"
    assert user["ssh_authorized_keys"] == ["SSH_PUBLIC_KEY"]
    assert user["lock_passwd"] is True
    assert data["ssh_pwauth"] is False


##### Certificates of kubelets #####


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
        ("system:node:w1", "/O=system:nodes/CN=system:node:w1", "DNS:w1,IP:10.0.0.7", True),
        ("system:node:w1", "/O=system:nodes/CN=system:node:w1", "IP:10.0.0.7", True),
        ("system:node:w1", "/O=system:nodes/CN=system:node:w1", "DNS:w1,IP:10.0.0.8", False),
        (
            "system:node:w1",
            "/O=system:nodes/CN=system:node:w1",
            "DNS:w1,DNS:api.example.org",
            False,
        ),
        ("system:node:w2", "/O=system:nodes/CN=system:node:w1", "DNS:w1,IP:10.0.0.7", False),
        ("somebody", "/O=system:nodes/CN=system:node:w1", "DNS:w1,IP:10.0.0.7", False),
        ("system:node:w1", "/O=system:masters/CN=system:node:w1", "DNS:w1", False),
    ],
)
def test_a_kubelet_gets_a_certificate_for_its_own_names_alone(
    tmp_path: Path, user: str, subject: str, names: str, approved: bool
):
    kubectl = tmp_path / "kubectl"
    kubectl.write_text(f"""#!/bin/sh
case "$*" in
  *"get certificatesigningrequests "*) echo "csr-1 {user} " ;;
  *"get certificatesigningrequest csr-1"*) printf %s "{request(subject, names)}" ;;
  *"get node w1 "*) printf 'InternalIP 10.0.0.7\\nHostname w1\\n' ;;
  *"certificate approve csr-1") touch "{tmp_path}/approved" ;;
  "version "*) ;;
  *) exit 1 ;;
esac
""")
    kubectl.chmod(0o755)
    done = call(
        STEP / "machines" / "approve-certificates.sh", PATH=f"{tmp_path}:{os.environ['PATH']}"
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "approved").exists() == approved
    assert approved or "left alone: csr-1" in done.stderr


##### The check #####

HEALTHY = {
    "get --raw /version": '{"major": "1", "gitVersion": "v1.35.8"}',
    "get nodes --output jsonpath": (
        "cp True v1.35.8 containerd://2.3.4 1800m 3000000Ki  node-role/control-plane\n"
        "w1 True v1.35.8 containerd://2.3.4 6 12000000Ki  \n"
    ),
    "get certificatesigningrequests": "csr-1 Approved\n",
    "get apiservice": "True all checks passed",
    "get nodes.metrics.k8s.io": "cp\nw1\n",
    "get storageclasses": "local-path\n",
}

STAND_IN = """\
#!/bin/sh
cd "$(dirname "$0")"
echo "$*" >>calls
closed() {{
    grep -q "name: nobody" policies && ! grep -q "from:" policies
}}
case "$*" in
{answers}
*"apply --filename"*) cat >>policies ;;
*"wait --for"*) {starts} ;;
*"exec client"*) {enforces} && closed || echo there ;;
esac
"""


def check(
    folder: Path, *options: str, starts: bool = True, enforces: bool = True, **answers: str
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run the check against a stand-in that answers as a healthy cluster, but for what is named."""
    cases = []
    for index, (query, answer) in enumerate((HEALTHY | answers).items()):
        (folder / f"answer-{index}").write_text(answer)
        cases.append(f'*"{query}"*) cat answer-{index} ;;')
    for name, text in {
        "kubectl": STAND_IN.format(
            answers="\n".join(cases),
            starts=str(starts).lower(),
            enforces=str(enforces).lower(),
        ),
        "sleep": "#!/bin/sh\n",
    }.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    done = call(
        STEP / "check.sh",
        *options,
        PATH=f"{folder}:{os.environ['PATH']}",
        PATIENCE="30" if enforces else "0",
    )
    return done, (folder / "calls").read_text().splitlines()


def test_a_healthy_cluster_passes(tmp_path: Path):
    done, calls = check(tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "ok      NetworkPolicies are enforced"
    assert "1 take pods, with 6.0 CPUs and 11 GiB" in done.stdout
    assert "delete namespace kalecast-check-" in calls[-1]


def test_another_minor_passes_where_it_is_asked_for(tmp_path: Path):
    newer = {
        "get --raw /version": '{"gitVersion": "v1.36.2-eks-1"}',
        "get nodes --output jsonpath": "w1 True v1.36.2-eks-1 containerd://2 4 1Ki  \n",
        "get nodes.metrics.k8s.io": "w1\n",
    }
    done, _ = check(tmp_path, "--any-version", **newer)
    assert done.returncode == 0, done.stderr
    assert "kubelets are of v1.36.2-eks-1" in done.stdout


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({"get --raw /version": '{"gitVersion": "v1.37.0"}'}, "Expected Kubernetes 1.35"),
        (
            {"get nodes --output jsonpath": "w1 False v1.35.8 containerd://2 4 1Ki  \n"},
            "nodes are not ready: w1",
        ),
        (
            {"get nodes --output jsonpath": "w1 True v1.34.1 containerd://2 4 1Ki  \n"},
            "kubelets of another version than 1.35: w1 (v1.34.1)",
        ),
        (
            {"get nodes --output jsonpath": "w1 True v1.35.8 cri-o://1 4 1Ki  \n"},
            "another runtime than containerd: w1",
        ),
        (
            {"get nodes --output jsonpath": "w1 True v1.35.8 containerd://2 4 1Ki true key\n"},
            "no node takes pods",
        ),
        ({"get certificatesigningrequests": "csr-9 \n"}, "wait for their certificates: csr-9"),
        ({"get apiservice": ""}, "there is no metrics-server"),
        ({"get apiservice": "False no endpoints"}, "the Metrics API does not answer: False no"),
        ({"get nodes.metrics.k8s.io": "w1\n"}, "Expected figures of 2 nodes"),
        ({"get storageclasses": ""}, "Expected one default StorageClass, received: ''"),
        ({"get storageclasses": "a\nb\n"}, "Expected one default StorageClass, received: 'a b'"),
    ],
)
def test_what_is_amiss_is_said(tmp_path: Path, answers: dict[str, str], reason: str):
    done, calls = check(tmp_path, **answers)
    assert done.returncode == 1
    assert reason in done.stderr
    assert not [one for one in calls if one.startswith("create")]


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({"starts": False}, "two pods with a volume are not ready"),
        ({"enforces": False}, "NetworkPolicies are not enforced"),
    ],
)
def test_what_pods_find_is_said_and_they_are_removed(
    tmp_path: Path, state: dict[str, bool], reason: str
):
    done, calls = check(tmp_path, **state)
    assert done.returncode == 1
    assert reason in done.stderr
    assert "delete namespace kalecast-check-" in calls[-1]


##### Sizes #####


def test_the_sums_are_right():
    text = (STEP / "sizes.md").read_text().replace("**", "")
    rows = re.findall(r"^\| ([^|]+) \| (\d+) \| (\d+) \| (\d+) \|", text, flags=re.MULTILINE)
    running = [0, 0, 0]
    for part, *figures in rows:
        if part in ("in quiet", "with a team at work", "at most"):
            assert [int(figure) for figure in figures] == running, part
        else:
            running = [total + int(one) for total, one in zip(running, figures, strict=True)]
    assert len(rows) == 13


def test_the_service_has_its_capacity_in_the_sums():
    text = (STEP / "sizes.md").read_text()
    quiet = PAGE.millicores * PAGE.minimum_replicas + (
        MODEL_SERVER.millicores * MODEL_SERVER.minimum_replicas
    )
    most = PAGE.millicores * PAGE.maximum_replicas + (
        MODEL_SERVER.millicores * MODEL_SERVER.maximum_replicas
    )
    assert f"| model server and page, in quiet | {quiet:.0f} |" in text
    assert f"other pods of model server and page | {most - quiet:.0f} |" in text
