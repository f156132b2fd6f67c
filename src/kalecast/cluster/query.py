"""Query the model server on a cluster for a forecast, from this machine.

    kalecast query [--namespace NS] [--data my.csv] [--series NAME]
    kalecast query --url https://models.example.org/seldon/NS/NAME

Without a URL the server's Service is found on the cluster that KUBECONFIG names, and reached
through `kubectl port-forward`. A URL is that of the server at an ingress, or the page's.
`KALECAST_TOKEN` is sent there as a bearer token, `KALECAST_CA` is a file with certificate
authorities. The exit code is 0 for a forecast, and with two protocols for the same one from
both; else 1 and the reason, 2 for a wrong argument.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import numpy as np
import pandas as pd

from kalecast.artifact.contract import Contract
from kalecast.artifact.store import SAMPLE, StoreError
from kalecast.client.grpc import GrpcAddress, forecast_over_grpc
from kalecast.client.plain_route import forecast_of_page, page_contract
from kalecast.client.rest import (
    Floats,
    RequestError,
    ServerAddress,
    UnreachableError,
    forecast_over_http,
    read_contract,
)
from kalecast.cluster.kubernetes_service import SERVICE, ClusterError
from kalecast.cluster.port_forward import PortForward
from kalecast.data.frequency import frequency_of
from kalecast.data.series import SeriesError, load_series, pick, tidy
from kalecast.lifetime import on_end

RECONNECT_SECONDS = 20.0
PAUSE_SECONDS = 0.5
ALIKE = 1e-6
"""Relative difference up to which two forecasts are the same: JSON and gRPC round differently."""

ROWS = 12
"""Of a forecast's table."""
BARS = "▁▂▃▄▅▆▇█"

Predict = Callable[[Floats], tuple[Floats, str]]


def query_cluster(options: argparse.Namespace) -> bool:
    """Query through a port that kubectl forwards; whether the protocols agree."""
    began = time.monotonic()
    with PortForward(options.namespace, options.service) as forward:
        print(
            f"server     Service {forward.service} in namespace {forward.namespace}, "
            f"port-forward ready in {time.monotonic() - began:.1f} s"
        )
        address = ServerAddress(f"http://{forward.http}")
        contract = _with_retries(lambda: read_contract(address))
        protocols: dict[str, Predict] = {
            "rest": lambda window: _with_retries(lambda: forecast_over_http(address, window)),
            "grpc": lambda window: _with_retries(
                lambda: forecast_over_grpc(GrpcAddress(forward.grpc), window)
            ),
        }
        return query(options, contract, _chosen(protocols, options.protocol or "both"))


def query_url(options: argparse.Namespace) -> bool:
    """Query an ingress; whether the protocols agree."""
    address = _address(options.url)
    if (contract := page_contract(address)) is not None:
        if options.protocol not in (None, "rest"):
            raise RequestError(f"{options.url} is the page, which speaks no gRPC: PROTOCOL=rest.")
        print(f"server     {options.url}, the page")
        start = lambda window: forecast_of_page(address, window, contract)  # noqa: E731
        return query(options, contract, {"page": start})
    contract = read_contract(address)
    print(f"server     {options.url}")
    protocols: dict[str, Predict] = {
        "rest": lambda window: forecast_over_http(address, window),
        "grpc": lambda window: forecast_over_grpc(_grpc_address(address), window),
    }
    return query(options, contract, _chosen(protocols, options.protocol or "rest"))


def query(options: argparse.Namespace, contract: Contract, protocols: dict[str, Predict]) -> bool:
    """Send a series' newest window by each protocol, print the forecast; whether they agree."""
    print(f"model      {contract.name}, version {contract.version}")
    history = pick(tidy(load_series(options.data), contract.frequency), options.series)
    window = history["y"].tail(contract.input_length).to_numpy()
    missing = int(np.isnan(window).sum())
    print(
        f"history    {window.size} values of '{history['unique_id'][0]}' up to "
        f"{history['ds'].iloc[-1]:%Y-%m-%d %H:%M}, {missing} of them missing"
    )
    forecasts: dict[str, Floats] = {}
    for name, predict in protocols.items():
        began = time.monotonic()
        forecasts[name], version = predict(window)
        seconds = time.monotonic() - began
        print(f"{name:<10} {1000 * seconds:.0f} ms, answered by version {version}")
    first = next(iter(forecasts.values()))
    _show(history, first, contract)
    return _agree(forecasts)


