"""The noise that quantization adds to a layer's outputs, estimated from the statistics of its inputs.

To measure it would take a run of the network for each layer; the estimate takes none.
"""

import numpy as np

from exporter.calibration import Moments
from exporter.rounding import Floats

_UNIFORM = 12
"""The error of rounding is uniform within one step; its variance is step² / 12 (Widrow, 1956)."""


def relative_noise(
    exact: Floats, rounded: Floats, moments: Moments, step_sizes: tuple[float, float]
) -> float:
    """Return the noise of one quantized layer as a share of the variance of its outputs.

    Args:
        exact: weights (groups, outputs, inputs) in float.
        rounded: the same after rounding; the bias makes up for the change of the mean.
        moments: the statistics of the layer's inputs.
        step_sizes: the distance between two levels of the layer's input, and of its output.
    """
    covariance = moments.covariance
    of_input, of_output = (step**2 / _UNIFORM for step in step_sizes)
    noise = _variance(rounded - exact, covariance)
    noise += of_input * float(np.square(exact).sum(axis=2).mean()) + of_output
    return noise / max(_variance(exact, covariance), np.finfo(np.float64).tiny)


def _variance(weights: Floats, covariance: Floats) -> float:
    """Return the variance of the weights' outputs, averaged over all outputs."""
    return float(np.einsum("gij,gij->gi", weights @ covariance, weights).mean())
