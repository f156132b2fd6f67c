"""The scripts of cluster-setup: what all of them promise, and the library that they share."""

import os
import re
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

SETUP = Path(__file__).resolve().parents[2] / "cluster-setup"
PACKAGE = SETUP.parent / "src" / "kalecast" / "cluster"
VERSIONS = SETUP / "versions.env"
SCRIPTS = sorted(SETUP.rglob("*.sh"))
COMMANDS = [script for script in SCRIPTS if script.read_text().startswith("#!")]
READMES = sorted(SETUP.glob("[0-9]-*/README.md"))  # of the steps

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


def call(script: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [script, *arguments],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


commands = pytest.mark.parametrize("command", COMMANDS, ids=name)


##### All of them #####


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_commands_can_be_started_and_libraries_cannot(script: Path):
    assert os.access(script, os.X_OK) == (script in COMMANDS)
    assert script in COMMANDS or script.read_text().startswith("# shellcheck shell=bash")


@pytest.mark.slow
def test_shellcheck_finds_nothing():
    tool = SETUP.parent / ".venv" / "workbench" / "bin" / "shellcheck"
    found = subprocess.run(
        [tool, *SCRIPTS, *SETUP.rglob("*.env")], capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout


@commands
def test_help_is_the_manual(command: Path):
    done = call(command, "--help")
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    assert f"\n    {command.name}" in done.stdout


@commands
def test_an_unknown_option_is_refused_with_the_manual(command: Path):
    done = call(command, "--no-such-option")
    assert done.returncode == 2
    reason, manual = done.stderr.split("\n", 1)
    assert re.fullmatch(rf"{command.name}: unknown (option|argument) --no-such-option", reason)
    assert manual == call(command, "--help").stdout


@pytest.mark.parametrize("command", [one for one in COMMANDS if one.name == "check.sh"], ids=name)
def test_a_check_has_no_dry_run(command: Path):
    done = call(command, "--dry-run")
    assert done.returncode == 2
    assert "a check changes nothing" in done.stderr


@pytest.mark.parametrize(
    "command",
    [one for one in COMMANDS if one.name != "check.sh" and name(one) not in ASKS_THE_CLUSTER],
    ids=name,
)
def test_a_dry_run_prints_what_it_would_do_and_does_nothing(command: Path, tmp_path: Path):
    home, tools, started = tmp_path / "home", tmp_path / "bin", tmp_path / "started"
    home.mkdir()
    tools.mkdir()
    for tool in OUTSIDE:
        real = shutil.which(tool) or "true"
        # Scripts may take their own temporary files away.
        let_through = f'case "$*" in *"{tmp_path}"*) exec {real} "$@" ;; esac\n'
        (tools / tool).write_text(
            f'#!/bin/sh\n{let_through if tool == "rm" else ""}echo "$0 $*" >>"{started}"\nexit 99\n'
        )
        (tools / tool).chmod(0o755)
    (tmp_path / "tmp").mkdir()
    done = call(
        command,
        *ARGUMENTS.get(name(command), []),
        "--dry-run",
        PATH=f"{tools}:{os.environ['PATH']}",
        HOME=str(home),
        TMPDIR=str(tmp_path / "tmp"),
        KUBECONFIG="",
        XDG_CACHE_HOME="",
        XDG_DATA_HOME="",
    )
    assert done.returncode == 0, done.stderr
    assert "+ " in done.stderr
    assert not re.search(r"^(applied|removed|there)\b", done.stderr, re.MULTILINE)
    assert not started.exists(), started.read_text()
    assert list(home.rglob("*")) == []


@pytest.mark.parametrize("readme", READMES, ids=name)
def test_a_readme_names_what_is_in_its_folder(readme: Path):
    text = readme.read_text()
    there = {
        one.name
        for one in readme.parent.iterdir()
        if one.name not in ("README.md", "__pycache__") and ".template." not in one.name
    }
    assert {one for one in there if one not in text} == set()


##### Versions #####


def versions() -> dict[str, str]:
    return dict(re.findall(r"^([A-Z]\w+)=(\S+)$", VERSIONS.read_text(), flags=re.MULTILINE))


def without_architecture(variable: str) -> str:
    return re.sub(r"_(amd64|arm64)$", "", variable)


def test_each_version_is_used():
    code = "\n".join(file.read_text() for file in [*SCRIPTS, *PACKAGE.rglob("*.py")])
    assert {
        one for one in map(without_architecture, versions()) if not re.search(rf"\b{one}\b", code)
    } == set()


@pytest.mark.parametrize("variable", versions())
def test_what_is_pinned_has_the_form_of_its_kind(variable: str):
    forms = {
        "SHA256": r"[0-9a-f]{64}",
        "COMMIT": r"[0-9a-f]{40}",
        "IMAGE": r"[a-z0-9./-]+:[\w.-]+(@sha256:[0-9a-f]{64})?",
    }
    kind = without_architecture(variable).rsplit("_", 1)[-1]
    assert re.fullmatch(forms.get(kind, r"[\w.:/@+-]+"), versions()[variable])


@pytest.mark.parametrize("script", [one for one in SCRIPTS if one.name != "lib.sh"], ids=name)
def test_nothing_is_pinned_anywhere_else(script: Path):
    code = re.sub(r"^\s*#.*$", "", script.read_text(), flags=re.MULTILINE)
    assert re.findall(r"(?<![\d.])v?\d+\.\d+\.\d+(?![\d.])", code) == []
    assert re.findall(r"\b(?:[0-9a-f]{40}|[0-9a-f]{64})\b", code) == []


@pytest.mark.parametrize("script", [one for one in SCRIPTS if one != SETUP / "lib.sh"], ids=name)
def test_nothing_is_fetched_without_a_checksum(script: Path):
    code = script.read_text()
    by_hand = re.findall(r"^[^#\n]*\b(?:wget|git clone)\b.*$", code, flags=re.MULTILINE)
    assert [line for line in by_hand if "kube exec" not in line] == []
    for checksum in re.findall(r"\bfetch \"[^\n]*?\" (\"[^\n]+?\")(?=[\s)]|$)", code):
        assert re.search(r"_SHA256\b|\$\d", checksum), checksum
    for commit in re.findall(r"\bcheckout \S+ (\S+)", code):
        assert re.search(r"_COMMIT\b", commit), commit


##### The library #####


class Library:
    """Runs lines of bash that have sourced lib.sh, with a cache and a PATH of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.cache, self.tools = folder, folder / "cache", folder / "bin"
        self.tools.mkdir()

    def run(self, lines: str) -> subprocess.CompletedProcess[str]:
        script = self.folder / "try.sh"
        script.write_text(f'#!/usr/bin/env bash\n# Try.\nsource "{SETUP}/lib.sh"\n{lines}\n')
        script.chmod(0o755)
        return call(
            script,
            PATH=f"{self.tools}:{os.environ['PATH']}",
            KALECAST_CACHE=str(self.cache),
        )

    def kubectl(self, *lines: str) -> None:
        tool = self.tools / "kubectl"
        tool.write_text("#!/bin/sh\n" + "\n".join(lines) + "\n")
        tool.chmod(0o755)


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path)


@pytest.fixture
def download(tmp_path: Path) -> Path:
    file = tmp_path / "tool.tar"
    file.write_text("content")
    return file


def digest(file: Path) -> str:
    return sha256(file.read_bytes()).hexdigest()


def test_fetch_keeps_a_file_whose_checksum_is_right(library: Library, download: Path):
    lines = f"fetch file://{download} {digest(download)}"
    first = library.run(lines)
    assert first.returncode == 0, first.stderr
    assert Path(first.stdout.strip()).read_text() == "content"
    download.unlink()
    second = library.run(lines)
    assert (second.returncode, second.stdout, second.stderr) == (0, first.stdout, "")


def test_fetch_refuses_another_file_and_keeps_nothing_of_it(library: Library, download: Path):
    done = library.run(f"file=$(fetch file://{download} {'0' * 64})\necho went on")
    assert done.returncode == 1
    assert "is not the file whose checksum versions.env holds" in done.stderr
    assert done.stdout == ""
    assert list(library.cache.iterdir()) == []


def test_fetch_does_not_trust_what_was_changed_since(library: Library, download: Path):
    lines = f"fetch file://{download} {digest(download)}"
    kept = Path(library.run(lines).stdout.strip())
    kept.write_text("something else")
    assert library.run(lines).returncode == 0
    assert kept.read_text() == "content"


def test_fetch_says_what_cannot_be_had(library: Library, tmp_path: Path):
    done = library.run(f"fetch file://{tmp_path}/nothing {'0' * 64}")
    assert done.returncode == 1
    assert "/nothing cannot be fetched" in done.stderr


@pytest.fixture
def repository(tmp_path: Path) -> tuple[str, list[str]]:
    """A repository's address and its commits, the oldest first."""
    folder, commits = tmp_path / "upstream.git", []
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(folder)]
    folder.mkdir()
    subprocess.run([*git, "init", "--quiet"], check=True)
    for text in ("first", "second"):
        (folder / "file").write_text(text)
        subprocess.run([*git, "add", "file"], check=True)
        subprocess.run([*git, "commit", "--quiet", "--message", text], check=True)
        commits.append(subprocess.check_output([*git, "rev-parse", "HEAD"], text=True).strip())
    return f"file://{folder}", commits


def test_checkout_brings_the_commit_that_is_named(
    library: Library, repository: tuple[str, list[str]]
):
    url, commits = repository
    folders = {}
    for commit, text in zip(commits, ("first", "second"), strict=True):
        done = library.run(f"checkout {url} {commit}")
        assert done.returncode == 0, done.stderr
        folders[text] = Path(done.stdout.strip())
    assert {text: (folder / "file").read_text() for text, folder in folders.items()} == {
        "first": "first",
        "second": "second",
    }


def test_checkout_does_not_fetch_twice(library: Library, repository: tuple[str, list[str]]):
    url, commits = repository
    lines = f"checkout {url} {commits[0]}"
    first = library.run(lines)
    shutil.rmtree(url.removeprefix("file://"))
    assert library.run(lines).stdout == first.stdout


def test_checkout_ends_where_a_commit_is_not_there(
    library: Library, repository: tuple[str, list[str]]
):
    done = library.run(f"checkout {repository[0]} {'0' * 40}")
    assert done.returncode == 1
    assert "cannot be fetched at commit 000" in done.stderr


def test_send_applies_what_comes_in(library: Library, tmp_path: Path):
    library.kubectl(f'echo "$*" >"{tmp_path}/arguments"; cat >"{tmp_path}/sent"')
    assert library.run("echo 'kind: A' | send --dry-run=server").returncode == 0
    assert (tmp_path / "sent").read_text() == "kind: A\n"
    assert (tmp_path / "arguments").read_text() == (
        "apply --server-side --field-manager=kalecast-setup --force-conflicts "
        "--dry-run=server --filename -\n"
    )


@pytest.mark.parametrize(
    ("workloads", "outcome"),
    [
        ("Deployment/a 2 2\\nStatefulSet/b 1 1\\n", "ok      namespace n: 2 workloads are ready"),
        ("Deployment/a 2 1\\nStatefulSet/b 1 1\\n", "not ready in namespace 'n': Deployment/a."),
        ("Deployment/a 2 \\nStatefulSet/b 1 \\n", "'n': Deployment/a StatefulSet/b."),
        ("Deployment/asleep 0 \\n", "ok      namespace n: 1 workloads are ready"),
        ("", "nothing runs in namespace 'n'"),
    ],
)
def test_check_pods_says_who_is_not_ready(library: Library, workloads: str, outcome: str):
    library.kubectl(f"case \"$*\" in *'get deployments'*) printf '{workloads}' ;; esac")
    done = library.run("check_pods n")
    assert outcome in done.stdout + done.stderr
    assert done.returncode == (0 if outcome.startswith("ok") else 1)


def test_check_pods_wants_the_namespace(library: Library):
    library.kubectl("exit 1")
    done = library.run("check_pods n")
    assert done.returncode == 1
    assert "FAILED  there is no namespace 'n'" in done.stderr


@pytest.mark.parametrize(("machine", "architecture"), [("x86_64", "amd64"), ("aarch64", "arm64")])
def test_pinned_is_for_this_machine(library: Library, machine: str, architecture: str):
    (library.tools / "uname").write_text(f"#!/bin/sh\necho {machine}\n")
    (library.tools / "uname").chmod(0o755)
    assert (
        library.run("pinned KUBECTL_SHA256").stdout.strip()
        == versions()[f"KUBECTL_SHA256_{architecture}"]
    )
