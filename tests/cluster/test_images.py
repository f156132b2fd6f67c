"""The images: what they are made of, what is found in them, and how `make images` goes about it."""

import dataclasses
import json
import py_compile
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import image_archives
import page_process
import pytest
import requests
import seldon_server
from cyclonedx.validation.json import JsonStrictValidator
from dockerfiles import ROOT, copied, environment, ignored, instructions, last_stage, stages
from image_archives import SITE, TREE

from kalecast.cluster.images import bill, contents
from kalecast.cluster.images import build as images
from requirements import conda

FOLDERS = {"seldon": "server", "gradio_app": "page", "kale": "workbench"}
LIGHT = ["seldon", "gradio_app"]
GATEWAY = "cluster-setup/6-protection"
VERSION = images.VERSION

every_image = pytest.mark.parametrize("folder", FOLDERS)
all_images = pytest.mark.parametrize("folder", [*FOLDERS, GATEWAY])
light_images = pytest.mark.parametrize("folder", LIGHT)


##### What they are made of #####


@pytest.mark.parametrize(
    ("folder", "source"), [(folder, source) for folder in FOLDERS for source, _ in copied(folder)]
)
def test_the_build_finds_what_it_copies(folder: str, source: str):
    found = list(ROOT.glob(source))
    assert found
    assert not any(ignored(str(path.relative_to(ROOT))) for path in found)


@pytest.mark.parametrize(
    "path",
    [
        *(".git/config", ".venv/page", "runs/1", "models/a.onnx", "build/images/page.tar"),
        *("kale/__pycache__/a.pyc", "kale/kubernetes/model-store-secret.yaml", "seldon/.env"),
        *("notebooks/customers.csv", "notebooks/data/mine.parquet", "id_rsa", "kale/tls.key"),
        *("tests/conftest.py", "requirements/lock.sh", "notebooks/.ipynb_checkpoints/a.ipynb"),
    ],
)
def test_the_build_is_sent_nothing_of_ones_own(path: str):
    assert ignored(path)


@every_image
def test_every_stage_is_of_the_one_base_that_the_builder_names(folder: str):
    (base,) = (rest for word, rest in instructions(folder) if rest.startswith("PYTHON_IMAGE="))
    image, _, _ = images.pinned_base("PYTHON_IMAGE").partition("@")
    repository, _, tag = base.removeprefix("PYTHON_IMAGE=").rpartition(":")
    python, _, debian = tag.partition("-")
    assert re.fullmatch(rf"{repository}:{python}\.\d+-{debian}", image)
    assert {stage[0][1].split()[0] for stage in stages(folder)} == {"${PYTHON_IMAGE}"}


@pytest.mark.parametrize("argument", ["PYTHON_IMAGE", "DEBIAN_IMAGE"])
def test_the_base_is_fixed_by_its_digest(argument: str):
    assert re.search(r"@sha256:[0-9a-f]{64}$", images.pinned_base(argument))


def test_the_gateways_image_is_of_debians_packages_alone():
    (base,) = (rest for _, rest in instructions(GATEWAY) if rest.startswith("DEBIAN_IMAGE="))
    assert images.pinned_base("DEBIAN_IMAGE").startswith(base.removeprefix("DEBIAN_IMAGE="))
    (stage,) = stages(GATEWAY)
    (run,) = (rest for word, rest in stage if word == "RUN")
    (installed,) = re.findall(r"install --yes --no-install-recommends ([^&]*)", run)
    assert installed.split() == ["libnginx-mod-http-modsecurity", "modsecurity-crs", "nginx"]
    assert not {"COPY", "ADD", "SHELL"} & {word for word, _ in stage}


@every_image
def test_an_image_is_of_its_lock_and_of_nothing_else(folder: str):
    runs = [rest for word, rest in instructions(folder) if word == "RUN"]
    installs = [one for run in runs for one in re.findall(r"\binstall [^&;]*", run)]
    installs = [one for one in installs if not one.startswith("install --prefix")]  # of a kernel
    for one in installs:
        assert "--require-hashes -r" in one or "--no-index" in one, one
    assert f"requirements/{FOLDERS[folder]}.txt" in [source for source, _ in copied(folder)]
    assert any(f"-r {FOLDERS[folder]}.txt" in one for one in installs)
    assert any("uv build" in run and "--offline" in run for run in runs)
    assert not any("apt-get" in run or "--extra-index-url" in run for run in runs)
    last = [rest for word, rest in last_stage(folder) if word == "RUN"]
    assert not any(re.search(r"\binstall\b", run) for run in last)


