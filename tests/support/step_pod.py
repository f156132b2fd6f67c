"""Run a step of the compiled pipeline as its pod does: the same command, and no network."""

import functools
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
PIPELINE = ROOT / "kale" / "forecast-pipeline.pipeline.yaml"
INPUT, OUTPUT = "{{$}}", "executor_output.json"


@dataclass(frozen=True)
class PodStep:
    """A step of a compiled pipeline."""

    name: str
    component: Mapping[str, Any]
    container: Mapping[str, Any]
    on_kubernetes: Mapping[str, Any]

    @property
    def install_script(self) -> str:
        """The shell script that has pip install what the step needs, then runs its arguments."""
        (script,) = (part for part in self.container["command"] if "pip install" in part)
        return script

    def command(self, executor_input: Mapping[str, Any]) -> list[str]:
        """The container's command and arguments as Kubeflow Pipelines fills them in."""
        message = json.dumps(executor_input)
        return [
            part.replace(INPUT, message)
            for part in (*self.container["command"], *self.container["args"])
        ]

    def executor_input(
        self,
        folder: Path,
        parameters: Mapping[str, Any] | None = None,
        before: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """What the pipeline passes to the step: default parameters but for the ones given here.

        Args:
            folder: where the step's artifacts are to be written.
            parameters: instead of the defaults.
            before: artifacts of other steps, by the name of the value that each holds.
        """
        wanted = self.component.get("inputDefinitions", {})
        values = {name: known["defaultValue"] for name, known in wanted["parameters"].items()}
        made = self.component["outputDefinitions"]["artifacts"]
        read = wanted.get("artifacts", {})
        return {
            "inputs": {
                "parameterValues": {
                    name: _as_in_json(value)
                    for name, value in {**values, **(parameters or {})}.items()
                },
                "artifacts": {
                    name: {"artifacts": [(before or {})[name.removesuffix("_input_artifact")]]}
                    for name in read
                },
            },
            "outputs": {
                "artifacts": {
                    name: {
                        "artifacts": [
                            {
                                "name": name,
                                "uri": str(folder / name),
                                "metadata": {},
                                "type": known["artifactType"],
                            }
                        ]
                    }
                    for name, known in made.items()
                },
                "outputFile": str(folder / OUTPUT),
            },
        }

    def made(self, folder: Path) -> dict[str, Any]:
        """The artifacts that the step has written, by the name of the value that each holds."""
        message = json.loads((folder / OUTPUT).read_text())["artifacts"]
        types = self.component["outputDefinitions"]["artifacts"]
        return {
            name.removesuffix("_output_artifact"): {
                **artifacts["artifacts"][0],
                "type": types[name]["artifactType"],
            }
            for name, artifacts in message.items()
        }


def _as_in_json(value: Any) -> Any:
    """Whole numbers, of whichever type, come without a decimal point out of the pipelines' Go."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


@functools.cache
def steps() -> dict[str, PodStep]:
    """The compiled pipeline's steps by name."""
    pipeline, platform = yaml.safe_load_all(PIPELINE.read_text())
    executors = pipeline["deploymentSpec"]["executors"]
    kubernetes = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return {
        component["executorLabel"].removeprefix("exec-").removesuffix("-step"): PodStep(
            name,
            component,
            executors[component["executorLabel"]]["container"],
            kubernetes.get(component["executorLabel"], {}),
        )
        for name, component in pipeline["components"].items()
    }


@functools.cache
def _no_network() -> list[str]:
    """A prefix for commands that leaves them loopback alone; none where this user may not."""
    # Kale talks to the kernel in which it runs a step's cells over loopback, and keeps values in a
    # folder that each pod has to itself.
    inside = "ip link set lo up && mkdir -p /tmp/marshal && mount -t tmpfs none /tmp/marshal"
    unshare = ["unshare", "--net", "--mount"]
    for outside in (unshare, [*unshare, "--map-root-user"]):
        prefix = [*outside, "sh", "-c", inside + ' && exec "$@"', "sh"]
        try:
            if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0:
                return prefix
        except FileNotFoundError:
            break
    return []


def run_in_pod(
    command: list[str], home: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command with the workbench on the path, without network and pip's settings here.

    Where network cannot be taken away, what needs it is sent to a closed port.
    """
    nowhere = "http://127.0.0.1:9"
    return subprocess.run(
        [*_no_network(), *command],
        cwd=home,
        env={
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "HOME": str(home),
            "KALECAST_HOME": str(ROOT),
            "PIP_CONFIG_FILE": os.devnull,
            "HTTP_PROXY": nowhere,
            "HTTPS_PROXY": nowhere,
            "ALL_PROXY": nowhere,
            **(environment or {}),
        },
        capture_output=True,
        text=True,
        check=False,
    )
