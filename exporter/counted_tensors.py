"""The tensors with as many rows as the image gives reason for, such as the boxes that a suppression keeps."""

from onnx import ModelProto

from exporter.node_order import tensors_read

_COUNTED = {"NonMaxSuppression", "NonZero", "Unique", "Compress", "Loop", "If", "SequenceAt"}
"""Operators after which the number of rows may depend on the image."""


def counted_tensors(model: ModelProto) -> set[str]:
    """Return the tensors behind an operator whose results have as many rows as the image gives reason for."""
    found: set[str] = set()
    for node in model.graph.node:
        if node.op_type in _COUNTED or tensors_read(node) & found:
            found.update(node.output)
    return found
