"""The model file: one ONNX file that carries the network and its contract.

Everything downstream of training (server, page, load test) learns the length of the window,
the horizon, the quantiles and the rest from the file itself, so that no second copy of them
can drift. The contract is JSON under one key of the file's ONNX metadata.

Importing this module needs the standard library alone; reading a contract needs ONNX Runtime,
writing one needs `onnx`.
"""

import json
import logging
import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from functools import cache
from itertools import pairwise
from numbers import Real
from pathlib import Path
from typing import Any

from kalecast.artifact.graph_check import GraphError, check_graph
from kalecast.artifact.signing import SignatureError, keys_from, verify, with_checksum

METADATA_KEY = "kalecast.contract"
INPUT_NAME = "history"
OUTPUT_NAME = "forecast"

TEXTS = ("name", "version", "frequency", "library_version", "data_fingerprint", "created")
LONGEST_TEXT = 200
MOST_STEPS = 100_000
"""Of a window, a horizon or a season: eleven years of hours."""
MOST_NUMBERS = 1000
"""Of quantiles, and of scores."""

logger = logging.getLogger(__name__)


class ContractError(ValueError):
    """A file is no Kalecast model file, or its contract does not hold."""


@dataclass(frozen=True)
class Contract:
    """What a model file promises.

    The network maps `history`, float64 of shape `(batch, input_length)` with the newest value
    last and NaN for missing values, to `forecast`, float64 of shape
    `(batch, horizon, len(quantiles))` in the unit of the history.
    """

    name: str
    version: str
    input_length: int
    """Length of the window, in steps of `frequency`."""
    horizon: int
    """Steps ahead that one forward pass forecasts."""
    quantiles: tuple[float, ...]
    """Ascending, with 0.5 (the median, the point forecast) among them."""
    frequency: str
    """A pandas offset alias such as `h`."""
    season: int
    """Steps a season, 24 for hourly data with a daily rhythm."""
    minimum_history: int
    """The fewest steps of history, known or not, with which the model was tried."""
    library_version: str
    data_fingerprint: str
    """Digest of the series that it was trained on."""
    created: str
    """ISO 8601 date and time, UTC."""
    trained_on: Mapping[str, Any] = field(default_factory=dict)
    """In a reader's words: number of series, of values, first and last timestamp."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Scores on held-out hours, the model's beside the baselines'."""
    card: str = ""
    """The model card, Markdown."""

    def __post_init__(self) -> None:
        for name in TEXTS:
            _check_text(name, getattr(self, name))
        for name in ("input_length", "horizon", "season", "minimum_history"):
            _check_steps(name, getattr(self, name))
        _check_numbers("quantiles", self.quantiles, list | tuple)
        _check_numbers("scores", self.scores, Mapping)
        object.__setattr__(self, "quantiles", tuple(float(q) for q in self.quantiles))
        if self.minimum_history > self.input_length:
            raise ContractError(
                f"Expected minimum_history at most input_length={self.input_length}, "
                f"received: {self.minimum_history}"
            )
        if 0.5 not in self.quantiles or not ascending_probabilities(self.quantiles):
            raise ContractError(
                "Expected quantiles between 0 and 1, ascending, with 0.5 among them, "
                f"received: {_cut(list(self.quantiles))}"
            )
        if not isinstance(self.trained_on, Mapping) or not isinstance(self.card, str):
            raise ContractError(
                "Expected trained_on to be an object and card a text, received: "
                f"{_cut(self.trained_on)} and {_cut(self.card)}"
            )
        self._check_json()

    def _check_json(self) -> None:
        try:
            json.dumps(json.loads(self.to_json()), ensure_ascii=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise ContractError(f"Expected a contract that JSON can hold: {error}") from error

    @property
    def median(self) -> int:
        """Index of the median among the quantiles."""
        return self.quantiles.index(0.5)

    def to_json(self) -> str:
        """The contract as strict JSON; scores that are not finite become null."""
        content = asdict(self)
        content["scores"] = {
            key: value if value is not None and math.isfinite(value) else None
            for key, value in self.scores.items()
        }
        return json.dumps(content, sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Contract":
        """Rebuild a contract.

        Raises:
            ContractError: the text is no JSON object, or a field is missing or wrong. Fields of
                a newer library are ignored.
        """
        try:
            content = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ContractError(f"The contract is no JSON: {error}") from error
        if not isinstance(content, dict):
            raise ContractError(f"Expected the contract to be an object, received: {text[:60]!r}")
        known = {f.name for f in fields(cls)}
        try:
            return cls(**{key: value for key, value in content.items() if key in known})
        except TypeError as error:
            raise ContractError(f"The contract is incomplete: {error}") from error


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str) or len(value) > LONGEST_TEXT or not value.isprintable():
        raise ContractError(
            f"Expected {name} to be a text of one line and at most {LONGEST_TEXT} characters, "
            f"received: {_cut(value)}"
        )


def _check_steps(name: str, value: object) -> None:
    if type(value) is not int or not 1 <= value <= MOST_STEPS:
        raise ContractError(
            f"Expected {name} to be a positive integer of at most {MOST_STEPS}, "
            f"received: {_cut(value)}"
        )


def _check_numbers(name: str, values: Any, kind: Any) -> None:
    """Refuse what is no list, or object, of numbers."""
    if not isinstance(values, kind) or len(values) > MOST_NUMBERS:
        raise ContractError(
            f"Expected {name} to be at most {MOST_NUMBERS} numbers, received: {_cut(values)}"
        )
    for value in values.values() if isinstance(values, Mapping) else values:
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        # A score that was not finite has become null.
        if not ((is_number and abs(value) < 1e300) or (name == "scores" and _is_unknown(value))):
            raise ContractError(f"Expected {name} to be numbers, received: {_cut(value)}")


def _is_unknown(value: object) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def _cut(value: object) -> str:
    """A received value, cut to a length that fits a message."""
    return reprlib.repr(value)


def version_of(created: datetime, data_fingerprint: str) -> str:
    """A model's version: when it was made and the start of its data's digest; sorts by age."""
    return f"{created:%Y%m%d-%H%M%S}-{data_fingerprint.removeprefix('sha256:')[:6]}"


def ascending_probabilities(quantiles: Sequence[float]) -> bool:
    """Whether numbers ascend and lie between 0 and 1."""
    inside = all(0 < q < 1 for q in quantiles)
    return inside and all(a < b for a, b in pairwise(quantiles))


def write_contract(onnx_bytes: bytes, contract: Contract) -> bytes:
    """The same ONNX model with the contract in its metadata, as the bytes of a model file.

    It ends with its checksum.
    """
    import onnx

    model = onnx.load_from_string(onnx_bytes)
    onnx.helper.set_model_props(model, {METADATA_KEY: contract.to_json()})
    return with_checksum(model.SerializeToString())


def open_session(model: bytes | str | Path, threads: int = 1) -> Any:
    """An ONNX Runtime session on the CPU, of a file that was verified and looked through.

    Args:
        model: the bytes of a model file, or its path.
        threads: threads inside one forward pass. One is right for a server, which has
            requests enough to keep every core busy.

    Raises:
        ContractError: it is damaged, not signed as required, holds what no model file of ours
            holds, or ONNX Runtime cannot load it.
    """
    import onnxruntime

    content = _content(model)
    verify_content(content, _named(model))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # whatever fails is an exception with the same words
    if bound_graphs.cache_info().currsize:
        options.add_session_config_entry("session.use_env_allocators", "1")
    # It would take bytes that look like its own format for that, which nothing has checked.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    try:
        # Bytes, not a path: beside a path ONNX Runtime would look for further files.
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no narrower public class
        raise _no_model_file(_named(model), error) from error


@cache
def bound_graphs(memory: int) -> None:
    """Have the graphs that this process opens from now on share so many bytes of memory.

    A forward pass that needs more fails. Takes effect once a process.
    """
    import onnxruntime

    kinds, memories = onnxruntime.OrtAllocatorType, onnxruntime.OrtMemType
    place = onnxruntime.OrtMemoryInfo("Cpu", kinds.ORT_ARENA_ALLOCATOR, 0, memories.DEFAULT)
    # As much at a time as is requested: doubling would reach the bound at half of it.
    arena = onnxruntime.OrtArenaCfg({"max_mem": memory, "arena_extend_strategy": 1})
    onnxruntime.create_and_register_allocator(place, arena)


def _content(model: bytes | str | Path) -> bytes:
    try:
        return model if isinstance(model, bytes) else Path(model).read_bytes()
    except OSError as error:
        raise _no_model_file(_named(model), error) from error


def verify_content(model_file: bytes, named: str = "the bytes given") -> None:
    """Hold a model file against its signature and look through it; nothing is opened.

    Raises:
        ContractError: it is damaged, not signed as required, or holds what none of ours holds.
    """
    try:
        is_checked = verify(model_file, keys_from())
        check_graph(model_file)
    except (SignatureError, GraphError) as error:
        raise _no_model_file(named, error) from error
    if not is_checked:
        _say_unchecked()


@cache
def _say_unchecked() -> None:
    logger.warning("A model file without checksum, of an older library, is used as it is.")


def _named(model: bytes | str | Path) -> str:
    return "the bytes given" if isinstance(model, bytes) else f"'{model}'"


def _no_model_file(named: str, error: Exception) -> ContractError:
    return ContractError(f"Expected an ONNX model file, received: {named} ({error})")


def read_contract(session: Any) -> Contract:
    """The contract of the model file that `session` was opened on.

    Raises:
        ContractError: the file has none, or it contradicts the network's own shapes.
    """
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise ContractError(
            f"Expected a Kalecast model file with '{METADATA_KEY}' in its metadata, "
            "received an ONNX file without it"
        )
    contract = Contract.from_json(text)
    _compare_shape(session.get_inputs(), INPUT_NAME, [contract.input_length])
    _compare_shape(session.get_outputs(), OUTPUT_NAME, [contract.horizon, len(contract.quantiles)])
    return contract


def _compare_shape(nodes: Sequence[Any], name: str, expected: list[int]) -> None:
    """Hold a node's name, type and shape (batch axis left out) against the contract's."""
    found = [(node.name, node.type, list(node.shape[1:])) for node in nodes]
    if found != [(name, "tensor(double)", expected)]:
        raise ContractError(
            f"Expected the network to have '{name}' of float64 with shape (batch, "
            f"{', '.join(map(str, expected))}), received: {found}"
        )
