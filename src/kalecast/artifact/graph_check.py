"""What may stand in a model file, looked up in its bytes before ONNX Runtime reads them.

A model file is a program: it names operators, may name libraries' own ones, and may name other
files whose content becomes its weights. Ours does none of it, so all of it is refused:

- operators that are not ONNX's own, functions, training programs, and loops, which nothing ends;
- tensors in other files, and sparse ones, which grow in memory by as much as they say;
- files, metadata and counts far beyond those of any model of this library.

Protobuf takes a field wherever it stands and however often, so each occurrence is looked at, at
any depth. What cannot be read to its end is refused. The standard library is enough for it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

LARGEST_MODEL = 32 * 2**20
"""Bytes. A network of half a million weights has 2 MiB. ONNX Runtime holds a file about three
times while it opens it, and the server's pod, whose old model goes on meanwhile, has 512 MiB."""
LARGEST_METADATA = 2**20
"""Bytes of all metadata and descriptions together: a contract with its model card has 2 KiB."""
MOST_FIELDS = 200_000
"""Fields of the whole file, of which ours has some 5,000; these take a fifth of a second."""
DEEPEST = 8
"""Subgraphs inside each other. The export nests one."""

DECLARED_DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
"""`ai.onnx.ml` is declared by each export, whether or not it is used."""
NODE_DOMAINS = ("", "ai.onnx")
ENDLESS = ("Loop", "Scan")

OTHER_FORMAT = b"ORTM"
"""At the fifth byte of a file in ONNX Runtime's own format, which can be protobuf as well."""

VARINT, EIGHT_BYTES, LENGTH, FOUR_BYTES = 0, 1, 2, 5

# Numbers of ONNX's fields (onnx.proto); those that are not listed hold nothing that is checked.
MESSAGES = {
    "Model": {
        **{2: "text", 3: "text", 4: "text", 6: "text", 14: "text"},
        **{7: "Graph", 8: "Opset", 20: "training program", 25: "function"},
    },
    "Opset": {1: "declared domain"},
    "Graph": {
        **{1: "Node", 5: "Tensor", 10: "text", 15: "sparse tensor", 16: "text"},
        **{11: "Value", 12: "Value", 13: "Value"},
    },
    "Value": {3: "text", 4: "text"},
    "Node": {4: "operator", 5: "Attribute", 6: "text", 7: "domain", 9: "text"},
    "Attribute": {
        **{5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 13: "text"},
        **{22: "sparse tensor", 23: "sparse tensor"},
    },
    "Tensor": {12: "text", 13: "place in another file", 14: "location", 16: "text"},
}
REFUSED = ("training program", "function", "sparse tensor", "place in another file")


class GraphError(ValueError):
    """A model file holds what no model file of ours holds."""


def check_graph(model_file: bytes) -> None:
    """Look through a model file.

    Raises:
        GraphError: it holds what it must not, or is no whole protobuf message.
    """
    if not model_file:
        raise GraphError("the file is empty")
    if len(model_file) > LARGEST_MODEL:
        raise GraphError(
            f"expected at most {LARGEST_MODEL >> 20} MiB, received {-(-len(model_file) >> 20)} MiB"
        )
    if model_file[4:8] == OTHER_FORMAT:
        raise GraphError("expected ONNX, received ONNX Runtime's own format")
    _Look().message(memoryview(model_file), "Model", 0)


@dataclass
class _Look:
    """One look through a file, with what is counted meanwhile."""

    fields: int = 0
    text: int = 0

    def message(self, content: memoryview, kind: str, depth: int) -> None:
        """Check a message and those inside it."""
        if depth > DEEPEST:
            raise GraphError(f"expected at most {DEEPEST} subgraphs inside each other")
        known = MESSAGES[kind]
        for number, value in _fields(content):
            self.fields += 1
            if self.fields > MOST_FIELDS:
                raise GraphError(f"expected at most {MOST_FIELDS} fields, received more")
            if number in known:
                self._field(known[number], value, depth + (kind == "Attribute"))

    def _field(self, what: str, value: Any, depth: int) -> None:
        if what in REFUSED:
            raise GraphError(f"expected no {what}, received one")
        if what == "location":
            if value != 0:
                raise GraphError("expected all tensors inside the file, received one elsewhere")
        elif not isinstance(value, memoryview):
            raise GraphError("a field has another type than ONNX gives it")
        elif what in MESSAGES:
            self.message(value, what, depth)
        elif what == "text":
            self.text += len(value)
            if self.text > LARGEST_METADATA:
                raise GraphError(f"expected at most {LARGEST_METADATA >> 10} KiB of metadata")
        else:
            _check_name(what, bytes(value[:60]).decode("utf-8", errors="replace"))


def _check_name(what: str, name: str) -> None:
    if what == "operator" and name in ENDLESS:
        raise GraphError(f"expected a graph without loops, received the operator {name!r}")
    allowed = {"domain": NODE_DOMAINS, "declared domain": DECLARED_DOMAINS}.get(what)
    if allowed is not None and name not in allowed:
        raise GraphError(f"expected ONNX's own operators, received some of {name!r}")


def _fields(content: memoryview) -> Iterator[tuple[int, int | memoryview | None]]:
    """Number and value of each field: the number of a varint, the bytes of what has a length."""
    at, end = 0, len(content)
    while at < end:
        tag, at = _varint(content, at)
        kind = tag & 7
        value: int | memoryview | None = None
        if kind == VARINT:
            value, at = _varint(content, at)
        elif kind == LENGTH:
            length, begins = _varint(content, at)
            at = begins + length
            value = content[begins:at]
        elif kind in (EIGHT_BYTES, FOUR_BYTES):
            at += 8 if kind == EIGHT_BYTES else 4
        else:
            raise GraphError("the file is no ONNX")
        # Protobuf takes a tag's low 32 bits, which would be another field.
        if at > end or not tag >> 3 or tag >> 32:
            raise GraphError("the file is damaged, or no ONNX")
        yield tag >> 3, value


def _varint(content: memoryview, at: int) -> tuple[int, int]:
    """A number of variable length, and where the next field begins."""
    number = 0
    for shift in range(0, 70, 7):
        if at >= len(content):
            break
        byte = content[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number & 0xFFFF_FFFF_FFFF_FFFF, at
    raise GraphError("the file is damaged, or no ONNX")
