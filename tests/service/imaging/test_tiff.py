"""TIFFs written by hand, each with its values worked out by hand."""

import struct
import warnings
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray

from service.errors import BrokenImageError, ImageError, TooManyPixelsError, UnsupportedImageError
from service.imaging.decode import Limits, open_image, orientation, read_pixels
from tests.pngs import packed
from tests.tiffs import (
    BLACK_IS_ZERO,
    DEFLATE,
    FLOAT,
    NO_COMPRESSION,
    PACKBITS,
    RGB,
    SIGNED,
    UNSIGNED,
    WHITE_IS_ZERO,
    tiff_of,
    tiled,
)

LIMITS = Limits()


def shown(body: bytes) -> NDArray[np.uint8]:
    return np.asarray(read_pixels(open_image(body, LIMITS)))


@pytest.mark.parametrize("rows_per_strip", [1, 3])
@pytest.mark.parametrize("compression", [NO_COMPRESSION, DEFLATE])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("photometric", [WHITE_IS_ZERO, BLACK_IS_ZERO])
@pytest.mark.parametrize(
    ("kind", "form", "values", "expected"),
    [
        ("u1", UNSIGNED, [0, 51, 255], [0, 51, 255]),
        ("i1", SIGNED, [-128, 64, 127], [0, 129, 255]),
        ("u2", UNSIGNED, [0, 257, 65535], [0, 1, 255]),
        ("i2", SIGNED, [-5, 0, 32767], [0, 0, 255]),
        ("f2", FLOAT, [0, 0.25, 1], [0, 64, 255]),
        ("u4", UNSIGNED, [0, 2**31, 2**32 - 1], [0, 128, 255]),
        ("i4", SIGNED, [-5, 257, 65535], [0, 1, 255]),
        ("f4", FLOAT, [0, 0.25, 1], [0, 64, 255]),
        ("f8", FLOAT, [0, 0.25, 1], [0, 64, 255]),
        ("u8", UNSIGNED, [0, 2**63, 2**64 - 1], [0, 128, 255]),
    ],
)
def test_gray_of_every_depth_order_and_layout(  # noqa: PLR0917  # the six ways in which files differ
    kind: str,
    form: int,
    values: list[float],
    expected: list[int],
    photometric: int,
    order: str,
    compression: int,
    rows_per_strip: int,
) -> None:
    row = np.array(values, order + kind)
    tags = {256: 3, 258: 8 * row.itemsize, 262: photometric, 339: form}
    body = tiff_of(
        [row.tobytes()] * 4,
        tags,
        order=order,
        compression=compression,
        rows_per_strip=rows_per_strip,
    )
    if photometric == WHITE_IS_ZERO:
        expected = [255 - value for value in expected]
    assert np.abs(shown(body).astype(int) - [expected] * 4).max() <= 1


@pytest.mark.parametrize("width", [4, 5])
@pytest.mark.parametrize("compression", [NO_COMPRESSION, DEFLATE])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("photometric", [WHITE_IS_ZERO, BLACK_IS_ZERO])
def test_packed_samples_of_12_bits(
    photometric: int, order: str, compression: int, width: int
) -> None:
    row = packed([0, 1365, 2730, 4095, 4095][:width], 12)
    tags = {256: width, 258: 12, 262: photometric}
    body = tiff_of([row] * 3, tags, order=order, compression=compression, rows_per_strip=2)
    expected = np.array([0, 85, 170, 255, 255][:width])
    if photometric == WHITE_IS_ZERO:
        expected = 255 - expected
    assert shown(body).tolist() == [expected.tolist()] * 3


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    ("extra", "expected"), [(2, [255, 128, 1]), (1, [255, 128, 1]), (0, [0, 0, 1])]
)
def test_16_bit_gray_with_a_second_sample(order: str, extra: int, expected: list[int]) -> None:
    row = np.array([0, 0, 0, 32700, 257, 65535], order + "u2")
    tags: dict[int, int | tuple[int, ...]] = {256: 3, 258: (16, 16), 277: 2, 338: extra}
    found = shown(tiff_of([row.tobytes()], tags, order=order))
    assert found.tolist() == [expected]


