"""The work on a large image ends at its deadline, wherever it is done in parts."""

import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from itertools import chain, count, repeat

import numpy as np
import pytest
from PIL import Image

from service.card import ImageInput
from service.errors import DeadlineError
from service.imaging.decode import Limits
from service.imaging.decoder import ThreadDecoder
from service.imaging.room import PixelRoom
from tests.images import encode, run_lengths
from tests.pngs import GRAY, RGB, SIGNATURE, chunk, header, stream

SIZE = (1100, 1000)
TARGET = ImageInput(height=8, width=8, resize="stretch")
LATE = 100.0
RANDOM = np.random.default_rng(7)


def noise(mode: str) -> Image.Image:
    channels = len(mode)
    shape = (SIZE[1], SIZE[0], channels) if channels > 1 else SIZE[::-1]
    return Image.fromarray(RANDOM.integers(0, 256, shape, np.uint8))


def deep(form: str, **options: object) -> bytes:
    words = RANDOM.integers(0, 2**16, SIZE[::-1], np.uint16)
    return encode(Image.fromarray(words), form, **options)


def floats() -> bytes:
    return encode(Image.fromarray(RANDOM.random(SIZE[::-1], np.float32)), "TIFF")


def deflated_tiff() -> bytes:
    return encode(noise("RGB"), "TIFF", compression="tiff_deflate")


def fax_tiff() -> bytes:
    return encode(noise("L").convert("1"), "TIFF", compression="group4")


def jpeg_tiff() -> bytes:
    return encode(noise("RGB"), "TIFF", compression="jpeg")


def jpeg_without_end() -> bytes:
    return encode(noise("RGB"), "JPEG")[:-2]


def bmp_of_bit_fields() -> bytes:
    """16 bits, 4 of each channel, which Pillow does not read."""
    width, height = SIZE
    head = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 16, 3, 0, 0, 0, 0, 0)
    masks = struct.pack("<4I", 0xF00, 0xF0, 0xF, 0xF000).ljust(68, b"\0")
    pixels = RANDOM.bytes(width * height * 2)
    start = 14 + 108
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + head + masks + pixels


def png_with_clear_color() -> bytes:
    """16 bits of each channel, one color of which is transparent."""
    width, height = SIZE
    rows = [RANDOM.bytes(6 * width) for _ in range(height)]
    clear = chunk(b"tRNS", struct.pack(">3H", 1, 2, 3))
    pixels = chunk(b"IDAT", stream(rows, level=1))
    return SIGNATURE + header(SIZE, 16, RGB) + clear + pixels + chunk(b"IEND")


def interlaced_png() -> bytes:
    """All rows of all passes are 0; it is inflated once more because it is interlaced."""
    width, height = SIZE
    head = struct.pack(">IIBBBBB", width, height, 8, GRAY, 0, 0, 1)
    pixels = chunk(b"IDAT", zlib.compress(bytes(2 * width * height)))
    return SIGNATURE + chunk(b"IHDR", head) + pixels + chunk(b"IEND")


KINDS: dict[str, Callable[[], bytes]] = {
    "deep PNG": lambda: deep("PNG"),
    "interlaced PNG": interlaced_png,
    "PNG with a clear color": png_with_clear_color,
    "PNG with alpha": lambda: encode(noise("RGBA"), "PNG"),
    "deep TIFF": lambda: deep("TIFF"),
    "float TIFF": floats,
    "deflated TIFF": deflated_tiff,
    "fax TIFF": fax_tiff,
    "JPEG TIFF": jpeg_tiff,
    "WebP": lambda: encode(noise("RGB"), "WEBP", quality=10),
    "WebP with alpha": lambda: encode(noise("RGBA"), "WEBP", quality=10),
    "JPEG": lambda: encode(noise("RGB"), "JPEG"),
    "progressive JPEG": lambda: encode(noise("RGB"), "JPEG", progressive=True),
    "JPEG without end": jpeg_without_end,
    "GIF": lambda: encode(noise("L").convert("P"), "GIF"),
    "BMP": lambda: encode(noise("RGB"), "BMP"),
    "BMP of bit fields": bmp_of_bit_fields,
    "BMP of run lengths": lambda: run_lengths(SIZE),
}


def decoder(checks: int) -> ThreadDecoder:
    """Return one whose clock shows 0 for so many checks, and is late then."""
    times = chain(repeat(0.0, checks), repeat(LATE))
    return ThreadDecoder(Limits(), PixelRoom(10**8), lambda: next(times))


@pytest.mark.parametrize("kind", KINDS)
def test_a_large_image_is_given_up_between_two_of_its_parts(kind: str) -> None:
    body = KINDS[kind]()
    for checks in (0, 1, 2):
        with pytest.raises(DeadlineError):
            decoder(checks).prepare(body, TARGET, until=LATE / 2)
    frame, _ = decoder(10**6).prepare(body, TARGET, until=LATE / 2)
    assert frame.shape == (8, 8, 3)


@pytest.mark.parametrize("kind", ["deep PNG", "WebP", "JPEG"])
def test_drawing_on_a_large_image_decodes_it_only_until_the_deadline(kind: str) -> None:
    body, now = KINDS[kind](), [0.0]
    made = ThreadDecoder(Limits(), PixelRoom(10**8), lambda: now[0])
    _, source = made.prepare(body, TARGET, until=LATE / 2)
    assert source.displayed().size == SIZE
    now[0] = LATE
    with pytest.raises(DeadlineError):
        source.displayed()


def test_a_small_image_reads_the_clock_once_before_it_is_opened() -> None:
    reads = count()
    small = ThreadDecoder(Limits(), PixelRoom(10**8), lambda: next(reads))
    body = encode(Image.open(BytesIO(deep("PNG"))).resize((999, 1000)), "PNG")
    frame, source = small.prepare(body, TARGET, until=LATE)
    assert frame.shape == (8, 8, 3)
    assert source.displayed().size == (999, 1000)
    assert next(reads) == 1
