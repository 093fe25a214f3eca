"""BMPs with bit fields of any kind, or with 2 bits per pixel; the expected colors are those of Chromium on white."""

import struct
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from service.errors import BrokenImageError
from service.imaging.bmp_samples import as_24_bits, load_samples, samples_of
from service.imaging.depth import STRIP_PIXELS
from tests.bmps import (
    BIT_FIELDS,
    BLACK,
    PALETTE,
    RGB,
    V1,
    V2,
    V3,
    V4,
    V5,
    B,
    G,
    R,
    T,
    bmp_of,
    fields,
    shown,
)  # fmt: skip

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


@pytest.mark.parametrize(
    ("colors", "stored", "expected"),
    [
        (0, PALETTE, f"{R} {G} {B} {T}"),
        (4, PALETTE, f"{R} {G} {B} {T}"),
        (3, PALETTE, f"{R} {G} {B} {BLACK}"),
        (9, PALETTE + bytes(20), f"{R} {G} {B} {T}"),
    ],
    ids=["unstated", "four", "three", "more"],
)
def test_a_palette_of_two_bits_has_as_many_colors_as_the_header_says(
    colors: int, stored: bytes, expected: str
) -> None:
    body = bytearray(bmp_of(V1, (4, 1), 2, RGB, bytes((0b00011011, 0, 0, 0)), palette=stored))
    struct.pack_into("<I", body, 46, colors)
    assert shown(bytes(body)) == expected


def test_a_palette_that_is_cut_is_black_from_there_on() -> None:
    body = bmp_of(V1, (4, 1), 2, RGB, b"", palette=PALETTE)
    samples = samples_of(body[: 14 + V1 + 11])
    assert samples is not None
    assert samples.palette is not None
    assert samples.palette.tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 0], [0, 0, 0]]


# What Pillow's BmpImagePlugin reads itself: 16 bits as 5-6-5 and 5-5-5, 32 bits as BGRX, BGRA, RGBA, XBGR and ABGR.
READ_BY_PILLOW = [
    (16, (0xF800, 0x7E0, 0x1F, 0)),
    (16, (0x7C00, 0x3E0, 0x1F, 0)),
    (32, (0xFF0000, 0xFF00, 0xFF, 0)),
    (32, (0xFF0000, 0xFF00, 0xFF, 0xFF000000)),
    (32, (0xFF, 0xFF00, 0xFF0000, 0xFF000000)),
    (32, (0xFF000000, 0xFF0000, 0xFF00, 0)),
    (32, (0xFF000000, 0xFF0000, 0xFF00, 0xFF)),
]


@pytest.mark.parametrize(("bits", "masks"), READ_BY_PILLOW)
def test_what_pillow_reads_is_left_to_it(bits: int, masks: tuple[int, ...]) -> None:
    white = masks[0] | masks[1] | masks[2] | masks[3]
    body = fields(
        bits, V4, masks, masks[0] | masks[3], masks[1] | masks[3], masks[2] | masks[3], white
    )
    assert samples_of(body) is None
    with Image.open(BytesIO(body)) as image:
        pixels = np.asarray(image.convert("RGB")).tolist()
    assert pixels == [[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]]


@pytest.mark.parametrize("bits", [16, 32])
def test_bits_of_a_mask_above_those_of_a_pixel_mean_nothing(bits: int) -> None:
    top = 1 << 31 if bits == 16 else 0
    masks = (0x1F | top, 0x7E0 | top, 0xF800 | top)
    samples = samples_of(fields(bits, V1, masks, 0))
    assert samples is not None
    assert (samples.bits, samples.masks) == (bits, (0x1F, 0x7E0, 0xF800, 0))


@pytest.mark.parametrize(
    ("header", "has_alpha"), [(V1, False), (V2, False), (V3, True), (V4, True), (V5, True)]
)
def test_later_headers_have_a_mask_of_alpha(header: int, *, has_alpha: bool) -> None:
    samples = samples_of(fields(16, header, (0xF00, 0xF0, 0xF, 0xF000), 0))
    assert samples is not None
    assert samples.masks == (0xF00, 0xF0, 0xF, 0xF000 if has_alpha else 0)


def test_a_file_that_ends_at_its_masks_has_none_in_their_place() -> None:
    body = fields(16, V1, (0x1F, 0x7E0, 0xF800), 0)
    assert samples_of(body[:53]) is None
    assert samples_of(body[:54]) is None, "no mask has a bit"
    first = samples_of(body[:58])
    assert first is not None
    assert first.masks == (0x1F, 0, 0, 0)


