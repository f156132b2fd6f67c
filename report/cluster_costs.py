"""What the size for production costs a month, by list prices of `facts/machines.yaml`."""

import pandas as pd

from report.cluster_pictures import production
from report.facts import Fact, Facts, facts

HOURS = 365 * 24 / 12
"""A month."""
YEARS = 3
"""After which machines of one's own are written off."""


def prices() -> Facts:
    """List prices, each with source and date."""
    return facts("machines")


def managed(worker: str, control_plane: str) -> float:
    """A month of a managed cluster: workers, and one control plane by the hour."""
    listed = prices()
    each, once = listed[worker].value, listed[control_plane].value
    return float(HOURS * (production().workers * each + once))


def rented() -> float:
    """A month of virtual machines that one runs Kubernetes on oneself, control planes included."""
    listed, size = prices(), production()
    small = listed["hetzner_small_cpu"].value * listed["hetzner_small_cpus"].value
    return float(size.workers * listed["hetzner_worker"].value + size.control_planes * small)


def break_even() -> float:
    """What machines of one's own may cost in all of `YEARS`, to be no dearer than EKS."""
    return YEARS * 12 * managed("aws_worker", "eks_control_plane")


def cost_table() -> pd.DataFrame:
    """Ways to the size for production, with their prices a month."""
    workers, planes = production().workers, production().control_planes
    listed = prices()
    rows = [
        (
            "EKS",
            f"{workers} × m6i.2xlarge",
            _dollars(managed("aws_worker", "eks_control_plane")),
            listed["aws_worker"],
            listed["eks_control_plane"],
        ),
        (
            "GKE",
            f"{workers} × n4-standard-8",
            _dollars(managed("gcp_worker", "gke_control_plane")),
            listed["gcp_worker"],
            listed["gke_control_plane"],
        ),
        (
            "AKS",
            f"{workers} × D8s v5",
            f"{_dollars(HOURS * listed['aks_control_plane'].value)} and the workers",
            listed["aks_control_plane"],
            None,
        ),
        (
            "virtual machines, rented",
            f"{workers} × CCX33, {planes} × CCX13",
            f"{rented():,.0f} EUR",
            listed["hetzner_worker"],
            listed["hetzner_small_cpu"],
        ),
    ]
    return pd.DataFrame(
        [
            {
                "way": way,
                "machines": machines,
                "a month": month,
                "from": _cited(first, second),
            }
            for way, machines, month, first, second in rows
        ]
    )


def price_table() -> pd.DataFrame:
    """All prices, as their sources say them."""
    return pd.DataFrame(
        [
            {
                "price": name.replace("_", " "),
                "value": f"{fact.value:g}",
                "unit": fact.unit,
                "said of": fact.note,
                "source": f"{{cite}}`{fact.source}`",
            }
            for name, fact in prices().items()
            if fact.unit.startswith(("USD", "EUR"))
        ]
    )


def _cited(*found: Fact | None) -> str:
    sources = dict.fromkeys(fact.source for fact in found if fact)
    return f"{{cite}}`{','.join(sources)}`"


def _dollars(amount: float) -> str:
    return f"{amount:,.0f} USD"
