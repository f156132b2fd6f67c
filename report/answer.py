"""The task beside the answer: the handful of figures that matter."""

from typing import Any

import pandas as pd

from report.model_words import percent
from report.results import ResultFile


def figures(
    pipeline: ResultFile,
    serving: ResultFile,
    load: ResultFile,
    simulated: ResultFile,
    protection: ResultFile,
) -> dict[str, Any]:
    """Figures by the names under which the text and the table use them."""
    scores, rounds = pipeline["run_scores"], load["rounds"]
    return {
        "answer_steps": len(pipeline["steps"]),
        "answer_seconds": f"{pipeline['seconds']:.0f}",
        "answer_mase": f"{scores['mase']:.2f}",
        "answer_naive": f"{scores['mase_seasonal_naive']:.2f}",
        "answer_coverage": percent(scores["coverage_95"]),
        "answer_throughput": f"{serving['throughput_over_stock']:.2f}",
        "answer_burst": f"{serving['burst_over_stock']:.1f}",
        "answer_at_once": f"{load['users']:,}",
        "answer_errors": sum(one["errors"] for one in rounds),
        "answer_slowest": f"{max(one['slowest'] for one in rounds):.1f}",
        "answer_planned_p99": f"{simulated['p99_out_of_quiet']:.1f}",
        "answer_cost": f"{simulated['cost_over_least']:.2f}",
        "answer_attacks": f"{protection['crs_attacks']:,}",
        "answer_passed": protection["crs_attacks_passed"],
        "answer_reached": protection["crs_exploits"] + protection["payload_exploits"],
        "answer_payloads": f"{protection['payload_requests']:,}",
        "answer_payloads_passed": f"{protection['payload_passed']:,}",
        "answer_benign": f"{protection['benign']:,}",
        "answer_false": protection["false_positives"],
        "answer_dos_attacks": protection["dos_attacks"],
        "answer_dos_above": len(protection["dos_above_three"]) or "none",
        "answer_dos_worst": f"{protection['dos_worst_p99_ratio']:.1f}",
    }


def tasks_table(found: dict[str, Any]) -> pd.DataFrame:
    """A row a task.

    Args:
        found: what `figures` gives.
    """
    f = {name.removeprefix("answer_"): value for name, value in found.items()}
    rows = [
        (
            "A–D",
            "{ref}`A cluster <chap-cluster>`: a control plane, workers; Kubeflow installed, "
            "secured, updated",
            "Numbered scripts that can be repeated, each with a check; versions pinned by content",
        ),
        (
            "E",
            "{ref}`A forecasting model <chap-model>`",
            f"MASE {f['mase']} (naive {f['naive']}); {f['coverage']} lie in the 95 % band",
        ),
        (
            "F",
            "{ref}`Serving with Seldon Core <chap-serving>`",
            f"{f['throughput']} times stock Seldon's throughput; crowds {f['burst']} times as fast",
        ),
        (
            "G",
            "{ref}`Querying the model <chap-serving>`",
            "Seldon's protocol and Open Inference, HTTP and gRPC",
        ),
        (
            "H",
            "{ref}`Automation with Kale <chap-automation>`",
            f"One click; {f['steps']} steps in {f['seconds']} s on one machine",
        ),
        (
            "I",
            "{ref}`A Gradio app <chap-app>` for 50,000, of whom 5,000 ask at once",
            f"{f['at_once']} at once: {f['errors']} errors, the slowest answer after "
            f"{f['slowest']} s; planned for the cluster: p99 {f['planned_p99']} s at "
            f"{f['cost']} times the least possible cost",
        ),
        (
            "–",
            "{ref}`Protection <chap-protection>` after F5's webinar {cite}`nginxwebinar`",
            f"Of {f['attacks']} attacks {f['passed']} passed, of {f['payloads']} payloads "
            f"{f['payloads_passed']}; {f['reached']} reached anything. Of {f['benign']} benign "
            f"requests {f['false']} were refused",
        ),
    ]
    return pd.DataFrame(rows, columns=["Task", "Asked", "Answered"])
