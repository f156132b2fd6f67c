"""A stand-in for kubectl that keeps one namespace in a file, and misbehaves as configured.

It renders with the real one. Faults, in the variable `FAULTS`: `no-cluster`, `refuse` (dry runs of
Services), `no-apply`, `stop` (a SIGTERM to its caller, in place of applying), `no-delete`.
"""

import json
import os
import stat
import sys
from pathlib import Path

PROGRAM = """\
#!{python}
import json, os, signal, sys, time
from pathlib import Path

arguments, folder, faults = sys.argv[1:], Path(os.environ["STAND_IN"]), os.environ["FAULTS"].split()
words = [one for one in arguments if not one.startswith("--namespace=")]
namespace = folder / "namespace.json"


def fail(text):
    print(text, file=sys.stderr)
    sys.exit(1)


if words[0] == "kustomize":
    os.execv(os.environ["REAL"], [os.environ["REAL"], *words])
with (folder / "calls").open("a") as calls:
    calls.write(json.dumps(arguments) + "\\n")
if words[0] == "version":
    version = {{"clientVersion": {{"major": "1", "minor": "35"}}}}
    if "--client" not in words:
        if "no-cluster" in faults:
            fail("connection refused")
        version["serverVersion"] = {{"gitVersion": "v1.35.0"}}
    print(json.dumps(version))
elif words[:2] == ["config", "view"]:
    print(json.dumps({{"clusters": [{{"cluster": {{"server": "https://stand-in"}}}}]}}))
elif words[0] == "create":
    if namespace.exists():
        fail('Error from server (AlreadyExists): namespaces "it" already exists')
    namespace.write_text(sys.stdin.read())
elif words[:2] == ["get", "namespace"]:
    if not namespace.exists():
        fail('Error from server (NotFound): namespaces "it" not found')
    print(namespace.read_text())
elif words[:2] == ["delete", "namespace"]:
    if "no-delete" in faults:
        fail("Error from server (Forbidden): namespaces is forbidden")
    namespace.unlink()
elif words[0] == "apply":
    content = sys.stdin.read()
    refused = "refuse" in faults and "--dry-run=server" in words and '"kind": "Service"' in content
    if "stop" in faults:
        os.kill(os.getppid(), signal.SIGTERM)
        time.sleep(60)
    if "no-apply" in faults or refused:
        fail("Error from server (BadRequest): strict decoding error: unknown field spec.portz")
elif words[:2] == ["get", "pods"]:
    ready = {{"conditions": [{{"type": "Ready", "status": "True"}}]}}
    names = ("store", "client", "stranger")
    pods = [{{"metadata": {{"name": f"kalecast-test-{{one}}"}}, "status": ready}} for one in names]
    print(json.dumps({{"items": pods}}))
else:
    fail(f"unexpected: {{words}}")
"""


class NamespacedKubectl:
    """A folder with a `kubectl`, its state, and what it was called with."""

    def __init__(self, folder: Path, real: str) -> None:
        program = folder / "bin" / "kubectl"
        program.parent.mkdir()
        program.write_text(PROGRAM.format(python=sys.executable))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        self.folder = folder
        self.environment = {
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "STAND_IN": str(folder),
            "REAL": real,
            "FAULTS": "",
        }

    @property
    def namespace(self) -> Path:
        """There while the namespace is."""
        return self.folder / "namespace.json"

    @property
    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]
