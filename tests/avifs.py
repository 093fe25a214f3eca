"""AVIFs whose boxes do not say what their AV1 frames are."""

import struct
import sys
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import NamedTuple

from PIL import Image


def avif(width: int, height: int, mode: str = "RGB") -> bytes:
    """Return an image of one color."""
    file = BytesIO()
    Image.new(mode, (width, height), "gray").save(file, "AVIF", quality=1, speed=10)
    return file.getvalue()


def stated_size(body: bytes, width: int, height: int) -> bytes:
    """Return an AVIF with another size in its boxes (ISO/IEC 23008-12, 6.5.3)."""
    place = body.index(b"ispe") + 8
    return body[:place] + struct.pack(">II", width, height) + body[place + 8 :]


def obu_of(body: bytes) -> bytes:
    """Return the AV1 stream of a file without opacity: all that is in its last box."""
    return body[body.index(b"mdat") + 4 :]


def box(kind: bytes, content: bytes, *, full: bool = False) -> bytes:
    """Return a box; a full one has a version and flags of 0."""
    content = bytes(4) + content if full else content
    return struct.pack(">I4s", 8 + len(content), kind) + content


def grid(streams: Sequence[bytes], tile: tuple[int, int]) -> bytes:
    """Return a row of tiles that have this size by the boxes."""
    count = len(streams)
    canvas = (tile[0] * count, tile[1])
    start = box(b"ftyp", b"avif" + bytes(4) + b"avifmif1miaf")
    kinds = [b"grid"] + [b"av01"] * count
    entries = b"".join(
        box(b"infe", b"\x02\0\0\0" + struct.pack(">HH", item, 0) + kind + b"\0")
        for item, kind in enumerate(kinds, 1)
    )
    data = [struct.pack(">BBBBHH", 0, 0, 0, count - 1, *canvas), *streams]
    tiles = struct.pack(f">HH{count}H", 1, count, *range(2, count + 2))
    sizes = [box(b"ispe", struct.pack(">II", *size), full=True) for size in (canvas, tile)]
    code = box(b"av1C", bytes((0x81, 0, 0x0C, 0)))
    depth = box(b"pixi", bytes((3, 8, 8, 8)), full=True)
    owned = [struct.pack(">HBBB", 1, 2, 1, 4)]
    owned += [struct.pack(">HBBBB", item, 3, 2, 0x83, 4) for item in range(2, count + 2)]
    properties = box(b"ipco", b"".join((*sizes, code, depth)))
    properties += box(b"ipma", struct.pack(">I", count + 1) + b"".join(owned), full=True)

    def header(at: int) -> bytes:
        places = b""
        for item, one in enumerate(data, 1):
            places += struct.pack(">HHHII", item, 0, 1, at, len(one))
            at += len(one)
        content = (
            box(b"hdlr", bytes(4) + b"pict" + bytes(13), full=True),
            box(b"pitm", struct.pack(">H", 1), full=True),
            box(b"iloc", b"\x44\0" + struct.pack(">H", count + 1) + places, full=True),
            box(b"iinf", struct.pack(">H", count + 1) + entries, full=True),
            box(b"iref", box(b"dimg", tiles), full=True),
            box(b"iprp", properties),
        )
        return start + box(b"meta", b"".join(content), full=True)

    return header(len(header(0)) + 8) + box(b"mdat", b"".join(data))


class Item(NamedTuple):
    """An item of a file: its kind, its bytes, and the numbers of its properties, from 1; 128 more: essential."""

    kind: bytes
    data: bytes
    properties: bytes


def of_items(
    items: Sequence[Item], properties: Sequence[bytes], references: bytes = b"", form: str = "plain"
) -> bytes:
    """Return a file of items, the first of which is shown.

    Args:
        items: their numbers are 1, 2, …
        properties: boxes.
        references: boxes.
        form: of the table of places: `plain`, `parts` (two for each item), `inside` (the data is within the
            metadata), or `long` (of version 2, with numbers of 8 bytes).
    """
    numbers = range(1, len(items) + 1)
    count = struct.pack(">H", len(items))
    entries = b"".join(
        box(b"infe", b"\x02\0\0\0" + struct.pack(">HH", number, 0) + item.kind + b"\0")
        for number, item in zip(numbers, items, strict=True)
    )
    owned = b"".join(
        struct.pack(">HB", number, len(item.properties)) + item.properties
        for number, item in zip(numbers, items, strict=True)
    )
    data = b"".join(item.data for item in items)

    def header(at: int) -> bytes:
        places = b""
        for number, item in zip(numbers, items, strict=True):
            size, half = len(item.data), len(item.data) // 2
            places += {
                "plain": struct.pack(">HHHII", number, 0, 1, at, size),
                "parts": struct.pack(">HHHIIII", number, 0, 2, at, half, at + half, size - half),
                "inside": struct.pack(">HHHHII", number, 1, 0, 1, at, size),
                "long": struct.pack(">IHHQHQQ", number, 0, 0, at, 1, 0, size),
            }[form]
            at += size
        table = {
            "plain": b"\0\0\0\0\x44\0" + count,
            "parts": b"\0\0\0\0\x44\0" + count,
            "inside": b"\x01\0\0\0\x44\0" + count,
            "long": b"\x02\0\0\0\x88\x80\0\0" + count,
        }[form]
        content = (
            box(b"hdlr", bytes(4) + b"pict" + bytes(13), full=True),
            box(b"pitm", struct.pack(">H", 1), full=True),
            box(b"iloc", table + places),
            box(b"iinf", count + entries, full=True),
            box(b"iref", references, full=True) if references else b"",
            box(
                b"iprp",
                box(b"ipco", b"".join(properties))
                + box(b"ipma", struct.pack(">I", len(items)) + owned, full=True),
            ),
            box(b"idat", data) if form == "inside" else b"",
        )
        start = box(b"ftyp", b"avif" + bytes(4) + b"avifmif1miaf")
        return start + box(b"meta", b"".join(content), full=True)

    if form == "inside":
        return header(0)
    return header(len(header(0)) + 8) + box(b"mdat", data)


def calls(work: Callable[[], object]) -> int:
    """Return how many functions are called, which is in proportion to the time."""
    count = 0

    def seen_call(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(seen_call)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count
