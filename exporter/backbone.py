"""Where a network's looks lie: the feature maps worth looking at, and the vector it sums a picture up in."""

from collections import deque
from dataclasses import dataclass

import onnx
from onnx import NodeProto, TensorProto, helper

from exporter.errors import GraphError
from exporter.graph import BATCH, Graph, integers
from exporter.shapes import Shape, infer_shapes
from service.card import PictureInput, Stage

_WEIGHTED = {"Conv", "Gemm", "MatMul"}
FEATURES = "features"


@dataclass(frozen=True, slots=True)
class FeatureMap:
    """A tensor (N, C, H, W) that everything after it passes through."""

    tensor: str
    shape: Shape


def graft_features(graph: Graph, model: onnx.ModelProto, logits: str) -> str:
    """Give `features` (N, F): what the last trained layer before `logits` reads, pooled where it is still a map.

    Returns the tensor it was taken from.

    Raises:
        GraphError: nothing trained lies before the logits.
    """
    source = _read_by_last_layer(graph, logits)
    shapes = infer_shapes(model)
    if source not in shapes:
        raise GraphError(f"The shape of {source!r}, which the last layer reads, is not known")
    pool(graph, source, shapes[source])
    return source


def pool(graph: Graph, tensor: str, shape: Shape) -> None:
    """Add `features` (N, F) as the mean of a tensor over all but its batch and channel axes.

    Raises:
        GraphError: the tensor has no channel axis.
    """
    if len(shape.dims) == 2:
        graph.add("Identity", [tensor], output=FEATURES)
    elif len(shape.dims) == 3:
        axes = graph.constant("axes", integers(1))
        graph.add("ReduceMean", [tensor, axes], output=FEATURES, keepdims=0)
    elif len(shape.dims) == 4:
        pooled = graph.add("GlobalAveragePool", [tensor])
        graph.add("Flatten", [pooled], output=FEATURES)
    else:
        raise GraphError(f"{tensor!r} of shape {shape.dims} can not be pooled into features")


def find_stages(model: onnx.ModelProto, end: str) -> list[FeatureMap]:
    """Return the last feature map at each spatial resolution on the way to `end`, shallow to deep.

    Only tensors that every path passes through count, so that a block's output is taken and not a branch inside it.
    """
    shapes = infer_shapes(model)
    last: dict[tuple[int, int], FeatureMap] = {}
    for tensor in _bottlenecks(model, end):
        shape = shapes.get(tensor)
        if shape and shape.is_float and len(shape.dims) == 4 and min(shape.dims[2:]) > 1:
            last[shape.dims[2], shape.dims[3]] = FeatureMap(tensor, shape)
    return list(last.values())


def name_stages(
    graph: Graph, maps: list[FeatureMap], picture: PictureInput
) -> tuple[list[Stage], list[onnx.ValueInfoProto]]:
    """Rename the feature maps to stage_1, stage_2, … and return them for the card and for the graph's value_info."""
    stages, values = [], []
    for number, found in enumerate(maps, 1):
        name = f"stage_{number}"
        graph.free([name])
        graph.rename(found.tensor, name)
        _, channels, height, width = found.shape.dims
        stages.append(
            Stage(
                name=name, tensor=name, channels=channels, stride=round(picture.height / height, 4)
            )
        )
        dims: list[str | int | None] = [BATCH, channels, height, width]
        values.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims))
    return stages, values


def _read_by_last_layer(graph: Graph, logits: str) -> str:
    producers = graph.producers()
    tensor = logits
    while (node := producers.get(tensor)) is not None:
        read = _data_input(graph, node)
        if read is None:
            break
        if node.op_type in _WEIGHTED and _reads_constant(graph, node):
            return read
        tensor = read
    raise GraphError("No trained layer lies before the logits: is the right output named?")


def _data_input(graph: Graph, node: NodeProto) -> str | None:
    return next((name for name in node.input if name and name not in graph.constants), None)


def _reads_constant(graph: Graph, node: NodeProto) -> bool:
    return any(name in graph.constants for name in node.input[:2])


def _bottlenecks(model: onnx.ModelProto, end: str) -> list[str]:
    """Return, in order, the tensors after the first trained layer that no path from input to `end` goes round."""
    nodes = _leading_to(model, end)
    constants = {tensor.name for tensor in model.graph.initializer}
    last_read = {name: len(nodes) for node in nodes for name in node.output if name}
    last_read |= {name: index for index, node in enumerate(nodes) for name in node.input if name}
    found, open_until, trained = [], -1, False
    for index, node in enumerate(nodes):
        trained = trained or (
            node.op_type in _WEIGHTED and bool(constants.intersection(node.input))
        )
        if trained and open_until <= index and len(node.output) == 1:
            found.append(node.output[0])
        open_until = max(open_until, *(last_read[name] for name in node.output if name))
    return found


def _leading_to(model: onnx.ModelProto, end: str) -> list[NodeProto]:
    """Return the nodes on the way from the input to `end`, in order; what only computes sizes is left out."""
    nodes = list(model.graph.node)
    maker = {name: index for index, node in enumerate(nodes) for name in node.output}
    wanted: set[int] = set()
    queue = deque([end])
    while queue:
        index = maker.get(queue.popleft())
        if index is None or index in wanted:
            continue
        wanted.add(index)
        node = nodes[index]
        queue.extend(node.input[:1] if node.op_type in _SIZED else node.input)
    return [node for index, node in enumerate(nodes) if index in wanted]


_SIZED = {
    "Reshape",
    "Expand",
    "Resize",
    "Slice",
    "Tile",
    "Squeeze",
    "Unsqueeze",
    "ReduceMean",
    "ReduceSum",
}
"""Operators whose inputs after the first are sizes and axes, no pictures."""
