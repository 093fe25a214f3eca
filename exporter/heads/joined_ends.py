"""Whether scores are joined of parts that end in different ways, such as logits beside the results of a tanh."""

from collections.abc import Callable, Iterator

from onnx import NodeProto

from exporter.graph import Graph
from exporter.heads.cosines import has_length_one

_MOVES = {"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Cast", "Dropout"}
_KNOWN = {
    *("Tanh", "Softsign", "Erf", "Relu", "Clip", "ArgMax", "ArgMin", "Softplus", "Exp", "Log"),
    *("LogSoftmax", "Sqrt", "ReduceL2"),
}
"""Operators that bound the values of what they end; beside a linear layer's, these are in another unit."""


def joins_ends(graph: Graph, tensor: str, ends: Callable[[Graph, str], set[str]]) -> bool:
    """Return whether a tensor's parts are known to end in different ways; an unknown end shows nothing.

    Args:
        graph: computes the tensor.
        tensor: its name.
        ends: returns the kinds of operator that a tensor's values come from, as `graph_ends` does.
    """
    producers = graph.producers()
    found = {_end(graph, producers, one, ends) for one in _parts(graph, producers, tensor)}
    return len(found - {""}) > 1


def _parts(graph: Graph, producers: dict[str, NodeProto], tensor: str) -> Iterator[str]:
    """Yield the tensors that are joined, as far as they depend on the image; the tensor itself where none are."""
    node = _behind_moves(producers, tensor)
    if node is None or node.op_type != "Concat":
        yield tensor
        return
    for name in node.input:
        if graph.value(name) is None:
            yield from _parts(graph, producers, name)


def _end(
    graph: Graph,
    producers: dict[str, NodeProto],
    tensor: str,
    ends: Callable[[Graph, str], set[str]],
) -> str:
    """Return the operator that a tensor ends in, `linear` or `length`, "" where it is not known."""
    node = _behind_moves(producers, tensor)
    if node is not None and node.op_type in _KNOWN:
        return node.op_type
    if has_length_one(producers, tensor):
        return "length"
    return "linear" if ends(graph, tensor) == {"linear"} else ""


def _behind_moves(producers: dict[str, NodeProto], tensor: str) -> NodeProto | None:
    while (node := producers.get(tensor)) is not None and node.op_type in _MOVES:
        tensor = node.input[0]
    return node
