"""The log of a step that failed on Kubeflow Pipelines: the end of what its pod printed.

KFP's API names no pods, only the nodes of its workflow. What a pod is called follows from its
node and from the template that it was made of (`RetrievePodName` in KFP's workflow.go).
"""

import http.client
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import IO, Any

from kalecast.client.http import opener
from kalecast.pipelines.kubeflow.remote_kfp import RemoteKfp
from kalecast.pipelines.local.terminal_text import plain

LINES = 40
SECONDS = 15.0
KEPT_BYTES = 1024 * 1024
TEMPLATES = ("system-container-impl", "retry-system-container-impl")
"""Of the pods that run a step's own code; the second where the step has retries."""


def failed_log(kfp: RemoteKfp, run: Any) -> list[str]:
    """The last lines that the failed steps of a run printed; none where they cannot be had."""
    for pod in _pods(run):
        for address in _addresses(kfp, str(run.run_id), pod):
            text = _read(kfp, address)
            if text.strip():
                return plain(text).strip().splitlines()[-LINES:]
    return []


def _pods(run: Any) -> Iterator[str]:
    """What the pods of failed steps may be called, those of the last attempt first."""
    for task in run.run_details.task_details if run.run_details else []:
        if task.state != "FAILED" or (task.display_name or "").endswith("-driver"):
            continue
        for child in reversed(task.child_tasks or []):
            workflow, _, hashed = (child.pod_name or "").rpartition("-")
            for template in TEMPLATES if workflow else ():
                yield f"{workflow}-{template}-{hashed}"
            yield child.pod_name


def _addresses(kfp: RemoteKfp, run_id: str, pod: str) -> Iterator[str]:
    """Where KFP's page has the log of a pod, and where its API server has it."""
    query = {"podname": pod, "runid": run_id}
    if kfp.namespace:
        query["podnamespace"] = kfp.namespace
    yield f"{kfp.host}/k8s/pod/logs?{urllib.parse.urlencode(query)}"
    run, node = urllib.parse.quote(run_id), urllib.parse.quote(pod)
    yield f"{kfp.host}/apis/v1alpha1/runs/{run}/nodes/{node}/log"


def _read(kfp: RemoteKfp, address: str) -> str:
    """The end of the text there, nothing where there is none."""
    try:
        context = ssl.create_default_context(cafile=kfp.connection.ssl_ca_cert)
        request = urllib.request.Request(address, headers=kfp.headers())
        without_proxy = opener(context, proxies=False)  # KFP's client knows of none
        with without_proxy.open(request, timeout=SECONDS) as answer:
            kind = answer.headers.get_content_type()
            text = _end_of(answer).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException, urllib.error.URLError, ValueError):
        return ""
    # The page answers unknown paths with itself; the API server reports an error after it has
    # sent the status 200.
    return "" if kind == "text/html" or text.startswith('{"error') else text


def _end_of(answer: IO[bytes]) -> bytes:
    """The last of what comes, read in pieces: a log may be larger than the memory."""
    end = b""
    while piece := answer.read(KEPT_BYTES):
        end = (end + piece)[-KEPT_BYTES:]
    return end
