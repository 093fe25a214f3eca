"""Weights rounded to few levels so that a layer's outputs, not its weights, change least.

Optimal brain quantization in GPTQ's order: each column of the weights is rounded in turn and those
still to come make up for its error, weighed by how the layer's inputs vary together (Frantar et al.,
arXiv:2210.17323). What is left of the mean goes into the bias (Nagel et al., arXiv:1906.04721).
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
DAMPING = 0.01
"""A share of the mean variance, added so that what the images never showed does not run away."""

BLOCK = 128


def rounded(weights: Floats, variance: Floats, levels: int) -> tuple[Floats, Floats]:
    """Return integers −levels … levels in the weights' shape, and the scale of each output.

    Args:
        weights: (groups, outputs, inputs) of one layer.
        variance: (groups, inputs, inputs), the covariance of the inputs.
        levels: the largest integer.
    """
    scales = np.abs(weights).max(axis=2) / levels
    scales[scales == 0] = 1
    columns = weights.shape[2]
    means = variance.trace(axis1=1, axis2=2) / columns
    damped = variance + (DAMPING * means + 1e-12)[:, None, None] * np.eye(columns)
    # The first columns round freely: those whose inputs vary most go first.
    order = np.argsort(-variance.diagonal(axis1=1, axis2=2), axis=1)
    rest = np.take_along_axis(weights, order[:, None], axis=2)
    damped = np.take_along_axis(damped, order[:, :, None], axis=1)
    damped = np.take_along_axis(damped, order[:, None], axis=2)
    upper = np.linalg.cholesky(np.linalg.inv(damped)).transpose(0, 2, 1)
    found = np.empty_like(rest)
    for begin in range(0, columns, BLOCK):
        end = min(begin + BLOCK, columns)
        errors = np.empty((*rest.shape[:2], end - begin))
        for column in range(begin, end):
            integers = np.clip(np.rint(rest[:, :, column] / scales), -levels, levels)
            found[:, :, column] = integers
            error = rest[:, :, column] - integers * scales
            error /= upper[:, column, column, None]
            rest[:, :, column:end] -= error[:, :, None] * upper[:, None, column, column:end]
            errors[:, :, column - begin] = error
        rest[:, :, end:] -= errors @ upper[:, begin:end, end:]
    integers = np.empty_like(found)
    np.put_along_axis(integers, np.broadcast_to(order[:, None], found.shape), found, axis=2)
    return integers, scales
