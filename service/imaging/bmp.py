"""A BMP → what Pillow reads of it wrongly: run lengths with gaps, and alpha that a V4 or V5 header declares."""

import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile

from service.errors import BrokenImageError, TooManyPixelsError, UnsupportedImageError
from service.imaging.deadline import GoOn, without_end

Pairs = NDArray[np.uint8]

_V1_END, _V4_BYTES = 14 + 40, 108
_RGB, _BIT_FIELDS = 0, 3
_BGRA = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
_RUN_LENGTHS = (1, 2)
"""The compressions RLE8 and RLE4."""
_END_OF_LINE, _END, _DELTA = 0, 1, 2
_COLORS = 256
_PIECE = 1 << 16
_DIGITS = bytes.maketrans(b"0123456789abcdef", bytes(range(16)))

MOST_CODES = 1_500_000
"""Of run lengths, ends of lines and gaps: each takes up to 1.2 µs. A drawing has a few in a row."""
_SERIES, _LONGEST_SERIES = 16, 1 << 16
"""So many run lengths behind each other are decoded together, and count as so many whatever their number. Some encoders
write one for almost each pixel of a photograph."""

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


def run_codes(body: bytes) -> int:
    """Return how many run lengths, ends of lines and gaps a BMP has at most that are decoded one by one.

    Shorter series stand between two of the others, which begin with a zero.
    """
    if len(body) < _V1_END or int.from_bytes(body[14:18], "little") < _V1_END - 14:
        return 0
    if int.from_bytes(body[30:34], "little") not in _RUN_LENGTHS:
        return 0
    return min(MOST_CODES, len(body) // 2, _SERIES * (1 + body.count(b"\0")))


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
        TooManyPixelsError: it has more than `most_codes` run lengths, ends of lines and gaps together, where a long
            series of run lengths counts as 16.
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
    pairs = np.frombuffer(body, np.uint8, len(body) // 2 * 2).reshape(
        -1, 2
    )  # what is stored is padded to them
    others = np.flatnonzero(pairs[:, 0] == 0)
    x = y = place = checked = 0
    left, may_be_series = most_codes, True
    while y < height:
        if place >= checked:
            go_on()
            checked = place + _PIECE
        if place + 2 > len(body):
            _require_last_pixel((x, y), size)
            break
        is_series = _begins_series(body, place, may=may_be_series)
        left -= _SERIES if is_series else 1
        _require_more(left)
        count, value = body[place], body[place + 1]
        may_be_series = is_series or not count
        if is_series:
            series = _series(pairs, others, place // 2)
            pixels = _run_pixels(series, max(0, width - x), is_nibbles=is_nibbles)
            count = int(series[:, 0].sum(dtype=np.int64))
            place += 2 * len(series)
        elif count:
            pixels = _one_run(value, count, is_nibbles=is_nibbles)
            place += 2
        elif value == _END_OF_LINE:
            x, y, place = 0, y + 1, place + 2
            continue
        elif value == _END:
            break
        elif value == _DELTA:
            x, y = x + sum(body[place + 2 : place + 3]), y + sum(body[place + 3 : place + 4])
            place += 4
            continue
        else:
            pixels, place = _stored(body, place + 2, value, is_nibbles=is_nibbles)
            count = len(pixels)
        kept = pixels[: max(0, width - x)]
        start = y * width + x
        rows[start : start + len(kept)] = kept
        if left_out is not None:
            left_out[start : start + len(kept)] = bytes(len(kept))
        x += count
    return rows


def _stored(body: bytes, place: int, count: int, *, is_nibbles: bool) -> tuple[bytes, int]:
    """Return indices that are no run, and the place behind them."""
    size = (count + 1) // 2 if is_nibbles else count
    data = body[place : place + size]
    behind = place + size + size % 2  # padded to words
    return (_nibbles(data)[:count] if is_nibbles else data), behind


def _require_more(left: int) -> None:
    if left < 0:
        raise TooManyPixelsError(
            "The BMP has more run lengths than are read. Send it without compression, or as PNG."
        )


def _begins_series(body: bytes, place: int, *, may: bool) -> bool:
    if not may:
        return False
    counts = body[place : place + 2 * _SERIES : 2]
    return len(counts) == _SERIES and 0 not in counts


def _one_run(value: int, count: int, *, is_nibbles: bool) -> bytes:
    if not is_nibbles:
        return bytes((value,)) * count
    return (bytes((value >> 4, value & 15)) * (count // 2 + 1))[:count]


def _series(pairs: Pairs, others: NDArray[np.intp], first: int) -> Pairs:
    """Return the run lengths from one on, up to what is none."""
    place = int(np.searchsorted(others, first))
    end = int(others[place]) if place < len(others) else len(pairs)
    return pairs[first : min(end, first + _LONGEST_SERIES)]


def _run_pixels(series: Pairs, most: int, *, is_nibbles: bool) -> bytes:
    """Return the indices of run lengths, `most` at most."""
    counts = series[:, 0].astype(np.int64)
    ends = counts.cumsum()
    needed = int(np.searchsorted(ends, most)) + 1
    counts, values = counts[:needed], np.repeat(series[:needed, 1], counts[:needed])
    if is_nibbles:  # they take turns, from the high one on
        within = np.arange(len(values)) - np.repeat(ends[:needed] - counts, counts)
        values = np.where(within % 2, values & 15, values >> 4)
    return values[:most].tobytes()


def _require_last_pixel(place: tuple[int, int], size: tuple[int, int]) -> None:
    if place[1] != size[1] - 1 or place[0] < size[0]:
        raise BrokenImageError(
            "The BMP is damaged or cut short: it has fewer pixels than its header says. Send the whole file."
        )


def _nibbles(data: bytes) -> bytes:
    return data.hex().encode().translate(_DIGITS)
