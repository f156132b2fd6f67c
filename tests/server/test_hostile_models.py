"""Model files made to do harm are refused, and the model in use goes on."""

import asyncio
import logging
import os
import pickle
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import psutil
import pytest
from memory_limit import memory_limit
from model_files import contract, replace_file, seasonal_naive_bytes
from onnx import TensorProto, helper, numpy_helper
from seldon_server import Ports, end, start
from seldon_server import serving as serving_process

from kalecast.artifact import graph_check
from kalecast.artifact.contract import ContractError, open_session, read_contract, verify_content
from kalecast.artifact.graph_check import MOST_FIELDS, GraphError, check_graph
from kalecast.artifact.signing import unsigned, with_checksum
from kalecast.artifact.store import publish
from kalecast.serving.model import open_content
from kalecast.serving.reloading import Serving
from kalecast.serving.trial import try_out

ROOT = Path(__file__).resolve().parents[2]


def changed(change: Callable[[Any], None]) -> bytes:
    """A good model file after a change to its graph, with a checksum that holds."""
    model = onnx.load_from_string(unsigned(seasonal_naive_bytes()))
    change(model)
    return with_checksum(model.SerializeToString())


def elsewhere(name: str = "x") -> Any:
    """A tensor whose values are those of a file of the machine."""
    tensor = numpy_helper.from_array(np.zeros(4), name)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


def constant(tensor: Any) -> Any:
    return helper.make_node("Constant", [], ["x"], value=tensor)


def subgraph(*nodes: Any, initializers: tuple[Any, ...] = ()) -> Any:
    """An `If` with the nodes in both branches."""
    out = helper.make_tensor_value_info("x", TensorProto.DOUBLE, None)
    branch = helper.make_graph(nodes, "branch", [], [out], initializers)
    return helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch)


def nested(depth: int) -> Any:
    node = constant(numpy_helper.from_array(np.zeros(1), "x"))
    for _ in range(depth):
        node = subgraph(node)
        del node.attribute[1]  # twice as many a level would be a large file
    return node


def sparse() -> Any:
    values = numpy_helper.from_array(np.ones(1), "s")
    return helper.make_sparse_tensor(
        values, numpy_helper.from_array(np.zeros(1, np.int64)), [2**40]
    )


def node_of(domain: str) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        model.graph.node.append(helper.make_node("Gelu", ["known"], ["x"], domain=domain))

    return change


def append(node: Any) -> Callable[[Any], None]:
    return lambda model: model.graph.node.append(node)


def add_function(model: Any) -> None:
    model.functions.append(
        helper.make_function("own", "f", ["a"], ["b"], [], [helper.make_opsetid("", 18)])
    )


