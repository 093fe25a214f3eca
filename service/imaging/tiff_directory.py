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

MOST_VALUE_BYTES = 4096
"""Of any other tag that is read, but for XMP: numbers of a page or of each of its samples. Fractions take a reader
three microseconds each."""

MOST_TAGS = 1000
"""The most entries of all directories that are searched. Those of cameras and microscopes have fewer than 200; a reader
takes up to 10 microseconds for each several times, and libtiff sorts those that it does not know again for each."""

_LIST_TAGS = frozenset({273, 279, 320, 324, 325, SUBIFD, 347})
"""Places of strips, tiles and subdirectories, colors of a palette, and JPEG tables."""
_XMP = 700
_ALSO_READ_TAGS = (254, 282, 283, 296, SUBIFD, _XMP)
"""Pillow reads these too, though no pixel needs them: the kind of page, its resolution, and XMP."""
_LONG_TAGS = {256, 257, 273, 278, 279, 292, 293, 322, 323, 324, 325}
_SHORT, _LONG, _RATIONAL, _UNDEFINED = 3, 4, 5, 7
"""The types of a tag's values."""
_TEXT_TYPES = frozenset({1, 2, _UNDEFINED})
"""Bytes and text, which are one value."""
_NUMBER_TYPES = frozenset({_SHORT, _LONG, 13, 16})
"""Whole numbers, of which a reader makes 20 in the time of one fraction."""
_BIG = 43
"""The version of a BigTIFF."""
_ENTRY_BYTES, _BIG_ENTRY_BYTES = 12, 20
"""Of a tag in a directory, of a TIFF and of a BigTIFF."""

Directory = ImageFileDirectory_v2


def is_big_endian_bigtiff(body: bytes) -> bool:
    """Return whether the file is of the kind that Pillow takes for a classic TIFF."""
    return body[:4] == b"MM\0+"


def directories(body: bytes) -> Iterator[Directory]:
    """Give the directories in the order of the file, each followed by its own subdirectories.

    Raises:
        TooMuchMetadataError: they have more than `MOST_TAGS` entries, or a tag that is read is too large.
    """
    found = 0
    stream = BytesIO(body)
    waiting = [_empty(body).next]  # the next one is the last: a directory may name 100,000
    seen: set[int] = set()
    while waiting and len(seen) < MAX_PAGES:
        place = waiting.pop()
        if place <= 0 or place in seen or place >= len(body):
            continue
        seen.add(place)
        found += entry_count(body, place)
        if found > MOST_TAGS:
            raise TooMuchMetadataError(
                f"The TIFF has {found} tags or more in its directories; at most {MOST_TAGS} are read. Save it anew."
            )
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


def entry_count(body: bytes, place: int) -> int:
    """Return how many entries a directory at this place has, of which no more count than the file has bytes for."""
    form, size = ("Q", _BIG_ENTRY_BYTES) if _BIG in body[2:4] else ("H", _ENTRY_BYTES)
    first = place + struct.calcsize("=" + form)
    if first > len(body):
        return 0
    (count,) = struct.unpack_from(("<" if body[:2] == b"II" else ">") + form, body, place)
    return min(int(count), (len(body) - first) // size)


def held_bytes(directory: Directory) -> int:
    """Return how many bytes the values of a directory's tags take, as they were read."""
    return sum(len(data) for data in directory._tagdata.values())  # noqa: SLF001


def _require_few_values(directory: Directory) -> None:
    """Check the sizes of the tags that are read, before a reader makes numbers of them.

    Raises:
        TooMuchMetadataError: one is too large.
    """
    held = directory._tagdata  # noqa: SLF001
    for tag in (*_KEPT_TAGS, *_ALSO_READ_TAGS):
        size = len(held.get(tag, b""))
        if size <= MOST_VALUE_BYTES:
            continue
        kind = directory.tagtype[tag]
        if tag == _XMP and kind in _TEXT_TYPES:
            continue
        is_list = tag in _LIST_TAGS and kind in _TEXT_TYPES | _NUMBER_TYPES
        most = MOST_TAG_BYTES if is_list else MOST_VALUE_BYTES
        if size > most:
            raise TooMuchMetadataError(
                f"The TIFF's tag {tag} has {size} bytes; at most {most} are read. Save it with "
                + ("fewer strips or tiles." if is_list else "fewer values.")
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
