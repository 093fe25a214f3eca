"""BMPs of any header, written by hand from the description of BITMAPINFOHEADER, BITMAPV4HEADER and BITMAPV5HEADER."""

import struct
from collections.abc import Sequence

import numpy as np

from service.imaging.decode import Limits, open_image, read_pixels

RGB, RLE8, RLE4, BIT_FIELDS = 0, 1, 2, 3
V1, V2, V3, V4, V5 = 40, 52, 56, 108, 124
R, G, B, T, BLACK = "ff0000", "00ff00", "0000ff", "0963c7", "000000"
PALETTE = b"".join(bytes.fromhex(color)[::-1] + b"\0" for color in (R, G, B, T))


def bmp_of(  # noqa: PLR0917  # the fields of the header
    header: int,
    size: tuple[int, int],
    bits: int,
    compression: int,
    data: bytes,
    masks: Sequence[int] = (),
    palette: bytes = b"",
) -> bytes:
    fields = struct.pack(
        "<IiiHHIIiiII", header, *size, 1, bits, compression, len(data), 0, 0, len(palette) // 4, 0
    )
    fields += b"".join(struct.pack("<I", mask) for mask in masks)
    start = 14 + header + len(palette)
    head = b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start)
    return head + fields.ljust(header, b"\0") + palette + data


def shown(body: bytes) -> str:
    """Return the colors, pixel by pixel, with a bar after each row."""
    pixels = np.asarray(read_pixels(open_image(body, Limits())).convert("RGB"))
    return " | ".join(" ".join(bytes(pixel).hex() for pixel in row) for row in pixels)


def fields(bits: int, header: int, masks: tuple[int, ...], *pixels: int) -> bytes:
    """Return a BMP of one row; the masks of the first header are behind it."""
    data = struct.pack(f"<{len(pixels)}{'H' if bits == 16 else 'I'}", *pixels)
    data += b"\0" * (-len(data) % 4)
    body = bmp_of(header, (len(pixels), 1), bits, BIT_FIELDS, data, masks)
    if header == V1:
        return body[:10] + struct.pack("<I", 14 + header + 4 * len(masks)) + body[14:]
    return body
