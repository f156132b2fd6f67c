"""Ask one pod of the model server for a forecast, with nothing but the standard library."""

import json
import urllib.request
from typing import NoReturn

from kalecast.bundle import BundleError, Contract

ASK_SECONDS = 5.0


class NoForecastError(RuntimeError):
    """A pod does not answer, or not with a forecast."""


def question(address: str) -> bytes:
    """The body of a request for one forecast, as long as the model at an address wants it.

    Args:
        address: host and port.

    Raises:
        NoForecastError: it does not say.
    """
    try:
        with urllib.request.urlopen(f"http://{address}/metadata", timeout=ASK_SECONDS) as answer:
            held = json.load(answer)["custom"]["contract"]
        contract = Contract.from_json(held if isinstance(held, str) else json.dumps(held))
    except (OSError, ValueError, KeyError, TypeError, BundleError) as error:
        raise NoForecastError(f"http://{address}/metadata tells no contract: {error}") from error
    rhythm = [float(step % contract.season) for step in range(contract.input_length)]
    return json.dumps({"data": {"ndarray": [rhythm]}}).encode()


def ask(address: str, body: bytes) -> None:
    """Ask for a forecast.

    Raises:
        NoForecastError: none comes, or one with values that are no numbers.
    """
    url, headers = f"http://{address}/api/v1.0/predictions", {"Content-Type": "application/json"}
    try:
        request = urllib.request.Request(url, body, headers)
        with urllib.request.urlopen(request, timeout=ASK_SECONDS) as answer:
            forecast = json.load(answer, parse_constant=_no_number)["data"]["ndarray"]
        if not forecast:
            raise ValueError("an empty forecast")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NoForecastError(f"{url} gives no forecast: {error}") from error


def _no_number(text: str) -> NoReturn:
    """Python's reader takes NaN and Infinity, which are no JSON."""
    raise ValueError(f"it holds {text}")
