"""The image of steps and Notebook Server: it has all that they need, and Kubeflow can start it."""

import json
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from dockerfiles import environment, last_stage
from packaging.requirements import Requirement
from sample_series import hourly_series
from step_pod import ROOT, run_in_pod, steps

from kalecast.artifact.contract import open_session, read_contract
from kalecast.model import tuning
from kalecast.pipelines.compile_notebook import PACKAGE_INDEX
from requirements import conda

KUBERNETES = ROOT / "kale" / "kubernetes"
STEPS = sorted(steps())
# In the order in which data pass them, and with next to no training.
ORDER = ["load-data", "preprocess", "train", "evaluate", "export-model", "deploy", "query"]
QUICK = {
    "epochs": 1,
    "steps_per_epoch": 2,
    "batch_size": 32,
    "input_length": 168,
    "width": 16,
    "gate_margin": -1000,
    "test_windows": 2,
    "validation_steps": 48,
}

slow = pytest.mark.slow


##### What the steps require #####


def requirements_of(script: str) -> list[Requirement]:
    """What a step's script has pip install."""
    (line,) = (line for line in script.splitlines() if "pip install" in line)
    words = line.split("&&")[0].split("--index-url")[1].split()[1:]
    return [Requirement(word.strip("'")) for word in words]


@pytest.mark.parametrize("step", STEPS)
def test_the_lock_has_what_a_step_requires_and_it_names_no_index(step: str):
    locked = {name: pin.split("==")[1] for name, pin in conda.locked("workbench").items()}
    wanted = requirements_of(steps()[step].install_script)
    assert {one.name for one in wanted} >= {"kfp", "kubeflow-kale"}
    for one in wanted:
        assert one.name != "kalecast", "a name of ours would be looked up in an index"
        assert one.specifier.contains(locked[one.name].split(";")[0].strip()), str(one)
    named = re.findall(r"--\S*index-url \S+", steps()[step].install_script)
    assert set(named) == {f"--index-url {PACKAGE_INDEX}"}


@slow
@pytest.mark.parametrize("script", sorted({step.install_script for step in steps().values()}))
def test_a_step_installs_nothing_when_it_starts(script: str, tmp_path: Path):
    before = set(installed())
    done = run_in_pod(["sh", "-c", script, "echo", "goes on"], tmp_path)
    assert (done.returncode, done.stdout) == (0, "goes on\n"), done.stderr
    assert set(installed()) == before
    assert not list(tmp_path.iterdir()), "pip keeps what it downloads"


@slow
@pytest.mark.parametrize("wanted", ["kalecast-nowhere==1.0", "kfp>=99", "numpy<1"])
def test_a_step_that_requires_more_fails_and_fetches_nothing(wanted: str, tmp_path: Path):
    script = steps()["train"].install_script.replace("'kfp>=2.0.0'", f"'{wanted}'")
    done = run_in_pod(["sh", "-c", script, "echo", "goes on"], tmp_path)
    assert done.returncode != 0
    assert "goes on" not in done.stdout
    assert "No matching distribution found" in done.stderr


def installed() -> list[str]:
    return [str(path) for path in Path(pd.__file__).parents[1].glob("*.dist-info")]


@slow
def test_every_step_runs_in_its_pod_without_a_network(tmp_path: Path):
    home, known = tmp_path / "home", {}
    home.mkdir()
    hourly_series(count=3).to_csv(tmp_path / "series.csv", index=False)
    given = {"data": str(tmp_path / "series.csv"), "model_store": str(tmp_path / "store")}
    parameters = {**QUICK, **given}
    for name in ORDER:
        step, folder = steps()[name], tmp_path / name
        command = step.command(step.executor_input(folder, parameters, known))
        done = run_in_pod(command, home)
        assert done.returncode == 0, f"{name}: {done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        known.update(step.made(folder))
    series = pd.read_pickle(tmp_path / "load-data" / "series_output_artifact")
    assert list(series) == ["unique_id", "ds", "y"]
    published = read_contract(open_session(tmp_path / "store" / "forecaster.onnx"))
    assert published.horizon == 48
    assert set(STEPS) == set(ORDER)


##### The image #####


def test_the_image_is_as_kubeflow_expects():
    stage = last_stage("kale")
    assert [rest for word, rest in stage if word == "USER"] == ["1000"]
    assert ("EXPOSE", "8888") in stage
    (user,) = (rest for word, rest in stage if word == "RUN" and "useradd" in rest)
    assert "--uid 1000" in user
    assert user.split("&&")[0].split()[-1] == "jovyan"
    (start,) = (json.loads(rest) for word, rest in stage if word == "CMD")
    script = ROOT / Path(*start).relative_to("/opt/kalecast")
    assert script.stat().st_mode & stat.S_IXUSR


def test_the_image_looks_in_the_index_that_the_compile_names():
    assert environment("kale")["KALE_PYPI_PROD_URL"] == PACKAGE_INDEX
    assert environment("kale")["KALECAST_HOME"] == "/opt/kalecast"


##### The Notebook Server's start #####


@pytest.fixture
def in_image(tmp_path: Path) -> Path:
    """A folder like the image's, with a `python` that prints how it was started."""
    kale = tmp_path / "image" / "kale"
    kale.mkdir(parents=True)
    script = kale / "notebook_server.sh"
    script.write_bytes((ROOT / "kale" / script.name).read_bytes())
    script.chmod(0o755)
    (tmp_path / "image" / "notebooks").mkdir()
    (tmp_path / "image" / "notebooks" / "a.ipynb").write_text("from the image")
    (tmp_path / "image" / "README.md").write_text("from the image")
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\npwd; echo "$KALECAST_HOME"; for word; do echo "$word"; done\n')
    python.chmod(0o755)
    (tmp_path / "home").mkdir()
    return tmp_path


