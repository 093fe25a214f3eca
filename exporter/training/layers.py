"""Layers that the trained networks of this project share."""

from torch import nn


def convolution(channels: int, filters: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    """Return a convolution with batch norm and ReLU.

    Args:
        channels: channels of the input.
        filters: channels of the output.
        kernel: side of the square kernel, in pixels.
        stride: in pixels; with 1, an odd kernel keeps height and width.
    """
    return nn.Sequential(
        nn.Conv2d(channels, filters, kernel, stride, (kernel - 1) // 2, bias=False),
        nn.BatchNorm2d(filters),
        nn.ReLU(inplace=True),
    )
