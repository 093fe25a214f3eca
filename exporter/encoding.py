"""Encoded images, made from arrays."""

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def as_png(image: NDArray[np.uint8]) -> bytes:
    """Return an image, uint8 (H, W, 3) RGB or (H, W) gray, as PNG."""
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()
