"""A TIFF's directories → the page that is the image, and how its samples are read and become 8 bits.

Pillow reads many layouts itself. Deep gray in other layouts is read as plain words: the page's directory is written
anew behind the file, with tags that describe the same bytes as integers, and `depth` gives them their meaning.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from typing import Any

from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    COMPRESSION,
    COMPRESSION_INFO,
    EXTRASAMPLES,
    IMAGELENGTH,
    IMAGEWIDTH,
    PHOTOMETRIC_INTERPRETATION,
    PLANAR_CONFIGURATION,
    PREDICTOR,
    ROWSPERSTRIP,
    SAMPLEFORMAT,
    SAMPLESPERPIXEL,
    SUBIFD,
    TILELENGTH,
    TILEWIDTH,
    ImageFileDirectory_v2,
)

from service.errors import BrokenImageError, UnsupportedImageError
from service.imaging.depth import Alpha, Samples

PREFIXES = (
    b"MM\x00\x2a",
    b"II\x2a\x00",
    b"MM\x2a\x00",
    b"II\x00\x2a",
    b"MM\x00\x2b",
    b"II\x2b\x00",
)
"""How a TIFF or BigTIFF starts; the third and fourth mix the byte orders, and are read as they begin."""

PILLOW_REFUSALS = {"unknown pixel mode", "Invalid value for samples per pixel"}
"""What Pillow says of a kind of samples that it does not read; everything else is damage."""

MAX_PAGES = 16
"""The most directories that are searched for the full image."""

_Directory = ImageFileDirectory_v2
ORIENTATION = 274
_SUBFILE_TYPE, _REDUCED = 254, 1
_KEPT_TAGS = (
    *(256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 292, 293, 317, 320),
    *(322, 323, 324, 325, 338, 339, 347, 529, 530, 531, 532),
)
"""The tags that the pixels need (TIFF 6.0): sizes, layout, places of strips and tiles, palette, JPEG tables."""

_LONG_TAGS = {256, 257, 273, 278, 279, 292, 293, 322, 323, 324, 325}
_SHORT, _LONG, _RATIONAL, _UNDEFINED = 3, 4, 5, 7
"""The types of a tag's values."""

_RAW = 1
"""The tag's value for a file without compression."""

