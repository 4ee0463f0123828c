"""Whether an ONNX file is one, and whole: read as far as that takes, and no further.

A tensor of an ONNX file may stand in another file, by name. A runtime reads that from the working directory, or
wherever the name leads: bytes that nobody verified.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from appliance.errors import ModelError

FIELDS_MAX = 1_000_000
"""Fields that are looked at: the person model's file has 9,500, and a second of a small Pi's time is enough."""


def check_onnx(content: bytes, name: str) -> None:
    """Look through an ONNX file.

    Args:
        content: the file.
        name: how the message calls it.

    Raises:
        ModelError: it is no ONNX model, or damaged, or keeps weights in another file.
    """
    graphs = 0
    try:
        for kind, number, value in _parts(content):
            graphs += kind == "graph"
            if kind == "tensor" and number == _DATA_LOCATION and value != 0:
                msg = (
                    f"{name}: keeps weights in another file, which nobody verifies; save it whole: "
                    "onnx.save(onnx.load(file), file, save_as_external_data=False)"
                )
                raise ModelError(msg)
    except _NotProtobufError as error:
        msg = f"{name}: not an ONNX model, or damaged: {error}"
        raise ModelError(msg) from error
    if not graphs:
        msg = f"{name}: not an ONNX model (no graph in it)"
        raise ModelError(msg)


_DATA_LOCATION = 14
"""Field of a TensorProto: 0 or left out when the tensor's values stand in it."""
_PARTS: Mapping[str, Mapping[int, str]] = MappingProxyType(
    {
        "model": {7: "graph", 20: "training", 25: "function"},
        "training": {1: "graph", 2: "graph"},
        "function": {7: "node", 11: "attribute"},
        "graph": {1: "node", 5: "tensor", 15: "sparse"},
        "node": {5: "attribute"},
        "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
        "sparse": {1: "tensor", 2: "tensor"},
        "tensor": {},
    }
)
"""Messages of onnx.proto that hold tensors, at any depth: for each, the fields that do, by number."""


class _NotProtobufError(Exception):
    """The bytes are no protobuf message."""


def _parts(content: bytes) -> Iterator[tuple[str, int, int | memoryview]]:
    """Yield every field of the messages in ``_PARTS``: the message's name, the field's number and value."""
    waiting = [("model", memoryview(content))]
    seen = 0
    while waiting:
        kind, message = waiting.pop()
        for number, value in _fields(message):
            seen += 1
            if seen > FIELDS_MAX:
                msg = f"more than {FIELDS_MAX} fields"
                raise _NotProtobufError(msg)
            yield kind, number, value
            part = _PARTS[kind].get(number)
            if part is not None:
                if isinstance(value, int):
                    msg = f"field {number} of a {kind} is a number"
                    raise _NotProtobufError(msg)
                waiting.append((part, value))


_FIXED_BYTES = MappingProxyType({1: 8, 5: 4})
"""Wire type to size."""
_VARINT, _LENGTH = 0, 2  # the other wire types; those of groups (3, 4) are not used by onnx.proto
_VARINT_BYTES_MAX = 10
_KEY_MAX = (1 << 32) - 1  # a reader may cut off what is above, and see another field than this one does


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield number and value of each field (protobuf.dev, "Encoding"). Raises _NotProtobufError."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, wire = key >> 3, key & 7
        if key > _KEY_MAX:
            msg = f"field {number} at byte {at}"
            raise _NotProtobufError(msg)
        if wire == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        size = _FIXED_BYTES.get(wire)
        if wire == _LENGTH:
            size, at = _varint(message, at)
        if size is None or at + size > len(message):
            msg = f"field {number} of wire type {wire} at byte {at}"
            raise _NotProtobufError(msg)
        yield number, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Read a number of variable length; return it, and where the next byte stands. Raises _NotProtobufError."""
    value = 0
    for place, byte in enumerate(message[at : at + _VARINT_BYTES_MAX]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:  # noqa: PLR2004 - the highest bit says that more follows
            return value, at + place + 1
    msg = f"a number without an end at byte {at}"
    raise _NotProtobufError(msg)
