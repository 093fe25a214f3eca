"""Which layer of a network first disagrees with its graph."""

from collections.abc import Iterable

import numpy as np
import onnx
from numpy.typing import NDArray

from exporter.heads.metrics import relative_difference
from exporter.network import Array, Reference
from exporter.sessions import unoptimized
from exporter.shapes import infer_shapes
from service.card import INPUT_NAME

SAME = 1e-3
"""Inner tensors are compared coarsely: the question is where a network goes another way, not where it rounds."""


def first_disagreement(
    model: onnx.ModelProto, reference: Reference, frames: NDArray[np.uint8]
) -> str:
    """Say after which layer nothing in the graph equals what the source's layers give any more.

    Layers that the exporter fused have no equal of their own, so the first one without an equal says little; the last
    one with an equal is where the two were still together.
    """
    together, apart = "the input", None
    inner = _inner_tensors(model, frames)
    for name, value in reference.layers(reference.pixels_of_frames(frames)):
        if _has_equal(value, inner):
            together, apart = name, None
        elif apart is None:
            apart = name
    if apart is None:
        return f"All layers agree up to the last, {together}: the difference is in the head."
    return f"They agree up to {together}; the first layer that disagrees is {apart}."


def _inner_tensors(model: onnx.ModelProto, frames: NDArray[np.uint8]) -> list[Array]:
    """Run the graph unoptimized and return every float tensor that it computes."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    shapes = infer_shapes(model)
    del probe.graph.output[:]
    for node in probe.graph.node:
        for name in node.output:
            if name in shapes and shapes[name].is_float:
                probe.graph.output.append(onnx.ValueInfoProto(name=name))
    return list(unoptimized(probe).run(None, {INPUT_NAME: frames}))


def _has_equal(value: Array, candidates: Iterable[Array]) -> bool:
    return any(
        candidate.shape == value.shape and relative_difference(candidate, value) < SAME
        for candidate in candidates
    )