@pytest.mark.parametrize(
    "body",
    [
        fields(16, V1, (0, 0, 0), 0),
        fields(16, V4, (0, 0, 0, 0xF000), 0),
        fields(16, V1, (0b101, 0x7E0, 0xF800), 0),
        fields(16, V4, (0xF00, 0xF0, 0xF, 0x9000), 0),
        bmp_of(V1, (1, 1), 24, BIT_FIELDS, bytes(4), (1, 2, 4)),
        bmp_of(V1, (1, 1), 16, RGB, bytes(4), (0x1F, 0x7E0, 0xF800)),
        bmp_of(V1, (1, 1), 2, BIT_FIELDS, bytes(4), palette=PALETTE),
        bmp_of(V1, (1, 1), 4, RGB, bytes(4), palette=PALETTE),
        fields(16, 64, (0x1F, 0x7E0, 0xF800), 0),
    ],
    ids=[
        "no bits",
        "only alpha",
        "gap",
        "gap in alpha",
        "24",
        "no fields",
        "2 fields",
        "4",
        "OS/2",
    ],
)
def test_other_bits_have_no_meaning_here(body: bytes) -> None:
    assert samples_of(body) is None


@pytest.mark.parametrize(
    ("mask", "word", "expected"),
    [
        (0x1, 1, "ff"), (0x7F, 0x40, "81"), (0xFF, 0x80, "80"), (0x1FF, 0x100, "80"), (0x1FF, 0x101, "80"),
        (0x1FE, 0x102, "81"), (0x3FF, 0x201, "80"), (0xFFFF, 0x80FF, "80"),
    ],
)  # fmt: skip
def test_up_to_eight_bits_are_scaled_and_of_more_the_highest_eight_are_taken(
    mask: int, word: int, expected: str
) -> None:
    assert shown(fields(32, V1, (mask, 0, 0), word)) == f"{expected}0000"


@pytest.mark.parametrize("size", [(3, 2), (2, 3)])
def test_rows_that_are_missing_are_named_before_any_is_read(size: tuple[int, int]) -> None:
    data = bytes(-(-size[0] * 2 // 4) * 4 * size[1])
    body = bmp_of(V4, size, 16, BIT_FIELDS, data, (0x1F, 0x7E0, 0xF800, 0))
    samples = samples_of(body)
    assert samples is not None
    with Image.open(BytesIO(as_24_bits(body))) as file:
        assert load_samples(file, body, samples).size == size
        with pytest.raises(BrokenImageError, match="fewer pixels than its header says"):
            load_samples(file, body[:-1], samples)


def test_one_channel_alone_has_a_meaning() -> None:
    assert shown(fields(16, V1, (0, 0x8000, 0), 0x8000, 0x7FFF)) == f"{G} {BLACK}"
    assert shown(fields(32, V1, (0, 0, 0xFF), 0x80)) == "000080"


def test_the_header_for_pillow_states_the_size_and_the_place_of_the_pixels() -> None:
    body = fields(16, V1, (0x1F, 0x7E0, 0xF800), 1, 2, 3)
    with Image.open(BytesIO(as_24_bits(body))) as image:
        assert (image.size, image.mode, image.tile[0].offset) == ((3, 1), "RGB", len(body) - 8)
    assert len(as_24_bits(body)) == len(body)


@pytest.mark.parametrize(
    "size", [(1, 5), (3, 7), (STRIP_PIXELS // 2, 5), (STRIP_PIXELS, 2), (STRIP_PIXELS + 1, 2)]
)
@pytest.mark.parametrize("direction", [1, -1])
def test_strips_of_rows_are_loaded_one_after_the_other(
    size: tuple[int, int], direction: int
) -> None:
    width, height = size
    values = np.arange(width * height, dtype="<u4").reshape(height, width) * 2654435761 & 0xFFFFFF
    data = (values if direction < 0 else values[::-1]).astype("<u4").tobytes()
    body = bmp_of(V1, (width, direction * height), 32, BIT_FIELDS, data, (0xFF, 0xFF00, 0xFF0000))
    body = (
        body[:10]
        + struct.pack("<I", 14 + V1 + 12)
        + body[14:54]
        + struct.pack("<3I", 0xFF, 0xFF00, 0xFF0000)
        + data
    )
    samples = samples_of(body)
    assert samples is not None
    calls = 0

    def go_on() -> None:
        nonlocal calls
        calls += 1

    with Image.open(BytesIO(as_24_bits(body))) as file:
        image = load_samples(file, body, samples, go_on)
    expected = np.stack([values & 255, values >> 8 & 255, values >> 16], axis=-1)
    assert np.array_equal(np.asarray(image), expected)
    assert calls == -(-height // max(1, STRIP_PIXELS // width))


def test_the_pixels_may_be_anywhere_behind_the_header_and_end_with_the_file() -> None:
    body = fields(16, V1, (0x1F, 0x7E0, 0xF800), 0x1F, 0x7E0)
    moved = body[:10] + struct.pack("<I", len(body) + 96) + body[14:-4] + bytes(100) + body[-4:]
    assert shown(moved) == f"{R} {G}"
    with pytest.raises(BrokenImageError, match="fewer pixels"):
        shown(moved[:-1])
