"""Images for tests: plain colors, and scikit-image's real photographs."""

import struct
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


def run_lengths(size: tuple[int, int]) -> bytes:
    """Return a BMP whose pixels are runs of one each, which take long to decode."""
    width, height = size
    row = b"".join(bytes((1, x % 256)) for x in range(width)) + b"\0\0"
    pixels = row * height + b"\0\1"
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(pixels), 0, 0, 256, 0)
    start = 14 + len(head) + 1024
    places = struct.pack("<IHHI", start + len(pixels), 0, 0, start)
    return b"BM" + places + head + bytes(range(256)) * 4 + pixels
