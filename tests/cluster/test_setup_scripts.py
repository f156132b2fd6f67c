"""The scripts of cluster-setup: what all of them promise, and the library that they share."""

import os
import re
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest
from setup_scripts import SETUP, Programs, call, versions

from kalecast.project import PROJECT

SCRIPTS = sorted(SETUP.rglob("*.sh"))
COMMANDS = [script for script in SCRIPTS if script.read_text().startswith("#!")]

ARGUMENTS = {
    "1-kubernetes/addons/apply.sh": ["machines"],
    "1-kubernetes/machines/apply.sh": ["--control-plane", "a.example", "--worker", "b.example"],
    "1-kubernetes/machines/upgrade.sh": ["--control-plane", "a.example", "--worker", "b.example"],
    "1-kubernetes/machines/remove.sh": ["--worker", "b.example"],
    "1-kubernetes/on-machine/control-plane.sh": ["k8s.example.org"],
    "1-kubernetes/on-machine/join.sh": ["-"],
    "1-kubernetes/virtual/apply.sh": ["libvirt"],
    "1-kubernetes/virtual/remove.sh": ["libvirt"],
    "2-kubeflow/apply.sh": ["full"],
    "2-kubeflow/remove.sh": ["full"],
    "5-observability/apply.sh": ["production"],
    "5-observability/remove.sh": ["production"],
    "6-protection/apply.sh": ["production-sign-in", "--kubeflow", "kubeflow.example.org"],
    "6-protection/remove.sh": ["production-sign-in", "--with-controller"],
}
"""Arguments that a command needs, beside --dry-run."""

ASKS_THE_CLUSTER = {"4-model-and-app/apply.sh"}
"""Their dry run is the API server's, where one answers."""

OUTSIDE = [
    *("apt-get", "apt-mark", "curl", "docker", "dpkg-query", "git", "helm", "kind", "kubeadm"),
    *("kubectl", "modprobe", "multipass", "openssl", "rm", "ssh", "ssh-keygen", "swapoff"),
    *("swapon", "sysctl", "systemctl", "virsh", "virt-install"),
]
"""What reaches a cluster, the network or the system; a dry run starts none of it."""


def name(script: Path) -> str:
    return str(script.relative_to(SETUP))


commands = pytest.mark.parametrize("command", COMMANDS, ids=name)


##### All of them #####


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_commands_can_be_started_and_libraries_cannot(script: Path):
    assert os.access(script, os.X_OK) == (script in COMMANDS)
    assert script in COMMANDS or script.read_text().startswith("# shellcheck shell=bash")


