"""The command `kalecast`. Each of its commands is a module, imported when it is called.

Their options stand in `kalecast COMMAND --help`.
"""

import sys
from importlib import import_module

import click

COMMANDS = {
    "run": ("kalecast.launch", "Train where there is no model yet, start server and page."),
    "pipeline": ("kalecast.pipelines.local.run_pipeline", "Run a compiled pipeline here."),
    "compile": ("kalecast.pipelines.compile_notebook", "Compile annotated notebooks with Kale."),
    "check-notebooks": ("kalecast.pipelines.check_notebooks", "Check notebooks, running nothing."),
    "execute-notebooks": ("kalecast.pipelines.execute_notebooks", "Run all notebooks, small."),
    "lab": ("kalecast.pipelines.lab.jupyter", "Open JupyterLab with Kale."),
    "tune": ("kalecast.model.tuning", "Search hyper-parameters, here or with Katib."),
    "serve": ("kalecast.serving.server", "Serve a model file over HTTP and gRPC."),
    "page": ("kalecast.page.app", "Show the forecast page for a running server."),
    "keys": ("kalecast.page.keys", "Make, list and revoke customers' keys."),
    "protect": ("kalecast.cluster.gateway.local", "Run the gateway in front of the page."),
    "query": ("kalecast.cluster.query", "Query the model server on a cluster."),
    "cluster-run": ("kalecast.pipelines.kubeflow.cluster_run", "Run the pipeline on Kubeflow."),
    "images": ("kalecast.cluster.images.build", "Build the images, write their bills."),
    "manifest": ("kalecast.cluster.standalone", "Write the SeldonDeployment of a model file."),
    "manifests": ("kalecast.cluster.manifests", "Render every overlay of the manifests."),
    "policies": ("kalecast.cluster.policies", "Hold every manifest against checkov's policies."),
}
"""The module of each command, whose `main` reads `sys.argv`, and its line of help."""
EXTRAS = {"serve": "server", "page": "page", "keys": "page"}
"""What the packages of other commands than the workbench's are installed with."""


class HandedOn(click.Command):
    """A command that gets its arguments as they are, with `--`, which click would take out."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take them all."""
        ctx.args = args
        return args

    def invoke(self, ctx: click.Context) -> None:
        """Call the module."""
        sys.exit(_call(str(self.name), ctx.args))


class Commands(click.Group):
    """The commands, none of which is imported to list them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names, in the order of a first day's work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One of them, which hands all its arguments on."""
        if cmd_name not in COMMANDS:
            return None
        return HandedOn(cmd_name, short_help=COMMANDS[cmd_name][1], add_help_option=False)


def _call(command: str, arguments: list[str]) -> int | None:
    sys.argv = [f"kalecast {command}", *arguments]
    try:
        module = import_module(COMMANDS[command][0])
    except ModuleNotFoundError as error:
        if (error.name or "kalecast").startswith("kalecast"):
            raise
        raise click.ClickException(
            f"This environment lacks the package {error.name}. The command needs "
            f"kalecast[{EXTRAS.get(command, 'workbench')}]."
        ) from error
    status: int | None = module.main()
    return status


@click.command(cls=Commands)
@click.version_option(package_name="kalecast")
def main() -> None:
    """From an annotated notebook to a forecasting service."""
