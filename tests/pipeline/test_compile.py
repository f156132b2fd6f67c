"""Compiling a notebook: the same bytes everywhere, and clear words for what cannot be compiled."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
import yaml
from jupyter_client import BlockingKernelClient
from jupyter_client.manager import start_new_kernel
from toy_notebooks import SUM_CELLS, Cell, write_notebook

from kalecast.pipelines.compile_notebook import (
    PACKAGE_INDEX,
    check_compile,
    compile_notebook,
    main,
    pipeline_notebooks,
)
from kalecast.pipelines.compiled_pipeline import NoPipelineError, compiled_from
from kalecast.pipelines.lab.jupyter import SETTINGS
from kalecast.pipelines.notebooks.cells import NotebookError

PROJECT = Path(__file__).resolve().parents[2]


IN_FULL = [
    "image:images.example/workbench:1",
    *("limit:requests.cpu:500m", "limit:cpu:2", "limit:requests.memory:1Gi", "limit:memory:4Gi"),
    *("cache:disabled", "limit:retries:2", "secret:store:key:STORE_KEY"),
]
FILES = ["toy.kale.py", "toy.pipeline.yaml"]


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    return write_notebook(tmp_path / "toy.ipynb", SUM_CELLS)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def error_of(path: Path, tmp_path: Path) -> str:
    with pytest.raises(NotebookError) as caught:
        compile_notebook(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_compiles_to_the_same_bytes_wherever_it_runs(toy, tmp_path, monkeypatch):
    compile_notebook(toy, tmp_path / "first")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("KALE_PIP_INDEX_URLS", "https://packages.example/simple")
    monkeypatch.setenv("KALE_PIP_TRUSTED_HOSTS", "packages.example")
    monkeypatch.setenv("KALE_DEFAULT_BASE_IMAGE", "registry.example/other:1")
    monkeypatch.setenv("KALE_SECURITY_CONTEXT_RUN_AS_USER", "7")
    monkeypatch.setenv("KFP_DISABLE_EXECUTION_CACHING_BY_DEFAULT", "true")
    compile_notebook(Path("../toy.ipynb"), Path("second"))
    first = contents(tmp_path / "first")
    assert list(first) == FILES
    assert first == contents(elsewhere / "second")
    assert os.environ["KALE_DEFAULT_BASE_IMAGE"] == "registry.example/other:1"
    assert not (elsewhere / ".kale").exists()


def test_carries_no_address_no_path_and_no_package_beyond_kale(toy, tmp_path):
    compile_notebook(toy, tmp_path / "out")
    for name in FILES:
        text = (tmp_path / "out" / name).read_text()
        assert "http" not in text
        assert str(tmp_path) not in text
        assert str(Path.home()) + "/" not in text
    dsl = (tmp_path / "out" / "toy.kale.py").read_text()
    assert dsl.count("packages_to_install=['kfp>=2.0.0', 'kubeflow-kale==2.3.0']") == 2
    assert dsl.count(f"pip_index_urls=['{PACKAGE_INDEX}']") == 2


@pytest.mark.slow
def test_hash_seed_does_not_matter(toy, tmp_path):
    command = [sys.executable, "-m", "kalecast.pipelines.compile_notebook", toy, "--output-dir"]
    for seed in ("1", "2"):
        subprocess.run(
            [*command, tmp_path / seed], check=True, env=os.environ | {"PYTHONHASHSEED": seed}
        )
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


CLICK = """
import json, os
from kale.rpc.run import run
from kale.rpc.utils import deserialize, serialize
def click(folder, path, panel):
    os.chdir(folder)
    for function in ("nb.validate_notebook", "nb.compile_notebook"):
        arguments = {"source_notebook_path": path, "notebook_metadata_overrides": panel}
        if function == "nb.compile_notebook":
            arguments["debug"] = False
        answer = run(function, serialize(arguments), serialize({"nb_path": path}))
    return json.dumps(deserialize(answer))
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BlockingKernelClient]:
    """The kernel that `make lab` gives a notebook, in which Kale's panel does its work."""
    folder = tmp_path_factory.mktemp("kernel")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(SETTINGS))
        manager, client = start_new_kernel(
            cwd=str(folder),
            kernel_name="python3",
            env=os.environ | {"KALE_PYPI_PROD_URL": PACKAGE_INDEX, "HOME": str(folder)},
        )
    client.execute_interactive(CLICK, timeout=120)
    yield client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def click(kernel: BlockingKernelClient, path: Path) -> dict[str, object]:
    """Do what a click does, with the arguments that Kale's panel gives, and return the answer.

    What it compiles to lands beside the notebook, in `clicked/`.
    """
    panel = json.loads(path.read_text())["metadata"]["kubeflow_notebook"] | {
        "experiment": {"id": "new", "name": "toys"},
        "base_image": "images.example/another-default:1",
        "steps_defaults": [],
        "security_context": {
            "enabled": True,
            "run_as_user": 65534,
            "run_as_group": 0,
            "run_as_non_root": True,
        },
        "output_path": "clicked",
    }
    reply = kernel.execute_interactive(
        f"answer = click({str(path.parent)!r}, {str(path)!r}, {panel!r})",
        user_expressions={"answer": "answer"},
        output_hook=lambda message: None,
        timeout=120,
    )
    shown = reply["content"]["user_expressions"]["answer"]["data"]["text/plain"]
    return json.loads(ast.literal_eval(shown))