@pytest.mark.parametrize("order", "<>")
def test_16_bit_rgb_pixel_by_pixel_and_in_planes(order: str) -> None:
    together = np.array([65535, 0, 257, 0, 65535, 65535], order + "u2")
    planes = [np.array(plane, order + "u2") for plane in ([65535, 0], [0, 65535], [257, 65535])]
    tags: dict[int, int | tuple[int, ...]] = {256: 2, 258: (16, 16, 16), 262: RGB, 277: 3}
    expected = [[[255, 0, 1], [0, 255, 255]]]
    chunky = tiff_of([together.tobytes()], tags, order=order)
    planar = tiff_of(
        [plane.tobytes() for plane in planes],
        {**tags, 257: 1, 284: 2},
        order=order,
        rows_per_strip=1,
    )
    assert shown(chunky).tolist() == expected
    assert shown(planar).tolist() == expected


@pytest.mark.parametrize("tag", range(1, 9))
def test_deep_gray_is_turned_as_8_bits_are(tag: int) -> None:
    values = np.arange(6, dtype="u1").reshape(2, 3) * 40
    eight = tiff_of([row.tobytes() for row in values], {256: 3, 258: 8, 274: tag})
    deep = values.astype("<u2") * 257
    sixteen = tiff_of([row.tobytes() for row in deep], {256: 3, 258: 16, 274: tag})
    image = open_image(sixteen, LIMITS)
    turn = orientation(image)
    pixels = read_pixels(image)
    upright = pixels.transpose(turn) if turn is not None else pixels
    assert np.array_equal(np.asarray(upright), shown(eight))


def test_the_full_page_is_read_not_the_thumbnail_before_it() -> None:
    marked = tiff_of([bytes([10] * 4)] * 3, {254: 1, 256: 4, 258: 8})
    second = tiff_of([bytes([200] * 8)] * 6, {256: 8, 258: 8})
    moved = shifted(second, len(marked))
    start = struct.unpack_from("<L", marked, 4)[0]
    count = struct.unpack_from("<H", marked, start)[0]
    following = start + 2 + 12 * count
    linked = (
        marked[:following]
        + struct.pack("<L", len(marked) + struct.unpack_from("<L", second, 4)[0])
        + marked[following + 4 :]
        + moved
    )
    assert (shown(linked) == 200).all()
    assert shown(linked).shape == (6, 8)


def shifted(body: bytes, by: int) -> bytes:
    """Return a TIFF of one strip whose places count from `by` bytes before it."""
    hurt = bytearray(body)
    start = struct.unpack_from("<L", hurt, 4)[0]
    for entry in range(struct.unpack_from("<H", hurt, start)[0]):
        at = start + 2 + 12 * entry
        if struct.unpack_from("<H", hurt, at)[0] == 273:
            place = struct.unpack_from("<L", hurt, at + 8)[0]
            struct.pack_into("<L", hurt, at + 8, place + by)
    return bytes(hurt)


GRAY_ROW = bytes(64)


