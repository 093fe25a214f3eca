"""Weights rounded to few levels so that the outputs of their layer, not the weights themselves, change least.

This is optimal brain quantization in the order of GPTQ (Frantar et al., arXiv:2210.17323): the columns of the weights
are rounded one after another, and the columns that follow make up for the error, as far as the inputs' covariance
allows. The remaining change of the mean goes into the bias (Nagel et al., arXiv:1906.04721).
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
DAMPING = 0.01
"""A share of the mean variance, added to every variance: weights of inputs that hardly vary stay near their values."""

SMALLEST = 1e-9
"""A covariance whose smallest eigenvalue is no larger share of its largest one has no inverse in 64 bits."""

BLOCK = 128
"""How many columns are corrected at once; it changes the speed only."""


def round_weights(weights: Floats, variance: Floats, levels: int) -> tuple[Floats, Floats]:
    """Return integers from −levels to levels in the weights' shape, and the scale of each output (groups, outputs).

    Args:
        weights: (groups, outputs, inputs) of one layer.
        variance: (groups, inputs, inputs), the covariance of the inputs.
        levels: the largest integer.
    """
    scales = np.abs(weights).max(axis=2) / levels
    scales[scales == 0] = 1
    columns = weights.shape[2]
    # Later columns make up for the errors of earlier ones, so the columns whose inputs vary most come first.
    order = np.argsort(-variance.diagonal(axis1=1, axis2=2), axis=1)
    rest = np.take_along_axis(weights, order[:, None], axis=2)
    ordered = np.take_along_axis(variance, order[:, :, None], axis=1)
    upper = _factor(np.take_along_axis(ordered, order[:, None], axis=2))
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


def _factor(variance: Floats) -> Floats:
    """Return the upper triangular factor of the damped covariance's inverse, (groups, inputs, inputs).

    What a few images give for inputs that hardly vary is rounding, and no covariance: it is damped more.
    """
    means = variance.trace(axis1=1, axis2=2) / variance.shape[2]
    unit = np.eye(variance.shape[2])
    damped = variance + (DAMPING * means + 1e-12)[:, None, None] * unit
    try:
        return _factor_of_inverse(damped)
    except np.linalg.LinAlgError:
        lowest, *_, highest = np.linalg.eigvalsh(damped).T
        most = np.maximum(np.abs(lowest), np.abs(highest)) + 1e-12
        missing = np.where(lowest > SMALLEST * most, 0, DAMPING * most - np.minimum(lowest, 0))
        return _factor_of_inverse(damped + missing[:, None, None] * unit)


def _factor_of_inverse(damped: Floats) -> Floats:
    upper: Floats = np.linalg.cholesky(np.linalg.inv(damped)).transpose(0, 2, 1)
    return upper
