"""Images for tests: plain colors, and scikit-image's real photographs."""

from functools import cache
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage import data


def encode(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    stream = BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


@cache
def plain(color: str, size: tuple[int, int] = (16, 12), form: str = "PNG") -> bytes:
    return encode(Image.new("RGB", size, color), form)


@cache
def photograph(name: str, form: str = "JPEG") -> bytes:
    """Return one of scikit-image's photographs: chelsea (a cat), coffee (a cup), rocket, astronaut."""
    pixels: NDArray[np.uint8] = getattr(data, name)()
    return encode(Image.fromarray(pixels), form)
