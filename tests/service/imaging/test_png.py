"""PNGs written by hand; what is right is what Chromium displays on a white page."""

import random
import struct
import zlib
from contextlib import nullcontext

import numpy as np
import pytest

from service.errors import BrokenImageError
from service.imaging import png
from service.imaging.decode import Limits, open_image, read_pixels
from tests.images import encode, photograph
from tests.pngs import (
    GRAY,
    GRAY_ALPHA,
    PALETTE,
    RGB,
    RGB_ALPHA,
    SIGNATURE,
    animation,
    chunk,
    frame_control,
    frame_data,
    header,
    packed,
    png_of,
    stream,
)

LIMITS = Limits()
STEPS = png_of([0, 85, 170, 255], 8, GRAY)


def shown(body: bytes) -> list[list[int]]:
    """Return the first row as R, G, B."""
    pixels = read_pixels(open_image(body, LIMITS)).convert("RGB")
    row: list[list[int]] = np.asarray(pixels)[0].tolist()
    return row


def gray(body: bytes) -> list[int]:
    row = shown(body)
    assert all(r == g == b for r, g, b in row)
    return [r for r, _, _ in row]


@pytest.mark.parametrize(
    ("depth", "samples", "transparent", "expected"),
    [
        (1, [0, 1], 0, [255, 255]),
        (1, [0, 1], 1, [0, 255]),
        (2, [0, 1, 2, 3], 0, [255, 85, 170, 255]),
        (2, [0, 1, 2, 3], 2, [0, 85, 255, 255]),
        (4, [0, 3, 7, 15], 3, [0, 255, 119, 255]),
        (4, [0, 3, 7, 15], 0xF3, [0, 51, 119, 255]),
        (8, [0, 8, 9, 255], 8, [0, 255, 9, 255]),
        (8, [0, 8, 9, 255], 0x0108, [0, 255, 9, 255]),
        (16, [0, 514, 515, 65535], 514, [0, 255, 2, 255]),
        (16, [0, 514, 515, 65535], 2, [0, 2, 2, 255]),
    ],
)
def test_the_gray_sample_that_is_transparent_is_white_at_every_depth(
    depth: int, samples: list[int], transparent: int, expected: list[int]
) -> None:
    before = chunk(b"tRNS", struct.pack(">H", transparent))
    assert gray(png_of(samples, depth, GRAY, before=before)) == expected


def test_all_16_bits_of_a_color_decide_whether_it_is_transparent() -> None:
    color = (0x1234, 0x5678, 0x9ABC)
    near = (0x1235, 0x5678, 0x9ABC)
    before = chunk(b"tRNS", struct.pack(">3H", *color))
    body = png_of([*color, *near], 16, RGB, before=before)
    assert shown(body) == [[255, 255, 255], [0x12, 0x56, 0x9A]]


def test_16_bits_with_alpha_lie_on_white() -> None:
    assert gray(png_of([0, 0, 0, 65535, 65535, 65535], 16, GRAY_ALPHA)) == [255, 0, 255]
    colors = [65535, 0, 0, 65535, 65535, 0, 0, 0]
    assert shown(png_of(colors, 16, RGB_ALPHA)) == [[255, 0, 0], [255, 255, 255]]


@pytest.mark.parametrize(
    ("depth", "samples", "alpha", "expected"),
    [
        (8, [0, 1, 2, 255], b"", ["ff0000", "00ff00", "00ff00", "00ff00"]),
        (2, [0, 1, 2, 3], b"", ["ff0000", "00ff00", "00ff00", "00ff00"]),
        (8, [0, 1, 2, 255], b"\x80", ["ff7f7f", "00ff00", "00ff00", "00ff00"]),
        (8, [0, 1, 2, 255], b"\xff\x80", ["ff0000", "7fff7f", "7fff7f", "7fff7f"]),
    ],
)
def test_an_index_behind_the_palette_is_its_last_color_as_in_chromium(
    depth: int, samples: list[int], alpha: bytes, expected: list[str]
) -> None:
    palette = chunk(b"PLTE", bytes((255, 0, 0, 0, 255, 0)))
    palette += chunk(b"tRNS", alpha) if alpha else b""
    image = open_image(png_of(samples, depth, PALETTE, before=palette), LIMITS)
    row = np.asarray(read_pixels(image).convert("RGB"))[0]
    assert np.abs(row.astype(int) - [list(bytes.fromhex(color)) for color in expected]).max() <= 1


