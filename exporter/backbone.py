"""A network's backbone: its stages, which are the feature maps that can be shown, and the pooled feature vector."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import onnx
from onnx import NodeProto, TensorProto, helper

from exporter.errors import GraphError
from exporter.graph import BATCH, Graph, integers
from exporter.node_order import fixed_tensors, tensors_read
from exporter.shapes import Shape
from service.card import ImageInput, Stage

FEATURES = "features"
BACKBONE_STRIDE = 33
"""The largest stride of a classifier's backbone is 32; deeper maps were added for a detector's large boxes. The limit
is a little larger, since odd sizes are rounded."""

EXTRA_TOKENS = 8
"""The largest number of class, distillation and register tokens in front of a transformer's patches."""

VECTOR_AXES = 2
MAP_AXES = 4
"""The axes of a vector and of a map with a batch."""

ASPECT_TOLERANCE = 1.3
"""The aspect ratio of a map may differ by this factor from the image's, since small sizes are rounded."""

_CONVOLUTIONS = {"Conv", "ConvInteger", "QLinearConv"}
_WEIGHTED = {"Conv", "Gemm", "MatMul", "ConvInteger", "MatMulInteger"}
_OF_QUANTIZED = {"QLinearConv", "QLinearMatMul"}
_QUANTIZING = {"QuantizeLinear", "DynamicQuantizeLinear"}

Shapes = dict[str, Shape]


@dataclass(frozen=True, slots=True)
class FeatureMap:
    """A tensor with `channels` values at each of `height`×`width` places of the image.

    Its layout is (N, C, H, W), (N, H, W, C), or tokens (N, T, C), of which the last H·W are the places, row by row.
    """

    tensor: str
    layout: Literal["NCHW", "NHWC", "tokens"]
    channels: int
    height: int
    width: int
    shape: Shape

    @property
    def channel_axis(self) -> int:
        return 1 if self.layout == "NCHW" else -1


def pool(graph: Graph, tensor: str, shape: Shape, channel_axis: int) -> None:
    """Add `features` (N, F): the mean of a tensor over all axes except batch and channels.

    Args:
        graph: gets the output.
        tensor: to be averaged, (N, F), (N, …, F) or (N, F, …), with at most four axes.
        shape: the tensor's.
        channel_axis: the axis of its channels, counted from the end if below 0; of no meaning for a vector.

    Raises:
        GraphError: the tensor has no channel axis.
    """
    axes = len(shape.dims)
    if not VECTOR_AXES <= axes <= MAP_AXES:
        raise GraphError(f"{tensor!r} of shape {shape.dims} can not be pooled into features")
    if shape.dtype != TensorProto.FLOAT:
        tensor = graph.add("Cast", [tensor], to=TensorProto.FLOAT)
    averaged = [axis for axis in range(1, axes) if axis != channel_axis % axes]
    if axes == VECTOR_AXES:
        graph.add("Identity", [tensor], output=FEATURES)
    elif averaged == [2, 3]:
        pooled = graph.add("GlobalAveragePool", [tensor])
        graph.add("Flatten", [pooled], output=FEATURES)
    else:
        over = graph.constant("axes", integers(*averaged))
        graph.add("ReduceMean", [tensor, over], output=FEATURES, keepdims=0)


_BRANCHES = {"If", "Loop", "Scan"}
_OF_SHAPES = {"Shape", "Size"}


def read_by_last_layer(graph: Graph, logits: str) -> tuple[str, int]:
    """Return the tensor that the last layer with trained weights before the logits reads, and its axis of channels.

    A convolution has its channels behind the batch (1), the first factor of a product of matrices has them last (-1),
    the second one before that (-2).

    Raises:
        GraphError: there is no such layer.
    """
    producers = graph.producers()
    fixed = fixed_tensors(graph.current().graph)
    tensor, branch, passed = logits, None, None
    while (node := producers.get(tensor)) is not None:
        computed = (str(name) for name in node.input if name and name not in fixed)
        read = next(computed, None)
        if read is None:
            break
        if node.op_type in _BRANCHES:
            branch = passed = node.op_type
        elif node.op_type in _OF_SHAPES:  # such a condition is the same for every image
            branch = None
        if _has_weights(node, fixed):
            if branch is not None:
                break
            before = producers.get(read)
            source = before.input[0] if before and before.op_type in _QUANTIZING else read
            if node.op_type in _CONVOLUTIONS:
                return source, 1
            return source, -1 if read == node.input[0] else -2
        tensor = read
    if branch is not None:
        raise GraphError(
            f"The scores come out of an operator {branch}, whose graph inside depends on the image. Export the network "
            "again without this condition, or name a tensor before it with --outputs"
        )
    if passed is not None:
        raise GraphError(
            f"The scores come out of an operator {passed}, whose condition depends on the number of images in the "
            "batch. Export the network again without this condition, or name a tensor before it with --outputs"
        )
    raise GraphError(
        "There is no trained layer before the logits: is the right output named with --outputs?"
    )


