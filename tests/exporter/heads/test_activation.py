"""Scores become probabilities."""

import numpy as np
import pytest

from exporter.heads.activation import activate

SCORES = np.array([[0.0, np.log(3.0)], [800.0, 800.0]])


def test_softmax_sums_to_one_over_the_axis_and_does_not_overflow() -> None:
    np.testing.assert_allclose(activate(SCORES, "softmax", axis=1), [[0.25, 0.75], [0.5, 0.5]])


def test_sigmoid_takes_each_score_alone() -> None:
    np.testing.assert_allclose(activate(SCORES[:1], "sigmoid", axis=1), [[0.5, 0.75]])


def test_without_an_activation_scores_are_probabilities() -> None:
    assert activate(SCORES, "none", axis=1) is SCORES


@pytest.mark.parametrize("axis", [0, 1])
def test_softmax_follows_the_axis(axis: int) -> None:
    np.testing.assert_allclose(activate(SCORES, "softmax", axis=axis).sum(axis=axis), [1, 1])
