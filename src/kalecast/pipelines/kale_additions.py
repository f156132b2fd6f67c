"""What this project adds to Kale's compiler, in every process that imports it.

A click on *Compile* runs Kale in the notebook's kernel, `make compile` runs it in a process of its
own: both call `install` first, so that both check the same rules and write the same bytes. The
installed Kale is not touched.
"""

from pathlib import Path
from typing import Any

import wrapt

from kalecast.pipelines.notebooks.cells import read_notebook
from kalecast.pipelines.notebooks.rules import check_notebook

TEMPLATES = Path(__file__).resolve().parent / "templates"


def install() -> None:
    """Have the additions made as soon as Kale is imported; costs nothing where it never is."""
    wrapt.when_imported("kale.compiler")(_add_templates)
    wrapt.when_imported("kale.common.kfutils")(_forget_the_notebook_server)
    wrapt.when_imported("kale.rpc.nb")(_check_before_compile)


def _add_templates(compiler: Any) -> None:
    """Have our templates found before Kale's, which stay available under `kale/`."""
    from jinja2 import ChoiceLoader, FileSystemLoader, PrefixLoader

    def with_ours(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        if instance.templating_env is None:
            environment = wrapped(*args, **kwargs)
            kales = environment.loader
            environment.loader = ChoiceLoader(
                [FileSystemLoader(TEMPLATES), kales, PrefixLoader({"kale": kales})]
            )
        return instance.templating_env

    wrapt.wrap_function_wrapper(compiler, "Compiler._get_templating_env", with_ours)


def _forget_the_notebook_server(kfutils: Any) -> None:
    """In a cluster Kale labels the steps like the notebook server on which it happens to run."""
    kfutils.find_poddefault_labels = dict


def _check_before_compile(rpc: Any) -> None:
    """Have a click refuse what `make compile` refuses, in the same words."""

    def checked(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        # A ValueError, which Kale's panel shows in a dialog.
        check_notebook(read_notebook(Path(kwargs["source_notebook_path"]).expanduser()))
        return wrapped(*args, **kwargs)

    wrapt.wrap_function_wrapper(rpc, "compile_notebook", checked)
