"""The Kubernetes API as a rollout calls it: SeldonDeployments, their pods, and the pods' logs."""

import time
from collections.abc import Callable
from typing import Any

from kalecast.cluster.pods import ENDED, LOG_LINES, Pod
from kalecast.cluster.seldon_deployment import (
    GROUP,
    PLURAL,
    VERSION,
    DeploymentError,
    SeldonDeployment,
)

CALL_SECONDS = 30.0
CALLS = 5
PAUSE = 2.0
"""Seconds before a call that was not answered is made again."""

RETRIED_STATUSES = (429, 500, 502, 503, 504)
"""What the API answers while it has too much to do, or is being replaced."""

WRITE_ATTEMPTS = 5


class RefusalError(RuntimeError):
    """The API refuses a call; its own exceptions come with a client that is slow to import."""

    def __init__(self, status: int, reason: str, body: str | None) -> None:
        """With the API's answer."""
        super().__init__(reason)
        self.status, self.body = status, body


class Cluster:
    """A cluster, by the client of its API."""

    def __init__(self, api: Any) -> None:
        """Use a client.

        Args:
            api: `kubernetes.client.ApiClient`.
        """
        from kubernetes import client

        self.api, self.custom, self.core = api, client.CustomObjectsApi(api), client.CoreV1Api(api)

    @classmethod
    def of_this_pod(cls) -> "Cluster":
        """With the rights of the pod's own service account."""
        from kubernetes import client, config

        config.load_incluster_config()
        return cls(client.ApiClient())

    def find(self, deployment: SeldonDeployment) -> SeldonDeployment | None:
        """The object of the same name as the cluster has it, where it has one.

        Raises:
            DeploymentError: the cluster gives no answer.
        """
        try:
            get = self.custom.get_namespaced_custom_object
            found = _call(get, **_place(deployment), name=deployment.name)
        except RefusalError as error:
            if error.status == 404:
                return None
            raise _refused(deployment, error) from error
        return SeldonDeployment(found)

    def put(self, deployment: SeldonDeployment) -> None:
        """Create an object, or replace the one of its name whole: a patch would leave old fields.

        Raises:
            DeploymentError: the cluster refuses it, and why.
        """
        for attempts_left in reversed(range(WRITE_ATTEMPTS)):
            replaced = self.find(deployment)
            content = {**_place(deployment), "body": deployment.to_send(replaced)}
            try:
                if replaced is None:
                    _call(self.custom.create_namespaced_custom_object, **content)
                else:
                    replace = self.custom.replace_namespaced_custom_object
                    _call(replace, **content, name=deployment.name)
                return
            except RefusalError as error:
                # The operator wrote its status meanwhile, or another client was first.
                if error.status != 409 or not attempts_left:
                    raise _refused(deployment, error) from error

    def pods_of(self, deployment: SeldonDeployment) -> list[Pod]:
        """The pods of a SeldonDeployment, without those that are about to end.

        Raises:
            DeploymentError: the account of this pod may not list them.
        """
        selector = ",".join(f"{key}={value}" for key, value in deployment.selector_of_all.items())
        try:
            list_pods = self.core.list_namespaced_pod
            found = _call(list_pods, deployment.namespace, label_selector=selector)
        except RefusalError as error:
            raise DeploymentError(
                f"Expected the right to list pods in namespace {deployment.namespace!r}, "
                f"received: {error}."
            ) from error
        pods = map(Pod.of, self.api.sanitize_for_serialization(found)["items"])
        # What was evicted stays as an object, and as nothing else.
        return [pod for pod in pods if not pod.is_leaving and pod.phase not in ENDED]

    def read_log(self, pod: Pod, container: str, previous: bool) -> str:
        """The end of a container's log, as a `kalecast.cluster.pods.LogReader` returns it."""
        try:
            printed: str = _call(
                self.core.read_namespaced_pod_log,
                pod.name,
                pod.namespace,
                container=container,
                previous=previous,
                tail_lines=LOG_LINES,
            )
        except RefusalError:
            return ""
        return printed


def _call(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """What a function of the Kubernetes client returns; called again where there is no answer.

    Raises:
        RefusalError: the API refuses.
        DeploymentError: it does not answer.
    """
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    for calls_left in reversed(range(CALLS)):
        try:
            return function(*arguments, _request_timeout=CALL_SECONDS, **named)
        except HTTPError as error:
            if not calls_left:
                raise DeploymentError(f"The Kubernetes API does not answer: {error}") from error
        except ApiException as error:
            if error.status not in RETRIED_STATUSES or not calls_left:
                raise RefusalError(
                    error.status, f"{error.status} {error.reason}", error.body
                ) from error
        time.sleep(PAUSE)


def _place(deployment: SeldonDeployment) -> dict[str, str]:
    namespace = deployment.namespace
    return {"group": GROUP, "version": VERSION, "namespace": namespace, "plural": PLURAL}


def _refused(deployment: SeldonDeployment, error: RefusalError) -> DeploymentError:
    return DeploymentError(
        f"The cluster refused the SeldonDeployment {deployment.name!r} in namespace "
        f"{deployment.namespace!r}: {error}. {error.body or ''}".strip()
    )
