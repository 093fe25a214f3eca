"""Where a network's looks lie: the feature maps worth looking at, and the vector that sums them up."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import onnx
from onnx import NodeProto, TensorProto, helper

from exporter.errors import GraphError
from exporter.graph import BATCH, Graph, integers
from exporter.shapes import Shape
from service.card import PictureInput, Stage

FEATURES = "features"
BACKBONE_STRIDE = 33
"""Classifiers reduce a picture 32-fold; what lies deeper was added for a detector's large boxes.
A little more, since odd sizes round."""

_WEIGHTED = {"Conv", "Gemm", "MatMul"}

_SIZED = {
    "Reshape", "Expand", "Resize", "Slice", "Tile", "Squeeze", "Unsqueeze", "ReduceMean", "ReduceSum"
}  # fmt: skip
"""Operators whose inputs after the first are sizes and axes, no pictures."""

Shapes = dict[str, Shape]


@dataclass(frozen=True, slots=True)
class FeatureMap:
    """A tensor (N, C, H, W) that everything after it passes through."""

    tensor: str
    shape: Shape


def pool(graph: Graph, tensor: str, shape: Shape) -> None:
    """Add `features` (N, F): the mean of a tensor over all but its batch and channel axes.

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


def read_by_last_layer(graph: Graph, logits: str) -> str:
    """Return the tensor that the last trained layer before the logits reads.

    Raises:
        GraphError: nothing trained lies before them.
    """
    producers = graph.producers()
    tensor = logits
    while (node := producers.get(tensor)) is not None:
        read = next((name for name in node.input if name and name not in graph.constants), None)
        if read is None:
            break
        if node.op_type in _WEIGHTED and any(name in graph.constants for name in node.input[:2]):
            return read
        tensor = read
    raise GraphError("No trained layer lies before the logits: is the right output named?")


def deepest_map(model: onnx.ModelProto, shapes: Shapes, outputs: Sequence[str]) -> str:
    """Return the smallest feature map that all outputs are made from, at its widest.

    Raises:
        GraphError: there is none.
    """
    common = _leading_to(model, outputs[0])
    names = {name for node in common for name in node.output}
    for output in outputs[1:]:
        names &= {name for node in _leading_to(model, output) for name in node.output}
    trained = False
    maps: dict[str, Shape] = {}
    for node in common:
        trained = trained or _is_trained(model, node)
        maps |= {
            name: shapes[name]
            for name in node.output
            if trained and name in names and _is_map(shapes.get(name))
        }
    if not maps:
        raise GraphError("No feature map lies before the outputs: are the right ones named?")
    return min(maps, key=lambda name: (_area(maps[name]), -maps[name].dims[1]))


def find_maps(model: onnx.ModelProto, shapes: Shapes, end: str) -> list[FeatureMap]:
    """Return the feature maps on the way to `end` that no path goes round, shallow to deep.

    So a block's output is among them, and no branch inside it.
    """
    found = [(tensor, shapes.get(tensor)) for tensor in _bottlenecks(model, end)]
    return [FeatureMap(tensor, shape) for tensor, shape in found if shape and _is_map(shape)]


def last_of_each_size(maps: Sequence[FeatureMap]) -> list[FeatureMap]:
    """Return the last map at each resolution, shallow to deep."""
    return list({found.shape.dims[2:]: found for found in maps}.values())


def same_size(one: FeatureMap, other: FeatureMap) -> bool:
    """Tell whether two maps have the same height and width."""
    return one.shape.dims[2:] == other.shape.dims[2:]


def backbone_end(maps: Sequence[FeatureMap], picture: PictureInput) -> FeatureMap:
    """Return the widest map at the resolution where a classifier's backbone would end."""
    inner = [m for m in maps if picture.height / m.shape.dims[2] <= BACKBONE_STRIDE] or maps
    smallest = [found for found in inner if same_size(found, inner[-1])]
    return max(reversed(smallest), key=lambda found: found.shape.dims[1])


def name_stages(
    graph: Graph, maps: Sequence[FeatureMap], picture: PictureInput
) -> tuple[list[Stage], list[onnx.ValueInfoProto]]:
    """Rename the maps to stage_1, stage_2, …; return them for the card and for the graph."""
    stages, values = [], []
    for number, found in enumerate(maps, 1):
        name = f"stage_{number}"
        graph.free([name])
        graph.rename(found.tensor, name)
        _, channels, height, width = found.shape.dims
        stride = round(picture.height / height, 4)
        stages.append(Stage(name=name, tensor=name, channels=channels, stride=stride))
        dims: list[str | int | None] = [BATCH, channels, height, width]
        values.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims))
    return stages, values


def _is_map(shape: Shape | None) -> bool:
    return (
        shape is not None
        and shape.is_float
        and len(shape.dims) == 4
        and shape.dims[0] == 1
        and min(shape.dims[2:]) > 1
    )


def _area(shape: Shape) -> int:
    return shape.dims[2] * shape.dims[3]


def _is_trained(model: onnx.ModelProto, node: NodeProto) -> bool:
    constants = {tensor.name for tensor in model.graph.initializer}
    return node.op_type in _WEIGHTED and not constants.isdisjoint(node.input)


def _bottlenecks(model: onnx.ModelProto, end: str) -> list[str]:
    """Return, in order, the tensors that no path goes round after the first trained layer."""
    nodes = _leading_to(model, end)
    last_read = {name: len(nodes) for node in nodes for name in node.output if name}
    last_read |= {name: index for index, node in enumerate(nodes) for name in node.input if name}
    found, open_until, trained = [], -1, False
    for index, node in enumerate(nodes):
        trained = trained or _is_trained(model, node)
        made = [name for name in node.output if name in last_read]
        if trained and open_until <= index and len(made) == 1:
            found.append(made[0])
        open_until = max(open_until, *(last_read[name] for name in made))
    return found


def _leading_to(model: onnx.ModelProto, end: str) -> list[NodeProto]:
    """Return the nodes on the way to `end`, in order, but those that only compute sizes."""
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
