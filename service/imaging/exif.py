"""The orientation of an EXIF block, and nothing else of it.

A reader of all tags takes microseconds for each, and a block may have 65,535.
"""

import struct

import numpy as np

ORIENTATION_TAG = 0x0112

_PREFIX = b"Exif\0\0"
_ORDERS = {b"II*\0": "<", b"II\0*": "<", b"MM\0*": ">", b"MM*\0": ">"}
"""How a block starts, and its byte order; the second and fourth mix the orders, and are read as they begin."""
_ENTRY_BYTES = 12
_NUMBERS = {3: "H", 4: "L", 6: "b", 8: "h", 9: "l", 13: "L"}
"""The types of whole numbers that have at most four bytes, as `struct` names them."""
_VALUE_BYTES = 4
_MOST_ENTRIES = 16
"""So many entries with the tag are looked at; a file has one."""


def exif_orientation(exif: bytes) -> int:
    """Return the orientation that the first directory states (TIFF 6.0, tag 274), 1 where it states none.

    Args:
        exif: the block, with "Exif" before it or without; it may be damaged.
    """
    body = exif.removeprefix(_PREFIX).removeprefix(_PREFIX)
    order = _ORDERS.get(body[:4])
    if order is None or len(body) < 8:
        return 1
    (place,) = struct.unpack_from(order + "L", body, 4)
    if place + 2 > len(body):
        return 1
    (count,) = struct.unpack_from(order + "H", body, place)
    first = place + 2
    count = min(count, (len(body) - first) // _ENTRY_BYTES)
    entries = np.frombuffer(body, np.uint8, count * _ENTRY_BYTES, first).reshape(-1, _ENTRY_BYTES)
    tags = np.frombuffer(entries[:, :2].tobytes(), order + "u2")
    for found in np.flatnonzero(tags == ORIENTATION_TAG)[:_MOST_ENTRIES].tolist():
        value = _number(body, first + found * _ENTRY_BYTES, order)
        if value is not None:
            return value
    return 1


def _number(body: bytes, entry: int, order: str) -> int | None:
    """Return the first value of an entry, None where it is no whole number or is not in the entry itself."""
    kind, count = struct.unpack_from(order + "HL", body, entry + 2)
    form = _NUMBERS.get(kind)
    if form is None or not 0 < count * struct.calcsize(order + form) <= _VALUE_BYTES:
        return None
    (value,) = struct.unpack_from(order + form, body, entry + 8)
    return int(value)