def _show(history: pd.DataFrame, forecast: Floats, contract: Contract) -> None:
    timestamps = frequency_of(contract.frequency).ahead(history["ds"], len(forecast))
    heads = ["median" if q == 0.5 else f"{100 * q:g} %" for q in contract.quantiles]
    labels = timestamps.strftime("%Y-%m-%d %H:%M")
    table = pd.DataFrame(forecast, labels, heads).head(ROWS)
    print("\n" + table.to_string(float_format="{:.5g}".format))
    if len(forecast) > ROWS:
        print(f"and {len(forecast) - ROWS} more")
    if sys.stdout.isatty():
        newest = history["y"].tail(len(forecast)).to_numpy()
        line = sparkline(np.concatenate([newest, forecast[:, contract.median]]))
        print(f"\n{line[: newest.size]}|{line[newest.size :]}")


def sparkline(values: Floats) -> str:
    """Values as a line of bars; a space where one is missing."""
    low, high = np.nanmin(values), np.nanmax(values)
    scaled = (values - low) / ((high - low) or 1.0) * (len(BARS) - 1)
    return "".join(" " if np.isnan(value) else BARS[round(value)] for value in scaled)


def _agree(forecasts: dict[str, Floats]) -> bool:
    if len(forecasts) < 2:
        return True
    (one, first), (other, second) = forecasts.items()
    if first.shape != second.shape:
        print(f"\n{one} and {other} DIFFER in shape: a new model came between the two")
        return False
    apart = float(np.max(np.abs(first - second) / np.maximum(np.abs(first), 1e-9)))
    same = apart < ALIKE
    print(f"\n{one} and {other} {'agree' if same else 'DIFFER'} (at most {apart:.0e} apart)")
    return same


def _chosen(protocols: dict[str, Predict], protocol: str) -> dict[str, Predict]:
    return protocols if protocol == "both" else {protocol: protocols[protocol]}


def _with_retries[Answer](request: Callable[[], Answer]) -> Answer:
    """Retry while the pod behind the port-forward is replaced by another."""
    deadline = time.monotonic() + RECONNECT_SECONDS
    while True:
        try:
            return request()
        except UnreachableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE_SECONDS)


def _address(url: str) -> ServerAddress:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise RequestError(f"Expected URL=https://…, received: {url!r}.")
    token = os.environ.get("KALECAST_TOKEN", "")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return ServerAddress(url, headers, os.environ.get("KALECAST_CA") or None)


def _grpc_address(address: ServerAddress) -> GrpcAddress:
    """The same server over gRPC: Seldon's routes in Istio go by headers, not by a path."""
    parts = urlsplit(address.url)
    headers = {name.lower(): value for name, value in address.headers.items()}
    path = parts.path.strip("/").split("/")
    if path[0] == "seldon" and len(path) == 3:
        headers |= {"namespace": path[1], "seldon": path[2]}
    tls = parts.scheme == "https"
    server = f"{parts.hostname}:{parts.port or (443 if tls else 80)}"
    return GrpcAddress(server, headers, tls, address.ca_file)


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Query the model server on a cluster.")
    parser.add_argument("--namespace", default="", help="its namespace, else the one that has one")
    parser.add_argument("--service", default=SERVICE)
    parser.add_argument("--url", help="of an ingress, in place of a port-forward")
    parser.add_argument("--protocol", choices=("rest", "grpc", "both"))
    parser.add_argument("--data", default=SAMPLE, help="CSV or Parquet, or its s3: URI")
    parser.add_argument("--series", default="", help="name of the series, else the first")
    options = parser.parse_args(arguments)
    on_end(signal.default_int_handler)
    try:
        return 0 if (query_url if options.url else query_cluster)(options) else 1
    except (RequestError, ClusterError, SeriesError, StoreError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
