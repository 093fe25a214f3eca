"""How much a network amplifies rounding: two right computations of it may differ by as much.

Float32 values differ in their last bit between two frameworks, by the order of a sum. A quantized layer turns that into
a whole step where a value lies between two; deep networks with random weights multiply it.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from exporter.graph import Graph, attribute
from exporter.network import Array, Comparison, Outputs

LARGEST = 0.05
"""A larger difference is never put down to rounding."""

FACTOR = 4.0
"""A few tries do not find the largest change, and every layer rounds, not the input alone."""

_TRIES = 3
_LAST_BIT = 2.0**-23
_LAST_BIT_OF_HALF = 2.0**-10


def allowed_by_rounding(
    run: Callable[[NDArray[np.float32]], Outputs],
    comparison: Comparison,
    pixels: NDArray[np.float32],
    *,
    half: bool = False,
) -> float:
    """Return the difference that rounding can explain, 0 to 0.05.

    Args:
        run: the source alone, from pixel values to the outputs of the task.
        comparison: how its outputs are compared.
        pixels: values float32; each is changed by 2⁻²³ of itself, its last bit or two, up or down.
        half: whether the source computes in float16; the change is then 2⁻¹⁰, since it sees no smaller one.
    """
    last_bit = _LAST_BIT_OF_HALF if half else _LAST_BIT
    rng = np.random.default_rng(0)
    expected = run(pixels)
    changes = [0.0]
    for _ in range(_TRIES):
        signs = rng.choice(np.array([-last_bit, last_bit]), pixels.shape)
        changed: Array = (pixels * (1 + signs)).astype(np.float32)
        changes.append(comparison.difference(run(changed), expected))
    return min(FACTOR * max(changes), LARGEST)


def computes_in_half(graph: Graph) -> bool:
    """Return whether a graph has weights in float16, or turns values into it."""
    has_weights = any(one.data_type == TensorProto.FLOAT16 for one in graph.constants.values())
    return has_weights or any(
        node.op_type == "Cast" and attribute(node, "to", 0) == TensorProto.FLOAT16
        for node in graph.nodes
    )
