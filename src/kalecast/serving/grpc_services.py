"""Both protocols over gRPC, in the same event loop and before the same batches as HTTP.

Every tensor of a `SeldonMessage` or a `ModelInferRequest` is read into an array at once, so that
gRPC costs no more than HTTP does.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from time import perf_counter
from typing import Any

import grpc
import numpy as np
from google.protobuf import struct_pb2
from google.protobuf.message import DecodeError

from kalecast.artifact.contract import OUTPUT_NAME
from kalecast.artifact.runtime import HistoryError, Windows
from kalecast.protocols.protocol_buffers import inference, seldon
from kalecast.serving import open_inference
from kalecast.serving.grpc_calls import Calls
from kalecast.serving.messages import read_proto, rows_of
from kalecast.serving.refusals import Failed, Refusal, only_forecasts
from kalecast.serving.served_model import ServedModel
from kalecast.serving.service import Service

logger = logging.getLogger(__name__)

LONGEST_CONNECTION = 600_000
"""Milliseconds until a client has to open a new connection for its next call (GOAWAY)."""
LOOKAHEAD = 65536
"""Bytes of a message that are taken before the server reads it."""
MOST_WAITING_CALLS = 16384
"""gRPC refuses calls beyond its queue, by default about a thousand, as CANCELLED. Its queue is
not where this server limits."""

CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    500: grpc.StatusCode.INTERNAL,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}

RAW = {
    "FP64": "<f8",
    "FP32": "<f4",
    "FP16": "<f2",
    "INT64": "<i8",
    "INT32": "<i4",
    "INT16": "<i2",
    "INT8": "<i1",
    "UINT64": "<u8",
    "UINT32": "<u4",
    "UINT16": "<u2",
    "UINT8": "<u1",
}
"""Tensors as bytes: their datatypes as NumPy names them."""

TYPED = (
    "fp64_contents",
    "fp32_contents",
    "int64_contents",
    "int_contents",
    "uint64_contents",
    "uint_contents",
)

PROTOCOLS = {"Predict": "seldon-grpc", "ModelInfer": "open-inference-grpc"}
"""What a call counts as; all others are `other`."""

Take = Callable[[], Any]
"""Hands over a call's message: who has taken it can let it go."""
Method = Callable[[Take, Any], Awaitable[Any]]


