"""The noise of a quantized layer, estimated without a run."""

import numpy as np

from exporter.calibration import Moments
from exporter.quantization_noise import relative_noise
from tests.exporter.graphs import normal


def test_the_estimated_noise_is_the_noise_that_rounding_makes() -> None:
    """Inputs, weights and outputs are all rounded."""
    inputs = np.abs(normal(4000, 1) + normal(4000, 24)).astype(np.float64)
    weights = normal(1, 6, 24).astype(np.float64)
    steps = (inputs.max() / 255, 0.2)
    coarse = np.rint(weights * 8) / 8
    moments = Moments(len(inputs), inputs.sum(axis=0)[None], (inputs.T @ inputs)[None])

    exact = inputs @ weights[0].T
    found = np.rint(inputs / steps[0]) * steps[0] @ coarse[0].T
    found = np.rint(found / steps[1]) * steps[1]
    measured = (found - exact).var(axis=0).mean() / exact.var(axis=0).mean()

    np.testing.assert_allclose(relative_noise(weights, coarse, moments, steps), measured, rtol=0.1)


def test_without_rounding_there_is_no_noise() -> None:
    weights = normal(1, 2, 3).astype(np.float64)
    moments = Moments(10, np.zeros((1, 3)), 10 * np.eye(3)[None])
    assert relative_noise(weights, weights, moments, (0.0, 0.0)) == 0
