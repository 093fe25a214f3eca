"""Images with one spot: a dark noisy frame with a network that reads only its spot, and an encoded image."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.explain.heat_map import Heat
from tests.images import encode

FRAME: NDArray[np.uint8] = np.random.default_rng(3).integers(0, 90, (64, 48, 3), np.uint8)
FRAME[40:52, 8:20] = 255
SPOT = (46 / 64, 14 / 48)
"""The middle of the spot, down and across, in shares of the frame."""


def brightness(frame: NDArray[np.uint8]) -> float:
    """Return how bright the spot is, 0–1."""
    return float((frame[40:52, 8:20] / 255).mean())


def hottest(heat: Heat) -> tuple[float, float]:
    """Return the center of the hottest place, down and across, in shares of the frame."""
    height, width = heat.values.shape
    row, column = np.unravel_index(heat.values.argmax(), heat.values.shape)
    return (float(row) + 0.5) / height, (float(column) + 0.5) / width


def spotted_image() -> bytes:
    """Return a gray image with a red spot at the lower left, x 8–24 and y 40–56 of 64."""
    pixels = np.full((64, 64, 3), 90, np.uint8)
    pixels[40:56, 8:24] = (255, 0, 0)
    return encode(Image.fromarray(pixels))