class GRPCServer:
    """The gRPC server.

    Args:
        service: forecasts.
    """

    def __init__(self, service: Service) -> None:
        limits = service.configuration
        self._service = service
        self._address = f"{limits.host}:{limits.grpc_port}"
        self._grace = limits.grace_seconds
        self._calls = Calls(limits)
        self._server = grpc.aio.server(
            options=[
                ("grpc.so_reuseport", 0),  # or a second server would share the port in silence
                ("grpc.max_receive_message_length", limits.max_body),
                # What a client may send before its call is taken: else four megabytes.
                ("grpc.http2.bdp_probe", 0),
                ("grpc.http2.lookahead_bytes", LOOKAHEAD),
                ("grpc.max_connection_idle_ms", round(limits.keep_alive_seconds * 1000)),
                # A client that reads no answers holds them no longer than this.
                ("grpc.max_connection_age_ms", LONGEST_CONNECTION),
                ("grpc.max_connection_age_grace_ms", round(limits.request_seconds * 3000)),
                # A client that is gone does not answer these.
                ("grpc.keepalive_time_ms", 30_000),
                ("grpc.keepalive_timeout_ms", round(limits.request_seconds * 1000)),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.server.max_pending_requests", MOST_WAITING_CALLS),
                ("grpc.server.max_pending_requests_hard_limit", MOST_WAITING_CALLS),
            ]
        )
        for name, methods in self._offered().items():
            handlers = {
                # To its client such a call is one of a single message.
                method: grpc.stream_unary_rpc_method_handler(
                    self._guarded(function, request, PROTOCOLS.get(method, "other"))
                )
                for method, (function, request) in methods.items()
            }
            generic = grpc.method_handlers_generic_handler(name, handlers)
            self._server.add_generic_rpc_handlers((generic,))

    async def start(self) -> None:
        """Listen."""
        self._server.add_insecure_port(self._address)
        await self._server.start()

    async def ended(self) -> None:
        """Returns when nothing is answered any more."""
        await self._server.wait_for_termination()

    async def stop(self) -> None:
        """Listen no more, and answer what is in flight."""
        await self._server.stop(self._grace)
        self._calls.close()

    def _offered(self) -> dict[str, dict[str, tuple[Method, Any]]]:
        """Methods and their requests' classes, by service."""
        predict = (self._predict, seldon.SeldonMessage)
        feedback = (self._not_offered, seldon.Feedback)
        return {
            "seldon.protos.Seldon": {
                "Predict": predict,
                "SendFeedback": feedback,
                "ModelMetadata": (self._seldon_metadata, seldon.SeldonModelMetadataRequest),
                "GraphMetadata": (self._not_offered, seldon.Empty),
            },
            "seldon.protos.Model": {
                "Predict": predict,
                "SendFeedback": feedback,
                "Metadata": (self._seldon_metadata, seldon.Empty),
            },
            "inference.GRPCInferenceService": {
                "ServerLive": (self._live, inference.ServerLiveRequest),
                "ServerReady": (self._ready, inference.ServerReadyRequest),
                "ModelReady": (self._model_ready, inference.ModelReadyRequest),
                "ServerMetadata": (self._about, inference.ServerMetadataRequest),
                "ModelMetadata": (self._metadata, inference.ModelMetadataRequest),
                "ModelInfer": (self._infer, inference.ModelInferRequest),
            },
        }

    def _guarded(self, method: Method, kind: Any, protocol: str) -> Method:
        """The same method from bytes to bytes, with refusals as status codes, counted."""

        async def answered(_: Any, context: Any) -> bytes:
            started, code, answer = perf_counter(), grpc.StatusCode.CANCELLED, b""
            try:
                received = [await self._calls.message(context)]
                if turn := self._service.turn(len(received[0])):
                    await turn
                message = await _refusing(method, partial(_taken, received, kind), context)
                answer, code = message.SerializeToString(), grpc.StatusCode.OK
            except Refusal as refusal:
                code = CODES.get(refusal.status, grpc.StatusCode.INVALID_ARGUMENT)
                # Not `abort`: gRPC keeps its exception, and with it whatever this call held.
                context.set_code(code)
                context.set_details(str(refusal))
            finally:
                seconds = perf_counter() - started
                self._service.metrics.answered(protocol, code.name, seconds)
            self._calls.leaves(context, len(answer))
            return answer

        return answered

    def _submit(self, histories: Any, context: Any) -> tuple[ServedModel, asyncio.Future[Windows]]:
        # gRPC cancels a call where its client does, and with it what it waits for.
        return self._service.submit(histories, context.time_remaining())

    async def _predict(self, take: Take, context: Any) -> Any:
        with self._service.room:
            request = read_proto(take(), self._service.configuration.max_histories)
            model, future = self._submit(request.histories, context)
            form, puid = request.form, request.puid
            del request  # what waits is in the queue as windows now
            forecast = await future
        answer = seldon.SeldonMessage()
        answer.meta.puid = puid
        for key, value in model.tags.items():
            answer.meta.tags[key].string_value = value
        answer.data.names.extend(model.columns)
        if form == "tensor":
            answer.data.tensor.shape.extend(forecast.shape)
            answer.data.tensor.values.extend(forecast.reshape(-1))
        else:
            answer.data.ndarray.ParseFromString(_list_value(forecast.tolist()))
        return answer

    async def _infer(self, take: Take, context: Any) -> Any:
        request = take()
        self._check_model(request.model_name, request.model_version)
        with self._service.room:
            rows, raw = _histories(request, self._service.configuration.max_histories)
            model, future = self._submit(rows, context)
            identifier = request.id
            del request, rows
            forecast = await future
        contract = model.contract
        answer = inference.ModelInferResponse(
            model_name=contract.name, model_version=contract.version, id=identifier
        )
        tensor = answer.outputs.add(name=OUTPUT_NAME, datatype="FP64", shape=forecast.shape)
        # As in the request: typed values, or bytes.
        if raw:
            answer.raw_output_contents.append(forecast.astype("<f8").tobytes())
        else:
            tensor.contents.fp64_contents.extend(forecast.reshape(-1))
        return answer

    async def _seldon_metadata(self, _: Any, __: Any) -> Any:
        metadata = self._service.model.metadata
        return seldon.SeldonModelMetadata(**metadata)

    async def _metadata(self, take: Take, _: Any) -> Any:
        request = take()
        self._check_model(request.name, request.version)
        metadata = dict(self._service.model.metadata)
        return inference.ModelMetadataResponse(properties=metadata.pop("custom"), **metadata)

    async def _about(self, _: Any, __: Any) -> Any:
        return inference.ServerMetadataResponse(**open_inference.ABOUT)

    async def _live(self, _: Any, __: Any) -> Any:
        return inference.ServerLiveResponse(live=True)

    async def _ready(self, _: Any, __: Any) -> Any:
        return inference.ServerReadyResponse(ready=self._service.is_ready)

    async def _model_ready(self, take: Take, _: Any) -> Any:
        request = take()
        self._check_model(request.name, request.version)
        return inference.ModelReadyResponse(ready=self._service.is_ready)

    async def _not_offered(self, _: Any, __: Any) -> Any:
        raise Refusal(str(only_forecasts()), 501)

    def _check_model(self, name: str, version: str) -> None:
        open_inference.check_model(self._service.model.contract, name, version)