def deepest_map(
    model: onnx.ModelProto, shapes: Shapes, outputs: Sequence[str], image_input: ImageInput
) -> str:
    """Return the smallest feature map that all outputs depend on; of several of that size, the one with most channels.

    Of several with as many channels it is the last that every path from the first one passes through: the output of
    the last residual block, and no branch inside of a block or of a head.

    Raises:
        GraphError: there is none.
    """
    fixed = fixed_tensors(model.graph)
    # No feature map leads to integers, as classes are, nor to what is picked by integers alone behind a suppression.
    floats = [name for name in outputs if name not in shapes or not shapes[name].is_integer]
    paths = [_leading_to(model, shapes, output) for output in floats or outputs]
    paths = [p for p in paths if not p or any(_has_weights(node, fixed) for node in p)] or paths
    names = set.intersection(*({name for node in path for name in node.output} for path in paths))
    trained: set[str] = (
        set()
    )  # what trained layers lead to; position codes, for example, are no features
    maps: list[FeatureMap] = []
    for node in paths[0]:
        if _has_weights(node, fixed) or not trained.isdisjoint(node.input):
            trained.update(node.output)
            made = [_as_map(name, shapes, image_input) for name in node.output if name in names]
            maps += [found for found in made if found is not None]
    if not maps:
        raise GraphError(
            "There is no feature map before the outputs: are the right ones named with --outputs?"
        )
    deepest: FeatureMap = min(maps, key=lambda m: (m.height * m.width, -m.channels))
    equal = [m.tensor for m in maps if same_size(m, deepest) and m.channels == deepest.channels]
    return _last_passed(model, equal, floats or outputs)


def _last_passed(model: onnx.ModelProto, tensors: Sequence[str], ends: Sequence[str]) -> str:
    """Return the last tensor through which all paths from the first one to the ends lead."""
    for tensor in reversed(tensors[1:]):
        reached = {tensors[0]}
        for node in model.graph.node:
            if not reached.isdisjoint(tensors_read(node)):
                reached.update(name for name in node.output if name != tensor)
        if reached.isdisjoint(ends) and tensor not in ends:
            return tensor
    return tensors[0]


def find_maps(
    model: onnx.ModelProto, shapes: Shapes, end: str, image_input: ImageInput
) -> list[FeatureMap]:
    """Return the feature maps before `end` that every path passes through, shallow to deep.

    So the output of a residual block is among them, and no branch inside the block.
    """
    maps: list[FeatureMap] = []
    for tensor in _bottlenecks(model, shapes, end):
        found = _as_map(tensor, shapes, image_input)
        if found is None and maps:
            found = _as_tokens(tensor, shapes, maps[-1])
        if found is not None:
            maps.append(found)
    last = None if maps else _as_map(end, shapes, image_input)
    return maps if last is None else [last]


def last_of_each_size(maps: Sequence[FeatureMap]) -> list[FeatureMap]:
    """Return the last map at each resolution, shallow to deep."""
    return list({(found.height, found.width): found for found in maps}.values())


def same_size(one: FeatureMap, other: FeatureMap) -> bool:
    """Return whether two maps have the same height and width."""
    return (one.height, one.width) == (other.height, other.width)


def backbone_end(maps: Sequence[FeatureMap], image_input: ImageInput) -> FeatureMap:
    """Return the map with most channels at the resolution at which a classifier's backbone would end."""
    inner = [
        found for found in maps if image_input.height / found.height <= BACKBONE_STRIDE
    ] or maps
    smallest = [found for found in inner if same_size(found, inner[-1])]
    return max(reversed(smallest), key=lambda found: found.channels)


def name_stages(
    graph: Graph, maps: Sequence[FeatureMap], image_input: ImageInput
) -> tuple[list[Stage], list[onnx.ValueInfoProto]]:
    """Name the maps stage_1, stage_2, … and return them for the card and for the graph.

    A map of another layout gets a branch that converts it to (N, C, H, W). A runtime drops the branch unless its result
    is requested.
    """
    stages, values = [], []
    for number, found in enumerate(maps, 1):
        name = f"stage_{number}"
        graph.free([name])
        if found.layout == "NCHW" and found.shape.dtype == TensorProto.FLOAT:
            graph.rename(found.tensor, name)
        else:
            _graft_planar(graph, found, name)
        stride = round(image_input.height / found.height, 4)
        stages.append(Stage(name=name, tensor=name, channels=found.channels, stride=stride))
        dims: list[str | int | None] = [BATCH, found.channels, found.height, found.width]
        values.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims))
    return stages, values