@light_images
def test_the_light_images_have_no_pip(folder: str):
    made = [rest for word, rest in instructions(folder) if word == "RUN" and "-m venv" in rest]
    assert all("--without-pip" in rest for rest in made)
    assert any("pip uninstall" in rest for word, rest in last_stage(folder) if word == "RUN")


@every_image
def test_bytecode_is_compiled_once_so_that_no_files_date_counts(folder: str):
    runs = [rest for word, rest in instructions(folder) if word == "RUN"]
    compiles = [one for run in runs for one in re.findall("compileall [^&;]*", run)]
    assert len(compiles) >= 2
    assert all("--invalidation-mode unchecked-hash" in one for one in compiles)
    kept = [one for run in runs for one in re.findall(r"\binstall [^&;]*-r (?!uv\.)[^&;]*", run)]
    assert all("--no-compile" in one for one in kept)


@all_images
def test_an_image_says_what_it_is_and_does_not_run_as_root(folder: str):
    (labels,) = (rest for word, rest in last_stage(folder) if word == "LABEL")
    for label in ("title", "description", "licenses"):
        assert f'org.opencontainers.image.{label}="' in labels
    (user,) = (rest for word, rest in last_stage(folder) if word == "USER")
    assert int(user) > 0


@pytest.mark.parametrize("folder", ["seldon", "kale"])
def test_onnx_runtime_sends_no_telemetry(folder: str):
    assert environment(folder)["ORT_DISABLE_TELEMETRY"] == "1"


