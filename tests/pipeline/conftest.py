"""What several tests of pipelines start from."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import kfp_double
import pytest
from kfp_double import TOKEN, KfpDouble
from toy_notebooks import Cell, write_notebook

from kalecast.pipelines.compile_notebook import compile_notebook


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, list[Cell]], Path]:
    """Compile a pipeline of these cells, once for each name."""
    folder = tmp_path_factory.mktemp("compiled")

    def package(name: str, cells: list[Cell]) -> Path:
        made = folder / f"{name}.pipeline.yaml"
        if not made.exists():
            compile_notebook(write_notebook(folder / f"{name}.ipynb", cells), folder)
        return made

    return package


@pytest.fixture
def kfp(monkeypatch: pytest.MonkeyPatch) -> Iterator[KfpDouble]:
    """A double of KFP's API that the environment names."""
    with kfp_double.serving(KfpDouble()) as double:
        for name in list(os.environ):
            if name.startswith(("KFP_", "KF_")):
                monkeypatch.delenv(name)
        monkeypatch.setenv("KFP_HOST", double.host)
        monkeypatch.setenv("KFP_NAMESPACE", "team")
        monkeypatch.setenv("KF_PIPELINES_TOKEN", TOKEN)
        yield double
