"""A BMP with bit fields of any kind, or with 2 bits per pixel, which Pillow does not read → its pixels over white."""

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.errors import BrokenImageError
from service.imaging.deadline import GoOn, without_end
from service.imaging.depth import STRIP_PIXELS

Array = NDArray[Any]

_HEADERS, _HEADERS_WITH_ALPHA = (40, 52, 56, 108, 124), (56, 108, 124)
_RGB, _BIT_FIELDS = 0, 3
_FIELDS = 54
"""Where the masks are: of R, G, B and, in later headers, alpha. In the first header they are behind it."""
_READ_BY_PILLOW = {
    (16, (0xF800, 0x7E0, 0x1F, 0)),
    (16, (0x7C00, 0x3E0, 0x1F, 0)),
    (32, (0xFF0000, 0xFF00, 0xFF, 0)),
    (32, (0xFF0000, 0xFF00, 0xFF, 0xFF000000)),
    (32, (0xFF, 0xFF00, 0xFF0000, 0xFF000000)),
    (32, (0xFF000000, 0xFF0000, 0xFF00, 0)),
    (32, (0xFF000000, 0xFF0000, 0xFF00, 0xFF)),
}


@dataclass(frozen=True, slots=True)
class BmpSamples:
    """What the bits of a pixel mean: places in a palette, uint8 (colors, 3), or masks of R, G, B and alpha."""

    bits: int
    masks: tuple[int, ...] = ()
    palette: Array | None = None


def samples_of(body: bytes) -> BmpSamples | None:
    """Return what the bits of a pixel mean, None where Pillow reads the BMP, or where they have no meaning."""
    if len(body) < _FIELDS:
        return None
    header = int.from_bytes(body[14:18], "little")
    bits, compression = struct.unpack_from("<HI", body, 28)
    if header not in _HEADERS:
        return None
    if (bits, compression) == (2, _RGB):
        count = min(int.from_bytes(body[46:50], "little") or 4, 4)
        data = body[14 + header : 14 + header + 4 * count]
        colors = np.zeros((4, 3), np.uint8)  # those that the file lacks are black, as in browsers
        found = np.frombuffer(data, np.uint8, len(data) // 4 * 4).reshape(-1, 4)
        colors[: len(found)] = found[:, 2::-1]
        return BmpSamples(bits, palette=colors)
    if bits not in {16, 32} or compression != _BIT_FIELDS:
        return None
    red, green, blue, alpha = (
        mask & (2**bits - 1)
        for mask in struct.unpack("<4I", body[_FIELDS : _FIELDS + 16].ljust(16, b"\0"))
    )
    masks = (red, green, blue, alpha if header in _HEADERS_WITH_ALPHA else 0)
    if (bits, masks) in _READ_BY_PILLOW or not any(masks[:3]):
        return None
    return BmpSamples(bits, masks) if all(map(_has_no_gap, masks)) else None


def as_24_bits(body: bytes) -> bytes:
    """Return the file with a header that Pillow takes. It states the size and the place of the pixels, and no more."""
    return b"".join((body[:28], struct.pack("<HI", 24, _RGB), memoryview(body)[34:]))


def load_samples(
    file: Image.Image, body: bytes, samples: BmpSamples, go_on: GoOn = without_end
) -> Image.Image:
    """Return the pixels in mode RGB, alpha composited over white; `go_on` is called before each strip of them.

    Raises:
        BrokenImageError: the file ends before its pixels do.
    """
    _, _, start, (_, _, direction) = file.tile[0]  # type: ignore[attr-defined]
    width, height = file.size
    stride = (width * samples.bits + 31) // 32 * 4  # rows have whole words of 32 bits
    if len(body) < start + height * stride:
        raise BrokenImageError(
            "The BMP is damaged or cut short: it has fewer pixels than its header says. Send the whole file."
        )
    stored = np.frombuffer(body, np.uint8, height * stride, start).reshape(height, stride)
    rows = stored[::direction]
    shown = Image.new("RGB", file.size)
    step = max(1, STRIP_PIXELS // width)
    for top in range(0, height, step):
        go_on()
        strip = np.ascontiguousarray(rows[top : top + step])
        shown.paste(Image.fromarray(_colors(strip, width, samples)), (0, top))
    return shown


def _colors(rows: Array, width: int, samples: BmpSamples) -> NDArray[np.uint8]:
    """Return uint8 (rows, width, 3) of rows of bytes."""
    if samples.palette is not None:
        places = np.stack([rows >> shift & 3 for shift in (6, 4, 2, 0)], axis=-1)
        chosen: NDArray[np.uint8] = samples.palette[places.reshape(len(rows), -1)[:, :width]]
        return chosen
    words = rows.view("<u2" if samples.bits == 16 else "<u4")[:, :width]
    color = np.stack([_eight_bits(words, mask) for mask in samples.masks[:3]], axis=-1)
    if not samples.masks[3]:
        return color
    opaque = _eight_bits(words, samples.masks[3])[..., None] / np.float32(255)
    over: NDArray[np.uint8] = np.rint(color * opaque + 255 * (1 - opaque)).astype(np.uint8)
    return over


def _eight_bits(words: Array, mask: int) -> NDArray[np.uint8]:
    """Return a channel: fewer than 8 bits are scaled to 255, of more the highest 8 are taken, as in browsers."""
    if not mask:
        return np.zeros(words.shape, np.uint8)
    lowest = (mask & -mask).bit_length() - 1
    bits = mask.bit_length() - lowest
    values = (words & words.dtype.type(mask)) >> lowest
    if bits > 8:
        high: NDArray[np.uint8] = (values >> (bits - 8)).astype(np.uint8)
        return high
    table = np.rint(np.arange(2**bits) * (255 / (2**bits - 1))).astype(np.uint8)
    scaled: NDArray[np.uint8] = table[values]
    return scaled


def _has_no_gap(mask: int) -> bool:
    whole = mask + (mask & -mask)  # a run of ones becomes one bit
    return whole & (whole - 1) == 0