def _taken(received: list[bytes], kind: Any) -> Any:
    """The message of the bytes received, which go with it.

    Raises:
        Refusal: they are none.
    """
    try:
        return kind.FromString(received.pop())
    except DecodeError:
        raise Refusal("Expected a protobuf message, received bytes that are none.") from None


async def _refusing(method: Method, take: Take, context: Any) -> Any:
    """Call a method; whatever goes wrong in it is a `Refusal`."""
    try:
        return await method(take, context)
    except (Refusal, asyncio.CancelledError):
        raise
    except (HistoryError, RecursionError) as error:
        raise Refusal(str(error)) from None
    except Exception:
        logger.exception("A gRPC call failed")
        raise Failed from None


def _histories(request: Any, most: int) -> tuple[Any, bool]:
    """The histories of a `ModelInferRequest`, and whether they came as bytes.

    Raises:
        Refusal, HistoryError: it has none.
    """
    if len(request.inputs) != 1:
        raise Refusal(f"Expected one input tensor, received {len(request.inputs)}.")
    open_inference.check_outputs([output.name for output in request.outputs])
    (tensor,) = request.inputs
    open_inference.check_input(tensor.name, tensor.datatype)
    shape = list(tensor.shape)
    if not request.raw_input_contents:
        typed = next((name for name in TYPED if getattr(tensor.contents, name)), TYPED[0])
        values = np.array(getattr(tensor.contents, typed), dtype=np.float64)
        return rows_of(shape, values, most), False
    if len(request.raw_input_contents) != 1:
        raise Refusal("Expected the bytes of one tensor, received those of several.")
    try:
        values = np.frombuffer(request.raw_input_contents[0], RAW[tensor.datatype])
    except ValueError:
        raise Refusal(f"Expected whole values of {tensor.datatype}, received a part.") from None
    with np.errstate(invalid="ignore"):  # any bits make a number, and what is none is refused
        return rows_of(shape, values.astype(np.float64, copy=False), most), True


def _list_value(rows: Any) -> bytes:
    """Nested lists of numbers as the bytes of a `ListValue`."""
    value = struct_pb2.ListValue()
    value.extend(rows)
    content: bytes = value.SerializeToString()
    return content