def test_an_empty_palette_is_refused() -> None:
    with pytest.raises(BrokenImageError, match="no palette"):
        open_image(png_of([0, 1], 8, PALETTE, before=chunk(b"PLTE")), LIMITS)


def test_a_palette_keeps_its_alpha() -> None:
    before = chunk(b"PLTE", bytes([255, 0, 0, 0, 0, 255])) + chunk(b"tRNS", b"\x00")
    assert shown(png_of([0, 1], 8, PALETTE, before=before)) == [[255, 255, 255], [0, 0, 255]]


FOUR = bytes((88, 31, 184, 57, 46, 184, 34, 176, 192, 188, 68, 55))
PLTE, CLEAR = chunk(b"PLTE", FOUR), chunk(b"tRNS", b"\0\0")
THIRD = chunk(b"tRNS", b"\xff\xff\0")


@pytest.mark.parametrize(
    ("before", "clear"),
    [
        (PLTE + CLEAR, {0, 1}),
        (CLEAR + PLTE, set()),
        (CLEAR + PLTE + THIRD, {2}),
        (PLTE + CLEAR + THIRD, {0, 1}),
        (PLTE + chunk(b"tRNS", bytes(5)), {0, 1, 2, 3}),
        (PLTE + chunk(b"tRNS", bytes(256)), {0, 1, 2, 3}),
        (PLTE + chunk(b"tRNS", bytes(257)), set()),
        (PLTE + chunk(b"tRNS", bytes(300)) + THIRD, {2}),
    ],
)
@pytest.mark.parametrize("depth", [2, 4, 8])
def test_the_first_alpha_that_fits_the_palette_is_used_as_in_chromium(
    depth: int, before: bytes, clear: set[int]
) -> None:
    colors = [list(FOUR[place : place + 3]) for place in range(0, 12, 3)]
    expected = [[255] * 3 if index in clear else color for index, color in enumerate(colors)]
    assert shown(png_of([0, 1, 2, 3], depth, PALETTE, before=before)) == expected


@pytest.mark.parametrize(("first", "clear"), [(b"\0\1", 1), (b"\0", 2)])
def test_the_first_transparent_gray_that_is_whole_is_used(first: bytes, clear: int) -> None:
    before = chunk(b"tRNS", first) + chunk(b"tRNS", b"\0\2")
    expected = [255 if sample == clear else sample for sample in range(4)]
    assert gray(png_of([0, 1, 2, 3], 8, GRAY, before=before)) == expected


def test_a_second_header_is_named() -> None:
    with pytest.raises(BrokenImageError, match=r"second header \(IHDR\)\. Send the"):
        shown(png_of([0], 8, GRAY, before=header((9, 9), 8, GRAY)))


BOMB = zlib.compress(bytes(40_000_000))


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"zTXt", b"parameters\0\0" + BOMB),
        chunk(b"iTXt", b"parameters\0\1\0\0\0" + BOMB),
        chunk(b"iCCP", b"sRGB\0\0" + BOMB),
        chunk(b"tEXt", b"Comment\0" + b"x" * 3_000_000),
        chunk(b"tEXt", b"Comment\0damaged", damaged=True),
        chunk(b"iCCP", b"no profile at all", damaged=True),
        chunk(b"tRNS", b"\0\0", damaged=True),
        chunk(b"gAMA", b""),
        chunk(b"eXIf", b"nonsense"),
        chunk(b"xxXx", b"private"),
    ],
    ids=lambda extra: extra[4:8].decode(),
)
def test_what_the_pixels_do_not_need_is_skipped(extra: bytes) -> None:
    assert gray(png_of([0, 85, 170, 255], 8, GRAY, before=extra)) == [0, 85, 170, 255]
    assert gray(png_of([0, 85, 170, 255], 8, GRAY, after=extra)) == [0, 85, 170, 255]