@pytest.mark.slow
def test_is_what_a_click_in_jupyterlab_makes(kernel, tmp_path):
    toy = write_notebook(
        tmp_path / "toy.ipynb",
        [(source, [*tags, *IN_FULL] if "step:" in tags[0] else tags) for source, tags in SUM_CELLS],
    )
    answer = click(kernel, toy)
    assert answer["code"] == 0, answer
    compile_notebook(toy, tmp_path / "headless")
    assert contents(tmp_path / "clicked") == contents(tmp_path / "headless")
    assert "set_memory_limit" in (tmp_path / "clicked" / "toy.kale.py").read_text()


@pytest.mark.slow
def test_a_click_refuses_what_the_command_refuses_in_the_same_words(kernel, tmp_path):
    toy = write_notebook(tmp_path / "toy.ipynb", [STEP, ("print(z)", ["step:b", "prev:a"])])
    answer = click(kernel, toy)
    assert answer["err_message"] == error_of(toy, tmp_path)
    assert "cell 2 (print(z)): uses 'z'" in answer["err_message"]
    assert not (tmp_path / "clicked").exists()


def test_takes_resources_retries_and_secrets_of_each_step_into_the_pipeline(tmp_path):
    toy = write_notebook(tmp_path / "toy.ipynb", [("x = 1", ["step:a", *IN_FULL])])
    compile_notebook(toy, tmp_path / "out")
    spec, platform = yaml.safe_load_all((tmp_path / "out" / "toy.pipeline.yaml").read_text())
    container = spec["deploymentSpec"]["executors"]["exec-a-step"]["container"]
    task = spec["root"]["dag"]["tasks"]["a-step"]
    on_kubernetes = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert container["image"] == "images.example/workbench:1"
    assert (
        container["resources"]
        | {
            "resourceCpuRequest": "500m",
            "resourceCpuLimit": "2",
            "resourceMemoryRequest": "1Gi",
            "resourceMemoryLimit": "4Gi",
        }
        == container["resources"]
    )
    assert task["retryPolicy"]["maxRetryCount"] == 2
    assert "enableCache" not in task["cachingOptions"]
    (secret,) = on_kubernetes["exec-a-step"]["secretAsEnv"]
    assert secret["secretName"] == "store"
    assert secret["keyToEnv"] == [{"secretKey": "key", "envVar": "STORE_KEY"}]


