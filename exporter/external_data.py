"""Networks above protobuf's 2 GiB: the weights lie in a file of their own beside the graph."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import onnx
from onnx import ModelProto, StringStringEntryProto, TensorProto, helper

INLINE_LIMIT = 2**31 - 2**20
"""A model with more bytes of weights is split; protobuf's own limit is 2 GiB, and the graph needs some of it."""

HEAVY = 1024
"""Constants of more values are weights: neither checks nor conversions need their values."""

LEAST = 1024
"""Smaller constants stay in the graph: they may be shapes."""

ALIGNMENT = 4096
"""Each tensor begins at a page, so that it can be mapped into memory."""


def weight_bytes(model: ModelProto) -> int:
    """Return the bytes of the weights inside a model."""
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer)


def is_large(model: ModelProto, limit: int = INLINE_LIMIT) -> bool:
    """Return whether a model must be split."""
    return weight_bytes(model) > limit


def split(model: ModelProto, location: str) -> tuple[ModelProto, list[TensorProto]]:
    """Return the model whose large constants refer to a file, and these constants in the file's order.

    Args:
        model: stays as it is.
        location: the name of the file, in the folder of the graph's.
    """
    heavy = [tensor for tensor in model.graph.initializer if len(tensor.raw_data) > LEAST]
    names = {tensor.name for tensor in heavy}
    light = _without(model, names)
    offset = 0
    for tensor in heavy:
        reference = TensorProto(
            name=tensor.name,
            data_type=tensor.data_type,
            dims=tensor.dims,
            data_location=TensorProto.EXTERNAL,
        )
        where = {"location": location, "offset": str(offset), "length": str(len(tensor.raw_data))}
        reference.external_data.extend(
            StringStringEntryProto(key=key, value=value) for key, value in where.items()
        )
        light.graph.initializer.append(reference)
        offset += _padded(len(tensor.raw_data))
    return light, heavy


def write_data(file: BinaryIO, tensors: list[TensorProto]) -> str:
    """Write the constants as `split` refers to them, and return the file's SHA-256 in hex."""
    digest = hashlib.sha256()
    for part in _parts(tensors):
        digest.update(part)
        file.write(part)
    return digest.hexdigest()


def data_bytes(tensors: list[TensorProto]) -> int:
    """Return the size of the file that `write_data` writes."""
    return sum(_padded(len(tensor.raw_data)) for tensor in tensors)


def save_split(model: ModelProto, folder: Path) -> Path:
    """Write a large model and its data into a folder, and return the path of the model."""
    path = folder / "model.onnx"
    light, heavy = split(model, "model.onnx.data")
    with (folder / "model.onnx.data").open("wb") as file:
        write_data(file, heavy)
    path.write_bytes(light.SerializeToString())
    return path


def without_weights(model: ModelProto) -> ModelProto:
    """Return the model with inputs in place of its large constants, so that its size is bounded."""
    light = ModelProto(ir_version=max(model.ir_version, 4))
    light.opset_import.extend(model.opset_import)
    light.functions.extend(model.functions)
    light.graph.name = model.graph.name or "graph"
    light.graph.node.extend(model.graph.node)
    light.graph.output.extend(model.graph.output)
    light.graph.value_info.extend(model.graph.value_info)
    heavy = {tensor.name: tensor for tensor in model.graph.initializer if is_heavy(tensor)}
    light.graph.input.extend(value for value in model.graph.input if value.name not in heavy)
    light.graph.input.extend(
        helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims))
        for name, tensor in heavy.items()
    )
    light.graph.initializer.extend(t for t in model.graph.initializer if t.name not in heavy)
    light.graph.sparse_initializer.extend(model.graph.sparse_initializer)
    return light


def outline_of(model: ModelProto) -> ModelProto:
    """Return the model with large constants that have a name, a type and dimensions, and no values."""
    heavy = [tensor for tensor in model.graph.initializer if is_heavy(tensor)]
    light = _without(model, {tensor.name for tensor in heavy})
    light.graph.initializer.extend(
        TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
        for tensor in heavy
    )
    return light


def is_heavy(tensor: TensorProto) -> bool:
    return int(np.prod(tensor.dims, dtype=np.int64)) > HEAVY


def _parts(tensors: list[TensorProto]) -> Iterator[bytes]:
    for tensor in tensors:
        size = len(tensor.raw_data)
        yield tensor.raw_data
        yield bytes(_padded(size) - size)


def _padded(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _without(model: ModelProto, names: set[str]) -> ModelProto:
    """Return the model without these constants, made without a copy of them."""
    light = onnx.ModelProto()
    for field, value in model.ListFields():
        if field.name == "graph":
            continue
        if isinstance(value, (int, str)):
            setattr(light, field.name, value)
        else:
            getattr(light, field.name).extend(value)
    for field, value in model.graph.ListFields():
        if field.name == "initializer":
            light.graph.initializer.extend(tensor for tensor in value if tensor.name not in names)
        elif isinstance(value, str):
            setattr(light.graph, field.name, value)
        else:
            getattr(light.graph, field.name).extend(value)
    return light
