"""How loud a layer's own rounding is beside what the layer says, told from its inputs' statistics alone.

Measuring it would take a run of the network a layer; this takes none.
"""

import numpy as np

from exporter.calibration import Moments
from exporter.rounding import Floats

_UNIFORM = 12
"""Rounding errs evenly within one step, whose variance is step² / 12 (Widrow, 1956)."""


def noise(exact: Floats, rounded: Floats, moments: Moments, steps: tuple[float, float]) -> float:
    """Return the noise of one quantized layer as a share of its outputs' power about their means.

    Args:
        exact: weights (groups, outputs, inputs) in float.
        rounded: the same as they are after rounding; what they lose of the mean is the bias's affair.
        moments: of the layer's inputs.
        steps: the distance of two levels of the layer's input and of its output.
    """
    covariance = moments.covariance
    of_input, of_output = (step**2 / _UNIFORM for step in steps)
    loud = _power(rounded - exact, covariance)
    loud += of_input * float(np.square(exact).sum(axis=2).mean()) + of_output
    return loud / max(_power(exact, covariance), np.finfo(np.float64).tiny)


def _power(weights: Floats, covariance: Floats) -> float:
    """Return the variance of the weights' outputs, the mean over all of them."""
    return float(np.einsum("gij,gij->gi", weights @ covariance, weights).mean())
