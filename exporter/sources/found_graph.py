"""An ONNX file as it is found → one plain graph: sorted, without functions, at an opset that a servable may have."""

import re
from collections.abc import Iterator
from pathlib import Path

import onnx
from onnx import (
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    helper,
    inliner,
    numpy_helper,
    version_converter,
)

from exporter.errors import GraphError, SourceError
from exporter.external_data import is_heavy, without_weights
from exporter.file_kind import not_onnx
from exporter.graph import OPSET, copy_of, replace_constants, replace_nodes
from exporter.loading import load_onnx
from exporter.negative_sizes import with_free_axes
from exporter.node_order import in_order, tensors_read
from exporter.sources.foreign_operators import (
    opset_of,
    refuse_foreign,
    with_standard_quantization,
)

OLDEST = 7
"""The oldest opset from which onnx converts every common operator."""

_EXPORT_AGAIN = "Export the network again with standard operators"


def read_file(path: Path) -> ModelProto:
    """Return the model in a file, with its external data, and without axes of negative sizes.

    Raises:
        SourceError: the file is not ONNX, is not valid, or a file beside it is missing.
    """
    try:
        model = with_free_axes(load_onnx(path))
    except (onnx.checker.ValidationError, OSError, ValueError) as error:
        raise SourceError(
            f"{path}: its external data can not be read: {first_line(error)}. Keep the data file beside the "
            "ONNX file, under the name that it was written with"
        ) from error
    except Exception as error:  # protobuf's DecodeError has no public home that is stable
        raise SourceError(not_onnx(path, first_line(error))) from error
    if not model.graph.node:
        raise SourceError(not_onnx(path, "it has no operators"))
    return model


def plain(source: ModelProto, path: Path) -> ModelProto:
    """Return the same network with standard operators only, sorted, at opset 18 or newer.

    Raises:
        SourceError: the graph is not valid.
        GraphError: it has operators outside standard ONNX, or its opset can not be converted.
    """
    model = _inlined(without_weights(source))
    replace_nodes(model.graph, in_order(model.graph.node))
    model = with_standard_quantization(_without_tables(model))
    refuse_foreign(model)
    _check(model, path)
    _fold_ifs(model.graph)
    model = _at_servable_opset(model)
    _check(model, path)
    return _with_weights(model, source)


def _with_weights(light: ModelProto, source: ModelProto) -> ModelProto:
    """Return the model with the source's large constants in place of the inputs that `without_weights` made."""
    heavy = [tensor for tensor in source.graph.initializer if is_heavy(tensor)]
    names = {tensor.name for tensor in heavy}
    entries = [value for value in light.graph.input if value.name not in names]
    del light.graph.input[:]
    light.graph.input.extend(entries)
    light.graph.initializer.extend(heavy)
    return light


def _inlined(source: ModelProto) -> ModelProto:
    """Return the model without functions."""
    if not source.functions:
        return source
    try:
        inlined: ModelProto = inliner.inline_local_functions(source, convert_version=True)
    except Exception as error:  # onnx raises classes of its own, unrelated
        raise GraphError(
            f"The graph's local functions can not be inlined: {first_line(error)}. {_EXPORT_AGAIN}"
        ) from error
    return inlined


