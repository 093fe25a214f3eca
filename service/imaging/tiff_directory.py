"""A TIFF's directories of tags: all of those in a file, and new ones behind it that describe the same bytes anew."""

import struct
from collections.abc import Iterator, Sequence
from fractions import Fraction
from io import BytesIO
from numbers import Rational
from typing import Any

from PIL.TiffImagePlugin import SUBIFD, ImageFileDirectory_v2

from service.errors import TooMuchMetadataError

MAX_PAGES = 16
"""The most directories that are searched for the full image."""

CUT = -1
"""In place of the next directory: this one was not read to its end."""

_KEPT_TAGS = (
    *(256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, 320),
    *(322, 323, 324, 325, 338, 339, 347, 529, 530, 531, 532),
)
"""The tags that the pixels need (TIFF 6.0): sizes, layout, places of strips and tiles, palette, JPEG tables."""

MOST_TAG_BYTES = 400_000
"""Of a tag that is read: the places of 100,000 strips or tiles. Readers make a number of each, and take microseconds
and forty bytes for it; an image of 64 million pixels has 16,000 tiles of 64 × 64."""

_LONG_TAGS = {256, 257, 273, 278, 279, 292, 293, 322, 323, 324, 325}
_SHORT, _LONG, _RATIONAL, _UNDEFINED = 3, 4, 5, 7
"""The types of a tag's values."""
_BIG = 43
"""The version of a BigTIFF."""

Directory = ImageFileDirectory_v2


def is_big_endian_bigtiff(body: bytes) -> bool:
    """Return whether the file is of the kind that Pillow takes for a classic TIFF."""
    return body[:4] == b"MM\0+"


def directories(body: bytes) -> Iterator[Directory]:
    """Give the directories in the order of the file, each followed by its own subdirectories.

    Raises:
        TooMuchMetadataError: a tag that is read has more than `MOST_TAG_BYTES`.
    """
    stream = BytesIO(body)
    waiting = [_empty(body).next]  # the next one is the last: a directory may name 100,000
    seen: set[int] = set()
    while waiting and len(seen) < MAX_PAGES:
        place = waiting.pop()
        if place <= 0 or place in seen or place >= len(body):
            continue
        seen.add(place)
        directory = _empty(body)
        stream.seek(place)
        directory.next = CUT
        directory.load(stream)
        _require_few_values(directory)
        yield directory
        children = directory.get(SUBIFD, ())
        children = children if isinstance(children, tuple) else (children,)
        waiting.append(directory.next)
        waiting.extend(child for child in reversed(children) if isinstance(child, int))


def held_bytes(directory: Directory) -> int:
    """Return how many bytes the values of a directory's tags take, as they were read."""
    return sum(len(data) for data in directory._tagdata.values())  # noqa: SLF001


def _require_few_values(directory: Directory) -> None:
    """Check the sizes of the tags that are read, before a reader makes numbers of them.

    Raises:
        TooMuchMetadataError: one is too large.
    """
    held = directory._tagdata  # noqa: SLF001
    for tag in (*_KEPT_TAGS, SUBIFD):
        if len(held.get(tag, b"")) > MOST_TAG_BYTES:
            raise TooMuchMetadataError(
                f"The TIFF's tag {tag} has {len(held[tag])} bytes; at most {MOST_TAG_BYTES} are read. Save it with "
                "fewer strips or tiles."
            )


def _empty(body: bytes) -> Directory:
    """Return a directory without tags, in the byte order of the file; `next` is the place of the first one."""
    if is_big_endian_bigtiff(body):
        directory = Directory(b"MM\0*" + bytes(4))
        directory._bigtiff = True  # noqa: SLF001  # Pillow looks for the version in the first of its two bytes
        (directory.next,) = struct.unpack_from(">Q", body, 8)
        return directory
    return Directory(body[:16] if _BIG in body[2:4] else body[:8])


def many(value: int | tuple[int, ...]) -> tuple[int, ...]:
    """Return the values of a tag that has one or several."""
    return tuple(int(one) for one in value) if isinstance(value, tuple) else (int(value),)


def with_directories(
    body: bytes,
    directory: Directory,
    pages: Sequence[dict[int, Any]],
    prefix: bytes | None = None,
) -> bytes:
    """Return the file with a directory for each page at its end, to which its header points. It is no BigTIFF then.

    Args:
        body: the file.
        directory: the tags that all pages have.
        pages: the tags in which each page differs; None takes a tag away.
        prefix: the byte order, where it is not that of the directory.
    """
    prefix = prefix or directory.prefix
    order = "<" if prefix == b"II" else ">"
    place = len(body) + len(body) % 2
    written, at = [], place
    for number, changed in enumerate(pages):
        one = _written(directory, changed, at, order, is_last=number == len(pages) - 1)
        written.append(one)
        at += len(one)
    header = prefix + struct.pack(order + "HL", 42, place)
    return b"".join((header, memoryview(body)[8:], b"\0" * (len(body) % 2), *written))


def _written(
    directory: Directory, changed: dict[int, Any], place: int, order: str, *, is_last: bool
) -> bytes:
    tags = {tag: changed[tag] if tag in changed else directory.get(tag) for tag in _KEPT_TAGS}
    values = {tag: _encoded(tag, value, order) for tag, value in tags.items() if value is not None}
    behind = place + 2 + 12 * len(values) + 4
    entries, data = [struct.pack(order + "H", len(values))], b""
    for tag, (kind, count, encoded) in values.items():
        entries.append(struct.pack(order + "HHL", tag, kind, count))
        if len(encoded) <= 4:  # it fits into the entry
            entries.append(encoded.ljust(4, b"\0"))
        else:
            entries.append(struct.pack(order + "L", behind + len(data)))
            data += encoded + b"\0" * (len(encoded) % 2)
    following = 0 if is_last else behind + len(data)
    return b"".join((*entries, struct.pack(order + "L", following), data))


def _encoded(
    tag: int, value: bytes | float | Fraction | tuple[Any, ...], order: str
) -> tuple[int, int, bytes]:
    """Return a tag's type, count and bytes.

    Raises:
        ValueError: it has text, or a number that is not exact, where the pixels need whole numbers or fractions.
    """
    if isinstance(value, bytes):
        return _UNDEFINED, len(value), value
    values = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(one, int) for one in values):
        if not all(isinstance(one, Rational) for one in values):
            raise ValueError(f"tag {tag} has {value!r:.40}")
        parts = [int(part) for one in values for part in (one.numerator, one.denominator)]
        return _RATIONAL, len(values), struct.pack(f"{order}{len(parts)}L", *parts)
    if tag in _LONG_TAGS:
        return _LONG, len(values), struct.pack(f"{order}{len(values)}L", *values)
    return _SHORT, len(values), struct.pack(f"{order}{len(values)}H", *values)