def test_what_the_servers_image_drops_of_the_s3_client_is_not_missed(tmp_path: Path):
    """The Dockerfile's own words, on a copy."""
    (run,) = (rest for _, rest in instructions("seldon") if "botocore/data" in rest)
    (words,) = re.findall(r"find \S*botocore/data.*? \{\} \+", run)
    package = ROOT / ".venv" / "server" / "lib" / "python3.12" / "site-packages" / "botocore"
    shutil.copytree(package, tmp_path / "botocore")
    before = sum(1 for _ in (tmp_path / "botocore" / "data").iterdir())
    subprocess.run(
        re.sub(r"\S*botocore/data", str(tmp_path / "botocore" / "data"), words),
        shell=True,
        check=True,
    )
    assert sum(1 for _ in (tmp_path / "botocore" / "data").iterdir()) < before / 10
    code = (
        "import boto3, botocore; print(botocore.__file__)\n"
        "store = boto3.client('s3', endpoint_url='http://127.0.0.1:1', region_name='eu-west-1')\n"
        "print(store.generate_presigned_url('get_object', Params={'Bucket': 'b', 'Key': 'k'}))\n"
        "for keys in ('sts', 'sso', 'sso-oidc'): boto3.client(keys, region_name='eu-west-1')\n"
    )
    done = subprocess.run(
        [ROOT / ".venv" / "server" / "bin" / "python", "-c", code],
        env={
            "PYTHONPATH": str(tmp_path),
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    where, signed = done.stdout.split()
    assert where == str(tmp_path / "botocore" / "__init__.py")
    assert signed.startswith("http://127.0.0.1:1/b/k?")


def lay_out(target: Path) -> tuple[Path, Path]:
    """The package as the images install it, and the files that they hold beside it."""
    uv = subprocess.check_output([ROOT / "requirements" / "find_uv.sh"], text=True).strip()
    build = [uv, "build", "--quiet", "--offline", "--python", sys.executable, "--wheel"]
    build += ["--out-dir", target / "wheel", ROOT]
    subprocess.run(build, cwd=ROOT, check=True)
    (wheel,) = (target / "wheel").glob("*.whl")
    shutil.unpack_archive(wheel, target / "library", "zip")
    app = target / "app"
    for source, place in (one for folder in LIGHT for one in copied(folder)):
        if place.startswith("/app/"):
            into = target / place.removeprefix("/")
            into.mkdir(parents=True, exist_ok=True)
            for path in ROOT.glob(source):
                shutil.copy(path, into)
    return target / "library", app


@pytest.mark.slow
def test_server_and_page_run_from_the_files_that_their_images_hold(
    tmp_path: Path, model_file: Path
):
    library, app = lay_out(tmp_path)
    place = {"KALECAST_HOME": str(app), "PYTHONPATH": str(library)}
    history = [float(hour % 24) for hour in range(168)]
    sample = app / "notebooks" / "data" / "electricity.csv"
    with (
        seldon_server.serving(model_file, **place) as server,
        page_process.running(tmp_path / "page", server.url, samples=sample, **place) as page,
    ):
        assert server.predict({"data": {"ndarray": [history]}}).ok
        assert requests.get(f"{server.url}/openapi.json", timeout=10).ok
        assert requests.get(f"{page.url}/api/example.csv", timeout=10).ok
        assert requests.get(page.url, timeout=30).ok
        query = {"history": ",".join(map(str, history)), "horizon": 24}
        answer = requests.post(f"{page.url}/api/forecast", json=query, timeout=30)
    assert len(answer.json()["forecast"]["step"]) == 24


##### What is found in them #####


def image(tmp_path: Path, *layers: dict[str, Any], **changes: Any) -> contents.Image:
    config = {**image_archives.CONFIG, **changes}
    image_archives.write(tmp_path / "image.tar", TREE, *layers, config=config)
    return contents.read(tmp_path / "image.tar")


def findings(found: contents.Image, limit: int | None = 350) -> list[str]:
    return list(contents.findings(found, limit, images.LIGHT))


@pytest.mark.parametrize("zipped", [False, True])
def test_an_images_size_is_that_of_its_layers_uncompressed(tmp_path: Path, zipped: bool):
    layers = [TREE, {"app/serve.py": "x" * 50_000}]
    image_archives.write(tmp_path / "image.tar", *layers, zipped=zipped)
    assert contents.read(tmp_path / "image.tar").size == image_archives.layer_sizes(layers)


def test_a_layer_hides_what_it_removes(tmp_path: Path):
    below = {"usr/local/bin/pip": "", "a/one": "", "a/b/two": "", "c/three": "", "c.txt": ""}
    above = {"usr/local/bin/.wh.pip": "", "a/.wh..wh..opq": "", "a/new": "", ".wh.c": ""}
    assert set(image(tmp_path, below, above).files) - set(TREE) == {"a/new", "c.txt"}


def test_ordinary_programs_are_no_compilers_and_all_is_as_it_must_be(tmp_path: Path):
    names = ["as-needed", "gcov.py", "python3.12", "basename", "ldconfig", "cat", "gold", "which"]
    assert findings(image(tmp_path, {f"usr/bin/{name}": "" for name in names})) == []


@pytest.mark.parametrize(
    ("layer", "finding"),
    [
        ({"usr/bin/x86_64-linux-gnu-gcc-14": ""}, "carries a compiler's program: /usr/bin/x86_64"),
        ({"usr/bin/make": ""}, "carries a compiler's program: /usr/bin/make"),
        ({"srv/.netrc": ""}, "carries a private file: /srv/.netrc"),
        ({"etc/pip.conf": ""}, "carries a private file: /etc/pip.conf"),
        ({"app/.git/HEAD": "", "app/.git": ""}, "carries a private file: /app/.git"),
        ({f"{SITE}/pip-26.3.dist-info/METADATA": "Name: pip"}, "carries the Python package pip"),
    ],
)
def test_what_must_not_be_in_an_image_is_found(tmp_path: Path, layer: dict[str, str], finding: str):
    (found,) = findings(image(tmp_path, layer))
    assert found.startswith(finding)


@pytest.mark.parametrize("user", ["", "root", "0", "0:0", "kalecast"])
def test_an_image_that_runs_as_root_or_as_a_name_is_found(tmp_path: Path, user: str):
    (found,) = findings(image(tmp_path, User=user))
    assert "expected a number other than 0" in found


def test_an_image_without_labels_or_beyond_its_limit_is_found(tmp_path: Path):
    large = dataclasses.replace(image(tmp_path, Labels=None), size=350_600_000)
    sizes, *labels = findings(large)
    assert sizes == "is of 351 MB, expected at most 350"
    assert len(labels) == len(contents.LABELS)
    assert findings(large, limit=None) == labels


@pytest.mark.parametrize(
    ("mode", "stale"),
    [("timestamp", True), ("checked-hash", False), ("unchecked-hash", False)],
)
def test_bytecode_that_a_builders_date_would_undo_is_found(tmp_path: Path, mode: str, stale: bool):
    (tmp_path / "serve.py").write_text("x = 1\n")
    compiled = py_compile.compile(
        str(tmp_path / "serve.py"),
        invalidation_mode=py_compile.PycInvalidationMode[mode.replace("-", "_").upper()],
    )
    layer = {"app/__pycache__/serve.cpython-312.pyc": Path(compiled).read_bytes()}
    found = findings(image(tmp_path, layer))
    assert bool(found) is stale
    assert all(one.startswith("carries 1 files of dated bytecode, such as /app/") for one in found)


##### Bills of materials #####


@pytest.mark.parametrize("name", ["server", "page"])
def test_a_bill_is_valid_and_lists_python_debians_packages_and_the_lock(tmp_path: Path, name: str):
    site = ROOT / ".venv" / name / "lib" / "python3.12" / "site-packages"
    installed = {
        f"{SITE}/{path.parent.name}/{path.name}": path.read_text()
        for path in site.glob("*.dist-info/METADATA")
    }
    reference = f"docker.io/kalecast/{name}:{VERSION}"
    text = bill.write(image(tmp_path, installed), reference)
    assert JsonStrictValidator(bill.SCHEMA).validate_str(text) is None
    assert text == bill.write(image(tmp_path, installed), reference)
    written = json.loads(text)
    assert written["metadata"]["component"]["name"] == f"docker.io/kalecast/{name}"
    assert written["metadata"]["timestamp"].startswith("2026-01-02T03:04:05")
    components = {one["purl"]: one for one in written["components"]}
    (numpy,) = (one for one in written["components"] if one["name"] == "numpy")
    assert numpy["licenses"][0]["expression"].startswith("BSD-3-Clause AND ")
    assert {purl for purl in components if not purl.startswith("pkg:pypi/")} == {
        "pkg:generic/python@3.12.14",
        "pkg:deb/debian/libc6@2.41-12%2Bdeb13u1?arch=amd64&distro=trixie",
    }
    pins = [pin.partition(";") for pin in conda.locked(name).values()]
    found = {
        purl.removeprefix("pkg:pypi/").replace("@", "==")
        for purl in components
        if purl.startswith("pkg:pypi/")
    }
    assert {pin.strip() for pin, _, marker in pins if not marker} <= found
    assert found - {pin.strip() for pin, _, _ in pins} == {f"kalecast=={VERSION}"}


##### make images #####

# Stands for docker, podman and buildah: records its calls, and makes a small image.
STAND_IN = f"""\
#!{sys.executable}
import json, os, sys
from pathlib import Path
import image_archives
name, folder = Path(sys.argv[0]).name, Path(sys.argv[0]).parents[1]
words = sys.argv[1:]
if words[0] in ("info", "version"):
    if name in os.environ.get("AWAY", "").split():
        sys.exit("Cannot connect to " + name)
    sys.exit()
with (folder / "calls").open("a") as calls:
    print(name, *words, file=calls)
def after(option):
    return [words[at + 1] for at, word in enumerate(words) if word == option]
if words[0] == "build":
    labels = {{**image_archives.LABELS, **dict(one.split("=", 1) for one in after("--label"))}}
    (folder / "labels").write_text(json.dumps(labels))
    sys.exit(os.environ.get("FAILS", "") in words)
target = after("--output") or [one.split(":")[1] for one in words if "docker-archive:" in one]
if target:
    config = {{**image_archives.CONFIG, "Labels": json.loads((folder / "labels").read_text())}}
    fault = json.loads(os.environ.get("FAULT", "{{}}"))
    image_archives.write(Path(target[0]), image_archives.TREE, fault, config=config)
for file in after("--digestfile"):
    Path(file).write_text("sha256:" + "d" * 64)
if words[0] == "image":
    print("kalecast/other@sha256:" + "e" * 64)
    print("registry.example.com/kalecast/page@sha256:" + "d" * 64)
"""
GIT = """\
#!/bin/sh
case $1 in
  rev-parse) echo 0123456789abcdef0123456789abcdef01234567 ;;
  show) echo 1700000000 ;;
  status) printf '%s' "$CHANGED" ;;
esac
"""


class Machine:
    """A machine with builders that do next to nothing."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.folder, self.bin, self.capsys = folder, folder / "bin", capsys
        self.setenv = monkeypatch.setenv
        self.bin.mkdir()
        self.install("git", GIT)
        # The builders read how a small image is written.
        monkeypatch.setenv("PATH", str(self.bin))
        monkeypatch.setenv("PYTHONPATH", str(ROOT / "tests" / "support"))
        for name in ("PIP_INDEX_URL", "SOURCE_DATE_EPOCH"):
            monkeypatch.delenv(name, raising=False)

    def install(self, name: str, script: str) -> None:
        (self.bin / name).write_text(script)
        (self.bin / name).chmod(0o755)

    def images(self, builders: str, *arguments: str, **environment: str) -> tuple[int, str, str]:
        """Call the command; its exit code, what it printed and what it logged."""
        for name in builders.split():
            self.install(name, STAND_IN)
        for name, value in environment.items():
            self.setenv(name, value)
        code = images.main(["--output", str(self.folder / "made"), *arguments])
        return code, *self.capsys.readouterr()

    def report(self, builders: str, *arguments: str, **environment: str) -> dict[str, Any]:
        """The same for a call that succeeds: what its last line reports."""
        code, printed, logged = self.images(builders, *arguments, **environment)
        assert code == 0, logged
        self.printed, self.logged = printed, logged
        result: dict[str, Any] = json.loads(printed.splitlines()[-1])
        return result

    @property
    def calls(self) -> list[str]:
        file = self.folder / "calls"
        return file.read_text().splitlines() if file.exists() else []


@pytest.fixture
def machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Machine:
    return Machine(tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize(
    ("there", "away", "wanted", "taken"),
    [
        ("docker podman buildah", "", "", "docker"),
        ("docker podman buildah", "docker", "", "podman"),
        ("docker buildah", "docker", "", "buildah"),
        ("docker podman", "", "podman", "podman"),
    ],
)
def test_the_first_builder_that_works_is_taken(
    machine: Machine, there: str, away: str, wanted: str, taken: str
):
    made = machine.report(there, "page", "--builder", wanted, AWAY=away)
    assert made["builder"] == taken
    assert {line.split()[0] for line in machine.calls} == {taken}


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (
            "",
            "nothing here builds images (docker: Cannot connect to docker; "
            "podman: not installed; buildah: not installed)",
        ),
        ("kaniko", "Expected a builder out of docker, podman, buildah, received: 'kaniko'"),
    ],
)
def test_without_a_builder_it_is_said_why(machine: Machine, wanted: str, said: str):
    code, _, logged = machine.images("docker", "--builder", wanted, AWAY="docker")
    assert code == 1
    assert said in logged


def test_an_image_is_built_of_the_fixed_base_and_dated_by_the_commit(machine: Machine):
    made = machine.report("podman", "model-server")["images"]["model-server"]
    labels = json.loads((machine.folder / "labels").read_text())
    name = "org.opencontainers.image"
    assert labels[f"{name}.version"] == VERSION
    assert labels[f"{name}.revision"] == "0123456789abcdef0123456789abcdef01234567"
    assert labels[f"{name}.created"] == "2023-11-14T22:13:20Z"
    base = images.pinned_base("PYTHON_IMAGE")
    assert "@".join([labels[f"{name}.base.name"], labels[f"{name}.base.digest"]]) == base
    assert f"--build-arg PYTHON_IMAGE={base} " in machine.calls[0]
    counted = ("base", "python_packages", "debian_packages", "limit")
    assert [made[name] for name in counted] == [base, 1, 1, 350]
    assert (machine.folder / "made" / "model-server.cdx.json").exists()


@pytest.mark.parametrize(
    ("builder", "build", "save"),
    [
        (
            "docker",
            "docker build --file * --build-arg SOURCE_DATE_EPOCH=1700000000 .",
            "docker save --output *.tar docker.io/kalecast/page:*",
        ),
        (
            "podman",
            "podman build --file gradio_app/Dockerfile --tag * --timestamp 1700000000 .",
            "podman save --format docker-archive --output *.tar docker.io/kalecast/page:*",
        ),
        (
            "buildah",
            "buildah build --layers --file * --timestamp 1700000000 .",
            "buildah push docker.io/kalecast/page:* docker-archive:*.tar:docker.io/*",
        ),
    ],
)
def test_each_builder_is_asked_in_its_own_words(
    machine: Machine, builder: str, build: str, save: str
):
    url = "https://me:secret@mirror.example.com/simple"
    machine.report(builder, "page", PIP_INDEX_URL=url)
    for words, call in zip((build, save), machine.calls, strict=True):
        assert re.fullmatch(re.escape(words).replace(r"\*", ".*"), call)
    # The index's address reaches the build unseen.
    assert " --build-arg PIP_INDEX_URL --label " in machine.calls[0]
    assert "secret" not in machine.printed + machine.logged + "".join(machine.calls)


def test_without_names_all_are_built_in_order_and_the_gateway_on_its_own_base(machine: Machine):
    debian = "registry.example.com/debian:bookworm-slim"
    made = machine.report("podman", "--debian", debian, PIP_INDEX_URL="https://any.example.com")
    assert list(made["images"]) == ["model-server", "page", "workbench", "gateway"]
    builds = [line for line in machine.calls if " build " in line]
    assert [line.split()[3] for line in builds] == [
        f"{folder}/Dockerfile" for folder in ("seldon", "gradio_app", "kale", GATEWAY)
    ]
    assert f"--build-arg DEBIAN_IMAGE={debian} " in builds[-1]
    assert "PYTHON_IMAGE" not in builds[-1] and "PIP_INDEX_URL" not in builds[-1]


@pytest.mark.parametrize("builder", ["docker", "podman", "buildah"])
def test_what_is_pushed_is_reported_by_its_digest(machine: Machine, builder: str):
    made = machine.report(builder, "page", "--registry", "registry.example.com", "--push")
    name, digest = "registry.example.com/kalecast/page", "sha256:" + "d" * 64
    assert made["images"]["page"]["digest"] == digest
    entry = f"  - name: kalecast/page\n    newName: {name}\n    digest: {digest}\n"
    assert entry in machine.printed
    assert any(f"{name}:{VERSION}" in line for line in machine.calls if " push " in line)


def test_nothing_is_pushed_while_one_image_is_not_as_it_must_be(machine: Machine):
    fault = json.dumps({"usr/bin/gcc": ""})
    wanted = ("model-server", "page", "--registry", "registry.example.com", "--push")
    code, _, logged = machine.images("podman", *wanted, FAULT=fault)
    assert code == 1
    for name in ("model-server", "page"):
        assert f"{name} carries a compiler's program: /usr/bin/gcc" in logged
    assert not any(" push " in line for line in machine.calls)


def test_a_build_that_fails_ends_it(machine: Machine):
    done = machine.images("podman", "page", "workbench", FAILS="gradio_app/Dockerfile")
    assert done[:2] == (1, "")
    assert "podman build ended with 1" in done[2]
    assert len(machine.calls) == 1


@pytest.mark.parametrize(
    ("arguments", "changed", "said"),
    [
        (["page", "--push"], "", "PUSH=1 needs a registry"),
        (["page", "--push", "--registry=r", "--base=python:3.12"], "", "not named by its digest"),
        (["page", "--push", "--registry=r"], " M any.py", "files are those of no commit"),
        (["server"], "", "Expected images out of model-server, page, workbench, gateway, received"),
    ],
)
def test_a_wrong_call_and_a_release_that_cannot_be_built_again_are_refused(
    machine: Machine, arguments: list[str], changed: str, said: str
):
    code, _, logged = machine.images("podman", *arguments, CHANGED=changed)
    assert code == 2
    assert said in logged
    assert machine.calls == []


def test_a_trial_may_be_pushed_as_it_is(machine: Machine):
    options = ("--registry", "r", "--base", "python:3.12", "--tag", "trial", "--push")
    made = machine.report("podman", "page", *options, CHANGED=" M any.py")
    assert made["images"]["page"]["reference"] == "r/kalecast/page:trial"
    labels = json.loads((machine.folder / "labels").read_text())
    assert labels["org.opencontainers.image.revision"].endswith("-changed")


def test_the_images_are_the_dockerfiles():
    built = {recipe.dockerfile for recipe in images.RECIPES.values()}
    assert built == {f"{folder}/Dockerfile" for folder in (*FOLDERS, GATEWAY)}
