"""The cluster as tables: who does which work, what can fail, what is installed."""

import pandas as pd

from report.cluster_sizes import sizes

WORK = (
    ("machines and their system", "you", "a container each", "the provider"),
    ("runtime, kubelets, joining", "`prepare.sh`, kubeadm", "kind", "the provider"),
    (
        "control plane and etcd",
        "kubeadm sets up; you back up",
        "kind; gone with the laptop",
        "the provider",
    ),
    (
        "upgrade of a minor",
        "`machines/upgrade.sh`, machine by machine",
        "a new cluster",
        "the provider, when you ask or when its time is over",
    ),
    (
        "certificates of the cluster",
        "kubeadm at each upgrade; within a year",
        "until the cluster ends",
        "the provider",
    ),
    (
        "network that enforces policies",
        "Calico, by `addons/`",
        "kindnet, there",
        "to be switched on, or chosen at the start",
    ),
    ("volumes that outlive a node", "yours to bring", "none", "its disks, by a driver"),
    ("metrics for autoscalers", "`addons/`", "`addons/`", "EKS: an add-on; GKE, AKS: there"),
    ("more machines for a crowd", "by hand", "none", "an autoscaler of nodes, to be switched on"),
    ("Kubeflow, Seldon, the service", "steps 2 to 6", "steps 2 to 6", "steps 2 to 6"),
)
"""Work, and who does it with kubeadm, kind and a managed cluster."""

WAYS = (
    (
        "cores",
        "all yours, also in a burst",
        "shared: promised twice, they fail when all are busy",
        "as bought; not shared in the classes named here",
    ),
    (
        "pieces",
        "large: often control plane and worker alike",
        "as small as `sizes.md` says",
        "as small as it says, by steps of the provider",
    ),
    (
        "one failure",
        "a machine",
        "the host: pin control planes apart",
        "a zone, where node groups are in three",
    ),
    ("a broken one is back", "in days", "in minutes, elsewhere", "in minutes, by itself"),
    (
        "for a crowd that stays",
        "must stand there all year",
        "room on the hosts",
        "nodes by the hour",
    ),
    ("versions", "yours to choose and to renew", "yours", "by the provider's calendar"),
    (
        "right where",
        "they are there, or data must not leave the house",
        "hosts are there; an upgrade is to be rehearsed",
        "nobody wants to run a control plane",
    ),
)
"""What differs for this load: physical, virtual, managed."""

FAILURES = (
    (
        "the only control plane",
        "nothing, as long as nothing else happens",
        "pods go on as they are",
        "bring it back, or restore etcd's copy; until then nothing is scaled, replaced, deployed "
        "or trained",
    ),
    (
        "one of three control planes",
        "nothing",
        "two are a majority",
        "replace it before a second is lost",
    ),
    (
        "a worker",
        "requests that were under way on it fail; those that follow are answered by pods elsewhere",
        "its pods start elsewhere after five minutes; pods of the service are spread, "
        "so the others serve on",
        "look whether Kubeflow's volumes were on it (local-path volumes stay away with it)",
    ),
    (
        "a zone",
        "the same, of more",
        "the same, where three zones are labelled",
        "the same; see whether the crowd's pods have room",
    ),
    (
        "a node's disk is full",
        "nothing, or as with a worker",
        "the kubelet removes images, then evicts pods, which start elsewhere",
        "make room; `NodeFilesystem…` alerts of kube-prometheus come before",
    ),
    (
        "Prometheus' volume is full",
        "nothing; with KEDA the autoscaler keeps the least number and CPU's target",
        "no",
        "enlarge it, or keep fewer days",
    ),
    (
        "etcd's disk is full or slow",
        "nothing at first",
        "no: the API refuses to write",
        "compact, defragment, enlarge; as without a control plane",
    ),
    (
        "Kubeflow's MySQL or object store",
        "nothing, unless a model server starts then",
        "started anew on the same volume",
        "restore the volume; restart no model server meanwhile",
    ),
    (
        "kubeadm's certificates end",
        "nothing at first; then as without a control plane",
        "no",
        "`kubeadm certs renew all` on each control plane, restart its static pods, hand out "
        "`admin.conf` anew; or upgrade in time, which does it",
    ),
    (
        "a kubelet's serving certificate waits",
        "no more pods in a crowd: autoscalers by CPU are blind",
        "no",
        "`approve-certificates.sh`; `check.sh` and `KalecastAutoscalerBlind` tell",
    ),
    (
        "the gateway's certificate ends",
        "browsers refuse the page",
        "cert-manager renews 30 days before",
        "`KalecastCertificateEnds` warns at 21 days, wakes somebody at three",
    ),
    (
        "Seldon's operator",
        "nothing",
        "two pods; what serves goes on",
        "until it is back nothing is deployed: its webhook refuses",
    ),
    (
        "the registry",
        "nothing",
        "pods start from images that the node has",
        "new nodes and versions wait for it",
    ),
)
"""What is lost, what customers see, what recovers by itself, what the operator does."""


def work_table() -> pd.DataFrame:
    """Who does which work."""
    return pd.DataFrame(WORK, columns=["", "kubeadm (`machines/`)", "kind", "EKS, GKE, AKS"])


def ways_table() -> pd.DataFrame:
    """What differs between machines for this load."""
    return pd.DataFrame(WAYS, columns=["", "physical", "virtual, on hosts of one's own", "managed"])


def failures_table() -> pd.DataFrame:
    """What can fail."""
    columns = ["lost", "customers see", "recovers by itself", "the operator"]
    return pd.DataFrame(FAILURES, columns=columns)


def sizes_table() -> pd.DataFrame:
    """The sizes that `sizes.md` derives."""
    return pd.DataFrame(
        [
            {
                "": size.name,
                "control planes": f"{size.control_planes} × {_machine(size.control_plane)}",
                "workers": f"{size.workers} × {_machine(size.worker)}",
                "together": size.together,
            }
            for size in sizes()
        ]
    )


def _machine(machine: tuple[float, float]) -> str:
    return f"{machine[0]:g} vCPU, {machine[1]:g} GiB" if machine[0] else "a container"
