"""TIFF files of any layout, written by hand from the specification."""

import struct
import zlib
from collections.abc import Mapping

NO_COMPRESSION, DEFLATE, PACKBITS = 1, 8, 32773
UNSIGNED, SIGNED, FLOAT = 1, 2, 3
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2


def tiff_of(
    rows: list[bytes],
    tags: Mapping[int, int | tuple[int, ...]],
    *,
    order: str = "<",
    compression: int = NO_COMPRESSION,
    rows_per_strip: int | None = None,
    is_directory_first: bool = False,
) -> bytes:
    """Return a TIFF of these rows; `tags` must have the width (256) and the bits per sample (258);
    one without values is left out.

    For planes, `rows` are those of all planes in turn, and `tags` has the height (257).
    """
    step = rows_per_strip or len(rows)
    strips = [b"".join(rows[start : start + step]) for start in range(0, len(rows), step)]
    if compression == DEFLATE:
        strips = [zlib.compress(strip) for strip in strips]
    if compression == PACKBITS:
        strips = [_stored(strip) for strip in strips]
    body, places = b"", []
    for strip in strips:
        places.append(8 + len(body))
        body += strip + b"\0" * (len(strip) % 2)
    values = {
        257: len(rows),
        259: compression,
        262: BLACK_IS_ZERO,
        273: tuple(places),
        277: 1,
        278: step,
        279: tuple(len(strip) for strip in strips),
        **tags,
    }
    values = {tag: value for tag, value in values.items() if value != ()}
    start = 8 + len(body)
    if is_directory_first:
        start = 8
        behind = len(_directory(values, start, order))
        if places:
            values[273] = tuple(place + behind for place in places)
    mark = b"II*\0" if order == "<" else b"MM\0*"
    directory = _directory(values, start, order)
    parts = (directory, body) if is_directory_first else (body, directory)
    return mark + struct.pack(order + "L", start) + b"".join(parts)


def tiled(
    size: tuple[int, int],
    tile: tuple[int, int],
    data: bytes,
    *,
    compression: int = DEFLATE,
    tags: Mapping[int, int | tuple[int, ...]] | None = None,
) -> bytes:
    """Return a gray TIFF of `size` whose tiles, padded to `tile`, are all the same bytes of the file."""
    count = -(-size[0] // tile[0]) * -(-size[1] // tile[1])
    values = {
        256: size[0],
        257: size[1],
        258: 8,
        259: compression,
        262: BLACK_IS_ZERO,
        277: 1,
        322: tile[0],
        323: tile[1],
        324: (8,) * count,
        325: (len(data),) * count,
        **(tags or {}),
    }
    data += b"\0" * (len(data) % 2)
    start = 8 + len(data)
    return b"II*\0" + struct.pack("<L", start) + data + _directory(values, start, "<")


def _directory(values: Mapping[int, int | tuple[int, ...]], start: int, order: str) -> bytes:
    entries, data = struct.pack(order + "H", len(values)), b""
    behind = start + 2 + 12 * len(values) + 4
    for tag, value in sorted(values.items()):
        many = value if isinstance(value, tuple) else (value,)
        encoded = struct.pack(f"{order}{len(many)}L", *many)
        if len(many) > 1:
            data, encoded = data + encoded, struct.pack(order + "L", behind + len(data))
        entries += struct.pack(order + "HHL", tag, 4, len(many)) + encoded
    return entries + b"\0\0\0\0" + data


def _stored(data: bytes) -> bytes:
    """Return PackBits without repetition: at most 128 bytes behind their number less one (TIFF 6.0, section 9)."""
    pieces = (data[start : start + 128] for start in range(0, len(data), 128))
    return b"".join(bytes((len(piece) - 1,)) + piece for piece in pieces)
