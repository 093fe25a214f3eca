"""The first convolution of a network: the filters that it applies to the image's pixels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.graph.wiring import Wiring, attribute


@dataclass(frozen=True, slots=True)
class FirstLayer:
    """Weights float32 (F, C, h, w) over the image's C channels, and their stride in pixels, (down, across)."""

    weights: NDArray[np.float32]
    stride: tuple[int, int]


def first_layer(wiring: Wiring) -> FirstLayer | None:
    """Return the first two-dimensional convolution whose input depends on the image, None where there is none."""
    for node, inputs in wiring.dependent_nodes():
        if node.op_type != "Conv" or node.input[0] not in inputs:
            continue
        weights = wiring.constant(node.input[1])
        if weights is not None and weights.ndim == 4:
            down, across = attribute(node, "strides", (1, 1))
            return FirstLayer(weights.astype(np.float32), (int(down), int(across)))
    return None
