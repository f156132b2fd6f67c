"""A namespace that this run makes and removes, whatever happens in between."""

import contextlib
import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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


class NamespaceError(RuntimeError):
    """It cannot be made, or could not be removed; the text says what is left to do."""


@contextmanager
def own_namespace(kube: Kube, made: Object, keep: bool, log: Log) -> Iterator[None]:
    """Have the namespace for as long as the context lasts.

    The first signal that ends a program raises `StoppedBySignal`, unless the namespace is being
    removed: that goes on.

    Args:
        kube: its cluster and name.
        made: the namespace, with a label that only this run has.
        keep: whether it is left there.
        log: called with each message.

    Raises:
        NamespaceError: it cannot be made, or not be removed.
    """
    removing = False

    def receive(number: int, _: object) -> None:
        nonlocal removing
        if not removing:
            removing = True
            raise StoppedBySignal(number)
        log(f"{signal.Signals(number).name}: still removing what was made")

    before = {number: signal.signal(number, receive) for number in ends()}
    try:
        _create(kube, made)
        yield
    finally:
        removing = True
        try:
            if keep:
                log(f"kept, until: kubectl delete namespace {kube.namespace}")
            else:
                _remove(kube, made["metadata"]["labels"][LABEL], log)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _create(kube: Kube, made: Object) -> None:
    try:
        kube.do("create", "--filename=-", content=json.dumps(made))
    except KubeError as error:
        raise NamespaceError(
            f"Expected to make the namespace '{kube.namespace}', which is removed at the end; "
            f"received: {error}"
        ) from error


def _remove(kube: Kube, run: str, log: Log, timeout: float = 300.0) -> None:
    """Delete it if it is this run's, and wait until it has gone."""
    end, logged, failures = time.monotonic() + timeout, False, 0
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


def _left(kube: Kube, reason: str) -> NamespaceError:
    conditions = []
    with contextlib.suppress(KubeError):
        status = (_found(kube) or {}).get("status", {})
        conditions = [one["message"] for one in status.get("conditions", [])]
    return NamespaceError(
        f"The namespace '{kube.namespace}' could not be removed: "
        f"{'; '.join([reason, *conditions])}. To do: kubectl delete namespace {kube.namespace}"
    )
