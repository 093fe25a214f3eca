"""A model as the bytes of its file, one constant after another.

Protobuf holds Python's lock for as long as it encodes: 12 s for a network of 2 GB, in which no progress is drawn. It
would also hold the weights a second time.
"""

from collections.abc import Iterator

import onnx

_GRAPH, _INITIALIZER = 7, 5
_LENGTH_DELIMITED = 2


def graph_parts(graph: onnx.GraphProto) -> Iterator[bytes]:
    """Yield the bytes of `graph.SerializeToString(deterministic=True)` in parts, each at most one constant."""
    yield _encoded(graph, range(1, _INITIALIZER))
    for tensor in graph.initializer:
        content = tensor.SerializeToString(deterministic=True)
        yield _head(_INITIALIZER, len(content))
        yield content
    yield _encoded(graph, range(_INITIALIZER + 1, 1 << 29))


def model_parts(model: onnx.ModelProto) -> Iterator[bytes]:
    """Yield the bytes of `model.SerializeToString(deterministic=True)` in parts, each at most one constant."""
    yield _encoded(model, range(1, _GRAPH))
    yield _head(_GRAPH, sum(map(len, graph_parts(model.graph))))
    yield from graph_parts(model.graph)
    yield _encoded(model, range(_GRAPH + 1, 1 << 29))


def _encoded(message: onnx.ModelProto | onnx.GraphProto, numbers: range) -> bytes:
    """Return the bytes of the message's fields with these numbers."""
    some = type(message)()
    for field, value in message.ListFields():
        if field.number not in numbers:
            continue
        if isinstance(value, (int, str)):
            setattr(some, field.name, value)
        else:
            getattr(some, field.name).MergeFrom(value)
    encoded: bytes = some.SerializeToString(deterministic=True)
    return encoded


def _head(field: int, length: int) -> bytes:
    """Return what stands before a field's bytes: its number and their length, each as a varint."""
    return _varint(field << 3 | _LENGTH_DELIMITED) + _varint(length)


def _varint(value: int) -> bytes:
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
