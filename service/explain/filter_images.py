"""The filters of a first layer as images."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def filter_images(weights: NDArray[np.float32]) -> list[Image.Image]:
    """Return each filter as an image of its own size: mid gray is 0, the filter's largest weight is black or white.

    Args:
        weights: float32 (F, C, h, w). Three channels are drawn as red, green and blue; of any other number of channels
            the mean is drawn in gray.
    """
    if weights.shape[1] != 3:
        weights = weights.mean(axis=1, keepdims=True)
    largest = np.abs(weights).max(axis=(1, 2, 3), keepdims=True)
    scaled = np.divide(weights, largest, out=np.zeros_like(weights), where=largest > 0)
    pixels = np.rint(127.5 + 127.5 * scaled).astype(np.uint8).transpose(0, 2, 3, 1)
    return [Image.fromarray(one.squeeze(-1) if one.shape[-1] == 1 else one) for one in pixels]
