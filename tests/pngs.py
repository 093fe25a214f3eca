"""PNG files of any depth, color type and chunks, written by hand from the specification."""

import struct
import zlib
from collections.abc import Sequence

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GRAY, RGB, PALETTE, GRAY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6


def chunk(kind: bytes, data: bytes = b"", *, damaged: bool = False) -> bytes:
    checksum = zlib.crc32(kind + data) ^ damaged
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def header(size: tuple[int, int], depth: int, color: int) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, color, 0, 0, 0))


def packed(samples: Sequence[int], depth: int) -> bytes:
    """Return the bytes of a row."""
    bits = "".join(f"{sample:0{depth}b}" for sample in samples)
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8)


def stream(rows: Sequence[bytes], level: int = 6) -> bytes:
    return zlib.compress(b"".join(b"\0" + row for row in rows), level)


def png_of(
    samples: Sequence[int], depth: int, color: int, *, before: bytes = b"", after: bytes = b""
) -> bytes:
    """Return a PNG of two equal rows of these samples, with chunks before and after the pixels."""
    width = len(samples) // {GRAY: 1, RGB: 3, PALETTE: 1, GRAY_ALPHA: 2, RGB_ALPHA: 4}[color]
    pixels = chunk(b"IDAT", stream([packed(samples, depth)] * 2))
    body = SIGNATURE + header((width, 2), depth, color) + before + pixels + after
    return body + chunk(b"IEND")


def frame_control(number: int, box: tuple[int, int, int, int]) -> bytes:
    """Return an fcTL chunk; the box is left, top, width, height."""
    left, top, width, height = box
    data = struct.pack(">5I2H2B", number, width, height, left, top, 100, 100, 0, 0)
    return chunk(b"fcTL", data)


def frame_data(number: int, rows: Sequence[bytes]) -> bytes:
    return chunk(b"fdAT", struct.pack(">I", number) + stream(rows))


def animation(frames: int) -> bytes:
    return chunk(b"acTL", struct.pack(">2I", frames, 0))