@pytest.mark.slow
def test_shellcheck_finds_nothing():
    tool = PROJECT / ".venv" / "workbench" / "bin" / "shellcheck"
    found = subprocess.run(
        [tool, *SCRIPTS, *SETUP.rglob("*.env")], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout


@commands
def test_help_is_the_manual_and_so_is_the_answer_to_an_unknown_option(command: Path):
    manual = call(command, "--help")
    assert (manual.returncode, manual.stderr) == (0, "")
    assert f"\n    {command.name}" in manual.stdout
    refused = call(command, "--no-such-option")
    assert refused.returncode == 2
    reason, printed = refused.stderr.split("\n", 1)
    assert re.fullmatch(rf"{command.name}: unknown (option|argument) --no-such-option", reason)
    assert printed == manual.stdout


@commands
def test_a_dry_run_prints_what_it_would_do_and_does_nothing(command: Path, tmp_path: Path):
    if command.name == "check.sh":
        done = call(command, "--dry-run")
        assert done.returncode == 2
        assert "a check changes nothing" in done.stderr
        return
    if name(command) in ASKS_THE_CLUSTER:
        return
    programs, home, own = Programs(tmp_path), tmp_path / "home", tmp_path / "tmp"
    home.mkdir()
    own.mkdir()
    for tool in OUTSIDE:
        programs.write(tool, 'echo "$0 $*" >>"$STATE/started"; exit 99')
    # Scripts may take their own temporary files away.
    remove = f'case "$*" in *"{own}"*) exec {shutil.which("rm")} "$@" ;; esac\n'
    programs.write("rm", f'{remove}echo "$0 $*" >>"$STATE/started"; exit 99')
    outside = {"HOME": str(home), "TMPDIR": str(own), "KUBECONFIG": "", "XDG_CACHE_HOME": ""}
    programs.environment["KALECAST_CACHE"] = ""
    arguments = [*ARGUMENTS.get(name(command), []), "--dry-run"]
    done = programs.run(command, *arguments, XDG_DATA_HOME="", **outside)
    assert done.returncode == 0, done.stderr
    assert "+ " in done.stderr
    assert not re.search(r"^(applied|removed|there)\b", done.stderr, re.MULTILINE)
    assert programs.text("started") == ""
    assert list(home.rglob("*")) == []


##### Versions #####


def without_architecture(variable: str) -> str:
    return re.sub(r"_(amd64|arm64)$", "", variable)


@pytest.mark.parametrize("variable", versions())
def test_what_is_pinned_is_used_and_has_the_form_of_its_kind(variable: str):
    package = (PROJECT / "src" / "kalecast" / "cluster").rglob("*.py")
    used = rf"\b{without_architecture(variable)}\b"
    assert any(re.search(used, file.read_text()) for file in [*SCRIPTS, *package])
    forms = {
        "SHA256": r"[0-9a-f]{64}",
        "COMMIT": r"[0-9a-f]{40}",
        "IMAGE": r"[a-z0-9./-]+:[\w.-]+(@sha256:[0-9a-f]{64})?",
        "KEY": r"[0-9A-F]{40}",
    }
    kind = without_architecture(variable).rsplit("_", 1)[-1]
    assert re.fullmatch(forms.get(kind, r"[\w.:/@+-]+"), versions()[variable])


@pytest.mark.parametrize("script", [one for one in SCRIPTS if one != SETUP / "lib.sh"], ids=name)
def test_nothing_is_pinned_elsewhere_or_fetched_without_a_checksum(script: Path):
    code = re.sub(r"^\s*#.*$", "", script.read_text(), flags=re.MULTILINE)
    if script.name != "lib.sh":
        assert re.findall(r"(?<![\d.])v?\d+\.\d+\.\d+(?![\d.])", code) == []
        assert re.findall(r"\b(?:[0-9a-f]{40}|[0-9a-f]{64})\b", code) == []
    by_hand = re.findall(r"^.*\b(?:wget|git clone)\b.*$", code, flags=re.MULTILINE)
    assert [line for line in by_hand if "kube exec" not in line] == []
    for checksum in re.findall(r"\bfetch \"[^\n]*?\" (\"[^\n]+?\")(?=[\s)]|$)", code):
        assert re.search(r"_SHA256\b|\$\d", checksum), checksum
    for commit in re.findall(r"\bcheckout \S+ (\S+)", code):
        assert re.search(r"_COMMIT\b", commit), commit


##### The library #####


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    return Programs(tmp_path)


def test_fetch_keeps_a_file_whose_checksum_is_right(programs: Programs, tmp_path: Path):
    download = tmp_path / "tool.tar"
    download.write_text("content")
    lines = f"fetch file://{download} {sha256(b'content').hexdigest()}"
    first = programs.source("lib.sh", lines)
    assert first.returncode == 0, first.stderr
    kept = Path(first.stdout.strip())
    assert kept.read_text() == "content"
    kept.write_text("changed since")
    assert programs.source("lib.sh", lines).returncode == 0
    assert kept.read_text() == "content"
    download.unlink()
    second = programs.source("lib.sh", lines)
    assert (second.returncode, second.stdout, second.stderr) == (0, first.stdout, "")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("another", "is not the file whose checksum versions.env holds"),
        (None, "/tool.tar cannot be fetched"),
    ],
)
def test_fetch_ends_the_script_where_it_has_no_such_file(
    programs: Programs, tmp_path: Path, content: str | None, reason: str
):
    download = tmp_path / "tool.tar"
    if content:
        download.write_text(content)
    done = programs.source("lib.sh", f"file=$(fetch file://{download} {'0' * 64})\necho went on")
    assert (done.returncode, done.stdout) == (1, "")
    assert reason in done.stderr
    assert list((tmp_path / "cache").iterdir()) == []


def test_checkout_brings_the_commit_that_is_named(programs: Programs, tmp_path: Path):
    upstream, commits = tmp_path / "upstream.git", []
    upstream.mkdir()
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(upstream)]
    subprocess.run([*git, "init", "--quiet"], check=True)
    for text in ("first", "second"):
        (upstream / "file").write_text(text)
        subprocess.run([*git, "add", "file"], check=True)
        subprocess.run([*git, "commit", "--quiet", "--message", text], check=True)
        commits.append(subprocess.check_output([*git, "rev-parse", "HEAD"], text=True).strip())

    def checkout(commit: str) -> subprocess.CompletedProcess[str]:
        return programs.source("lib.sh", f"checkout file://{upstream} {commit}")

    folders = [Path(checkout(commit).stdout.strip()) for commit in commits]
    assert [(folder / "file").read_text() for folder in folders] == ["first", "second"]
    failed = checkout("0" * 40)
    assert failed.returncode == 1
    assert "cannot be fetched at commit 000" in failed.stderr
    shutil.rmtree(upstream)  # what is there is not fetched again
    assert checkout(commits[0]).stdout.strip() == str(folders[0])


@pytest.mark.parametrize(
    ("workloads", "outcome"),
    [
        ("Deployment/a 2 2\\nStatefulSet/b 1 1\\n", "ok      namespace n: 2 workloads are ready"),
        ("Deployment/a 2 1\\nStatefulSet/b 1 \\n", "'n': Deployment/a StatefulSet/b."),
        ("", "nothing runs in namespace 'n'"),
        (None, "FAILED  there is no namespace 'n'"),
    ],
)
def test_check_pods_says_which_is_not_ready(
    programs: Programs, workloads: str | None, outcome: str
):
    answer = f"case \"$*\" in *'get deployments'*) printf '{workloads}' ;; esac"
    programs.write("kubectl", "exit 1" if workloads is None else answer)
    done = programs.source("lib.sh", "check_pods n")
    assert outcome in done.stdout + done.stderr
    assert done.returncode == (0 if outcome.startswith("ok") else 1)


@pytest.mark.parametrize(("machine", "architecture"), [("x86_64", "amd64"), ("aarch64", "arm64")])
def test_pinned_is_for_this_machine(programs: Programs, machine: str, architecture: str):
    programs.write("uname", f"echo {machine}")
    printed = programs.source("lib.sh", "pinned KUBECTL_SHA256").stdout.strip()
    assert printed == versions()[f"KUBECTL_SHA256_{architecture}"]