def _graft_planar(graph: Graph, found: FeatureMap, name: str) -> None:
    tensor = found.tensor
    if found.layout == "NCHW":
        graph.add("Cast", [tensor], output=name, to=TensorProto.FLOAT)
        return
    if found.shape.dtype != TensorProto.FLOAT:
        tensor = graph.add("Cast", [tensor], to=TensorProto.FLOAT)
    if found.layout == "tokens":
        places = found.height * found.width
        bounds = [graph.constant("bound", integers(n)) for n in (-places, 2**31 - 1, 1)]
        tensor = graph.add("Slice", [tensor, *bounds])
        grid = graph.constant("grid", integers(0, found.height, found.width, found.channels))
        tensor = graph.add("Reshape", [tensor, grid])
    graph.add("Transpose", [tensor], output=name, perm=[0, 3, 1, 2])


def _as_map(tensor: str, shapes: Shapes, image_input: ImageInput) -> FeatureMap | None:
    """Return a tensor of four axes as a map, None if none of its layouts has about the image's aspect ratio."""
    shape = shapes.get(tensor)
    if shape is None or not shape.is_float or len(shape.dims) != 4 or shape.dims[0] != 1:
        return None
    _, first, second, third = shape.dims
    if _has_aspect(second, third, image_input):
        return FeatureMap(tensor, "NCHW", first, second, third, shape)
    if _has_aspect(first, second, image_input):
        return FeatureMap(tensor, "NHWC", third, first, second, shape)
    return None


def _has_aspect(height: int, width: int, image_input: ImageInput) -> bool:
    ratio = (height * image_input.width) / (width * image_input.height)
    inside = 1 < height <= image_input.height and 1 < width <= image_input.width
    return inside and 1 / ASPECT_TOLERANCE <= ratio <= ASPECT_TOLERANCE


def _as_tokens(tensor: str, shapes: Shapes, before: FeatureMap) -> FeatureMap | None:
    """Return tokens as a map: as many as the map before has places, and at most EXTRA_TOKENS more in front."""
    shape = shapes.get(tensor)
    if shape is None or not shape.is_float or len(shape.dims) != 3 or shape.dims[0] != 1:
        return None
    if not 0 <= shape.dims[1] - before.height * before.width <= EXTRA_TOKENS:
        return None
    return FeatureMap(tensor, "tokens", shape.dims[2], before.height, before.width, shape)


def _has_weights(node: NodeProto, fixed: set[str]) -> bool:
    """Return whether one factor of a product is fixed; scales, zero points and biases make no trained layer of it."""
    if node.op_type in _OF_QUANTIZED:  # (x, its scale, its zero point, w, …)
        return node.input[0] in fixed or node.input[3] in fixed
    return node.op_type in _WEIGHTED and any(name in fixed for name in node.input[:2])


def _bottlenecks(model: onnx.ModelProto, shapes: Shapes, end: str) -> list[str]:
    """Return, in order, the tensors after the first trained layer that every path passes through."""
    nodes = _leading_to(model, shapes, end)
    # Parts of a Split that do not lead to the end are not read, and keep no path open.
    last_read = {name: index for index, node in enumerate(nodes) for name in node.input if name}
    last_read[end] = len(nodes)
    found, open_until, trained = [], -1, False
    fixed = fixed_tensors(model.graph)
    for index, node in enumerate(nodes):
        trained = trained or _has_weights(node, fixed)
        made = [name for name in node.output if name in last_read]
        if trained and open_until <= index and len(made) == 1:
            found.append(made[0])
        open_until = max(open_until, *(last_read[name] for name in made))
    return found


def _leading_to(model: onnx.ModelProto, shapes: Shapes, end: str) -> list[NodeProto]:
    """Return the nodes between the image and `end`, in order, without those that compute sizes."""
    nodes = _following(model)
    maker = {name: index for index, node in enumerate(nodes) for name in node.output}
    needed: set[int] = set()
    queue = deque([end])
    while queue:
        name = queue.popleft()
        index = maker.get(name)
        if index is None or index in needed:
            continue
        is_size = name in shapes and shapes[name].is_integer
        if is_size and nodes[index].op_type not in _WEIGHTED:
            continue
        needed.add(index)
        queue.extend(nodes[index].input)
    return [node for index, node in enumerate(nodes) if index in needed]


def _following(model: onnx.ModelProto) -> list[NodeProto]:
    """Return the nodes that depend on the image, in order."""
    reached = {value.name for value in model.graph.input}
    nodes = []
    for node in model.graph.node:
        if not reached.isdisjoint(node.input):
            reached.update(node.output)
            nodes.append(node)
    return nodes
