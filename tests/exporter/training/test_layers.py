"""Layers that the trained networks share."""

import pytest
import torch

from exporter.training.layers import convolution


@pytest.mark.parametrize(("kernel", "stride", "side"), [(3, 1, 16), (5, 2, 8), (6, 2, 8)])
def test_a_convolution_keeps_or_halves_the_sides(kernel: int, stride: int, side: int) -> None:
    found = convolution(3, 5, kernel, stride)(torch.ones(2, 3, 16, 16))
    assert found.shape == (2, 5, side, side)
    assert (found >= 0).all()
