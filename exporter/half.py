"""A proved fp32 graph → the same in fp16: which layers stay in float32, and how the rest is converted."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import onnx
from onnx import TensorProto
from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

from exporter.graph import attribute, copy_of, is_grafted, replace_nodes
from exporter.int8 import MOST_IN_FLOAT, WEIGHTED, before_arithmetic, cleaned
from exporter.library_warnings import ignore_library_warnings
from exporter.progress import Progress

SMALLEST_PART = 16
"""The first trial leaves one in so many layers in float32."""

_KEPT_IN_FLOAT = {"Softmax", "LayerNormalization", "Resize", "ReduceMean", "Erf", "Exp"}


@dataclass(frozen=True, slots=True)
class Halved:
    """A graph in fp16, its agreement with fp32 (0–1), and the number of layers that stayed in float32."""

    model: onnx.ModelProto
    agreement: float
    in_float: int


def halve(
    model: onnx.ModelProto,
    agreement: Callable[[onnx.ModelProto], float],
    enough: float,
    progress: Progress,
) -> Halved:
    """Convert all layers; if the agreement is too small then, leave some in float32.

    First the last layers stay in float32, with what follows them: the decoding of boxes and their suppression. Then so
    do layers from the first one on, since what is rounded there passes through most other layers. More layers do not
    always agree better, since a box may fall on either side of a limit; so few are tried first.

    Args:
        model: the graph in fp32.
        agreement: measures a converted graph against fp32, 0–1.
        enough: the agreement to reach.
        progress: gets the agreement of each trial.
    """
    own = [node for node in model.graph.node if not is_grafted(node)]
    followed = before_arithmetic(model)
    last = {node.name for node in own if node.name not in followed}
    layers = [node.name for node in own if node.op_type in WEIGHTED]
    inner = [name for name in layers if name not in last]

    def trial(first: int, kept: Collection[str]) -> Halved:
        in_float = {*kept, *inner[:first]}
        graph = to_fp16(model, in_float)
        found = Halved(graph, agreement(graph), len(in_float.intersection(layers)))
        share = f"{found.in_float} of {len(layers)} layers in float"
        progress.advance(0.5, f"{found.agreement:.1%}, {share}")
        return found

    whole = trial(0, ())
    if whole.agreement >= enough or not inner:
        return whole
    tried = [whole]
    for first in _counts(len(layers), len(inner)):
        tried.append(trial(first, last))
        if tried[-1].agreement >= enough:
            return tried[-1]
    return max(tried, key=lambda one: one.agreement)


def _counts(layers: int, inner: int) -> list[int]:
    """Return how many of the first layers to leave in float32, twice as many each time."""
    counts = [0]
    while (more := max(1, layers // SMALLEST_PART, 2 * counts[-1])) <= min(
        inner, MOST_IN_FLOAT * layers
    ):
        counts.append(more)
    return counts


def to_fp16(model: onnx.ModelProto, in_float: Collection[str] = ()) -> onnx.ModelProto:
    """Return the model in fp16, except grafted nodes and operators that easily overflow or lose digits.

    Args:
        model: the graph in fp32.
        in_float: the names of other nodes that stay in float32.
    """
    grafted = {node.name for node in model.graph.node if is_grafted(node)}
    with ignore_library_warnings():
        converted: onnx.ModelProto = convert_float_to_float16(
            copy_of(model),
            keep_io_types=True,
            op_block_list=sorted({*DEFAULT_OP_BLOCK_LIST, *_KEPT_IN_FLOAT}),
            node_block_list=sorted(grafted.union(in_float)),
        )
    _restore_omitted_inputs(converted, model)
    _drop_repeated_nodes(converted)
    _drop_round_trips(converted)
    return cleaned(converted, model)


def _restore_omitted_inputs(converted: onnx.ModelProto, model: onnx.ModelProto) -> None:
    """Omit again the inputs that were omitted: the converter adds a cast even to those."""
    before = {node.name: node for node in model.graph.node}
    for node in converted.graph.node:
        for index, name in enumerate(before[node.name].input if node.name in before else ()):
            if not name:
                node.input[index] = ""


def _drop_repeated_nodes(model: onnx.ModelProto) -> None:
    """Keep one of several equal nodes: the converter adds a cast for each reader of a tensor, under one name."""
    made: set[str] = set()
    kept: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if made.isdisjoint(node.output):
            kept.append(node)
            made.update(node.output)
    replace_nodes(model.graph, kept)


def _drop_round_trips(model: onnx.ModelProto) -> None:
    """Let a node in float32 read what another one in float32 writes: the converter rounds to fp16 between them."""
    graph = model.graph
    halves = {
        node.output[0]: node.input[0] for node in graph.node if _casts(node, TensorProto.FLOAT16)
    }
    exact = {
        node.output[0]: halves[node.input[0]]
        for node in graph.node
        if _casts(node, TensorProto.FLOAT) and node.input[0] in halves
    }
    outputs = {value.name for value in graph.output}
    inner = {name: origin for name, origin in exact.items() if name not in outputs}
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = inner.get(name, name)
        if node.output and node.output[0] in exact and node.output[0] in outputs:
            node.input[0] = exact[node.output[0]]
    read = {name for node in graph.node for name in node.input}
    unread = {name for name in (*halves, *inner) if name not in read | outputs}
    replace_nodes(graph, [node for node in graph.node if unread.isdisjoint(node.output)])


def _casts(node: onnx.NodeProto, kind: int) -> bool:
    return node.op_type == "Cast" and attribute(node, "to", 0) == kind
