"""BMPs written by hand; the expected colors are what Chromium displays on a white page."""

import struct
from collections.abc import Sequence

import numpy as np
import pytest

from service.errors import BrokenImageError, UnsupportedImageError
from service.imaging.decode import Limits, open_image, read_pixels

RGB, RLE8, RLE4, BIT_FIELDS = 0, 1, 2, 3
V1, V3, V4, V5 = 40, 56, 108, 124
R, G, B, T, BLACK = "ff0000", "00ff00", "0000ff", "0963c7", "000000"
PALETTE = b"".join(bytes.fromhex(color)[::-1] + b"\0" for color in (R, G, B, T))
MASKS = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
PIXELS = struct.pack("<4I", 0x80FF0000, 0xFF00FF00, 0x000000FF, 0x40808080)


def bmp_of(  # noqa: PLR0917  # the fields of the header
    header: int,
    size: tuple[int, int],
    bits: int,
    compression: int,
    data: bytes,
    masks: Sequence[int] = (),
    palette: bytes = b"",
) -> bytes:
    fields = struct.pack(
        "<IiiHHIIiiII", header, *size, 1, bits, compression, len(data), 0, 0, len(palette) // 4, 0
    )
    fields += b"".join(struct.pack("<I", mask) for mask in masks)
    start = 14 + header + len(palette)
    head = b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start)
    return head + fields.ljust(header, b"\0") + palette + data


def shown(body: bytes) -> str:
    """Return the colors, pixel by pixel, with a bar after each row."""
    pixels = np.asarray(read_pixels(open_image(body, Limits())).convert("RGB"))
    return " | ".join(" ".join(bytes(pixel).hex() for pixel in row) for row in pixels)


def rle(compression: int, size: tuple[int, int], *codes: int) -> bytes:
    bits = 8 if compression == RLE8 else 4
    return bmp_of(V1, size, bits, compression, bytes(codes), palette=PALETTE)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            rle(RLE8, (4, 3), 2, 1, 0, 2, 1, 1, 1, 2, 0, 0, 2, 3, 0, 1),
            f"{T} {T} {BLACK} {BLACK} | {BLACK} {BLACK} {BLACK} {B} | {G} {G} {BLACK} {BLACK}",
        ),
        (
            rle(RLE8, (4, 3), 0, 4, 0, 1, 2, 3, 0, 0, 0, 3, 3, 2, 1, 0, 0, 0, 4, 1, 0, 0, 0, 1),
            f"{G} {G} {G} {G} | {T} {B} {G} {BLACK} | {R} {G} {B} {T}",
        ),
        (rle(RLE8, (4, 2), 4, 1, 0, 1), f"{BLACK} {BLACK} {BLACK} {BLACK} | {G} {G} {G} {G}"),
        (rle(RLE8, (4, 2), 9, 1, 0, 0, 4, 2, 0, 1), f"{B} {B} {B} {B} | {G} {G} {G} {G}"),
        (rle(RLE8, (4, -2), 4, 1, 0, 0, 4, 2, 0, 1), f"{G} {G} {G} {G} | {B} {B} {B} {B}"),
        (rle(RLE8, (4, 1), 2, 1, 2, 9, 0, 1), f"{G} {G} {BLACK} {BLACK}"),
        (rle(RLE8, (4, 1), 4, 1), f"{G} {G} {G} {G}"),
        (
            rle(RLE4, (4, 3), 3, 0x12, 0, 2, 0, 1, 1, 0x20, 0, 0, 4, 0x30, 0, 1),
            f"{T} {R} {T} {R} | {BLACK} {BLACK} {BLACK} {B} | {G} {B} {G} {BLACK}",
        ),
        (
            rle(RLE4, (5, 2), 0, 5, 0x01, 0x23, 0x10, 0, 0, 0, 5, 0x12, 0, 1),
            f"{G} {B} {G} {B} {G} | {R} {G} {B} {T} {G}",
        ),
    ],
)
def test_run_lengths_with_gaps(body: bytes, expected: str) -> None:
    assert shown(body) == expected


def test_run_lengths_of_gray_and_of_two_colors() -> None:
    gray = b"".join(bytes((level, level, level, 0)) for level in range(256))
    body = bmp_of(V1, (3, 1), 8, RLE8, bytes((2, 200, 0, 2, 1, 0, 0, 1)), palette=gray)
    assert shown(body) == f"c8c8c8 c8c8c8 {BLACK}"
    two = bytes(4) + b"\xff\xff\xff\0"
    body = bmp_of(V1, (3, 1), 8, RLE8, bytes((2, 1, 1, 0, 0, 1)), palette=two)
    assert shown(body) == f"ffffff ffffff {BLACK}"


@pytest.mark.parametrize("codes", [(4, 1, 0, 0, 2, 2), (4, 1, 0), (0, 4, 1), (4, 1, 0, 2, 0, 1)])
def test_run_lengths_that_end_early_are_refused(codes: tuple[int, ...]) -> None:
    with pytest.raises(BrokenImageError, match="fewer pixels than its header says"):
        shown(rle(RLE8, (4, 3), *codes))


