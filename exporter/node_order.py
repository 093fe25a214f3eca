"""What a graph's nodes read: their order, and the tensors that depend on no input."""

from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter

import onnx
from onnx import NodeProto

from exporter.errors import GraphError


def in_order(nodes: Sequence[NodeProto]) -> list[NodeProto]:
    """Return the nodes so that each comes after those whose tensors it reads.

    Raises:
        GraphError: there is a cycle.
    """
    maker = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    needs = {
        index: {maker[name] for name in tensors_read(node) if name in maker}
        for index, node in enumerate(nodes)
    }
    try:
        return [nodes[index] for index in TopologicalSorter(needs).static_order()]
    except CycleError as error:
        raise GraphError("The graph has a cycle") from error


def fixed_tensors(graph: onnx.GraphProto) -> set[str]:
    """Return the tensors that do not depend on an input: constants, and what is computed from them alone.

    The weights of a quantized graph are such: integers that a DequantizeLinear turns into floats. The nodes must be
    sorted.
    """
    known = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if tensors_read(node) <= known:
            known.update(node.output)
    return known


def tensors_read(node: NodeProto) -> set[str]:
    """Return every tensor that a node reads, those that its inner graphs read included."""
    read = {name for name in node.input if name}
    for attribute in node.attribute:
        for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
            read.update(name for child in inner.node for name in tensors_read(child))
            read.update(value.name for value in inner.output)
    return read