HOSTILE: dict[str, tuple[Callable[[Any], None], str]] = {
    "operators of another domain": (node_of("com.microsoft"), "operators.*com.microsoft"),
    "operators of another domain in a subgraph": (
        append(subgraph(helper.make_node("F", [], ["x"], domain="evil"))),
        "operators.*evil",
    ),
    "another domain declared": (
        lambda model: model.opset_import.append(helper.make_opsetid("com.evil", 1)),
        "operators.*com.evil",
    ),
    "a function": (add_function, "no function"),
    "a training program": (lambda model: model.training_info.add(), "no training program"),
    "external data": (
        lambda model: model.graph.initializer.append(elsewhere()),
        "inside the file|another file",
    ),
    "external data without the flag": (
        lambda model: model.graph.initializer[0].external_data.add(key="location", value="x"),
        "another file",
    ),
    "external data in an attribute": (append(constant(elsewhere())), "another file|inside"),
    "external data in a subgraph": (
        append(subgraph(initializers=(elsewhere(),))),
        "another file|inside",
    ),
    "external data in a subgraph's constant": (
        append(subgraph(subgraph(constant(elsewhere())))),
        "another file|inside",
    ),
    "a sparse tensor": (
        lambda model: model.graph.sparse_initializer.append(sparse()),
        "no sparse tensor",
    ),
    "a sparse constant": (
        append(helper.make_node("Constant", [], ["x"], sparse_value=sparse())),
        "no sparse tensor",
    ),
    "a loop": (
        append(helper.make_node("Loop", ["", "yes"], ["x"], body=nested(1).attribute[0].g)),
        "without loops",
    ),
    "deep subgraphs": (append(nested(20)), "inside each other"),
    "long metadata": (
        lambda model: model.metadata_props.add(key="x", value="y" * 2**21),
        "1024 KiB of metadata",
    ),
    "a long description": (
        lambda model: setattr(model.graph, "doc_string", "y" * 2**21),
        "1024 KiB of metadata",
    ),
    "names without end": (
        lambda model: [model.graph.node[0].input.append("x") for _ in range(MOST_FIELDS)],
        "fields",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_no_model_of_ours_holds_is_refused(name: str) -> None:
    change, message = HOSTILE[name]
    with pytest.raises(ContractError, match=f"Expected an ONNX model file.*(?:{message})"):
        verify_content(changed(change))


def test_a_file_that_is_two_formats_at_once_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Protobuf to our check, ONNX Runtime's own format to ONNX Runtime."""
    unknown_field = b"\x82\x7d\x94\x00ORTM" + bytes(16)
    both = with_checksum(unknown_field + unsigned(seasonal_naive_bytes()))
    with pytest.raises(ContractError, match="ONNX Runtime's own format"):
        verify_content(both)
    # And if it got past: it is read as what was looked through.
    monkeypatch.setattr(graph_check, "OTHER_FORMAT", b"none")
    assert read_contract(open_session(both)) == contract()


def test_a_file_cut_anywhere_is_refused() -> None:
    model = unsigned(seasonal_naive_bytes())
    for length in range(0, len(model) - 1, 7):
        # Between two fields a cut leaves a whole message: then the contract is missing.
        try:
            check_graph(model[:length])
        except GraphError:
            continue
        with pytest.raises(ContractError):
            open_content(model[:length])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        pickle.dumps({"weights": [1.0]}),
        b"\x80\x04cos\nsystem\n(S'true'\ntR.",
        b"\x89HDF\r\n\x1a\n" + b"\0" * 200,
        b"PK\x03\x04" + b"\0" * 200,
        b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\xff" * 50,
        b"\x3b\x3c",
        b"\x00\x00",
        # A tag of which protobuf would take the low 32 bits, which are those of the graph.
        b"\xba\x80\x80\x80\x10\x02\x08\x01",
    ],
)
def test_other_formats_and_broken_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(ContractError, match="Expected an ONNX model file"):
        verify_content(content)


def test_bytes_changed_anywhere_end_in_an_error_of_ours_or_a_model() -> None:
    model = unsigned(seasonal_naive_bytes())
    random = np.random.default_rng(7)
    for _ in range(300):
        content = bytearray(model)
        content[random.integers(len(model))] = random.integers(256)
        try:
            check_graph(bytes(content))
        except GraphError as error:
            assert str(error)


def bomb() -> bytes:
    """A small file whose forecast fills 16 GB meanwhile."""
    size = numpy_helper.from_array(np.array([2 * 10**9]), "size")
    one = helper.make_tensor("one", TensorProto.DOUBLE, [1], [1.0])

    def change(model: Any) -> None:
        model.graph.initializer.append(size)
        model.graph.node.extend(
            [
                helper.make_node("ConstantOfShape", ["size"], ["filled"], value=one),
                helper.make_node("ReduceSum", ["filled"], ["sum"]),
            ]
        )

    return changed(change)


def test_a_file_that_takes_too_much_memory_dies_in_its_trial() -> None:
    verify_content(bomb())
    with pytest.raises(ContractError, match=r"Expected a model that forecasts"):
        try_out(bomb())


def test_a_file_that_computes_too_long_dies_in_its_trial() -> None:
    with pytest.raises(ContractError, match=r"within 0\.01 s"):
        try_out(seasonal_naive_bytes(), seconds=0.01)


def looking_at_its_input(least: float) -> bytes:
    """A file that takes 2.4 GB of memory where a value is at least so large, else nothing."""
    constants = {
        "least": np.array(least),
        "many": np.array(3e8),
        "none": np.array(0.0),
        "one_axis": np.array([1]),
    }

    def change(model: Any) -> None:
        (last,) = [node for node in model.graph.node if "forecast" in node.output]
        last.output[0] = "plain"
        kept = [numpy_helper.from_array(value, name) for name, value in constants.items()]
        model.graph.initializer.extend(kept)
        make = helper.make_node
        zero = helper.make_tensor("value", TensorProto.DOUBLE, [1], [0.0])
        model.graph.node.extend(
            [
                make("Abs", ["known"], ["sizes"]),
                make("ReduceMax", ["sizes"], ["largest"], keepdims=0),
                make("Less", ["largest", "least"], ["is_small"]),
                make("Where", ["is_small", "none", "many"], ["count"]),
                make("Cast", ["count"], ["whole"], to=TensorProto.INT64),
                make("Reshape", ["whole", "one_axis"], ["size"]),
                make("ConstantOfShape", ["size"], ["filled"], value=zero),
                make("ReduceSum", ["filled"], ["sum"], keepdims=0),
                make("Add", ["plain", "sum"], ["forecast"]),
            ]
        )

    return changed(change)