@pytest.mark.parametrize("missing", [1, 4, 12, 14, 17])
def test_an_end_that_is_cut_off_behind_the_pixels_is_not_missed(missing: int) -> None:
    assert gray(STEPS[:-missing]) == [0, 85, 170, 255]


def test_rubbish_behind_the_pixels_is_not_read() -> None:
    assert gray(STEPS[:-12] + b"\0\0\0\5zz") == [0, 85, 170, 255]
    assert gray(STEPS[:-12] + b"\0\0\0\0\0\0\0\0\0\0\0\0") == [0, 85, 170, 255]


def test_a_wrong_checksum_around_sound_pixels_does_not_refuse_them() -> None:
    pixels = chunk(b"IDAT", stream([bytes([0, 85])]), damaged=True)
    body = SIGNATURE + header((2, 1), 8, GRAY) + pixels + chunk(b"IEND")
    assert gray(body) == [0, 85]


@pytest.mark.parametrize("count", [60_000, 100_000])
def test_an_image_has_as_many_chunks_as_a_large_deep_one_of_a_streaming_encoder(count: int) -> None:
    image = png_of([0, 1], 8, GRAY)
    end = image.index(b"IDAT") - 4
    body = image[:end] + chunk(b"IDAT") * count + image[end:]
    with pytest.raises(BrokenImageError) if count == png.MAX_CHUNKS else nullcontext():
        read_pixels(open_image(body, LIMITS))


def test_pixels_of_many_chunks_are_one_stream() -> None:
    whole = stream([bytes([0, 85])])
    pixels = b"".join(chunk(b"IDAT", whole[i : i + 1]) for i in range(len(whole)))
    assert gray(SIGNATURE + header((2, 1), 8, GRAY) + pixels + chunk(b"IEND")) == [0, 85]


@pytest.mark.parametrize("are_recomputed", [False, True], ids=["as they were", "recomputed"])
@pytest.mark.parametrize("level", [0, 6], ids=["stored", "compressed"])
def test_one_flipped_bit_in_the_pixels_refuses_the_image(
    level: int, *, are_recomputed: bool
) -> None:
    noise = random.Random(3)  # no secret
    pixels = stream([noise.randbytes(64) for _ in range(64)], level)
    for _ in range(40):
        hurt = bytearray(pixels)
        hurt[noise.randrange(2, len(hurt))] ^= 1 << noise.randrange(8)
        data = chunk(b"IDAT", bytes(hurt))
        if not are_recomputed:
            data = data[:-4] + chunk(b"IDAT", pixels)[-4:]
        body = SIGNATURE + header((64, 64), 8, GRAY) + data + chunk(b"IEND")
        with pytest.raises(BrokenImageError, match=r"damaged|cut short"):
            read_pixels(open_image(body, LIMITS))


