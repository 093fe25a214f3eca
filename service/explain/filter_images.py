"""The first layer's filters → what each one looks for, in numbers and as images."""

from typing import TypedDict

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.heads.rounding import figure


class FilterFigures(TypedDict):
    filter: int
    norm: float
    color: float


def describe_filters(weights: NDArray[np.float32]) -> list[FilterFigures]:
    """Return each filter's length, and the share of its energy that its mean over the channels does not explain.

    Args:
        weights: float32 (F, C, h, w).
    """
    energy = (weights**2).sum(axis=(1, 2, 3))
    gray = (weights.mean(axis=1) ** 2).sum(axis=(1, 2)) * weights.shape[1]
    color = 1 - np.divide(gray, energy, out=np.ones_like(energy), where=energy > 0)
    return [
        {"filter": index, "norm": figure(norm**0.5), "color": figure(max(0.0, share))}
        for index, (norm, share) in enumerate(zip(energy.tolist(), color.tolist(), strict=True))
    ]


def filter_images(weights: NDArray[np.float32]) -> list[Image.Image]:
    """Return each filter as an image of its own size: mid gray is 0, and its largest weight is black or white.

    Three channels are red, green and blue; of any other number the mean is shown in gray.
    """
    if weights.shape[1] != 3:
        weights = weights.mean(axis=1, keepdims=True)
    largest = np.abs(weights).max(axis=(1, 2, 3), keepdims=True)
    scaled = np.divide(weights, largest, out=np.zeros_like(weights), where=largest > 0)
    pixels = np.rint(127.5 + 127.5 * scaled).astype(np.uint8).transpose(0, 2, 3, 1)
    return [Image.fromarray(one.squeeze(-1) if one.shape[-1] == 1 else one) for one in pixels]
