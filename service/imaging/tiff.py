"""A TIFF's directories → the page that is the image, and how its samples are read and become 8 bits.

Pillow reads many layouts itself. Deep gray in other layouts is read as plain words: the page's directory is written
anew behind the file, with tags that describe the same bytes as integers, and `depth` gives them their meaning.
"""

import contextlib
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
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
    STRIPBYTECOUNTS,
    STRIPOFFSETS,
    TILEBYTECOUNTS,
    TILELENGTH,
    TILEOFFSETS,
    TILEWIDTH,
)

from service.errors import BrokenImageError, ImageError, UnsupportedImageError
from service.imaging.depth import Alpha, Samples
from service.imaging.faults import PILLOW_FAULTS
from service.imaging.metadata import MAX_METADATA_BYTES, too_much
from service.imaging.room import TIGHT_BYTES_PER_PIXEL
from service.imaging.tiff_directory import (
    CUT,
    Directory,
    directories,
    entry_count,
    held_bytes,
    is_big_endian_bigtiff,
    many,
    with_directories,
)
from service.imaging.tiff_places import add_counts
from service.imaging.tiff_predictor import FLOATING_POINT, HORIZONTAL, Prediction
from service.imaging.tiff_work import strips_work
from service.imaging.work_weights import tags_work

PILLOW_REFUSALS = {"unknown pixel mode", "Invalid value for samples per pixel"}
"""What Pillow says of a kind of samples that it does not read; everything else is damage."""

ORIENTATION = 274
_SUBFILE_TYPE, _REDUCED = 254, 1
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_KINDS = {_UNSIGNED: "unsigned integer", _SIGNED: "signed integer", _FLOAT: "float"}
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_PHOTOMETRICS = {0: "gray", 1: "gray", 2: "RGB", 3: "palette", 5: "CMYK", 6: "YCbCr", 8: "Lab"}
_RAW_PHOTOMETRICS = {32803, 34892}
"""Color filter array and linear raw: what a camera's sensor saw (DNG 1.6)."""

