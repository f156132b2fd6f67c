"""Query a model server as a client of the Open Inference Protocol does, over gRPC.

    python triton_client.py ADDRESS < query.json > answer.json

Runs in the environment that has the client, not in pytest's.
"""

import json
import sys
from typing import Any

import numpy as np
import tritonclient.grpc as triton


def main() -> None:
    client = triton.InferenceServerClient(sys.argv[1])
    query = json.load(sys.stdin)
    model, histories = query["model"], np.array(query["histories"])
    tensor = triton.InferInput("history", histories.shape, "FP64")
    tensor.set_data_from_numpy(histories)
    raw = client.infer(model, [tensor], request_id="request-1")
    answer = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model_ready": client.is_model_ready(model),
        "metadata": client.get_model_metadata(model, as_json=True),
        "raw": raw.as_numpy("forecast").tolist(),
        "typed": _typed(client, model, histories).tolist(),
        "id": raw.get_response().id,
        "model_version": raw.get_response().model_version,
        "refused": [_refusal(client, "other", tensor), _refusal(client, model, _wrong())],
    }
    json.dump(answer, sys.stdout)


def _typed(client: Any, model: str, histories: np.ndarray) -> np.ndarray:
    """The same query with typed values instead of bytes, which this client never sends."""
    pb2 = triton.service_pb2
    request = pb2.ModelInferRequest(model_name=model)
    tensor = request.inputs.add(name="history", datatype="FP64", shape=histories.shape)
    tensor.contents.fp64_contents.extend(histories.reshape(-1))
    output = client._client_stub.ModelInfer(request).outputs[0]
    return np.reshape(output.contents.fp64_contents, list(output.shape))


def _wrong() -> Any:
    tensor = triton.InferInput("history", [1, 3], "FP64")
    tensor.set_data_from_numpy(np.zeros((1, 3)))
    return tensor


def _refusal(client: Any, model: str, tensor: Any) -> str:
    try:
        client.infer(model, [tensor])
    except triton.InferenceServerException as error:
        return str(error.status()).removeprefix("StatusCode.")
    return "answered"


if __name__ == "__main__":
    main()
