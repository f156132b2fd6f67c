"""The capacity sheet: how many pods of which size, summed from measured figures."""

import json
from statistics import median
from typing import Any

import yaml

from kalecast.cluster.capacity import AT_ONCE, MODEL_SERVER, PAGE, UPSTREAM_REQUESTS, WAIT_SECONDS
from kalecast.cluster.deployment import DeploymentSettings
from kalecast.project import PROJECT

FIGURES = PROJECT / "report" / "figures"
STEP = PROJECT / "cluster-setup" / "4-model-and-app"
TEMPLATE = STEP / "capacity.template.md"

SERVER_BODIES, PAGE_BODIES = 128, 64
"""MiB of requests' bodies that each takes on at most (the READMEs of `seldon/`, `gradio_app/`)."""

SPARE = 1.5
"""Beyond what was measured, for another allocator, another kernel, a larger model."""


def sheet() -> str:
    """The sheet as Markdown."""
    head = f"<!-- Written by `make manifests` from {TEMPLATE.name}. -->\n"
    return head + TEMPLATE.read_text().format_map(figures())


def figures() -> dict[str, Any]:
    """What the template names."""
    load, serving = _read("load-test.json"), _read("serving.json")
    seconds = median(one["seconds"] for one in load["rounds"])
    client = median(one["cpu_microseconds"] for one in load["rounds"])
    event = median(one["seconds"] for one in load["page_rounds"])
    each = load["cores"] * seconds / AT_ONCE * 1e6 - client
    sure = PAGE.minimum_replicas * PAGE.cores + MODEL_SERVER.minimum_replicas * MODEL_SERVER.cores
    most = PAGE.maximum_replicas * PAGE.cores + MODEL_SERVER.maximum_replicas * MODEL_SERVER.cores
    page_memory, server_memory = _page_memory(), _mebibytes(DeploymentSettings().memory)
    return {
        "crowd": AT_ONCE,
        "wait": WAIT_SECONDS,
        "page": PAGE,
        "server": MODEL_SERVER,
        "upstream": UPSTREAM_REQUESTS,
        "connections": UPSTREAM_REQUESTS * PAGE.minimum_replicas,
        "cores": load["cores"],
        "seconds": seconds,
        "client": client,
        "event": event,
        "server_burst": serving["figures"]["ours"]["burst_seconds"],
        "windows": serving["figures"]["ours"]["windows_per_second"],
        "cold_start": serving["cold_start_seconds"],
        "each": each,
        "sure": sure,
        "most": most,
        "crowd_seconds": AT_ONCE * each / 1e6 / sure,
        "most_per_second": most * 1e6 / each,
        "event_ms": event / AT_ONCE * 1e3,
        "event_whole": event / PAGE.minimum_replicas,
        "event_sure": event / (PAGE.minimum_replicas * PAGE.cores),
        "server_rss": load["server_rss_mib"],
        "page_rss": load["app_rss_mib"],
        "server_bodies": SERVER_BODIES,
        "page_bodies": PAGE_BODIES,
        "server_need": SPARE * (load["server_rss_mib"] + SERVER_BODIES),
        "page_need": SPARE * (load["app_rss_mib"] + PAGE_BODIES),
        "server_memory": server_memory,
        "page_memory": page_memory,
        "least_memory": (
            PAGE.minimum_replicas * page_memory + MODEL_SERVER.minimum_replicas * server_memory
        )
        / 1024,
        "most_memory": (
            PAGE.maximum_replicas * page_memory + MODEL_SERVER.maximum_replicas * server_memory
        )
        / 1024,
    }


def _read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((FIGURES / name).read_text())
    return content


def _mebibytes(quantity: str) -> int:
    assert quantity.endswith("Mi")
    return int(quantity.removesuffix("Mi"))


def _page_memory() -> int:
    objects = yaml.safe_load_all((STEP / "base" / "page.yaml").read_text())
    (page,) = (one for one in objects if one["kind"] == "Deployment")
    (container,) = page["spec"]["template"]["spec"]["containers"]
    return _mebibytes(container["resources"]["limits"]["memory"])