_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_KINDS = {_UNSIGNED: "unsigned integer", _SIGNED: "signed integer", _FLOAT: "float"}
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_PHOTOMETRICS = {0: "gray", 1: "gray", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr", 8: "Lab"}
_RAW_PHOTOMETRICS = {32803, 34892}
"""Color filter array and linear raw: what a camera's sensor saw (DNG 1.6)."""

_TYPES = {
    (_SIGNED, 8): "i1",
    (_UNSIGNED, 12): "u2",
    (_UNSIGNED, 16): "u2",
    (_SIGNED, 16): "i2",
    (_FLOAT, 16): "f2",
    (_UNSIGNED, 32): "u4",
    (_SIGNED, 32): "i4",
    (_FLOAT, 32): "f4",
    (_UNSIGNED, 64): "u8",
    (_SIGNED, 64): "i8",
    (_FLOAT, 64): "f8",
}
"""Sample format and bits → the NumPy type."""

_CONVERT = "Save it with 8 or 16 bits per sample as gray or RGB, or send JPEG or PNG."


@dataclass(frozen=True, slots=True)
class Layout:
    """How a page stores its pixels, as its tags say."""

    width: int
    height: int
    photometric: int
    bits: tuple[int, ...]
    format: int
    extra: tuple[int, ...]
    per_pixel: int
    is_planar: bool
    predictor: int
    compression: int

    @property
    def alpha(self) -> Alpha | None:
        """What the first extra sample says of itself (tag 338)."""
        names: dict[int, Alpha] = {1: "premultiplied", 2: "straight"}
        return names.get(self.extra[0]) if self.extra else None

    def __str__(self) -> str:
        """Return the layout in words, for messages."""
        if self.photometric in _RAW_PHOTOMETRICS:
            return "the unprocessed data of a camera's sensor (DNG)"
        color = _PHOTOMETRICS.get(self.photometric, f"photometric {self.photometric}")
        bits = "/".join(str(b) for b in dict.fromkeys(self.bits))
        kind = _KINDS.get(self.format, f"format {self.format}")
        planes = " in separate planes" if self.is_planar else ""
        return f"{color} with {self.per_pixel} × {bits} bits ({kind}) per pixel{planes}"


@dataclass(frozen=True, slots=True)
class Page:
    """The page that is the image: a TIFF that Pillow may read.

    Where `samples` are given, Pillow reads words without a meaning, and does not apply the `orientation` (tag 274).
    """

    body: bytes
    layout: Layout
    samples: Samples | None
    orientation: int = 1


def full_page(body: bytes) -> Page:
    """Return the first page that is no reduced copy of another one, such as the thumbnail at the start of a DNG.

    Raises:
        BrokenImageError: there is no directory, or it has no size.
        UnsupportedImageError: the compression or the kind of samples is not read.
    """
    directories = list(_directories(body))
    if not directories:
        raise BrokenImageError(
            "The TIFF has no directory of tags. The file is damaged or cut short."
        )
    full = [found for found in directories if not int(found.get(_SUBFILE_TYPE, 0)) & _REDUCED]
    chosen = full[0] if full else directories[0]
    layout = _layout(chosen)
    if layout.compression not in COMPRESSION_INFO:
        raise UnsupportedImageError(
            f"The TIFF is compressed with method {layout.compression}, which is not read. {_CONVERT}"
        )
    samples = _samples(layout, chosen)
    if samples is not None:
        turn = int(chosen.get(ORIENTATION, 1))
        return Page(_as_words(body, chosen, layout, samples), layout, samples, turn)
    if chosen is not directories[0]:
        return Page(_with_directory(body, chosen, {}), layout, None)
    return Page(body, layout, None)


def with_native_words(file: ImageFile) -> None:
    """Correct the byte order in which Pillow unpacks 32-bit words that libtiff decompressed.

    libtiff gives words in the order of the machine; Pillow 11 to 13 take them to be in the order of the file.
    """
    names = {"I;32BS": "I;32NS", "F;32BF": "F;32NF"}
    for place, tile in enumerate(file.tile):
        if tile[0] == "libtiff" and isinstance(tile[3], tuple) and tile[3][0] in names:
            file.tile[place] = tile._replace(args=(names[tile[3][0]], *tile[3][1:]))


def refused(layout: Layout) -> UnsupportedImageError:
    """Return the error for a layout that is not read."""
    return UnsupportedImageError(f"The TIFF holds {layout}, which is not read. {_CONVERT}")


def _directories(body: bytes) -> Iterator[_Directory]:
    """Give the directories in the order of the file, each followed by its own subdirectories."""
    stream = BytesIO(body)
    header = body[:16] if body[2:3] == b"\x2b" or body[3:4] == b"\x2b" else body[:8]
    waiting = [_Directory(header).next]
    seen: set[int] = set()
    while waiting and len(seen) < MAX_PAGES:
        place = waiting.pop(0)
        if not place or place in seen or place >= len(body):
            continue
        seen.add(place)
        directory = _Directory(header)
        stream.seek(place)
        directory.load(stream)
        yield directory
        children = directory.get(SUBIFD, ())
        children = children if isinstance(children, tuple) else (children,)
        waiting = [
            *(child for child in children if isinstance(child, int)),
            directory.next,
            *waiting,
        ]


def _layout(directory: _Directory) -> Layout:
    width, height = directory.get(IMAGEWIDTH), directory.get(IMAGELENGTH)
    if not (isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0):
        raise BrokenImageError("The TIFF's header is damaged: Invalid dimensions")
    bits = _many(directory.get(BITSPERSAMPLE, (1,)))
    formats = _many(directory.get(SAMPLEFORMAT, (1,)))
    return Layout(
        width,
        height,
        int(directory.get(PHOTOMETRIC_INTERPRETATION, 0)),
        bits,
        formats[0] if len(set(formats)) == 1 else 0,
        _many(directory.get(EXTRASAMPLES, ())),
        int(directory.get(SAMPLESPERPIXEL, 1)),
        int(directory.get(PLANAR_CONFIGURATION, 1)) == 2,  # planes
        int(directory.get(PREDICTOR, 1)),
        int(directory.get(COMPRESSION, 1)),
    )


def _many(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(one) for one in value) if isinstance(value, tuple) else (int(value),)


def _samples(layout: Layout, directory: _Directory) -> Samples | None:
    """Return what words mean in a layout that Pillow does not read, or does not read with its meaning."""
    bits = layout.bits[0] if len(set(layout.bits)) == 1 else 0
    kind = _TYPES.get((layout.format, bits))
    if kind is None:
        return None
    is_gray = layout.photometric in {_WHITE_IS_ZERO, _BLACK_IS_ZERO}
    if is_gray and layout.per_pixel == 1:
        if layout.predictor != 1 and kind in {"f2", "u8", "i8", "f8"}:
            return None  # differences between samples, not between words
        is_white_zero = layout.photometric == _WHITE_IS_ZERO
        return Samples(kind, bits, is_white_zero, high_word_first=directory.prefix == b"MM")
    if kind != "u2" or bits != 16:
        return None
    return _gray_with_alpha(layout) if is_gray else _planes(layout, directory)


def _gray_with_alpha(layout: Layout) -> Samples | None:
    if layout.per_pixel != 2 or layout.is_planar or layout.predictor != 1:
        return None
    is_white_zero = layout.photometric == _WHITE_IS_ZERO
    return Samples("u2", 16, is_white_zero, per_pixel=2, alpha=layout.alpha)


def _planes(layout: Layout, directory: _Directory) -> Samples | None:
    """Return how 16-bit RGB in planes is read: as one tall image, if its strips or tiles end with each plane.

    Raises:
        UnsupportedImageError: they do not, and Pillow would read this layout wrongly.
    """
    if not layout.is_planar or layout.compression != _RAW:
        return None  # Pillow reads these
    rows = int(directory.get(TILELENGTH) or directory.get(ROWSPERSTRIP) or layout.height)
    is_whole = layout.height % rows == 0 or (rows > layout.height and TILELENGTH not in directory)
    if layout.photometric != _RGB or not is_whole or layout.per_pixel != 3 + bool(layout.alpha):
        raise refused(layout)
    return Samples("u2", 16, planes=layout.per_pixel, alpha=layout.alpha)


def _as_words(body: bytes, directory: _Directory, layout: Layout, samples: Samples) -> bytes:
    """Return the file with a directory that calls the samples gray integers, or floats, of one per pixel."""
    bits, form = layout.bits[0], _UNSIGNED
    across = samples.per_pixel
    if bits == 64:  # two words of 32 bits
        bits, across = 32, 2
    if bits == 32:
        form = _FLOAT if samples.type == "f4" else _SIGNED
    changed: dict[int, Any] = {
        IMAGEWIDTH: layout.width * across,
        IMAGELENGTH: layout.height * samples.planes,
        BITSPERSAMPLE: (bits,),
        SAMPLEFORMAT: (form,),
        SAMPLESPERPIXEL: 1,
        PHOTOMETRIC_INTERPRETATION: _BLACK_IS_ZERO,
        PLANAR_CONFIGURATION: 1,
        EXTRASAMPLES: None,
        ORIENTATION: None,
    }
    if TILEWIDTH in directory:
        changed[TILEWIDTH] = int(directory[TILEWIDTH]) * across
    elif ROWSPERSTRIP in directory:
        changed[ROWSPERSTRIP] = min(int(directory[ROWSPERSTRIP]), layout.height)
    else:
        changed[ROWSPERSTRIP] = layout.height
    # Packed samples of 12 bits have no byte order, and Pillow reads them in little-endian files alone.
    return _with_directory(body, directory, changed, b"II" if bits == 12 else None)


def _with_directory(
    body: bytes, directory: _Directory, changed: dict[int, Any], prefix: bytes | None = None
) -> bytes:
    """Return the file with one directory more at its end, to which its header points. It is no BigTIFF then."""
    prefix = prefix or directory.prefix
    order = "<" if prefix == b"II" else ">"
    tags = {tag: changed[tag] if tag in changed else directory.get(tag) for tag in _KEPT_TAGS}
    values = {tag: _encoded(tag, value, order) for tag, value in tags.items() if value is not None}
    place = len(body) + len(body) % 2
    behind = place + 2 + 12 * len(values) + 4
    entries, data = [struct.pack(order + "H", len(values))], b""
    for tag, (kind, count, encoded) in values.items():
        entries.append(struct.pack(order + "HHL", tag, kind, count))
        if len(encoded) <= 4:  # it fits into the entry
            entries.append(encoded.ljust(4, b"\0"))
        else:
            entries.append(struct.pack(order + "L", behind + len(data)))
            data += encoded + b"\0" * (len(encoded) % 2)
    header = prefix + struct.pack(order + "HL", 42, place)
    pad = b"\0" * (len(body) % 2)
    return b"".join((header, memoryview(body)[8:], pad, *entries, b"\0\0\0\0", data))


def _encoded(
    tag: int, value: bytes | float | Fraction | tuple[Any, ...], order: str
) -> tuple[int, int, bytes]:
    """Return a tag's type, count and bytes."""
    if isinstance(value, bytes):
        return _UNDEFINED, len(value), value
    many = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(one, int) for one in many):
        parts = [int(part) for one in many for part in (one.numerator, one.denominator)]
        return _RATIONAL, len(many), struct.pack(f"{order}{len(parts)}L", *parts)
    if tag in _LONG_TAGS:
        return _LONG, len(many), struct.pack(f"{order}{len(many)}L", *many)
    return _SHORT, len(many), struct.pack(f"{order}{len(many)}H", *many)
