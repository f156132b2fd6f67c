"""What the protection costs: the forecast route with and without the gateway."""

from dataclasses import replace
from statistics import median

from benchmarks.load.gateway import Protected, gateway, through, without_limits
from benchmarks.load.routes import LoadRoute, api_route, histories
from benchmarks.load.stack import LoadError, drive
from benchmarks.protection.running_stack import ProofPart, ProtectedStack

CONNECTIONS = 64
SECONDS = 6.0
TURNS = 3
"""Each way is measured so often, in turn, as the machine's own pace changes."""

LENGTH = 336
"""Hours in a history."""


def measure(stack: ProtectedStack) -> ProofPart:
    """Ask the app and the gateway in turn, as fast as they answer, over as many connections.

    The gateway has no limits meanwhile: they are for clients that ask faster than customers do.
    """
    folder = stack.folder / "cost"
    protected = gateway(stack.app, folder / "gateway", without_limits())
    direct = api_route(stack.app, histories(CONNECTIONS, LENGTH), folder)
    with protected.service:
        ways = _ways(direct, protected)
        pace: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(TURNS):
            for name, route in ways.items():
                pace[name].append(_pace(route))
    middle = {name: median(turns) for name, turns in pace.items()}
    bare = middle["app alone"]
    rows = [["", "forecasts a second", "of the app alone"]]
    rows += [[name, f"{value:,.0f}", f"{value / bare:.0%}"] for name, value in middle.items()]
    ratio = middle["through the gateway"] / bare
    open_ratio = middle["through the gateway, signatures too"] / bare
    figures = {
        "throughput_ratio": round(ratio, 3),
        "throughput_ratio_with_signatures": round(open_ratio, 3),
        "forecasts_per_second": round(middle["through the gateway"]),
        "forecasts_per_second_unprotected": round(bare),
    }
    note = f"{CONNECTIONS} connections, {TURNS} turns of {SECONDS:g} s each; the medians."
    return ProofPart("cost", rows, figures, [note])


def _ways(direct: LoadRoute, protected: Protected) -> dict[str, LoadRoute]:
    benign = through(direct, protected)
    return {
        "app alone": direct,
        "through the gateway": benign,
        "through the gateway, signatures too": replace(
            benign, job=replace(benign.job, headers="X-Unlisted: 1\r\n")
        ),
    }


def _pace(route: LoadRoute) -> float:
    """Forecasts a second.

    Raises:
        LoadError: some were refused, so that this is no measure of anything.
    """
    (summary,) = drive(route.loaded("steady", CONNECTIONS, seconds=SECONDS))
    if summary["errors"]:
        raise LoadError(f"Expected forecasts only, received also: {summary['kinds']}")
    return float(summary["ok"] / summary["seconds"])
