"""Whether scores are distances that a graph sums up itself: of squares or of absolute values, without a root."""

from onnx import NodeProto

from exporter.graph import Graph

_REDUCTIONS = {"ReduceSum", "ReduceMean", "ReduceMax"}
_MOVES = {"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Cast"}


def sums_distances(graph: Graph, node: NodeProto) -> bool:
    """Return whether a node reduces squares or absolute values, as of the differences to a prototype."""
    if node.op_type in {"ReduceL1", "ReduceSumSquare"}:
        return True
    if node.op_type not in _REDUCTIONS:
        return False
    producers = graph.producers()
    inner = producers.get(node.input[0])
    while inner is not None and inner.op_type in _MOVES:
        inner = producers.get(inner.input[0])
    return inner is not None and (inner.op_type == "Abs" or is_square(graph, inner))


def is_square(graph: Graph, node: NodeProto) -> bool:
    """Return whether a node squares its input, or raises it to another even power."""
    if node.op_type != "Pow":
        return node.op_type == "Mul" and node.input[0] == node.input[1]
    exponent = graph.value(node.input[1])
    return exponent is not None and bool((exponent % 2 == 0).all())


def is_negated(graph: Graph, tensor: str) -> bool:
    """Return whether a tensor falls where the value that it is made of by constants and moves rises."""
    producers = graph.producers()
    negated = False
    seen: set[str] = set()
    while (node := producers.get(tensor)) is not None and tensor not in seen:
        seen.add(tensor)
        if sums_distances(graph, node):
            break
        computed = [name for name in node.input if name and name not in graph.constants]
        if len(computed) != 1:
            break
        negated ^= _turns(graph, node, computed[0])
        tensor = computed[0]
    return negated


def _turns(graph: Graph, node: NodeProto, computed: str) -> bool:
    if node.op_type == "Neg" or (node.op_type == "Sub" and node.input[1] == computed):
        return True
    if node.op_type not in {"Mul", "Div"}:
        return False
    factors = [value for name in node.input if (value := graph.value(name)) is not None]
    return any(bool((value < 0).all()) for value in factors)
