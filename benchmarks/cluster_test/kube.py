"""kubectl, in the test's own namespace."""

import json
import subprocess
import time
from dataclasses import dataclass
from typing import Any

from kalecast.lifetime import bound

Object = dict[str, Any]

CALL_SECONDS = 90.0
"""After which a call that should be short is given up."""

TRIES = 3
"""Of a request: a busy control plane drops one now and then."""


class KubeError(RuntimeError):
    """kubectl did not do it; the text is its own."""


@dataclass(frozen=True)
class Kube:
    """The current cluster, of which one namespace is ours."""

    command: str
    namespace: str

    def do(self, *arguments: str, content: str | None = None, seconds: float = CALL_SECONDS) -> str:
        """A call in the namespace; returns what it printed.

        Raises:
            KubeError: it failed, or took longer than `seconds`.
        """
        return call(self.command, *self._placed(arguments), content=content, seconds=seconds)

    def again(
        self, *arguments: str, content: str | None = None, seconds: float = CALL_SECONDS
    ) -> str:
        """As `do`, for what may be done several times: tried again where it failed."""
        for left in reversed(range(TRIES)):
            try:
                return self.do(*arguments, content=content, seconds=seconds)
            except KubeError as error:
                if not left or "not found" in str(error).lower():
                    raise
                time.sleep(1)
        raise AssertionError

    def get(self, *arguments: str) -> Any:
        """Objects as JSON: `get("pods", "--selector", "a=b")`.

        Raises:
            KubeError: as for `do`, three times in a row.
        """
        return json.loads(self.again("get", *arguments, "--output=json"))

    def items(self, *arguments: str) -> list[Object]:
        """The objects of a list."""
        found: list[Object] = self.get(*arguments)["items"]
        return found

    def raw(self, path: str) -> Any:
        """GET of a path of the API."""
        return json.loads(self.again("get", "--raw", path))

    def apply(self, objects: list[Object], dry_run: bool = False) -> None:
        """Server-side, and without a field that the API does not know."""
        arguments = ["apply", "--server-side", "--field-manager=kalecast-test", "--validate=strict"]
        arguments += ["--dry-run=server"] if dry_run else []
        listed = {"apiVersion": "v1", "kind": "List", "items": objects}
        self.do(*arguments, "--filename=-", content=json.dumps(listed))

    def run(self, pod: str, script: str, *arguments: str, seconds: float = CALL_SECONDS) -> str:
        """Run Python in a pod, from standard input, so that its files may be read-only."""
        inside = ("exec", "--stdin", pod, "--", "python", "-", *arguments)
        return self.again(*inside, content=script, seconds=seconds)

    def _placed(self, arguments: tuple[str, ...]) -> tuple[str, ...]:
        return (f"--namespace={self.namespace}", *arguments)


def call(*command: str, content: str | None = None, seconds: float = CALL_SECONDS) -> str:
    """A command's output.

    In a session of its own, so that Ctrl-C reaches this program alone, which then removes what it
    has made.

    Raises:
        KubeError: it failed, or took longer than `seconds`.
    """
    shown = " ".join(command[1:6])
    try:
        done = subprocess.run(
            bound(command),
            input=content,
            stdin=subprocess.DEVNULL if content is None else None,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired as error:
        raise KubeError(f"kubectl {shown} took longer than {seconds:.0f} s") from error
    if done.returncode:
        raise KubeError(done.stderr.strip() or f"kubectl {shown} ended with {done.returncode}")
    return done.stdout
