"""The gRPC messages of both protocols, made from tables of their fields.

What travels is decided by a field's number and type alone. The tables hold those that a model
server meets; protobuf makes the classes when this module is imported. Fields that are refused
unread (TensorFlow's tensors, custom data) stand as bytes, which travel alike.

Sources of the numbers: Seldon Core's `prediction.proto` and the Open Inference Protocol's
`open_inference_grpc.proto`.
"""

import re
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, empty_pb2, message_factory, struct_pb2

Field = descriptor_pb2.FieldDescriptorProto
LINE = re.compile(r"(repeated )?(map<string, ([\w.]+)>|[\w.]+) (\w+) = (\d+)(?: of (\w+))?")

SELDON = {
    "SeldonMessage": """
        Status status = 1
        Meta meta = 2
        DefaultData data = 3 of data_oneof
        bytes binData = 4 of data_oneof
        string strData = 5 of data_oneof
        google.protobuf.Value jsonData = 6 of data_oneof
        bytes customData = 7 of data_oneof
    """,
    "DefaultData": """
        repeated string names = 1
        Tensor tensor = 2 of data_oneof
        google.protobuf.ListValue ndarray = 3 of data_oneof
        bytes tftensor = 4 of data_oneof
    """,
    "Tensor": """
        repeated int32 shape = 1
        repeated double values = 2
    """,
    "Meta": """
        string puid = 1
        map<string, google.protobuf.Value> tags = 2
        map<string, int32> routing = 3
        map<string, string> requestPath = 4
    """,
    "Status": """
        int32 code = 1
        string info = 2
        string reason = 3
        int32 status = 4
    """,
    "Feedback": """
        SeldonMessage request = 1
    """,
    "SeldonModelMetadataRequest": """
        string name = 1
    """,
    "SeldonMessageMetadata": """
        string name = 3
        string datatype = 4
        repeated int64 shape = 5
    """,
    "SeldonModelMetadata": """
        string name = 1
        repeated string versions = 2
        string platform = 3
        repeated SeldonMessageMetadata inputs = 4
        repeated SeldonMessageMetadata outputs = 5
        map<string, string> custom = 6
    """,
}

OPEN_INFERENCE = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "bool live = 1",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "bool ready = 1",
    "ModelReadyRequest": """
        string name = 1
        string version = 2
    """,
    "ModelReadyResponse": "bool ready = 1",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": """
        string name = 1
        string version = 2
        repeated string extensions = 3
    """,
    "ModelMetadataRequest": """
        string name = 1
        string version = 2
    """,
    "TensorMetadata": """
        string name = 1
        string datatype = 2
        repeated int64 shape = 3
    """,
    "ModelMetadataResponse": """
        string name = 1
        repeated string versions = 2
        string platform = 3
        repeated TensorMetadata inputs = 4
        repeated TensorMetadata outputs = 5
        map<string, string> properties = 6
    """,
    "InferTensorContents": """
        repeated bool bool_contents = 1
        repeated int32 int_contents = 2
        repeated int64 int64_contents = 3
        repeated uint32 uint_contents = 4
        repeated uint64 uint64_contents = 5
        repeated float fp32_contents = 6
        repeated double fp64_contents = 7
        repeated bytes bytes_contents = 8
    """,
    "InferTensor": """
        string name = 1
        string datatype = 2
        repeated int64 shape = 3
        InferTensorContents contents = 5
    """,
    "RequestedOutput": """
        string name = 1
    """,
    "ModelInferRequest": """
        string model_name = 1
        string model_version = 2
        string id = 3
        repeated InferTensor inputs = 5
        repeated RequestedOutput outputs = 6
        repeated bytes raw_input_contents = 7
    """,
    "ModelInferResponse": """
        string model_name = 1
        string model_version = 2
        string id = 3
        repeated InferTensor outputs = 5
        repeated bytes raw_output_contents = 6
    """,
}


class Messages:
    """The classes of one package, as attributes: `seldon.SeldonMessage`.

    Args:
        package: the protobuf package.
        tables: the fields of each message, a line each.
    """

    def __init__(self, package: str, tables: dict[str, str]) -> None:
        pool = descriptor_pool.DescriptorPool()
        for module in (struct_pb2, empty_pb2):
            pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
        pool.Add(_file(package, tables))
        self._classes = {
            name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))
            for name in tables
        }
        empty = pool.FindMessageTypeByName("google.protobuf.Empty")
        self._classes["Empty"] = message_factory.GetMessageClass(empty)

    def __getattr__(self, name: str) -> Any:
        try:
            return self._classes[name]
        except KeyError:
            raise AttributeError(name) from None


def _file(package: str, tables: dict[str, str]) -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package}.proto",
        package=package,
        syntax="proto3",
        dependency=["google/protobuf/struct.proto", "google/protobuf/empty.proto"],
    )
    for name, table in tables.items():
        message = file.message_type.add(name=name)
        for line in filter(None, map(str.strip, table.splitlines())):
            _add_field(message, package, line)
    return file


def _add_field(message: descriptor_pb2.DescriptorProto, package: str, line: str) -> None:
    found = LINE.fullmatch(line)
    assert found, line
    repeated, kind, value_kind, name, number, oneof = found.groups()
    field = message.field.add(name=name, number=int(number), label=Field.LABEL_OPTIONAL)
    if value_kind:
        entry = message.nested_type.add(name=f"{name[0].upper()}{name[1:]}Entry")
        entry.options.map_entry = True
        for at, (part, part_kind) in enumerate((("key", "string"), ("value", value_kind)), 1):
            added = entry.field.add(name=part, number=at, label=Field.LABEL_OPTIONAL)
            _set_type(added, package, part_kind)
        kind, repeated = f"{message.name}.{entry.name}", "repeated"
    if repeated:
        field.label = Field.LABEL_REPEATED
    _set_type(field, package, kind)
    if oneof:
        if not message.oneof_decl:
            message.oneof_decl.add(name=oneof)
        field.oneof_index = 0


def _set_type(field: Any, package: str, kind: str) -> None:
    plain = (
        getattr(Field, f"TYPE_{kind.upper()}", None)
        if kind.islower() or kind[-1].isdigit()
        else None
    )
    if plain is not None:
        field.type = plain
        return
    field.type = Field.TYPE_MESSAGE
    field.type_name = f".{kind}" if kind.startswith("google.") else f".{package}.{kind}"


seldon = Messages("seldon.protos", SELDON)
inference = Messages("inference", OPEN_INFERENCE)
