"""A zero pad before a max pooling keeps its zeros in ONNX Runtime.

ONNX Runtime (seen in 1.31) merges a Pad of zeros into the MaxPool that reads it. But a MaxPool pads with −∞: where all
values of a window are negative, its maximum is then one of them and no longer 0. BiT and YOLOv3-tiny have such a pad. A
Pad that states its axes is not merged and means the same.
"""

import numpy as np
from onnx import NodeProto

from exporter.graph import Graph, attribute, consumers

_PASSED = {"Cast", "Dropout", "Identity"}
"""What ONNX Runtime removes between a Pad and what reads it, or merges across."""


def keep_zero_pads(graph: Graph) -> None:
    """Let each constant Pad that a MaxPool reads state its axes, all of them."""
    readers = consumers(graph.nodes)
    for node in graph.nodes:
        if node.op_type != "Pad" or attribute(node, "mode", b"constant") != b"constant":
            continue
        pool = _pool_after(node, readers)
        if pool is None or any(node.input[3:]):
            continue
        kernel = attribute(pool, "kernel_shape", ())
        assert isinstance(kernel, (list, tuple))
        axes = np.arange(2 + len(kernel), dtype=np.int64)
        value = node.input[2] if len(node.input) > 2 else ""
        inputs = [node.input[0], node.input[1], value, graph.constant("pad_axes", axes)]
        del node.input[:]
        node.input.extend(inputs)


def _pool_after(node: NodeProto, readers: dict[str, list[NodeProto]]) -> NodeProto | None:
    """Return a MaxPool that reads what the node computes."""
    for reader in readers.get(node.output[0], ()):
        if reader.op_type == "MaxPool":
            return reader
        if reader.op_type in _PASSED and (found := _pool_after(reader, readers)) is not None:
            return found
    return None
