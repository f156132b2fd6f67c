"""The model server's settings: options before the operator's parameters before variables."""

import json

import pytest

from kalecast.serving.configuration import PARAMETERS, Configuration, ConfigurationError, read

URI = ["--model-uri", "model.onnx"]


def graph(**parameters: str) -> dict[str, str]:
    listed = [{"name": key, "type": "STRING", "value": value} for key, value in parameters.items()]
    return {PARAMETERS: json.dumps(listed)}


def test_defaults_need_only_a_model() -> None:
    assert read(URI, {}) == Configuration(model_uri="model.onnx")
    assert read([], {"MODEL_URI": "model.onnx"}) == Configuration(model_uri="model.onnx")


def test_an_option_counts_before_the_graph_and_that_before_a_variable() -> None:
    environment = {"MODEL_URI": "variable", "KALECAST_MAX_BATCH": "7", "PREDICTIVE_UNIT_X": "1"}
    assert read([], environment | graph(model_uri="graph")).model_uri == "graph"
    found = read(URI, environment | graph(model_uri="graph", max_batch="8"))
    assert (found.model_uri, found.max_batch) == ("model.onnx", 8)
    assert read(["--max-batch", "9"], environment | graph(max_batch="8")).max_batch == 9


def test_the_operators_ports() -> None:
    environment = {
        "PREDICTIVE_UNIT_HTTP_SERVICE_PORT": "9001",
        "PREDICTIVE_UNIT_GRPC_SERVICE_PORT": "9501",
        "PREDICTIVE_UNIT_METRICS_SERVICE_PORT": "6001",
    }
    found = read(URI, environment)
    assert (found.port, found.grpc_port, found.metrics_port) == (9001, 9501, 6001)


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        ([], {}, "Expected --model-uri, or MODEL_URI"),
        ([*URI, "--max-batch", "many"], {}, "Expected --max-batch a whole number from 1 or more"),
        (URI, {"KALECAST_MAX_BATCH": "0"}, "Expected KALECAST_MAX_BATCH a whole number from 1"),
        (URI, {"KALECAST_MAX_QUEUE": "1.5"}, "received: '1.5'"),
        (URI, {"KALECAST_REQUEST_SECONDS": "inf"}, "Expected KALECAST_REQUEST_SECONDS a number"),
        (URI, {"KALECAST_REQUEST_SECONDS": "nan"}, "received: 'nan'"),
        (URI, {"KALECAST_DRAIN_SECONDS": "-1"}, "a number from 0 or more"),
        (URI, {"PREDICTIVE_UNIT_HTTP_SERVICE_PORT": "70000"}, "from 1 to 65535"),
        ([*URI, "--port", "9500"], {}, "Expected three different ports"),
        (URI, {"KALECAST_LOG_LEVEL": "loud"}, "debug or info or warning or error"),
        (URI, {PARAMETERS: "{"}, "to be a JSON list of objects"),
        (URI, {PARAMETERS: '[{"name": 1}]'}, "to be a JSON list of objects"),
    ],
)
def test_a_wrong_setting_is_said_in_one_line(
    arguments: list[str], environment: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(arguments, environment)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_help_names_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read(["--help"], {})
    shown = capsys.readouterr().out
    assert "--max-in-flight" in shown and "KALECAST_MAX_IN_FLIGHT" in shown
