"""What a reader may hold beside the pixels: of each format at the limit, and one byte above it."""

import struct
from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from service.errors import TooMuchMetadataError
from service.imaging.decode import Limits, open_image, read_pixels
from service.imaging.metadata import (
    COUNTS,
    FREE_WEBP_CHUNKS,
    GIF_BLOCK_BYTES,
    WEBP_CHUNK_BYTES,
)
from tests.images import encode

SMALL = Image.new("RGB", (16, 12), "red")
EXIF = b"Exif\0\0" + b"II*\0\x08\0\0\0\0\0\0\0\0\0"


FAULTS = (
    *(OSError, SyntaxError, ValueError, IndexError, EOFError, TypeError, struct.error),
    *(Image.DecompressionBombError, Image.DecompressionBombWarning),
)
"""What Pillow raises on odd files."""


def refused(body: bytes, most: int) -> bool:
    """Return whether an image is refused with so much metadata allowed; else its pixels are right."""
    try:
        opened = open_image(body, Limits(max_metadata_bytes=most))
    except TooMuchMetadataError as error:
        assert f"the {most} bytes allowed" in str(error)
        return True
    red, green, blue = read_pixels(opened).convert("RGB").resize((1, 1)).getpixel((0, 0))  # type: ignore[misc]
    assert (red > 240, green < 20, blue < 20) == (True, True, True)
    return False


def jpeg(size: int) -> bytes:
    """Return a JPEG whose APP0 (18 bytes), APP1 and comment take so many bytes, with their markers and lengths."""
    half = (size - 18) // 2
    body = encode(SMALL, "JPEG")
    assert body[2:4] == b"\xff\xe0"
    added = b"".join(
        marker + struct.pack(">H", length - 2) + bytes(length - 4)
        for marker, length in ((b"\xff\xe1", half), (b"\xff\xfe", size - 18 - half))
    )
    return body[:20] + added + body[20:]


def png(size: int) -> bytes:
    return encode(SMALL, "PNG", exif=EXIF + bytes(size - len(EXIF) + 6))


