"""A forecast over gRPC, in Seldon's protocol and with the model server's own messages."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from kalecast.client.rest import SECONDS, Floats, RequestError, grpc_error
from kalecast.protocols.protocol_buffers import seldon

PREDICT = "/seldon.protos.Seldon/Predict"


@dataclass(frozen=True)
class GrpcAddress:
    """Where a model server answers gRPC.

    Args:
        server: host and port.
        headers: sent as metadata, in small letters; an ingress finds the server by them.
        tls: whether to encrypt.
        ca_file: certificate authorities to trust in place of the library's own.
    """

    server: str
    headers: Mapping[str, str] = field(default_factory=dict)
    tls: bool = False
    ca_file: str | None = None


def forecast_over_grpc(address: GrpcAddress, window: Floats) -> tuple[Floats, str]:
    """A forecast of shape `(horizon, quantiles)`, and the version of the model that made it.

    Raises:
        RequestError: the server refuses the history, or does not answer.
    """
    tensor = seldon.Tensor(shape=[1, window.size], values=window)
    request = seldon.SeldonMessage(data=seldon.DefaultData(tensor=tensor))
    with _channel(address) as channel:
        predict = channel.unary_unary(
            PREDICT,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=seldon.SeldonMessage.FromString,
        )
        try:
            answer = predict(request, timeout=SECONDS, metadata=list(address.headers.items()))
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.INVALID_ARGUMENT:
                raise RequestError(
                    f"The model server refuses this history: {error.details()}"
                ) from error
            raise grpc_error(address.server, str(error.details())) from error
    return _forecast(address.server, answer)


def _forecast(server: str, answer: Any) -> tuple[Floats, str]:
    try:
        _, horizon, quantiles = answer.data.tensor.shape
        forecast = np.reshape(np.array(answer.data.tensor.values), (horizon, quantiles))
    except ValueError as error:
        raise RequestError(f"{server} answers over gRPC, but not with a forecast.") from error
    return forecast, answer.meta.tags["model_version"].string_value


def _channel(address: GrpcAddress) -> grpc.Channel:
    if not address.tls:
        return grpc.insecure_channel(address.server)
    authorities = Path(address.ca_file).read_bytes() if address.ca_file else None
    return grpc.secure_channel(address.server, grpc.ssl_channel_credentials(authorities))
