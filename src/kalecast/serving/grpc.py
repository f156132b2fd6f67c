"""Both protocols over gRPC, in the same event loop and before the same batches as HTTP.

Every tensor of a `SeldonMessage` or a `ModelInferRequest` is read into an array at once, so that
gRPC costs no more than HTTP does. A client slow to send a request, or to read answers, is dropped:
gRPC bounds a single message, and neither how long it takes to arrive nor how many arrive or leave
together. So calls are taken here before their message is there, although each has only one.
"""

import asyncio
import ctypes
import os
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import unquote

import grpc
import numpy as np
from google.protobuf import struct_pb2
from google.protobuf.message import DecodeError

from kalecast.artifact.contract import OUTPUT_NAME
from kalecast.artifact.runtime import Windows
from kalecast.protocols.protocol_buffers import inference, seldon
from kalecast.serving import open_inference
from kalecast.serving.configuration import Configuration
from kalecast.serving.messages import read_proto, rows_of
from kalecast.serving.model import ServedModel
from kalecast.serving.refusals import Refusal, ServerOverloaded, only_forecasts
from kalecast.serving.service import Service, refusal_of

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

EVERY = 0.05
"""Seconds between two looks at what is arriving. Messages that are sent at once arrive between
two: what is seen twice is slow."""
FRESH = 0.01
"""Seconds for which the process's memory counts as known."""
MOST_UNSENT = 128 * 2**20
"""Bytes of memory for answers that wait to be read, all together."""
EACH_CALL, EACH_BYTE = 16 * 1024, 2
"""Bytes of memory for an answer that waits: gRPC has a copy of it."""
LATE, CROWDED = "late", "crowded"
"""Why a call is cancelled: its message takes too long, or too many do."""


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
                message = await method(partial(_taken, received, kind), context)
                answer, code = message.SerializeToString(), grpc.StatusCode.OK
            except Exception as error:
                # No name for it: its traceback has this frame, which would hold it in a cycle.
                code = _refused(context, refusal_of(error, "A gRPC call failed"))
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


class Calls:
    """The calls that are under way.

    Args:
        limits: what they are.
    """

    def __init__(self, limits: Configuration) -> None:
        self._seconds = limits.request_seconds
        self._most = limits.max_in_flight
        self._most_slow = max(limits.max_bodies // limits.max_body, 1)
        # Open from now on: there may be no file descriptor left when it is needed.
        self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
        self._most_memory = self._resident() + limits.max_bodies
        self._arriving: dict[asyncio.Task[Any], float] = {}
        """When each began, the oldest first."""
        self._unsent: Counter[str] = Counter()
        """Memory for answers by connection."""
        self._all_unsent = 0
        self._memory = 0
        self._looked = self._measured = self._gave_back = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def message(self, context: Any) -> Any:
        """The message of a call.

        Raises:
            Refusal: it does not arrive in time, or too many are arriving.
        """
        if len(self._arriving) >= self._most_slow and self._is_full():
            raise ServerOverloaded
        loop, task = asyncio.get_running_loop(), _task()
        self._arriving[task] = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(EVERY, self._look)
        try:
            message = await context.read()
        except asyncio.CancelledError as error:
            if not {LATE, CROWDED}.intersection(error.args):
                raise
            task.uncancel()
            if CROWDED in error.args:
                raise ServerOverloaded from None
            raise Refusal("The request did not arrive in time.", 504) from None
        finally:
            self._arriving.pop(task, None)
        if message is grpc.aio.EOF:
            raise Refusal("Expected a message, received none.")
        return message

    def leaves(self, context: Any, size: int) -> None:
        """The running task has an answer of so many bytes, and gRPC sends it from now on."""
        peer, memory = context.peer(), EACH_CALL + EACH_BYTE * size
        self._unsent[peer] += memory
        self._all_unsent += memory
        _task().add_done_callback(partial(self._has_left, peer, memory))
        if self._all_unsent > MOST_UNSENT:
            # gRPC cannot give up a single answer.
            ((slowest, _),) = self._unsent.most_common(1)
            _hang_up(slowest)

    def close(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _resident(self) -> int:
        """Bytes of memory that this process has."""
        return int(os.pread(self._statm, 128, 0).split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def _has_left(self, peer: str, memory: int, _: "asyncio.Task[Any]") -> None:
        self._all_unsent -= memory
        self._unsent[peer] -= memory
        if not self._unsent[peer]:
            del self._unsent[peer]

    def _look(self) -> None:
        """Drop what is late, and of what is slow the oldest where it is too much."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        slow = [task for task, since in self._arriving.items() if since <= self._looked]
        surplus = len(slow) - self._most_slow if self._is_full() else 0
        for at, task in enumerate(slow):
            is_late = self._arriving[task] < now - self._seconds
            if is_late or at < surplus:
                del self._arriving[task]
                task.cancel(LATE if is_late else CROWDED)
        self._looked = now
        self._timer = loop.call_later(EVERY, self._look) if self._arriving else None

    def _is_full(self) -> bool:
        """Whether messages should come no faster than they are read.

        gRPC does not say what has come of them: only the process's memory does.
        """
        now = asyncio.get_running_loop().time()
        if now > self._measured + FRESH:
            self._measured, self._memory = now, self._resident()
            if self._memory > self._most_memory and now > self._gave_back + 1:
                self._gave_back = now
                asyncio.get_running_loop().run_in_executor(None, _give_back)
        return self._memory > self._most_memory or len(self._arriving) >= self._most


def _refused(context: Any, refusal: Refusal) -> grpc.StatusCode:
    """Answer with a refusal; its code."""
    code = CODES.get(refusal.status, grpc.StatusCode.INVALID_ARGUMENT)
    # Not `abort`: gRPC keeps its exception, and with it whatever this call held.
    context.set_code(code)
    context.set_details(str(refusal))
    return code


def _taken(received: list[bytes], kind: Any) -> Any:
    """The message of the bytes received, which go with it.

    Raises:
        Refusal: they are none.
    """
    try:
        return kind.FromString(received.pop())
    except DecodeError:
        raise Refusal("Expected a protobuf message, received bytes that are none.") from None


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
        values = np.frombuffer(
            request.raw_input_contents[0], open_inference.DATATYPES[tensor.datatype]
        )
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


def _task() -> "asyncio.Task[Any]":
    task = asyncio.current_task()
    assert task is not None
    return task


def _give_back() -> None:
    """Give the system the memory that gRPC has freed in small pieces, which glibc would keep."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)


def _hang_up(peer: str) -> None:
    """Close the connection to a peer, as gRPC names it: `ipv4:127.0.0.1:50000`."""
    address, _, port = unquote(peer).partition(":")[2].rpartition(":")
    wanted = (_plain(address.strip("[]")), port)
    with suppress(OSError):  # no file descriptor is left: the next answer tries again
        for file in Path("/proc/self/fd").iterdir():
            if file.is_socket():
                _hang_up_on(int(file.name), wanted)


def _hang_up_on(descriptor: int, wanted: tuple[IPv4Address | IPv6Address, str]) -> None:
    # It may be gone by now, or is a socket that listens.
    with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as connection:
        found = connection.getpeername()
        if found and (_plain(found[0]), str(found[1])) == wanted:
            connection.shutdown(socket.SHUT_RDWR)


def _plain(address: str) -> IPv4Address | IPv6Address:
    """An address as IPv4 where it is one inside of IPv6."""
    found = ip_address(address)
    return getattr(found, "ipv4_mapped", None) or found
