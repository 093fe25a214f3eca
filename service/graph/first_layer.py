"""The first convolution: the filters that a network has learned to look at pixels with."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.graph.wiring import Wiring, attribute


@dataclass(frozen=True, slots=True)
class FirstLayer:
    """Weights float32 (F, C, h, w) over the image's channels, and how far apart they are applied, (down, across)."""

    weights: NDArray[np.float32]
    stride: tuple[int, int]


def first_layer(wiring: Wiring) -> FirstLayer | None:
    """Return the first two-dimensional convolution that reads the image; None where a network has none."""
    for node, given in wiring.derived():
        if node.op_type != "Conv" or node.input[0] not in given:
            continue
        weights = wiring.constant(node.input[1])
        if weights is not None and weights.ndim == 4:
            down, across = attribute(node, "strides", (1, 1))
            return FirstLayer(weights.astype(np.float32), (int(down), int(across)))
    return None