@pytest.mark.parametrize(
    ("tags", "says"),
    [
        (
            {256: 2, 258: (32, 32, 32), 259: 8, 262: RGB, 277: 3, 317: 9},
            "RGB with 3 × 32 bits (unsigned integer)",
        ),
        ({256: 2, 258: (8,) * 5, 277: 5}, "gray with 5 × 8 bits (unsigned integer)"),
        ({256: 2, 258: 24}, "gray with 1 × 24 bits"),
        ({256: 2, 258: 16, 262: 32803}, "the unprocessed data of a camera's sensor"),
        ({256: 2, 258: 8, 259: 34712}, "method 34712"),
        ({256: 2, 258: 16, 262: 4, 277: 1}, "photometric 4"),
        (
            {256: 2, 257: 2, 258: (8,) * 5, 262: 5, 277: 5, 284: 2, 338: (2,)},
            "in separate planes",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_read_is_named_with_what_to_send(
    tags: dict[int, int | tuple[int, ...]], says: str
) -> None:
    with pytest.raises(UnsupportedImageError) as caught:
        shown(tiff_of([GRAY_ROW] * 2, tags))
    assert says in str(caught.value)
    assert "send JPEG or PNG" in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        b"II*\0",
        b"II*\0\xff\xff\xff\x7f" + bytes(20),
        b"II*\0\0\0\0\0" + bytes(20),
        b"MM\0+" + bytes(20),
        tiff_of([b"\0"], {258: 8}),
        tiff_of([bytes(6)], {256: 2, 258: 8, 262: RGB, 277: 3})[:95],
        tiff_of([b"\0"], {256: 0, 258: 8}),
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_a_damaged_directory_is_named(body: bytes) -> None:
    with pytest.raises(BrokenImageError):
        open_image(body, LIMITS)


def two_pages() -> tuple[bytes, int]:
    """Return a TIFF of a page of 10 and one of 200, and how many bytes the directory of the second takes."""
    first = bytearray(tiff_of([bytes([10] * 4)] * 3, {256: 4, 258: 8}))
    second = tiff_of([bytes([200] * 8)] * 6, {256: 8, 258: 8}, is_directory_first=True)
    start = struct.unpack_from("<L", first, 4)[0]
    count = struct.unpack_from("<H", first, start)[0]
    struct.pack_into("<L", first, start + 2 + 12 * count, len(first) + 8)
    return bytes(first) + shifted(second, len(first)), len(second) - 8 - 48


def test_a_page_is_read_although_the_directory_of_the_next_one_is_cut() -> None:
    body, directory = two_pages()
    for cut in range(48, 48 + directory + 1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's
            assert (shown(body[: len(body) - cut]) == 10).all()


@pytest.mark.parametrize("photometric", [BLACK_IS_ZERO, RGB])
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_a_page_whose_own_directory_is_cut_is_refused(photometric: int) -> None:
    samples = 3 if photometric == RGB else 1
    body = tiff_of([bytes(4 * samples)] * 3, {256: 4, 258: 8, 262: photometric, 277: samples})
    assert shown(body).shape[:2] == (3, 4)
    for cut in (1, 4, 5, 12, 16):
        with pytest.raises(BrokenImageError, match="The TIFF's directory of tags is cut short"):
            shown(body[: len(body) - cut])


def test_directories_that_lead_in_a_circle_are_read_once() -> None:
    body = bytearray(tiff_of([bytes(2)], {254: 1, 256: 2, 258: 8}))
    start = struct.unpack_from("<L", body, 4)[0]
    count = struct.unpack_from("<H", body, start)[0]
    struct.pack_into("<L", body, start + 2 + 12 * count, start)
    assert shown(bytes(body)).shape == (1, 2)


def test_missing_strips_refuse_deep_gray() -> None:
    body = tiff_of([bytes(80)] * 40, {256: 40, 258: 16})
    start = struct.unpack_from("<L", body, 4)[0]
    hurt = struct.pack("<4sL", b"II*\0", 8) + shifted_directory(body, start)
    with pytest.raises(BrokenImageError):
        shown(hurt)


def shifted_directory(body: bytes, start: int) -> bytes:
    """Return the directory alone: the strips that it names are not there."""
    return body[start:]


def planes(values: NDArray[np.uint8], order: str, kind: str) -> list[bytes]:
    """Return the rows of each channel in turn, 8 bits scaled to the range of the type."""
    top = 1 if kind.startswith("f") else np.iinfo(kind).max
    scaled = (values.astype(np.float64) / 255 * top).astype(order + kind)
    return [row.tobytes() for channel in range(values.shape[2]) for row in scaled[..., channel]]


PIXELS = np.arange(4 * 3 * 5, dtype=np.uint8).reshape(4, 3, 5) * 4 + 9


UNSPECIFIED, PREMULTIPLIED, STRAIGHT = 0, 1, 2


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compression", [NO_COMPRESSION, DEFLATE])
@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
@pytest.mark.parametrize(
    "extra", [(), (STRAIGHT,), (PREMULTIPLIED,), (UNSPECIFIED,), (UNSPECIFIED, UNSPECIFIED)]
)
def test_rgb_in_planes_with_extra_samples(
    extra: tuple[int, ...], kind: str, compression: int, order: str
) -> None:
    channels = 3 + len(extra)
    stored = PIXELS[..., :channels].copy()
    stored[..., 3:] = 200
    form = FLOAT if kind == "f4" else UNSIGNED
    tags: dict[int, int | tuple[int, ...]] = {
        256: 3,
        257: 4,
        258: (8 * np.dtype(kind).itemsize,) * channels,
        262: RGB,
        277: channels,
        284: 2,
        339: (form,) * channels,
        **({338: extra if len(extra) > 1 else extra[0]} if extra else {}),
    }
    # Three rows a strip: the last strip of each plane is shorter.
    rows = planes(stored, order, kind)
    body = planar(rows, tags, order, compression, rows_per_strip=3)
    expected, alpha = stored[..., :3].astype(float), 200 / 255
    if extra == (STRAIGHT,):
        expected *= alpha
    if extra in {(STRAIGHT,), (PREMULTIPLIED,)}:
        expected += 255 * (1 - alpha)
    assert np.abs(shown(body) - np.minimum(expected, 255)).max() <= 1


def planar(
    rows: list[bytes],
    tags: dict[int, int | tuple[int, ...]],
    order: str,
    compression: int,
    *,
    rows_per_strip: int,
) -> bytes:
    """Return a TIFF whose strips do not reach over the end of a plane, as the specification wants."""
    height = tags[257]
    assert isinstance(height, int)
    strips = [
        b"".join(rows[start : min(start + rows_per_strip, plane + height)])
        for plane in range(0, len(rows), height)
        for start in range(plane, plane + height, rows_per_strip)
    ]
    return tiff_of(
        strips,
        {**tags, 278: rows_per_strip},
        order=order,
        compression=compression,
        rows_per_strip=1,
    )


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compression", [NO_COMPRESSION, DEFLATE])
@pytest.mark.parametrize("bits", [9, 10, 11, 12, 13, 14, 15])
def test_packed_samples_of_any_depth_in_gray_and_rgb(
    bits: int, compression: int, order: str
) -> None:
    top = 2**bits - 1
    values = [0, 1, top // 3, top, 5, top - 1]
    expected = [round(value * 255 / top) for value in values]
    layouts: list[dict[int, int | tuple[int, ...]]] = [
        {256: 6, 258: bits},
        {256: 2, 258: (bits,) * 3, 262: RGB, 277: 3},
    ]
    for tags in layouts:
        row = packed(values, bits)
        body = tiff_of([row] * 3, tags, order=order, compression=compression, rows_per_strip=2)
        assert shown(body).reshape(3, 6).tolist() == [expected] * 3


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    ("kind", "form", "values", "expected"),
    [
        ("f4", FLOAT, [0, 0.5, 1], [0, 128, 255]),
        ("f2", FLOAT, [0, 0.5, 1], [0, 128, 255]),
        ("f8", FLOAT, [0, 127.5, 255], [0, 128, 255]),
        ("u4", UNSIGNED, [0, 2**31, 2**32 - 1], [0, 128, 255]),
        ("i2", SIGNED, [-9, 0, 32767], [0, 0, 255]),
        ("u8", UNSIGNED, [0, 2**63, 2**64 - 1], [0, 128, 255]),
    ],
)
def test_deep_rgb_pixel_by_pixel(
    kind: str, form: int, values: list[float], expected: list[int], order: str
) -> None:
    row = np.array(values, order + kind)
    tags: dict[int, int | tuple[int, ...]] = {
        256: 1,
        258: (8 * row.itemsize,) * 3,
        262: RGB,
        277: 3,
        339: (form,) * 3,
    }
    found = shown(tiff_of([row.tobytes()] * 2, tags, order=order, compression=DEFLATE))
    assert np.abs(found.astype(int) - [[expected]] * 2).max() <= 1


@pytest.mark.parametrize("kind", ["u1", "u2"])
@pytest.mark.parametrize(
    ("photometric", "gray"), [(WHITE_IS_ZERO, [55, 55, 255]), (BLACK_IS_ZERO, [200, 255, 255])]
)
def test_gray_with_alpha_where_white_is_zero_or_black_is(
    photometric: int, gray: list[int], kind: str
) -> None:
    samples = np.array([200, 255, 255, 255, 7, 0], kind) * (257 if kind == "u2" else 1)
    if photometric == WHITE_IS_ZERO:
        samples[2] = samples[0]
    bits = 8 * samples.itemsize
    tags: dict[int, int | tuple[int, ...]] = {
        256: 3,
        258: (bits, bits),
        262: photometric,
        277: 2,
        338: 2,
    }
    found = shown(tiff_of([samples.astype("<" + kind).tobytes()], tags)).reshape(1, 3, -1)
    assert found[0, :, 0].tolist() == gray


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("bits", [8, 16])
def test_bigtiff_in_both_byte_orders(order: str, bits: int) -> None:
    row = np.array([0, 51, 255], np.uint16) * (257 if bits == 16 else 1)
    pixels = row.astype(order + f"u{bits // 8}").tobytes()
    tags = {
        256: 3,
        257: 2,
        258: bits,
        259: 1,
        262: 1,
        273: 16,
        277: 1,
        278: 2,
        279: 2 * len(pixels),
    }
    place = 16 + 2 * len(pixels)
    header = (b"II" if order == "<" else b"MM") + struct.pack(order + "HHHQ", 43, 8, 0, place)
    entries = b"".join(struct.pack(order + "HHQQ", tag, 16, 1, tags[tag]) for tag in sorted(tags))
    directory = struct.pack(order + "Q", len(tags)) + entries + bytes(8)
    assert shown(header + pixels * 2 + directory).tolist() == [[0, 51, 255]] * 2


@pytest.mark.parametrize(
    ("kind", "form", "pixels", "is_read"),
    [("f4", FLOAT, 100, True), ("f8", FLOAT, 62, True), ("f8", FLOAT, 63, False)],
)
def test_deep_samples_are_bounded_in_bytes(
    kind: str, form: int, pixels: int, *, is_read: bool
) -> None:
    """64 million 64-bit floats, 498 kB when they are deflated, took 3.5 s."""
    row = np.zeros(pixels, "<" + kind)
    tags = {256: pixels, 258: 8 * row.itemsize, 262: BLACK_IS_ZERO, 339: form}
    body = tiff_of([row.tobytes()], tags, compression=DEFLATE)
    limits = Limits(max_pixels=100)
    if is_read:
        assert read_pixels(open_image(body, limits)).size == (pixels, 1)
        return
    with pytest.raises(TooManyPixelsError, match="504 bytes, more than the 500"):
        open_image(body, limits)


def test_more_samples_than_pillow_takes_for_an_image_are_no_damage() -> None:
    """Of a whole file it was said that it is damaged. Each sample is a pixel to Pillow, which reads 179 million."""
    depth: dict[int, int | tuple[int, ...]] = {258: (8, 8, 8), 339: (SIGNED,) * 3}
    tags = {256: 8000, 257: 7600, 262: RGB, 277: 3, **depth}
    body = tiff_of([b"", b""], tags, compression=DEFLATE)
    with pytest.raises(TooManyPixelsError, match="are 182400000, more than the 178956970 that"):
        open_image(body, Limits(max_pixels=64_000_000))


def test_floats_that_are_no_numbers_are_the_ends_of_the_range() -> None:
    row = np.array([np.nan, np.inf, -np.inf, -3, 1, 200], "<f4")
    tags = {256: 6, 258: 32, 262: BLACK_IS_ZERO, 339: FLOAT}
    assert shown(tiff_of([row.tobytes()], tags)).tolist() == [[0, 255, 0, 0, 1, 200]]


@pytest.mark.parametrize(
    ("size", "tile"),
    [
        ((1, 1), (512, 512)),
        ((100, 70), (256, 256)),
        ((300, 260), (256, 256)),
        ((1, 20_000), (256, 256)),
        ((1, 1_000_000), (64, 64)),
        ((40, 40), (2048, 2048)),
    ],
)
def test_an_image_within_the_tiles_of_a_usual_writer_is_read(
    size: tuple[int, int], tile: tuple[int, int]
) -> None:
    body = tiled(size, tile, zlib.compress(b"\x07" * (tile[0] * tile[1])))
    pixels = np.asarray(read_pixels(open_image(body, Limits())))
    assert pixels.shape == size[::-1]
    assert (pixels == 7).all()


@pytest.mark.parametrize(
    "tags", [{}, {258: 16}, {258: (16,) * 103, 277: 103, 262: RGB, 338: (0,) * 100}]
)
@pytest.mark.parametrize("compression", [PACKBITS, DEFLATE, 3, 4, 5, 7])
@pytest.mark.parametrize(
    ("size", "tile"),
    [((1, 1_000_000), (65_520, 16)), ((1_000_000, 1), (16, 65_520)), ((1, 1), (11_008, 11_008))],
)
def test_tiles_that_have_far_more_pixels_than_the_image_are_refused_before_they_are_decoded(
    size: tuple[int, int],
    tile: tuple[int, int],
    compression: int,
    tags: dict[int, int | tuple[int, ...]],
) -> None:
    body = tiled(size, tile, b"data", compression=compression, tags=tags)
    with pytest.raises(TooManyPixelsError, match=r"tiles of \d+×\d+ pixels have .* smaller tiles"):
        open_image(body, Limits())


@pytest.mark.filterwarnings("ignore")  # the engine switches them off
@pytest.mark.parametrize("tag", [322, 323])
@pytest.mark.parametrize("values", [(16, 17), 0, 1 << 31])
def test_a_tile_without_a_plain_size_is_an_error_of_the_image(
    tag: int, values: int | tuple[int, ...]
) -> None:
    data = zlib.compress(bytes(256))
    with pytest.raises(ImageError):
        read_pixels(open_image(tiled((16, 16), (16, 16), data, tags={tag: values}), Limits()))


def test_deep_samples_of_tiles_count_with_what_is_beside_the_image() -> None:
    tags: dict[int, int | tuple[int, ...]] = {258: (16,) * 103, 277: 103, 262: RGB, 338: (0,) * 100}
    body = tiled((16, 16), (4000, 4000), b"data", tags=tags)
    with pytest.raises(TooManyPixelsError, match="smaller tiles"):
        open_image(body, Limits())