def test_a_graph_that_looks_at_its_input_does_not_pass_its_trial() -> None:
    verify_content(looking_at_its_input(0.001))
    with pytest.raises(ContractError, match="Expected a model that forecasts"):
        try_out(looking_at_its_input(0.001))


@pytest.mark.slow
def test_a_graph_that_deceives_its_trial_fails_and_the_server_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(looking_at_its_input(1e90))
    history = [float(hour % 24) for hour in range(168)]
    with memory_limit(512) as limit, serving_process(path, limit) as server:
        assert server.predict({"data": {"ndarray": [history]}}).status_code == 200
        for _ in range(3):
            assert server.predict({"data": {"ndarray": [[*history, 1e95]]}}).status_code == 500
        assert server.predict({"data": {"ndarray": [history]}}).status_code == 200


@pytest.mark.slow
def test_a_server_does_not_start_with_a_graph_that_takes_too_much(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(looking_at_its_input(0.001))
    with memory_limit(512) as limit:
        code, said = end(start("--model-uri", str(path), *Ports.free().options(), limit=limit), 0)
    assert code == 2
    assert "Expected a model that forecasts" in said
    assert "Traceback" not in said


@pytest.mark.slow
def test_a_trial_does_not_outlive_its_server() -> None:
    code = """
import os, sys
from kalecast.serving.trial import try_out
from model_files import seasonal_naive_bytes
print(flush=True)
try_out(seasonal_naive_bytes(work=4000))
"""
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT / "tests" / "support")}
    with subprocess.Popen(
        [sys.executable, "-c", code], env=surroundings, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        process = psutil.Process(parent.pid)
        deadline = time.monotonic() + 60
        while not (children := process.children()):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        parent.kill()
    gone, alive = psutil.wait_procs(children, timeout=20)
    assert gone and not alive


def test_a_trial_says_what_is_wrong() -> None:
    try_out(seasonal_naive_bytes())
    with pytest.raises(ContractError, match="Expected finite forecasts"):
        try_out(seasonal_naive_bytes(offset=float("inf")))


@pytest.mark.parametrize(
    "content",
    [changed(HOSTILE["external data"][0]), seasonal_naive_bytes()[:-10], bomb()],
    ids=["external data", "truncated", "bomb"],
)
def test_the_model_in_use_goes_on(
    model_file: Path, tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model_file.read_bytes())
    serving = Serving.open(str(path))
    before = serving.model
    replace_file(path, content)
    with caplog.at_level(logging.ERROR):
        assert not asyncio.run(serving.reload())
    assert serving.model is before
    assert "Going on with" in caplog.text
    replace_file(path, seasonal_naive_bytes(contract(version="next")))
    assert asyncio.run(serving.reload())


def test_a_new_file_without_the_key_is_refused_while_a_signed_one_is_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("KALECAST_MODEL_KEY", "k" * 32)
    path = Path(publish(seasonal_naive_bytes(), str(tmp_path), "forecaster", "v1"))
    serving = Serving.open(str(path))
    replace_file(path, seasonal_naive_bytes(contract(version="planted")))
    assert not asyncio.run(serving.reload())
    assert "without signature" in caplog.text
    publish(seasonal_naive_bytes(contract(version="next")), str(tmp_path), "forecaster", "v2")
    assert asyncio.run(serving.reload())
    assert serving.model.contract.version == "next"


UNPICKLES = re.compile(
    r"^\s*(import|from)\s+(c?pickle|dill|cloudpickle|joblib|shelve|marshal|torch)\b"
    # Keras loads no code unless that is allowed.
    r"|\ballow_pickle\s*=(?!\s*False)|\bsafe_mode\s*=(?!\s*True)"
    r"|\bread_pickle\b|\benable_unsafe_deserialization\b",
    re.MULTILINE | re.IGNORECASE,
)


@pytest.mark.parametrize("folder", ["artifact", "client", "data", "page", "serving"])
def test_nothing_of_ours_unpickles(folder: str) -> None:
    """Kale's own values between steps aside: they come from the run that made them."""
    paths = (ROOT / "src/kalecast" / folder).rglob("*.py")
    assert [path for path in paths if UNPICKLES.search(path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(
    "text",
    [
        "import joblib",
        "    from pickle import load",
        "numpy.load(path, allow_pickle=True)",
        "pandas.read_pickle(path)",
        "keras.saving.load_model(path, safe_mode=False)",
    ],
)
def test_what_unpickles_is_found(text: str) -> None:
    assert UNPICKLES.search(text)
