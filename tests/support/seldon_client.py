"""Jobs over gRPC with Seldon's own stubs; runs in the server's environment, not in pytest's.

    python seldon_client.py ADDRESS < jobs.json > answers.json

A job has `method`, one of the stub's, and `message` as protobuf's JSON; `zeros` asks for a
tensor of that shape instead, `bytes` sends those to the method of that path. `times` sends it
that often at once.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import numpy as np
from google.protobuf.json_format import MessageToDict, ParseDict
from seldon_core.proto import prediction_pb2, prediction_pb2_grpc
from seldon_core.seldon_client import SeldonClient

REQUESTS = {
    "ModelMetadata": prediction_pb2.SeldonModelMetadataRequest,
    "GraphMetadata": prediction_pb2.SeldonModelMetadataRequest,
    "SendFeedback": prediction_pb2.Feedback,
}


def main() -> None:
    address, jobs = sys.argv[1], json.load(sys.stdin)
    with grpc.insecure_channel(address) as channel:
        json.dump([_do(job, channel, address) for job in jobs], sys.stdout)


def _do(job: dict[str, Any], channel: grpc.Channel, address: str) -> Any:
    if "bytes" in job:
        return _call(channel.unary_unary(job["method"]), job["bytes"].encode())
    if job["method"] == "SeldonClient":
        return _with_seldon_client(job, address)
    method = getattr(prediction_pb2_grpc.SeldonStub(channel), job["method"])
    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(lambda _: _call(method, _request(job)), range(job.get("times", 1))))
    return answers if "times" in job else answers[0]


def _request(job: dict[str, Any]) -> Any:
    if job["method"] in REQUESTS:
        return REQUESTS[job["method"]]()
    if "zeros" in job:
        shape = job["zeros"]
        values = np.zeros(int(np.prod(shape)))
        tensor = prediction_pb2.Tensor(shape=shape, values=values)
        return prediction_pb2.SeldonMessage(data=prediction_pb2.DefaultData(tensor=tensor))
    return ParseDict(job["message"], prediction_pb2.SeldonMessage())


def _call(method: Any, request: Any) -> dict[str, Any]:
    try:
        return MessageToDict(method(request, timeout=30))
    except grpc.RpcError as error:
        return {"code": error.code().name, "details": error.details()}


def _with_seldon_client(job: dict[str, Any], address: str) -> dict[str, Any]:
    client = SeldonClient(gateway="seldon", transport="grpc", gateway_endpoint=address)
    data = np.array(job["histories"], dtype=float)
    answer = client.predict(data=data, payload_type=job["form"])
    return {"success": answer.success, "response": answer.response}


if __name__ == "__main__":
    main()
