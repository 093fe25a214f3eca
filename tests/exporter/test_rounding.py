"""Weights rounded so that the outputs of their layer change least."""

import numpy as np
from numpy.typing import NDArray

from exporter.rounding import round_weights
from tests.exporter.graphs import normal


def test_rounding_makes_up_for_the_error_of_one_weight_with_correlated_others() -> None:
    inputs = normal(400, 1) + 0.1 * normal(400, 12)
    weights = normal(1, 5, 12).astype(np.float64)
    covariance = np.cov(inputs.T)[None]

    integers, scales = round_weights(weights, covariance, levels=7)
    nearest = np.clip(np.rint(weights / scales[:, :, None]), -7, 7)

    def error(values: NDArray[np.float64]) -> float:
        lost = (values * scales[:, :, None] - weights)[0]
        return float(np.einsum("oi,ij,oj->", lost, covariance[0], lost))

    assert np.abs(integers).max() <= 7
    assert error(integers) < error(nearest) / 4


def test_with_independent_inputs_every_weight_is_rounded_to_the_nearest() -> None:
    weights = normal(2, 3, 6).astype(np.float64)

    integers, scales = round_weights(weights, np.eye(6)[None].repeat(2, axis=0), levels=64)

    np.testing.assert_array_equal(integers, np.rint(weights / scales[:, :, None]))
    np.testing.assert_allclose(scales, np.abs(weights).max(axis=2) / 64)


def test_an_output_without_weights_keeps_a_scale() -> None:
    integers, scales = round_weights(np.zeros((1, 2, 3)), np.eye(3)[None], levels=64)
    assert not integers.any()
    assert (scales == 1).all()


def test_a_covariance_that_is_rounding_alone_leaves_weights_near_their_nearest_integers() -> None:
    """Of inputs that hardly vary, the difference of two large sums may be negative; other groups stay as they are."""
    rng = np.random.default_rng(2)
    noise = rng.normal(0, 1e-8, (12, 12))
    inputs = normal(400, 1) + 0.1 * normal(400, 12)
    sound = np.cov(inputs.T)
    weights = normal(2, 5, 12).astype(np.float64)

    integers, scales = round_weights(weights, np.stack([noise + noise.T, sound]), levels=64)

    off = np.abs(integers[0] - weights[0] / scales[0][:, None])
    assert off.max() < 8
    alone, _ = round_weights(weights[1:], sound[None], levels=64)
    np.testing.assert_array_equal(integers[1], alone[0])


def test_inputs_that_never_vary_leave_every_weight_at_the_nearest() -> None:
    weights = normal(1, 3, 6).astype(np.float64)
    integers, scales = round_weights(weights, np.zeros((1, 6, 6)), levels=64)
    np.testing.assert_array_equal(integers, np.rint(weights / scales[:, :, None]))