_TYPES = {
    (_UNSIGNED, 8): "u1",
    (_SIGNED, 8): "i1",
    **{(_UNSIGNED, bits): "u2" for bits in range(9, 16)},
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

_WITH_PREDICTOR = {5, 8, 32946, 34925, 50000}
"""The compressions that use a predictor: LZW, Deflate, LZMA and Zstandard."""
_SPARE_PIXELS = 16_000_000
"""So many pixels may be read beyond twice those of the image, where its tiles are larger than it."""

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
    is_big_endian: bool
    columns: int
    """The pixels of a row of a strip or tile."""
    tile_rows: int
    """The rows to which each tile is padded; of strips, those of the image."""

    @property
    def alpha(self) -> Alpha | None:
        """What the first extra sample says of itself (tag 338)."""
        names: dict[int, Alpha] = {1: "premultiplied", 2: "straight"}
        return names.get(self.extra[0]) if self.extra else None

    @property
    def padded_pixels(self) -> int:
        """The pixels of all tiles with what these have beside and below the image: a tile is decoded whole."""
        across, down = max(1, self.columns), max(1, self.tile_rows)
        return (-(-self.width // across) * across) * (-(-self.height // down) * down)

    @property
    def most_padded_pixels(self) -> int:
        """How many pixels may be read where tiles are larger than the image: those of usual writers double it."""
        return 2 * self.width * self.height + _SPARE_PIXELS

    @property
    def counted_pixels(self) -> int:
        """The pixels of the image, or half of those of its tiles, if these are more."""
        return max(self.width * self.height, self.padded_pixels // 2)

    @property
    def word_bytes(self) -> int:
        """The bytes of all samples where they are words, which are held as such."""
        bits = max(self.bits, default=1)
        each = 0 if bits <= 8 else 2 if bits <= 16 else 4 if bits <= 32 else 8
        return self.width * self.height * self.per_pixel * each

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

    `directory` is that of the file as it came. Where `samples` are given, Pillow reads words without a meaning, and
    does not apply the `orientation` (tag 274).
    """

    body: bytes = field(repr=False)
    directory: Directory
    layout: Layout
    samples: Samples | None
    orientation: int = 1

    @property
    def bytes_per_pixel(self) -> int:
        """The bytes of a pixel's samples that are read, where they are words, else 0."""
        if self.samples is None:
            return 0
        each = np.dtype(self.samples.type).itemsize
        return self.samples.per_pixel * self.samples.planes * each

    @property
    def sample_bytes(self) -> int:
        """The bytes of all samples that are read, where they are words."""
        return self.layout.width * self.layout.height * self.bytes_per_pixel

    @property
    def sample_count(self) -> int:
        """How many samples are read, where they are words."""
        if self.samples is None:
            return 0
        count = self.samples.per_pixel * self.samples.planes
        return self.layout.width * self.layout.height * count


def full_page(body: bytes, max_metadata_bytes: int = MAX_METADATA_BYTES) -> Page:
    """Return the first page that is no reduced copy of another one, such as the thumbnail at the start of a DNG.

    Raises:
        BrokenImageError: there is no directory, or it has no size.
        UnsupportedImageError: the compression or the kind of samples is not read.
        TooMuchMetadataError: the tags of all directories hold more than `max_metadata_bytes`.
    """
    found = _searched(body, max_metadata_bytes)
    if found is None:
        raise BrokenImageError(
            "The TIFF has no directory of tags: it is damaged or cut short. Send the whole file."
        )
    chosen = found.directory
    layout = _layout(chosen)
    if chosen.next == CUT:  # without its last tags, the pixels would have another meaning
        raise BrokenImageError("The TIFF's directory of tags is cut short. Send the whole file.")
    if layout.compression not in COMPRESSION_INFO:
        raise UnsupportedImageError(
            f"The TIFF is compressed with method {layout.compression}, which is not read. {_CONVERT}"
        )
    samples = _samples(layout)
    add_counts(chosen, len(body))
    if samples is not None:
        turn = int(chosen.get(ORIENTATION, 1))
        return Page(_as_words(body, chosen, layout, samples), chosen, layout, samples, turn)
    if not found.is_first or is_big_endian_bigtiff(body):
        return Page(with_directories(body, chosen, [{}]), chosen, layout, None)
    return Page(body, chosen, layout, None)


def announced(body: bytes) -> tuple[int, int]:
    """Return how many pixels the page counts for that is the image, and what it takes, by its tags.

    Raises:
        BrokenImageError, TooMuchMetadataError: as `full_page` says.
        OSError, struct.error, …: Pillow's faults.
    """
    found = _searched(body, MAX_METADATA_BYTES)
    if found is None:
        return 0, 0
    chosen = found.directory
    layout = _layout(chosen)
    pixels, work = layout.counted_pixels, 0
    with contextlib.suppress(ImageError, *PILLOW_FAULTS):  # who decodes it says what is damaged
        work = strips_work(chosen, body)
    work = max(pixels, work, 2 * layout.word_bytes // TIGHT_BYTES_PER_PIXEL)
    return pixels, work + tags_work(found.tags)


class _Found(NamedTuple):
    """The directory of the page that is the image, and how many tags it has, with all directories before it."""

    directory: Directory
    is_first: bool
    tags: int


def _searched(body: bytes, most: int) -> _Found | None:
    """Return the first page that is no reduced copy, or else the first one; None: there is no directory.

    The directories behind it are not read. The values of tags may be the same bytes of the file many times over.
    """
    first: Directory | None = None
    tags = held = 0
    for page in directories(body):
        tags += entry_count(body, page.offset)
        held += held_bytes(page)
        if held > most:
            raise too_much("TIFF", most)
        if not int(page.get(_SUBFILE_TYPE, 0)) & _REDUCED:
            return _Found(page, first is None, tags)
        first = page if first is None else first
    return None if first is None else _Found(first, is_first=True, tags=tags)


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


def _layout(directory: Directory) -> Layout:
    width, height = directory.get(IMAGEWIDTH), directory.get(IMAGELENGTH)
    if not (isinstance(width, int) and isinstance(height, int) and width > 0 and height > 0):
        raise BrokenImageError(
            "The TIFF's header is damaged: it has no width and height. Send the original file."
        )
    bits = many(directory.get(BITSPERSAMPLE, (1,)))
    formats = many(directory.get(SAMPLEFORMAT, (1,)))
    return Layout(
        width,
        height,
        int(directory.get(PHOTOMETRIC_INTERPRETATION, 0)),
        bits,
        formats[0] if len(set(formats)) == 1 else 0,
        many(directory.get(EXTRASAMPLES, ())),
        int(directory.get(SAMPLESPERPIXEL, 1)),
        int(directory.get(PLANAR_CONFIGURATION, 1)) == 2,  # planes
        int(directory.get(PREDICTOR, 1)),
        int(directory.get(COMPRESSION, 1)),
        directory.prefix == b"MM",
        int(directory.get(TILEWIDTH) or width),
        int(directory.get(TILELENGTH) or height),
    )


def _samples(layout: Layout) -> Samples | None:
    """Return what words mean in a layout that Pillow does not read, or does not read with its meaning.

    Raises:
        UnsupportedImageError: Pillow would read it wrongly.
    """
    bits = layout.bits[0] if len(set(layout.bits)) == 1 else 0
    kind = _TYPES.get((layout.format, bits))
    colors = {_WHITE_IS_ZERO: 1, _BLACK_IS_ZERO: 1, _RGB: 3}.get(layout.photometric, 0)
    extra = layout.per_pixel - colors
    if kind is None or not colors or extra < 0 or (colors == 1 and extra > 1):
        return None
    if _is_read_by_pillow(layout, kind, bits, extra):
        return None
    together = 1 if layout.is_planar else layout.per_pixel
    prediction = _prediction(layout, kind, bits, together)
    return Samples(
        kind,
        bits,
        is_white_zero=layout.photometric == _WHITE_IS_ZERO,
        per_pixel=together,
        planes=colors + bool(layout.alpha) if layout.is_planar else 1,
        alpha=layout.alpha,
        high_word_first=layout.is_big_endian,
        packed_width=layout.width if 8 < bits < 16 or prediction else 0,
        prediction=prediction,
    )


def _prediction(layout: Layout, kind: str, bits: int, together: int) -> Prediction | None:
    """Return how the predictor made the rows, where libtiff can not undo it for words that each are a sample.

    Raises:
        UnsupportedImageError: the predictor is not known, or its rows would be far wider than the image.
    """
    if layout.predictor == 1 or layout.compression not in _WITH_PREDICTOR:
        return None
    if together == 1 and np.dtype(kind).itemsize < 8 and not 8 < bits < 16 and kind != "f2":
        return None
    known = {HORIZONTAL, FLOATING_POINT} if kind[0] == "f" else {HORIZONTAL}
    padded = -(-layout.width // layout.columns) * layout.columns
    is_far_wider = padded * layout.height > layout.most_padded_pixels
    if layout.predictor not in known or 8 < bits < 16 or is_far_wider:
        raise refused(layout)
    return Prediction(layout.predictor, layout.columns, together, layout.is_big_endian)


def _is_read_by_pillow(layout: Layout, kind: str, bits: int, extra: int) -> bool:
    if layout.photometric == _RGB:
        most = {8: 3, 16: 1}.get(bits, -1) if layout.format == _UNSIGNED else -1
        return extra <= most and not (layout.is_planar and (extra or bits == 16))  # bits per sample
    is_inverted = layout.photometric == _WHITE_IS_ZERO
    return kind == "u1" and (not extra or not (is_inverted or layout.is_planar))


def _as_words(body: bytes, directory: Directory, layout: Layout, samples: Samples) -> bytes:
    """Return the file with directories, one for each plane, that call the samples gray integers, or floats."""
    bits, form = layout.bits[0], _UNSIGNED
    columns, width = layout.columns * samples.per_pixel, layout.width * samples.per_pixel
    if samples.prediction:  # bytes, of whole tiles
        columns *= bits // 8
        width, bits = -(-layout.width // layout.columns) * columns, 8
    elif samples.packed_width:  # bytes, in which the samples are found later
        columns, width, bits = (columns * bits + 7) // 8, (width * bits + 7) // 8, 8
    if bits == 64:  # two words of 32 bits
        bits, columns, width = 32, 2 * columns, 2 * width
    if bits == 32:
        form = _FLOAT if samples.type == "f4" else _SIGNED
    changed: dict[int, Any] = {
        IMAGEWIDTH: width,
        BITSPERSAMPLE: (bits,),
        SAMPLEFORMAT: (form,),
        SAMPLESPERPIXEL: 1,
        PHOTOMETRIC_INTERPRETATION: _BLACK_IS_ZERO,
        PLANAR_CONFIGURATION: 1,
        EXTRASAMPLES: None,
        PREDICTOR: None if samples.prediction else directory.get(PREDICTOR),
        ORIENTATION: None,
    }
    if TILEWIDTH in directory:
        changed[TILEWIDTH] = columns
    else:
        changed[ROWSPERSTRIP] = min(int(directory.get(ROWSPERSTRIP, layout.height)), layout.height)
    pages = [changed]
    if samples.planes > 1 or layout.is_planar:
        planes = range(samples.planes)
        pages = [changed | _plane(directory, plane, layout.per_pixel) for plane in planes]
    return with_directories(body, directory, pages)


def _plane(directory: Directory, plane: int, planes: int) -> dict[int, tuple[int, ...]]:
    """Return the tags with the places of a plane's strips or tiles."""
    found = {}
    for tag in (STRIPOFFSETS, STRIPBYTECOUNTS, TILEOFFSETS, TILEBYTECOUNTS):
        if tag in directory:
            values = many(directory[tag])
            count = len(values) // planes
            found[tag] = values[plane * count : (plane + 1) * count]
    return found