def test_a_flipped_bit_in_a_large_image_refuses_it() -> None:
    body = bytearray(encode_large())
    body[len(body) // 2] ^= 4
    with pytest.raises(BrokenImageError, match="checksum"):
        read_pixels(open_image(bytes(body), LIMITS))


def encode_large() -> bytes:
    size = (3000, 2000)
    rows = [bytes(3 * size[0])] * size[1]
    return SIGNATURE + header(size, 8, RGB) + chunk(b"IDAT", stream(rows)) + chunk(b"IEND")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (SIGNATURE, "no whole header"),
        (STEPS[:30], "ends after 30 bytes, within its header"),
        (STEPS[:33], "no pixels in its 33 bytes"),
        (SIGNATURE + chunk(b"CgBI", b"\x50\0\x20\2") + STEPS[8:], "CgBI"),
        (SIGNATURE + chunk(b"IDAT", b""), "no whole header"),
        (SIGNATURE + header((0, 1), 8, GRAY) + STEPS[33:], "0×1 pixels"),
        (SIGNATURE + header((4, 2), 3, GRAY) + STEPS[33:], "3 bits of color type 0"),
        (SIGNATURE + header((4, 2), 8, 5) + STEPS[33:], "color type 5"),
        (png_of([0, 1], 8, PALETTE), "no palette"),
        (png_of([0], 8, PALETTE, before=chunk(b"PLTE", b"abc", damaged=True)), "PLTE"),
        (png_of([0], 8, GRAY, before=chunk(b"ABCD")), "unknown chunk ABCD"),
        (STEPS[:33] + b"\0\0\0\0\0\0\0\0" + STEPS[33:], "no valid chunk at byte 33"),
        (SIGNATURE + header((1, 1), 8, GRAY) + chunk(b"tEXt") * 100_000, "more than 100000 chunks"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_damaged_before_the_pixels_is_named(body: bytes, reason: str) -> None:
    with pytest.raises(BrokenImageError, match=reason):
        png.first_frame(body)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9, 0.999])
def test_missing_pixels_refuse_the_image(kept: float) -> None:
    body = photograph("coffee", "PNG")
    with pytest.raises(BrokenImageError, match="cut short"):
        read_pixels(open_image(body[: int(len(body) * kept)], LIMITS))


RED, BLACK = packed([255, 0, 0] * 2, 8), packed([0] * 12, 8)


def animated(*chunks: bytes, has_control: bool = True) -> bytes:
    control = animation(1) if has_control else b""
    return SIGNATURE + header((4, 2), 8, RGB) + control + b"".join(chunks) + chunk(b"IEND")


def test_an_animation_that_hides_its_default_image_shows_its_first_frame_on_white() -> None:
    body = animated(
        chunk(b"IDAT", stream([BLACK] * 2)),
        frame_control(0, (1, 0, 2, 1)),
        frame_data(1, [RED]),
        frame_control(2, (0, 0, 4, 2)),
        frame_data(3, [BLACK] * 2),
    )
    image = open_image(body, LIMITS)
    assert image.size == (4, 2)
    assert np.asarray(read_pixels(image)).tolist() == [
        [[255, 255, 255], [255, 0, 0], [255, 0, 0], [255, 255, 255]],
        [[255, 255, 255]] * 4,
    ]


@pytest.mark.parametrize(
    "body",
    [
        animated(frame_control(0, (0, 0, 4, 2)), chunk(b"IDAT", stream([BLACK] * 2))),
        animated(
            chunk(b"IDAT", stream([BLACK] * 2)),
            animation(1),
            frame_control(0, (0, 0, 2, 1)),
            frame_data(1, [RED]),
            has_control=False,
        ),
        animated(
            chunk(b"IDAT", stream([BLACK] * 2)),
            frame_control(0, (3, 0, 2, 1)),
            frame_data(1, [RED]),
        ),
        animated(chunk(b"IDAT", stream([BLACK] * 2))),
    ],
    ids=["it is the first frame", "acTL comes too late", "outside the canvas", "no frame"],
)
def test_the_default_image_is_shown_where_it_counts(body: bytes) -> None:
    assert shown(body) == [[0, 0, 0]] * 4


def test_a_first_frame_that_is_cut_short_refuses_the_image() -> None:
    body = animated(
        chunk(b"IDAT", stream([BLACK] * 2)), frame_control(0, (0, 0, 2, 1)), frame_data(1, [RED])
    )
    with pytest.raises(BrokenImageError):
        read_pixels(open_image(body[:-24], LIMITS))


def test_a_png_that_pillow_wrote_is_unchanged() -> None:
    body = encode(read_pixels(open_image(photograph("rocket"), LIMITS)))
    assert np.array_equal(
        np.asarray(read_pixels(open_image(body, LIMITS))),
        np.asarray(read_pixels(open_image(photograph("rocket"), LIMITS))),
    )