@pytest.mark.parametrize("header", [V4, V5])
@pytest.mark.parametrize("alpha", [0xFF000000, 0x7F000000])
def test_the_alpha_that_a_later_header_declares_is_used(header: int, alpha: int) -> None:
    body = bmp_of(header, (2, 2), 32, RGB, PIXELS, (*MASKS[:3], alpha))
    assert shown(body) == "ffffff dfdfdf | ff7f7f 00ff00"


@pytest.mark.parametrize(
    ("header", "masks"), [(V1, ()), (V3, MASKS), (V5, (*MASKS[:3], 0)), (V5, ())]
)
def test_without_a_mask_of_alpha_the_fourth_byte_is_none(
    header: int, masks: tuple[int, ...]
) -> None:
    assert shown(bmp_of(header, (2, 2), 32, RGB, PIXELS, masks)) == f"{B} 808080 | {R} {G}"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (bmp_of(V1, (2, 2), 24, 4, b""), "a JPEG within a BMP"),
        (bmp_of(V1, (2, 2), 24, 9, b""), "24 bits per pixel of compression 9"),
        (bmp_of(V1, (2, 2), 32, BIT_FIELDS, PIXELS, (5, 2, 8)), "bit fields with gaps"),
        (bmp_of(V1, (2, 2), 7, RGB, PIXELS), "7 bits per pixel"),
    ],
)
def test_another_kind_is_named_with_what_to_send(body: bytes, says: str) -> None:
    with pytest.raises(UnsupportedImageError, match=rf"{says}.*Send it with 24 bits per pixel"):
        shown(body)


def fields(bits: int, header: int, masks: tuple[int, ...], *pixels: int) -> bytes:
    """Return a BMP of one row; the masks of the first header are behind it."""
    data = struct.pack(f"<{len(pixels)}{'H' if bits == 16 else 'I'}", *pixels)
    data += b"\0" * (-len(data) % 4)
    body = bmp_of(header, (len(pixels), 1), bits, BIT_FIELDS, data, masks)
    if header == V1:
        return body[:10] + struct.pack("<I", 14 + header + 4 * len(masks)) + body[14:]
    return body


A1R5G5B5, A4R4G4B4 = (0x7C00, 0x3E0, 0x1F, 0x8000), (0xF00, 0xF0, 0xF, 0xF000)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            fields(16, V4, A1R5G5B5, 0xFC00, 0x7C00, 0x83E0, 0x94A5),
            "ff0000 ffffff 00ff00 292929",
        ),
        (
            fields(16, V3, A1R5G5B5, 0xFC00, 0x7C00, 0x83E0, 0x94A5),
            "ff0000 ffffff 00ff00 292929",
        ),
        (
            fields(16, V5, A4R4G4B4, 0xFF00, 0x8F00, 0x0F00, 0xF123),
            "ff0000 ff7777 ffffff 112233",
        ),
        (
            fields(16, V1, A4R4G4B4[:3], 0x0F00, 0x8F00, 0xF123, 0x00F0),
            "ff0000 ff0000 112233 00ff00",
        ),
        (
            fields(16, V1, (0x1F, 0x7E0, 0xF800), 0x1F, 0x7E0, 0xF800, 0x8410),
            "ff0000 00ff00 0000ff 848284",
        ),
        (
            fields(32, V1, (0xFF, 0xFF00, 0xFF0000), 0xFF, 0x112233, 0xFFC08040),
            "ff0000 332211 4080c0",
        ),
        (
            fields(32, V1, (0x3FF00000, 0xFFC00, 0x3FF), 0x3FF00000, 0xFFC00, 0x12345678),
            "ff0000 00ff00 48459e",
        ),
    ],
)
def test_bit_fields_of_every_width_and_order(body: bytes, expected: str) -> None:
    assert shown(body) == expected
    with pytest.raises(BrokenImageError, match="fewer pixels than its header says"):
        shown(body[:-1])


@pytest.mark.parametrize(("height", "rows"), [(2, "lower first"), (-2, "upper first")])
def test_two_bits_per_pixel(height: int, rows: str) -> None:
    data = bytes((0b00011011, 0b11000000, 0, 0, 0b11100100, 0b01000000, 0, 0))
    first, second = f"{R} {G} {B} {T} {T}", f"{T} {B} {G} {R} {G}"
    upper, lower = (second, first) if rows == "lower first" else (first, second)
    assert shown(bmp_of(V1, (5, height), 2, RGB, data, palette=PALETTE)) == f"{upper} | {lower}"


def test_two_bits_with_a_palette_of_two_colors_show_the_others_black() -> None:
    body = bmp_of(V1, (4, 1), 2, RGB, bytes((0b00011011, 0, 0, 0)), palette=PALETTE[:8])
    assert shown(body) == f"{R} {G} {BLACK} {BLACK}"


@pytest.mark.parametrize("height", [3, -3])
def test_what_run_lengths_leave_out_is_black_where_no_color_of_the_palette_is(height: int) -> None:
    palette = b"".join(bytes((255 - index // 2, index, 9, 0)) for index in range(256))
    codes = bytes((1, 8, 0, 2, 1, 1, 1, 4, 0, 0, 0, 1))
    body = bmp_of(V1, (3, height), 8, RLE8, codes, palette=palette)
    row = [f"0908fb {BLACK} {BLACK}", f"{BLACK} {BLACK} 0904fd", f"{BLACK} {BLACK} {BLACK}"]
    assert shown(body) == " | ".join(row if height < 0 else row[::-1])
