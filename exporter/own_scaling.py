"""What a graph itself makes of pixel values before its first layer: some networks divide bytes by 255 themselves."""

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto, TensorProto, helper

from exporter.progress import Progress
from exporter.recipe import Pixels, Recipe
from exporter.sessions import unoptimized_session

LARGEST_FACTOR_OF_BYTES = 0.05
"""Between the factors of networks that read bytes (1/255, 2/255, and 1/58 of ImageNet's std) and those of networks that
read 0–1 (1, 2, and 4.4 of that std)."""

_ARITHMETIC = {"Add", "Sub", "Mul", "Div", "BatchNormalization"}
_MOVES = {
    *("Cast", "Round", "Identity", "Transpose", "Gather", "Slice", "Split", "Concat"),
    *("Reshape", "Squeeze", "Unsqueeze", "Expand", "Pad", "Resize"),
}
_SIZES = {"Shape", "Size"}
"""Nodes that read no value of a tensor."""


def settle_scale(
    pixels: Pixels, recipe: Recipe, factor: float | None, progress: Progress
) -> Pixels:
    """Return pixel values as bytes where neither recipe nor source states a scale and the graph itself makes it.

    Args:
        pixels: what the recipe states, completed by defaults.
        recipe: the recipe.
        factor: by what the graph multiplies pixel values before its first layer; see `own_factor`.
        progress: is told why bytes are taken.
    """
    stated = recipe.pixels.model_fields_set if recipe.pixels else set()
    if "scale" in stated or 0 < max(pixels.mean) <= 1:
        return pixels
    if factor is None or factor > LARGEST_FACTOR_OF_BYTES:
        return pixels
    progress.warn(
        f"the network itself multiplies pixel values by {factor:.4g} before its first layer: it gets bytes, as with "
        "--scale 1"
    )
    return pixels.model_copy(update={"scale": 1.0})


def own_factor(graph: GraphProto, opset: int) -> float | None:
    """Return by what the graph multiplies a pixel value before its first layer, None where it leaves some as they are.

    The first input has a known image size. Of several channels and paths the largest factor counts.
    """
    known = {tensor.name: tensor for tensor in graph.initializer}
    entry = next(value for value in graph.input if value.name not in known)
    steps, reached = _first_steps(graph.node, entry.name, set(known))
    if not any(node.op_type in _ARITHMETIC for node in steps if set(node.input) & reached):
        return None
    ends = _ends(graph, steps, reached)
    if not ends or entry.name in ends:
        return None
    needed = _needed(steps, ends)
    model = helper.make_model(
        helper.make_graph(
            needed,
            "first_steps",
            [entry],
            [onnx.ValueInfoProto(name=name) for name in ends],
            [known[name] for name in _read(needed) & known.keys()],
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=onnx.IR_VERSION if opset > 20 else 8,
    )
    black, white = _computed(model, entry, 0.0), _computed(model, entry, 1.0)
    return max(
        float(np.abs(after - before).max(initial=0.0))
        for before, after in zip(black, white, strict=True)
    )


def _first_steps(
    nodes: Sequence[NodeProto], entry: str, known: set[str]
) -> tuple[list[NodeProto], set[str]]:
    """Return the nodes that move the input's values or compute a linear function of them, and the values' tensors.

    Among the nodes are those that compute constants for it.
    """
    reached = {entry}
    steps: list[NodeProto] = []
    for node in nodes:
        read = _names_in(node) - {""}
        if read <= known:
            known.update(node.output)
        elif read <= reached | known and _is_linear(node, reached):
            reached.update(node.output)
        else:
            continue
        steps.append(node)
    return steps, reached


def _is_linear(node: NodeProto, reached: set[str]) -> bool:
    changing = [name in reached for name in node.input]
    if node.op_type in _MOVES:
        return node.op_type == "Concat" or not any(changing[1:])
    if node.op_type in {"Mul", "Div"}:
        return changing.count(True) == 1 and (node.op_type == "Mul" or changing[0])
    return node.op_type in {"Add", "Sub"} or (
        node.op_type == "BatchNormalization" and not any(changing[1:])
    )


def _ends(graph: GraphProto, steps: Sequence[NodeProto], reached: set[str]) -> list[str]:
    """Return the tensors with which the first layers begin."""
    within = {id(node) for node in steps}
    later = {
        name
        for node in graph.node
        if id(node) not in within and node.op_type not in _SIZES
        for name in _names_in(node)
    }
    later.update(value.name for value in graph.output)
    return sorted(reached & later)


def _names_in(node: NodeProto) -> set[str]:
    """Return the tensors that a node reads, also within its subgraphs."""
    inner = (attribute.g for attribute in node.attribute if attribute.HasField("g"))
    return set(node.input).union(*(_names_in(one) for graph in inner for one in graph.node))


def _needed(steps: Sequence[NodeProto], ends: Sequence[str]) -> list[NodeProto]:
    wanted, needed = set(ends), []
    for node in reversed(steps):
        if wanted & set(node.output):
            wanted.update(node.input)
            needed.append(node)
    return needed[::-1]


def _read(nodes: Sequence[NodeProto]) -> set[str]:
    return {name for node in nodes for name in _names_in(node)}


def _computed(
    model: onnx.ModelProto, entry: onnx.ValueInfoProto, value: float
) -> list[NDArray[np.float64]]:
    dims = [dim.dim_value or 1 for dim in entry.type.tensor_type.shape.dim]
    kind = helper.tensor_dtype_to_np_dtype(entry.type.tensor_type.elem_type or TensorProto.FLOAT)
    feed = {entry.name: np.full(dims, value, kind)}
    return [one.astype(np.float64) for one in unoptimized_session(model).run(None, feed)]
