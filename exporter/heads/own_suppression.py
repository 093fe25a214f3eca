"""Whether a detector's graph itself leaves one box for each object."""

import onnx

from exporter.heads.one_output import MOST_QUERIES

_SUPPRESSION = "NonMaxSuppression"


def gives_each_object_one_box(model: onnx.ModelProto, rows: int) -> bool:
    """Return whether a graph whose outputs are boxes, scores and classes needs no suppression after it.

    It suppresses itself, or it is a detection transformer (arXiv:2005.12872): it selects the best of a few queries,
    which attention keeps apart.

    Args:
        model: the graph.
        rows: how many boxes it gives for an image.
    """
    operators = {node.op_type for node in model.graph.node}
    if _SUPPRESSION in operators:
        return True
    return rows <= MOST_QUERIES and "TopK" in operators and _has_attention(model.graph)


def keeps_boxes_apart(graph: onnx.GraphProto) -> bool:
    """Return whether a graph has what leaves one box for each object: a suppression, or the attention of queries."""
    return any(node.op_type == _SUPPRESSION for node in graph.node) or _has_attention(graph)


def _has_attention(graph: onnx.GraphProto) -> bool:
    """Return whether a matrix is multiplied by the result of a softmax."""
    weights = {name for node in graph.node if node.op_type == "Softmax" for name in node.output}
    return any(
        node.op_type == "Attention"
        or (node.op_type == "MatMul" and not weights.isdisjoint(node.input))
        for node in graph.node
    )