def webp(size: int) -> bytes:
    return encode(SMALL, "WEBP", xmp=bytes(size // 2), icc_profile=bytes(size - size // 2))


def avif(size: int) -> bytes:
    return encode(SMALL, "AVIF", xmp=b"x" * 100_000, icc_profile=b"y" * size)


def tiff(size: int) -> bytes:
    """Return a TIFF whose values of tags take so many bytes."""
    plain = sum(map(len, _tags(encode(SMALL, "TIFF", icc_profile=b"y" * 8)).values())) - 8
    return encode(SMALL, "TIFF", icc_profile=b"y" * (size - plain))


def _tags(body: bytes) -> dict[int, bytes]:
    """Read a little-endian TIFF's first directory by hand (TIFF 6.0, section 2)."""
    sizes = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 12: 8}
    (place,) = struct.unpack_from("<I", body, 4)
    (count,) = struct.unpack_from("<H", body, place)
    found = {}
    for number in range(count):
        at = place + 2 + 12 * number
        tag, kind, values = struct.unpack_from("<HHI", body, at)
        size = sizes[kind] * values
        start = at + 8 if size <= 4 else struct.unpack_from("<I", body, at + 8)[0]
        found[tag] = body[start : start + size]
    return found


@pytest.mark.parametrize("make", [jpeg, png, webp, avif, tiff])
@pytest.mark.parametrize("most", [2000, 70_000])
def test_metadata_has_a_limit_to_the_byte(make: Callable[[int], bytes], most: int) -> None:
    assert not refused(make(most), most)
    assert refused(make(most + 1), most)
    assert not refused(make(most + 1), most + 1)


@pytest.mark.parametrize("size", [1, 100, 255])
def test_each_block_of_a_gif_counts_whole_however_short_it_is(size: int) -> None:
    body = encode(SMALL, "GIF")
    at = body.index(b"\x2c", 13)

    def with_blocks(count: int) -> bytes:
        blocks = (bytes([size]) + bytes(size)) * count
        return body[:at] + b"\x21\xfe" + blocks + b"\0" + body[at:]

    most = 20 * GIF_BLOCK_BYTES
    assert not refused(with_blocks(20), most)
    assert refused(with_blocks(21), most)
    assert not refused(body + b"\x21\xfe\x04more\0" * 30, most)  # behind the first image


def test_a_comment_of_a_gif_without_a_block_counts_too() -> None:
    """In 20 MB are six million of them, through which a reader goes one by one."""
    body = encode(SMALL, "GIF")
    at = body.index(b"\x2c", 13)
    most = 20 * GIF_BLOCK_BYTES
    for count, is_refused in ((20, False), (21, True)):
        assert refused(body[:at] + b"\x21\xfe\0" * count + body[at:], most) == is_refused


def test_chunks_of_a_webp_that_are_no_frames_count_after_a_number() -> None:
    """Of four million empty chunks in 30 MB its reader makes a list for 4 s."""
    head = b"RIFF\0\0\0\0WEBP"
    many, frames = b"abcd\0\0\0\0", b"ANMF\0\0\0\0"
    assert COUNTS["WEBP"](head + (many + frames) * FREE_WEBP_CHUNKS, 10**9) == 0
    counted = COUNTS["WEBP"](head + many * (FREE_WEBP_CHUNKS + 7), 10**9)
    assert counted == 7 * WEBP_CHUNK_BYTES


def test_no_order_of_segments_hides_one_from_the_count() -> None:
    """Pillow's reader goes its own way through odd files; what it then holds is never more than what was counted."""
    random = np.random.default_rng(11)
    codes = [
        0x00,
        0x01,
        0xC4,
        0xC8,
        0xCC,
        *range(0xD0, 0xDA),
        0xDD,
        0xE1,
        0xEB,
        0xF0,
        0xFD,
        0xFE,
        0xFF,
    ]
    most = 0
    for _ in range(1500):
        pieces = []
        for code in random.choice(codes, random.integers(1, 12)):
            length = int(random.choice([2, 9, 300, 0xFFE1]))
            content = random.choice(
                [0, 0xFF, 0xE1, 0xFE, 0xD9], random.integers(0, 400), p=[0.6, 0.1, 0.1, 0.1, 0.1]
            )
            pieces.append(
                bytes([0xFF, int(code)]) + struct.pack(">H", length) + bytes(content.tolist())
            )
        body = b"\xff\xd8\xff" + b"".join(pieces) + encode(SMALL, "JPEG")[2:]
        try:
            with Image.open(BytesIO(body), formats=["JPEG"]) as file:
                held = sum(len(data) for _, data in getattr(file, "applist", ()))
        except FAULTS:
            continue
        most = max(most, held)
        assert COUNTS["JPEG"](body, 10**9) >= held
    assert most > 500


def test_no_order_of_blocks_hides_a_comment_from_the_count() -> None:
    random = np.random.default_rng(12)
    comment = b"\x21\xfe" + (b"\xff" + b"c" * 255) * 3 + b"\0"
    pieces = (
        *(
            comment,
            b"\0",
            b"\0\0",
            b"junk",
            b"\x21\xf9\x04\0\0\0\0\0",
            b"\x21\xf9\0",
            b"\x21\xff\0",
        ),
        *(
            b"\x21\xff\x0bNETSCAPE2.0\x03\1\0\0\0",
            b"\x21\xff\x0bNETSCAPE2.0\0",
            b"\x21\x01\0,\0",
            b"\x21\xfe\0",
        ),
        *(b"\x21\xff\x0bNETSCAPE2.0\0,\0", b"\x21\xf9\0\x02;;\0", b"\x21\xf9\0\x02,,\0"),
    )
    body = encode(SMALL, "GIF")
    at, most = body.index(b"\x2c", 13), 0
    for _ in range(2000):
        odd = b"".join(pieces[one] for one in random.integers(0, len(pieces), 8))
        whole = body[:at] + odd + body[at:]
        try:
            with Image.open(BytesIO(whole), formats=["GIF"]) as file:
                held = len(file.info.get("comment", b""))
        except FAULTS:
            continue
        most = max(most, held)
        assert COUNTS["GIF"](whole, 10**9) >= held - 8  # line ends between comments
    assert most > 2000


def test_a_million_comments_of_a_byte_are_refused_before_a_reader_joins_them() -> None:
    body = encode(SMALL, "GIF")
    at = body.index(b"\x2c", 13)
    assert refused(body[:at] + b"\x21\xfe\x01a\0" * 1_000_000 + body[at:], 16 * 2**20)


@pytest.mark.parametrize(("kind_of_page", "read"), [(1, 16), (0, 1)], ids=["reduced", "full"])
def test_tags_of_many_directories_that_share_their_bytes_count_each_time(
    kind_of_page: int, read: int
) -> None:
    """All directories are read up to that of the page that is no reduced copy."""
    size, pages = 100_000, 16
    body = bytearray(b"II*\0" + struct.pack("<I", 8 + size) + bytes(size))
    for number in range(pages):
        entries = b"".join(
            struct.pack("<HHII", tag, kind, count, value)
            for tag, kind, count, value in (
                (254, 4, 1, kind_of_page),
                (256, 3, 1, 4),
                (257, 3, 1, 4),
                (258, 3, 1, 8),
                (262, 3, 1, 1),
                (273, 4, 1, 8),
                (278, 3, 1, 4),
                (279, 4, 1, 16),
                (40_000, 7, size, 8),
            )
        )
        following = len(body) + 2 + len(entries) + 4 if number < pages - 1 else 0
        body += struct.pack("<H", 9) + entries + struct.pack("<I", following)
    with pytest.raises(TooMuchMetadataError):
        open_image(bytes(body), Limits(max_metadata_bytes=(read - 1) * size))
    open_image(bytes(body), Limits(max_metadata_bytes=(read + 1) * size))


def test_text_that_a_png_reader_skips_does_not_count() -> None:
    info = b"tEXt" + b"Comment\0" + bytes(90_000)
    body = encode(SMALL, "PNG")
    chunk = struct.pack(">I", len(info) - 4) + info + bytes(4)
    assert not refused(body[:33] + chunk + body[33:], 1024)


def test_color_profiles_in_many_jpeg_segments_count_together() -> None:
    profile = bytes(200_000)  # in four segments
    body = encode(SMALL, "JPEG", icc_profile=profile)
    assert refused(body, 200_000)
    assert not refused(body, 201_000)
