"""A namespace that this run makes and removes, whatever happens in between."""

import contextlib
import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from benchmarks.cluster_test.helpers import LABEL
from benchmarks.cluster_test.kube import Kube, KubeError, Object
from kalecast.lifetime import ends

Log = Callable[[str], None]

ATTEMPTS = 3


class StoppedBySignal(BaseException):
    """A stop was requested."""

    def __init__(self, number: int) -> None:
        """By a signal."""
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


class NamespaceNotOursError(RuntimeError):
    """There is one of that name already, or none may be made."""


class NamespaceLeftError(RuntimeError):
    """It could not be removed, or not in time; the text says what is left to do."""


class Ends:
    """Signals that end a program: the first raises `StoppedBySignal`, unless it is cleaning up."""

    def __init__(self, log: Log) -> None:
        """Not taken over yet."""
        self._armed, self._log = True, log
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Ends":
        """Take them over."""
        self._before = {number: signal.signal(number, self._receive) for number in ends()}
        return self

    def __exit__(self, *_: object) -> None:
        """Give them back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def disarm(self) -> None:
        """From now on the work goes on."""
        self._armed = False

    def _receive(self, number: int, _: FrameType | None) -> None:
        if self._armed:
            self._armed = False
            raise StoppedBySignal(number)
        self._log(f"{signal.Signals(number).name}: still removing what was made")


@contextmanager
def own_namespace(kube: Kube, made: Object, ends: Ends, keep: bool, log: Log) -> Iterator[None]:
    """Have the namespace for as long as the context lasts.

    Args:
        kube: its cluster and name.
        made: the namespace, with a label that only this run has.
        ends: no longer raises while it is removed.
        keep: whether it is left there.
        log: called with each message.

    Raises:
        NamespaceNotOursError: it cannot be made.
        NamespaceLeftError: it cannot be removed.
    """
    try:
        _create(kube, made)
        yield
    finally:
        ends.disarm()
        if keep:
            log(f"kept, until: kubectl delete namespace {kube.namespace}")
        else:
            _remove(kube, made["metadata"]["labels"][LABEL], log)


def _create(kube: Kube, made: Object) -> None:
    try:
        kube.do("create", "--filename=-", content=json.dumps(made))
    except KubeError as error:
        raise NamespaceNotOursError(
            f"Expected to make the namespace '{kube.namespace}', which is removed at the end; "
            f"received: {error}"
        ) from error


def _remove(kube: Kube, run: str, log: Log, timeout: float = 300.0) -> None:
    """Delete it if it is this run's, and wait until it has gone."""
    end, logged = time.monotonic() + timeout, False
    failures = 0
    while True:
        try:
            found = _found(kube)
            if found is None or found["metadata"].get("labels", {}).get(LABEL) != run:
                return
            if not logged:
                log(f"removing the namespace {kube.namespace}")
                logged = True
            if "deletionTimestamp" not in found["metadata"]:
                kube.do("delete", "namespace", kube.namespace, "--wait=false")
        except KubeError as error:
            failures += 1
            if failures == ATTEMPTS:
                raise _left(kube, str(error)) from error
        if time.monotonic() > end:
            raise _left(kube, f"it is still there after {timeout:.0f} s")
        time.sleep(0.5)


def _found(kube: Kube) -> Object | None:
    try:
        namespace: Object = kube.get("namespace", kube.namespace)
    except KubeError as error:
        if "not found" in str(error).lower():
            return None
        raise
    return namespace


def _left(kube: Kube, reason: str) -> NamespaceLeftError:
    conditions = []
    with contextlib.suppress(KubeError):
        status = (_found(kube) or {}).get("status", {})
        conditions = [one["message"] for one in status.get("conditions", [])]
    return NamespaceLeftError(
        f"The namespace '{kube.namespace}' could not be removed: "
        f"{'; '.join([reason, *conditions])}. To do: kubectl delete namespace {kube.namespace}"
    )
