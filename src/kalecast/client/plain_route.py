"""A forecast by the page's plain route, which is all that a public ingress has."""

import numpy as np

from kalecast.artifact.contract import Contract, ContractError
from kalecast.client.rest import Floats, RequestError, ServerAddress, request_json

NOT_FOUND = 404


def page_contract(address: ServerAddress) -> Contract | None:
    """The contract of the model behind a page; None where the address is no page's.

    Raises:
        RequestError: no answer comes.
    """
    try:
        return Contract(**request_json(address, "/api/model"))
    except RequestError as error:
        if error.status != NOT_FOUND:
            raise
    except (ContractError, TypeError):  # JSON of another program
        pass
    return None


def forecast_of_page(
    address: ServerAddress, window: Floats, contract: Contract
) -> tuple[Floats, str]:
    """A forecast of shape `(horizon, quantiles)`, rounded, and the version of its model.

    Raises:
        RequestError: the page refuses the history, or does not answer.
    """
    numbers = ",".join("nan" if np.isnan(value) else repr(float(value)) for value in window)
    request = {"history": numbers, "horizon": contract.horizon}
    answer = request_json(address, "/api/forecast", request)
    try:
        columns = [answer["forecast"][f"{quantile:g}"] for quantile in contract.quantiles]
        return np.array(columns, dtype=np.float64).T, str(answer["model"]["version"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise RequestError(f"{address.url} answers, but not with a forecast.") from error
