"""A BMP → what Pillow reads of it wrongly: run lengths with gaps, and alpha that a V4 or V5 header declares."""

import struct

import numpy as np
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile

from service.errors import BrokenImageError, TooManyPixelsError, UnsupportedImageError
from service.imaging.deadline import GoOn, without_end

_V4_BYTES = 108
_RGB, _BIT_FIELDS = 0, 3
_BGRA = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
_RUN_LENGTHS = (1, 2)
"""The compressions RLE8 and RLE4."""
_END_OF_LINE, _END, _DELTA = 0, 1, 2
_COLORS = 256
_PIECE = 1 << 16
_DIGITS = bytes.maketrans(b"0123456789abcdef", bytes(range(16)))

MOST_CODES = 1_500_000
"""Of run lengths: each takes up to 1.2 µs. A drawing has a few in a row; a photograph is smaller without them."""

_COMPRESSIONS = {
    4: "a JPEG within a BMP",
    5: "a PNG within a BMP",
    6: "BMP bit fields of another kind",
}


def with_alpha_mask(body: bytes) -> bytes:
    """Return a BMP of 32 bits that declares its alpha as bit fields, if its V4 or V5 header has a mask of alpha.

    Browsers take the highest byte for alpha then, whatever the masks are.
    """
    if len(body) < 14 + _V4_BYTES or int.from_bytes(body[14:18], "little") < _V4_BYTES:
        return body
    bits, compression = struct.unpack_from("<HI", body, 28)
    if (bits, compression) != (32, _RGB) or not any(body[66:70]):  # the mask of alpha
        return body
    return b"".join(
        (body[:30], struct.pack("<I", _BIT_FIELDS), body[34:54], _BGRA, memoryview(body)[70:])
    )


def refused(body: bytes) -> UnsupportedImageError:
    """Return the error for a BMP of a kind that is not read."""
    header = int.from_bytes(body[14:18], "little")
    bits, compression = struct.unpack_from("<HI", body.ljust(34, b"\0"), 28)
    what = _COMPRESSIONS.get(
        compression,
        f"{bits} bits per pixel of compression {compression}, in a header of {header} bytes",
    )
    if compression == _BIT_FIELDS:
        what = f"{bits} bits per pixel in bit fields with gaps, or without colors"
    return UnsupportedImageError(
        f"The BMP is of a kind that is not read: {what}. Send it with 24 bits per pixel, or PNG."
    )


def has_run_lengths(file: BmpImageFile) -> bool:
    """Return whether the pixels are compressed as run lengths."""
    return file.info.get("compression") in _RUN_LENGTHS


def load_run_lengths(
    file: BmpImageFile, body: bytes, go_on: GoOn = without_end, most_codes: int = MOST_CODES
) -> Image.Image:
    """Return the pixels of a BMP with run lengths; those that it leaves out are black, as in browsers.

    `go_on` is called for every 64 KiB of the file.

    Raises:
        BrokenImageError: the file ends before its pixels do.
        TooManyPixelsError: it has more than `most_codes` run lengths, ends of lines and gaps together.
    """
    tile = file.tile[0]
    assert isinstance(tile.args, tuple), "the raw mode, whether it is RLE4, and the direction"
    mode, is_rle4, direction = tile.args
    width, height = file.size
    data = memoryview(body)[tile.offset :]
    black = _black(file)
    left_out = bytearray(b"\xff" * (width * height)) if black is None else None
    nibbles = bool(is_rle4)
    rows = _decoded(
        data, file.size, black or 0, left_out, go_on, is_nibbles=nibbles, most_codes=most_codes
    )
    pixels = np.frombuffer(rows, np.uint8).reshape(height, width)[::direction]
    if mode == "1":
        pixels = np.where(pixels == 1, np.uint8(255), np.uint8(0))
    shown = Image.fromarray(np.ascontiguousarray(pixels))
    if file.palette is not None and file.mode == "P":
        shown = Image.frombytes("P", file.size, shown.tobytes())
        shown.palette = file.palette
        shown.load()
    if left_out is not None:
        shown = shown.convert("RGB")
        gaps = np.frombuffer(left_out, np.uint8).reshape(height, width)[::direction]
        shown.paste((0, 0, 0), mask=Image.fromarray(np.ascontiguousarray(gaps)))
    return shown


def _black(file: BmpImageFile) -> int | None:
    """Return the index of black, in the palette or behind it; None where all indices are of other colors."""
    if file.palette is None or file.mode != "P":
        return 0
    step = len(file.palette.rawmode or "RGB")
    colors = np.frombuffer(bytes(file.palette.palette), np.uint8)
    colors = colors[: len(colors) // step * step].reshape(-1, step)[:_COLORS, :3]
    if len(colors) < _COLORS:
        return len(colors)
    found = np.flatnonzero(~colors.any(axis=1))
    return int(found[0]) if len(found) else None


def _decoded(
    data: memoryview,
    size: tuple[int, int],
    black: int,
    left_out: bytearray | None,
    go_on: GoOn,
    *,
    is_nibbles: bool,
    most_codes: int,
) -> bytearray:
    """Return the indices, row by row in the order of the file. Nothing is written beyond the end of a row.

    Where `left_out` is given, the pixels that the file has become 0 in it.
    """
    width, height = size
    rows = bytearray(bytes((black,)) * (width * height))
    body = bytes(data)  # read byte by byte, for which a view takes twice as long
    x = y = place = checked = 0
    left = most_codes
    while y < height:
        if place >= checked:
            go_on()
            checked = place + _PIECE
        if place + 2 > len(body):
            _require_last_pixel((x, y), size)
            break
        left -= 1
        if left < 0:
            raise TooManyPixelsError(
                "The BMP has more run lengths than are read. Send it without compression, or as PNG."
            )
        count, value = body[place], body[place + 1]
        place += 2
        if count:
            run = bytes((value >> 4, value & 15)) * (count // 2 + 1) if is_nibbles else b""
            pixels = run[:count] if is_nibbles else bytes((value,)) * count
        elif value == _END_OF_LINE:
            x, y = 0, y + 1
            continue
        elif value == _END:
            break
        elif value == _DELTA:
            x, y = x + sum(body[place : place + 1]), y + sum(body[place + 1 : place + 2])
            place += 2
            continue
        else:
            stored = (value + 1) // 2 if is_nibbles else value
            pixels = body[place : place + stored]
            place += stored + stored % 2  # padded to words
            pixels = _nibbles(pixels)[:value] if is_nibbles else pixels
        kept = pixels[: max(0, width - x)]
        start = y * width + x
        rows[start : start + len(kept)] = kept
        if left_out is not None:
            left_out[start : start + len(kept)] = bytes(len(kept))
        x += len(pixels)
    return rows


def _require_last_pixel(place: tuple[int, int], size: tuple[int, int]) -> None:
    if place[1] != size[1] - 1 or place[0] < size[0]:
        raise BrokenImageError(
            "The BMP is damaged or cut short: it has fewer pixels than its header says. Send the whole file."
        )


def _nibbles(data: bytes) -> bytes:
    return data.hex().encode().translate(_DIGITS)