def _without_tables(model: ModelProto) -> ModelProto:
    """Return the model without results that are no numbers, as Custom Vision and others write them.

    In place of a table of labels and scores (ZipMap) there are its scores; the best label as text is left out.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    kept: list[ValueInfoProto] = []
    for value in model.graph.output:
        maker = makers.get(value.name)
        if maker is not None and maker.op_type == "ZipMap":
            kept.append(helper.make_tensor_value_info(maker.input[0], TensorProto.FLOAT, None))
        elif (
            value.type.WhichOneof("value") in {None, "tensor_type"}
            and value.type.tensor_type.elem_type != TensorProto.STRING
        ):
            kept.append(value)
    names = {value.name for value in kept}
    if not kept or names == {value.name for value in model.graph.output}:
        return model
    nodes: list[NodeProto] = []
    for node in reversed(model.graph.node):
        if names & set(node.output):
            names |= tensors_read(node)
            nodes.append(node)
    changed = copy_of(model)
    replace_nodes(changed.graph, nodes[::-1])
    del changed.graph.output[:]
    changed.graph.output.extend({value.name: value for value in kept}.values())
    return changed


def _check(model: ModelProto, path: Path) -> None:
    checked = copy_of(model)
    for value in checked.graph.output:
        # ONNX Runtime reads files whose outputs state no shape; the checker does not.
        value.type.tensor_type.shape.SetInParent()
        value.type.tensor_type.elem_type = value.type.tensor_type.elem_type or TensorProto.FLOAT
    try:
        onnx.checker.check_model(checked)
    except onnx.checker.ValidationError as error:
        why = " ".join(str(error).split("\n\n")[0].split())
        raise SourceError(f"{path} is not a valid ONNX file: {why}") from error


def _at_servable_opset(model: ModelProto) -> ModelProto:
    """Return the model at opset 18; a newer one stays as it is."""
    version = opset_of(model)
    if version >= OPSET:
        return model
    if version < OLDEST:
        raise GraphError(
            f"The graph has opset {version}; the oldest that can be converted is {OLDEST}. Export the network again "
            f"with opset {OPSET}"
        )
    try:
        converted: ModelProto = version_converter.convert_version(model, OPSET)
    except Exception as error:  # the converter raises classes of its own beside RuntimeError
        raise GraphError(
            f"The graph can not be converted from opset {version} to {OPSET}: {first_line(error)}. Export the "
            f"network again with opset {OPSET}"
        ) from error
    return converted


def _fold_ifs(graph: GraphProto) -> None:
    """Replace each `If` with a constant condition by the branch that it takes."""
    while (found := next(_constant_ifs(graph), None)) is not None:
        node, condition = found
        branches = {one.name: one.g for one in node.attribute}
        _splice(graph, node, branches["then_branch" if condition else "else_branch"])


def _constant_ifs(graph: GraphProto) -> Iterator[tuple[NodeProto, bool]]:
    values = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            values[node.output[0]] = node.attribute[0].t
        elif node.op_type == "If" and node.input[0] in values:
            yield node, bool(numpy_helper.to_array(values[node.input[0]]).reshape(-1)[0])


def _splice(graph: GraphProto, node: NodeProto, branch: GraphProto) -> None:
    """Put a branch's nodes in place of a node; its results get the names of the node's outputs."""
    renamed = {
        inner.name: outer for inner, outer in zip(branch.output, node.output, strict=True) if outer
    }
    made = {name for one in branch.node for name in one.output}
    made |= {tensor.name for tensor in branch.initializer}
    inside = []
    for one in branch.node:
        copy = NodeProto()
        copy.CopyFrom(one)
        copy.output[:] = [renamed.get(name, name) for name in one.output]
        copy.input[:] = [renamed.get(name, name) if name in made else name for name in one.input]
        inside.append(copy)
    # A branch may pass on a tensor that lies outside of it.
    inside += [
        helper.make_node("Identity", [inner], [outer])
        for inner, outer in renamed.items()
        if inner not in made
    ]
    constants = list(graph.initializer)
    for tensor in branch.initializer:
        copied = TensorProto()
        copied.CopyFrom(tensor)
        copied.name = renamed.get(tensor.name, tensor.name)
        constants.append(copied)
    before = list(graph.node)
    at = next(index for index, one in enumerate(before) if one is node or one == node)
    replace_constants(graph, constants)
    replace_nodes(graph, [*before[:at], *inside, *before[at + 1 :]])


_CODES = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ")
_PLACES = re.compile(r"^(?:\S*/)?\w+\.(?:h|cc|cpp):\d+ \S.*?\) (?=[A-Z])")


def first_line(error: Exception) -> str:
    """Return the first line of an error of ONNX or ONNX Runtime, without its code and its place in their sources."""
    line = next(iter(str(error).strip().splitlines()), type(error).__name__).strip()
    return _PLACES.sub("", _CODES.sub("", line))