def test_check_names_the_stale_file_and_the_remedy(toy, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = [str(toy), "--output-dir", str(out)]
    assert main([*arguments, "--check"]) == 1
    assert "missing" in capsys.readouterr().out
    assert main(arguments) == 0
    assert main([*arguments, "--check"]) == 0
    changed = [(source.replace("rows = 3", "rows = 4"), tags) for source, tags in SUM_CELLS]
    write_notebook(toy, changed)
    before = contents(out)
    capsys.readouterr()
    assert main([*arguments, "--check"]) == 1
    output = capsys.readouterr().out
    assert "toy.kale.py: differs" in output
    assert "rows: int = 4" in output
    assert f'make compile NOTEBOOK="{os.path.relpath(toy, PROJECT)}"' in output
    assert contents(out) == before


def test_all_pipelines_of_a_folder_are_compiled(tmp_path):
    for folder in ("deeper", ".ipynb_checkpoints"):
        (tmp_path / folder).mkdir()
    write_notebook(tmp_path / "one.ipynb", SUM_CELLS)
    write_notebook(tmp_path / "deeper" / "two.ipynb", SUM_CELLS)
    write_notebook(tmp_path / ".ipynb_checkpoints" / "one.ipynb", SUM_CELLS)
    nbformat.write(nbformat.v4.new_notebook(), tmp_path / "prose.ipynb")
    found = pipeline_notebooks(tmp_path)
    assert [path.name for path in found] == ["two.ipynb", "one.ipynb"]
    assert main([*map(str, found), "--output-dir", str(tmp_path / "out")]) == 0
    compiled = {compiled_from(path, tmp_path / "out").name for path in found}
    assert compiled == {"one.pipeline.yaml", "two.pipeline.yaml"}


def test_two_notebooks_of_one_pipeline_are_refused(tmp_path):
    for name in ("one", "copy"):
        write_notebook(tmp_path / f"{name}.ipynb", SUM_CELLS, pipeline_name="same")
    with pytest.raises(NotebookError, match=r"received 'same', which is that of copy\.ipynb"):
        pipeline_notebooks(tmp_path)


def test_a_pipeline_that_was_not_compiled_is_reported_with_the_remedy(toy, tmp_path):
    with pytest.raises(NoPipelineError, match=f'make compile NOTEBOOK="{toy}"'):
        compiled_from(toy, tmp_path / "out")
    nbformat.write(nbformat.v4.new_notebook(), tmp_path / "prose.ipynb")
    for other in ("prose.ipynb", "none.ipynb"):
        with pytest.raises(NoPipelineError, match="Expected a notebook with a 'kubeflow_notebook'"):
            compiled_from(tmp_path / other, tmp_path / "out")


def test_check_keeps_the_difference_short(toy, tmp_path):
    compile_notebook(toy, tmp_path / "out")
    (tmp_path / "out" / "toy.kale.py").write_text("line\n" * 500)
    report = check_compile(toy, tmp_path / "out")
    assert len(report) < 60
    assert any("more lines" in line for line in report)


def test_what_is_not_a_notebook_is_said_in_one_line(tmp_path, capsys):
    other = tmp_path / "other.ipynb"
    other.write_text("hello")
    assert "Expected a Jupyter notebook" in error_of(other, tmp_path)
    assert main([str(tmp_path / "none.ipynb")]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "no such file" in output.err
    assert output.err.count("\n") == 1


STEP: Cell = ("x = 1", ["step:a"])


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (
            [STEP, ("y = x", ["step:b", "prev:none"])],
            ["cell 2 (y = x)", "above it (a)"],
        ),
        ([STEP, ("y = x", ["step:B!"])], ["cell 2", "step:B!"]),
        ([STEP, ("y = 1", ["step:b", "slow"])], ["cell 2", "does not know the tag 'slow'"]),
        ([STEP, ("y = 1", [])], ["cell 2", "where it belongs", "'step:a'", "none"]),
        ([STEP, ("y = (", ["step:b"])], ["cell 2", "line 1"]),
        ([STEP, ("y = 2\n%matplotlib inline", ["step:b"])], ["cell 2", "line 2", "% and !"]),
        ([STEP, ("y = 3", ["injected-parameters"])], ["cell 2", "executed copy", "papermill"]),
        ([STEP, ("y = x", ["step:b", "limit:cpus:2"])], ["cell 2", "limit:cpus:2"]),
        ([STEP, ("y = x", ["step:b", "limit:cpu:some"])], ["cell 2", "4Gi", "limit:cpu:some"]),
        (
            [STEP, ("y = x", ["step:b", "limit:retries:often"])],
            ["cell 2", "a number of retries"],
        ),
        ([STEP, ("y = 1", ["step:b", "limit:cpu:2"])], ["cell 1", "'limit:cpu:…'", "step 'a'"]),
        ([("x = 1", ["step:a", "image:i:1"]), ("y = x", ["step:b"])], ["cell 2", "image:"]),
        ([STEP, ("print(x + 1)", ["pipeline-metrics"])], ["cell 2", "print statements"]),
        ([("x = 1", ["imports"])], ["step:"]),
    ],
)
def test_names_the_cell_with_a_wrong_annotation(cells, expected, tmp_path):
    message = error_of(write_notebook(tmp_path / "toy.ipynb", cells), tmp_path)
    for part in expected:
        assert part in message


@pytest.mark.parametrize(
    "line",
    ["h = -1", "h = [1]", "h = 2 * 3", "h = None", "h: int = 1", "h = 'it\\'s'", "h = g = 1"],
)
def test_refuses_a_parameter_that_is_not_a_bare_literal(line, tmp_path):
    cells = [(f"ok = 1\n{line}", ["pipeline-parameters"]), STEP]
    message = error_of(write_notebook(tmp_path / "toy.ipynb", cells), tmp_path)
    assert "cell 1" in message
    assert line in message


@pytest.mark.parametrize(
    ("source", "tag"),
    [
        ("import kalecast", "imports"),
        ("from kalecast.data.series import load", "imports"),
        ("def f():\n    import pandas as pd\n    return pd", "functions"),
    ],
)
def test_refuses_imports_from_which_kale_guesses_packages(source, tag, tmp_path):
    path = write_notebook(
        tmp_path / "toy.ipynb", [("import json", ["imports"]), (source, [tag]), STEP]
    )
    message = error_of(path, tmp_path)
    assert "cell 2" in message
    assert "kalecast" in message or "pandas" in message
    assert "Import it in the step" in message


def test_imports_within_steps_are_harmless(tmp_path):
    path = write_notebook(tmp_path / "toy.ipynb", [("import kalecast\nx = 1", ["step:a"])])
    compile_notebook(path, tmp_path / "out")
    assert "'kalecast'" not in (tmp_path / "out" / "toy.kale.py").read_text()


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"pipeline_description": "Tomorrow's load"}, "apostrophe"),
        ({"base_image": "images.example/workbench:1"}, "image:"),
        ({"steps_defaults": ["image:images.example/workbench:1"]}, "image:"),
        ({"pipeline_name": "Not A Name"}, "Not a valid Pipeline name"),
        ({"pipeline_name": ""}, "pipeline_name"),
    ],
)
def test_refuses_metadata_that_a_click_would_change_or_kale_breaks_on(metadata, expected, tmp_path):
    path = write_notebook(tmp_path / "toy.ipynb", [STEP], **metadata)
    assert expected in error_of(path, tmp_path)