def started(folder: Path, *arguments: str, **more: str) -> list[str]:
    script = folder / "image" / "kale" / "notebook_server.sh"
    environment = {"PATH": f"{folder / 'bin'}:/usr/bin:/bin", "HOME": str(folder / "home"), **more}
    done = subprocess.run(
        [script, *arguments], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_the_first_start_fills_the_workspace(in_image: Path):
    workspace = in_image / "home" / "kalecast"
    where, kalecast_home, *words = started(in_image, "--ServerApp.port=1")
    assert where == kalecast_home == str(workspace)
    assert words[:5] == ["-m", "kalecast", "lab", "--root", str(workspace)]
    assert words[-2:] == ["--ServerApp.allow_origin=*", "--ServerApp.port=1"]
    assert (workspace / "notebooks" / "a.ipynb").read_text() == "from the image"
    assert list((in_image / "home").iterdir()) == [workspace]
    assert stat.S_IMODE(workspace.stat().st_mode) == 0o775


def test_other_sites_are_kept_out_where_the_gateways_address_is_known(in_image: Path):
    gateway = "https://kubeflow.example.org"
    assert f"--ServerApp.allow_origin={gateway}" in started(
        in_image, KALECAST_NOTEBOOK_ORIGIN=gateway
    )


def test_later_starts_leave_a_users_files_alone(in_image: Path):
    workspace = in_image / "home" / "kalecast"
    (in_image / "home" / ".kalecast-unfinished").mkdir(mode=0o500)  # of a start that was cut short
    started(in_image)
    assert list((in_image / "home").iterdir()) == [workspace]
    (workspace / "notebooks" / "a.ipynb").write_text("the user's")
    (workspace / "README.md").unlink()
    started(in_image)
    assert (workspace / "notebooks" / "a.ipynb").read_text() == "the user's"
    assert not (workspace / "README.md").exists()


##### Kubernetes #####


def objects() -> dict[str, dict[str, Any]]:
    """What `kubectl apply -k` creates, by kind and name."""
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    read = [yaml.safe_load((KUBERNETES / name).read_text()) for name in kustomization["resources"]]
    return {f"{one['kind']}/{one['metadata']['name']}": one for one in read}


def pod() -> dict[str, Any]:
    found: dict[str, Any] = objects()["Notebook/kalecast"]["spec"]["template"]["spec"]
    return found


def test_the_notebook_server_is_the_image_of_the_steps():
    (image,) = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["images"]
    (container,) = pod()["containers"]
    assert container["image"] == image["name"]
    pushed = f"{image.get('newName', image['name'])}:{image['newTag']}"
    assert {step.container["image"] for step in steps().values()} == {pushed}
    assert container["ports"][0]["containerPort"] == 8888
    assert "command" not in container


def test_the_notebook_server_mounts_the_workspace_that_trials_read():
    (claim,) = (one["persistentVolumeClaim"]["claimName"] for one in pod()["volumes"])
    (mount,) = pod()["containers"][0]["volumeMounts"]
    assert mount["mountPath"] == tuning.WORKSPACE
    assert objects()[f"PersistentVolumeClaim/{claim}"]["spec"]["accessModes"] == ["ReadWriteOnce"]
    message = subprocess.run(
        [sys.executable, "-m", "kalecast.model.tuning", "experiment"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert f"claimName: {claim}\n" in message


@pytest.mark.parametrize("name", ["access-ml-pipeline", "kalecast-model-store"])
def test_the_notebook_server_carries_the_labels_that_poddefaults_look_for(name: str):
    labels = objects()["Notebook/kalecast"]["metadata"]["labels"]
    selector = objects()[f"PodDefault/{name}"]["spec"]["selector"]["matchLabels"]
    assert selector.items() <= labels.items()


def test_the_token_for_pipelines_is_where_kfp_looks_for_it():
    spec = objects()["PodDefault/access-ml-pipeline"]["spec"]
    (variable,) = spec["env"]
    (mount,) = spec["volumeMounts"]
    (source,) = spec["volumes"][0]["projected"]["sources"]
    assert variable["name"] == "KF_PIPELINES_SA_TOKEN_PATH"
    assert variable["value"] == f"{mount['mountPath']}/{source['serviceAccountToken']['path']}"
    assert source["serviceAccountToken"]["audience"] == "pipelines.kubeflow.org"


def test_the_example_secret_has_the_keys_that_steps_name_and_no_secret():
    example = yaml.safe_load((KUBERNETES / "model-store-secret.example.yaml").read_text())
    assert f"{example['kind']}/{example['metadata']['name']}" not in objects()
    named = [
        (secret["secretName"], pair["secretKey"])
        for step in steps().values()
        for secret in step.on_kubernetes.get("secretAsEnv", [])
        for pair in secret["keyToEnv"]
    ]
    assert {name for name, _ in named} == {example["metadata"]["name"]}
    assert {key for _, key in named} == set(example["stringData"])
    assert {example["stringData"][key] for key in example["stringData"] if "ACCESS_KEY" in key} == {
        "CHANGE-ME"
    }
    store = objects()["PodDefault/kalecast-model-store"]["spec"]["envFrom"][0]["secretRef"]
    assert store["name"] == example["metadata"]["name"]
