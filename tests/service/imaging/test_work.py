"""How long an image takes by its header: pixels, times what its format costs."""

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.errors import MalformedBase64Error
from service.imaging.avif_boxes import MOST_STEPS
from service.imaging.jpeg_scans import count_markers
from service.imaging.work import (
    REQUEST_WORK,
    SMALL_JPEG_BYTES,
    announced,
    quick_work,
    work_together,
)
from service.imaging.work_weights import (
    AVIF_STEP_WORK,
    GROUP_WORK,
    LARGE_WORK,
    LONG_WORK,
    RUN_CODE_WORK,
)
from tests.avifs import avif, box, stated_size
from tests.bmps import PALETTE, RLE8, V1, bmp_of
from tests.images import encode
from tests.pngs import (
    RGB,
    RGB_ALPHA,
    SIGNATURE,
    animation,
    chunk,
    frame_control,
    header,
)
from tests.tiffs import tiff_of, tiled
from tests.webps import lossless, webp

SCAN, END = b"\xff\xda", b"\xff\xd9"


def announced_work(image: bytes) -> int:
    return announced(image).work


def jpeg(side: int = 80, **options: Any) -> bytes:
    return encode(Image.new("RGB", (side, side)), "JPEG", **options)


def with_scans(scans: int) -> bytes:
    """Return a progressive JPEG of 80×80 whose last scan comes again."""
    image = jpeg(progressive=True)
    last = image[image.rfind(SCAN) : -2]
    return image[:-2] + last * (scans - image.count(SCAN)) + END


@pytest.mark.parametrize("kind", ["PNG", "GIF", "TIFF", "BMP"])
def test_most_images_take_what_their_pixels_do(kind: str) -> None:
    assert announced_work(encode(Image.new("L", (4000, 40)), kind)) == 160_000


def test_what_is_sent_most_takes_no_reader_to_be_known() -> None:
    assert quick_work(jpeg(40)) == 800
    assert quick_work(encode(Image.new("L", (40, 40)), "PNG")) == 1600
    assert quick_work(encode(Image.new("L", (40, 40)), "TIFF")) is None


@pytest.mark.parametrize(
    ("bits", "color", "interlace", "times"),
    [(8, RGB_ALPHA, 0, 1), (16, RGB, 0, 2), (16, RGB_ALPHA, 1, 4)],
)
def test_deep_and_interlaced_pngs_take_longer(
    bits: int, color: int, interlace: int, times: int
) -> None:
    image = bytearray(SIGNATURE + header((100, 50), bits, color))
    image[28] = interlace
    assert quick_work(bytes(image)) == times * 5000


def test_the_bytes_of_a_png_count_where_they_make_it_take_long() -> None:
    image = SIGNATURE + header((2000, 2000), 8, RGB)
    assert quick_work(image + chunk(b"IDAT", bytes(3_900_000))) == 4_000_000
    long = image + chunk(b"IDAT", bytes(4_100_000))
    assert quick_work(long) == 2 * len(long) > LONG_WORK
    assert quick_work(image + chunk(b"IDAT", bytes(9_000_000))) == LARGE_WORK


@pytest.mark.parametrize(("size", "work"), [(7_900_000, 4_000_000), (8_100_000, 8_100_000)])
def test_the_bytes_of_a_deflated_tiff_count_where_they_make_it_take_long(
    size: int, work: int
) -> None:
    tags: dict[int, int | tuple[int, ...]] = {258: (8, 8, 8), 262: 2, 277: 3}
    assert announced_work(tiled((2000, 2000), (2000, 2000), bytes(size), tags=tags)) == work


def empty_blocks(size: int, data: bytes) -> bytes:
    """Return `data` deflated, behind about so many bytes of blocks that have tables and no data."""
    lengths = "".join("100" if code in {2, 17} else "000" for code in range(18))
    zeros = "1" + f"{138 - 11:07b}"[::-1] + "1" + f"{118 - 11:07b}"[::-1]
    block = "0" + "01" + "00000" + "00000" + "0111" + lengths + zeros + "000"
    bits = (block * 8)[::-1]
    unit = int(bits, 2).to_bytes(len(bits) // 8, "little")
    last = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    blocks = unit * (size // len(unit)) + last.compress(data) + last.flush()
    return b"\x78\x9c" + blocks + struct.pack(">I", zlib.adler32(data))


def png_of_empty_blocks(side: int, size: int, before: bytes = b"") -> bytes:
    pixels = chunk(b"IDAT", empty_blocks(size, bytes(side * (1 + 3 * side))))
    return SIGNATURE + header((side, side), 8, RGB) + before + pixels + chunk(b"IEND")


@pytest.mark.parametrize("before", [b"", chunk(b"tEXt") * 600])
def test_bytes_beyond_the_pixels_of_a_png_take_longest(before: bytes) -> None:
    """24 MB of blocks without a pixel took 3 s of CPU time, for an image of 10×10."""
    image = png_of_empty_blocks(10, 2_000_000, before)
    with Image.open(BytesIO(image)) as file:
        assert file.getpixel((9, 9)) == (0, 0, 0), "readers accept it"
    assert announced_work(image) > 2 * LARGE_WORK
    assert announced_work(png_of_empty_blocks(10, 380_000, before)) > 7_000_000
    assert announced_work(png_of_empty_blocks(1000, 380_000, before)) == 1_000_000
    text = chunk(b"tEXt", bytes(2_000_000))
    assert announced_work(png_of_empty_blocks(10, 10_000, before + text)) == 100


def test_of_an_animated_png_the_first_frame_counts() -> None:
    control, data = frame_control(0, (0, 0, 10, 10)), chunk(b"fdAT", bytes(2_000_000))
    image = SIGNATURE + header((10, 10), 8, RGB) + animation(2) + chunk(b"IDAT", bytes(50))
    assert announced_work(image + control + data) > 2 * LARGE_WORK
    assert announced_work(image + control + chunk(b"fdAT", bytes(50)) + control + data) == 100
    assert announced_work(image + control + control + data) == 100


@pytest.mark.parametrize("compression", [8, 32946])
def test_bytes_beyond_the_pixels_of_a_deflated_tiff_take_longest(compression: int) -> None:
    """400 strips of 10 kB took 1.1 s of CPU time, for 40,000 pixels."""
    strip = empty_blocks(60_000, bytes(256))
    image = tiled((16, 160), (16, 16), strip, compression=compression)
    with Image.open(BytesIO(image)) as file:
        assert file.getpixel((9, 159)) == 0, "readers accept it"
    assert announced_work(image) > LONG_WORK
    usual = tiled((320, 320), (320, 320), strip, compression=compression)
    assert announced_work(usual) == 320 * 320


@pytest.mark.parametrize(("width", "height"), [(1, 9000), (9000, 1), (300, 200)])
@pytest.mark.parametrize("level", [0, 1, 9])
def test_what_encoders_write_for_noise_is_not_beyond_the_pixels(
    width: int, height: int, level: int
) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    image = Image.fromarray(noise)
    assert announced_work(encode(image, "PNG", compress_level=level)) == width * height
    rows, stored = zlib.compressobj(level), b""
    for row in noise:  # each row flushed, in blocks of its own
        stored += rows.compress(b"\0" + row.tobytes()) + rows.flush(zlib.Z_FULL_FLUSH)
    body = SIGNATURE + header((width, height), 8, RGB) + chunk(b"IDAT", stored + rows.flush())
    assert announced_work(body) < LONG_WORK
    for kind in ("tiff_adobe_deflate", "tiff_lzw", "packbits"):
        assert announced_work(encode(image, "TIFF", compression=kind)) < LONG_WORK


def test_in_a_request_of_several_the_bytes_of_pngs_and_tiffs_count() -> None:
    image, works = png_of_empty_blocks(400, 380_000), [160_000] * 64
    assert work_together([image], [160_000]) == 160_000
    assert work_together([image] * 64, works) > 2 * REQUEST_WORK
    assert work_together([tiled((400, 400), (400, 400), image)] * 64, works) > 2 * REQUEST_WORK
    assert (
        work_together([jpeg() + bytes(380_000), MalformedBase64Error("no base64")], [3200, 0])
        == 3200
    )


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_jpeg_takes_half_of_its_pixels(options: dict[str, Any]) -> None:
    assert announced_work(jpeg(**options)) == 3200
    assert announced_work(jpeg(**options) + bytes(SMALL_JPEG_BYTES)) == 3200
    assert announced_work(encode(Image.new("L", (8000, 4000)), "JPEG")) == LARGE_WORK


@pytest.mark.parametrize(("scans", "work"), [(12, 3840), (100, 32_000), (300, 32_000)])
@pytest.mark.parametrize("more", [b"", bytes(SMALL_JPEG_BYTES)])
def test_each_scan_above_ten_takes_a_tenth_more(scans: int, work: int, more: bytes) -> None:
    assert announced_work(with_scans(scans) + more) == work


def test_bytes_between_segments_do_not_hide_scans() -> None:
    image = with_scans(100)
    assert announced_work(image[:20] + b"\0" + image[20:]) == 32_000
    assert quick_work(jpeg()[:20] + b"\0" + jpeg()[20:]) == 0, "it is short and has few"


def test_scans_of_a_sequential_jpeg_count_unless_its_first_has_all_components() -> None:
    image = bytearray(jpeg(subsampling=0))
    image[image.index(SCAN) + 4] = 1
    assert announced_work(bytes(image) + SCAN * 39) == 4 * 3200
    assert announced_work(jpeg() + SCAN * 39) == 3200, "no decoder reads these"


@pytest.mark.parametrize("seed", range(8))
def test_markers_are_counted_at_odd_and_even_places(seed: int) -> None:
    made = np.random.default_rng(seed)
    body = made.choice(np.frombuffer(b"\xff\xda\0", np.uint8), seed).tobytes()
    assert count_markers(body) == body.count(SCAN)


def test_scans_are_as_a_reader_finds_them() -> None:
    with Image.open(BytesIO(with_scans(100))) as image:
        image.load()
        assert image.size == (80, 80)


def test_the_strips_of_a_tiff_count_however_few_pixels_they_have() -> None:
    """40,000 tiles of 256 pixels took 0.6 s of CPU time, as 48 million pixels do."""
    assert announced_work(tiled((1600, 1600), (16, 16), b"data")) == 10_000 * 1000
    assert announced_work(tiled((1600, 1600), (16, 16), b"data", compression=7)) == 10_000 * 8000
    assert announced_work(tiled((1600, 1600), (320, 320), b"data")) == 1600 * 1600


def test_the_tags_of_a_tiff_count_above_a_hundred() -> None:
    """1,000 took 30 ms, as a photograph does, for 12 kB."""
    for count, work in ((91, 0), (92, 3000), (991, 900 * 3000)):
        more: dict[int, int | tuple[int, ...]] = dict.fromkeys(range(1000, 1000 + count), 7)
        body = tiff_of([bytes(80)] * 80, {256: 80, 257: 80, 258: 8, **more})
        assert announced(body) == (80 * 80, 80 * 80 + work)


def test_the_bytes_of_fax_lines_count() -> None:
    noise = np.random.default_rng(1).random((300, 400)) > 0.5
    image = encode(Image.fromarray(noise), "TIFF", compression="group4")
    assert announced_work(image) > 5 * noise.size
    blank = encode(Image.new("1", (400, 300)), "TIFF", compression="group4")
    assert announced_work(blank) == noise.size


def test_a_jpeg_of_very_many_segments_takes_long_and_one_that_is_refused_nothing() -> None:
    image = jpeg()
    assert announced_work(image[:2] + b"\xff\xfe\0\2" * 19_000 + image[2:]) > 5_000_000
    assert announced(image[:2] + b"\xff\xfe\0\2" * 30_000 + image[2:]) == (0, 0)


@pytest.mark.parametrize("kind", [b"tEXt", b"IDAT"])
def test_the_chunks_of_a_png_count_and_few_are_followed_on_the_event_loop(kind: bytes) -> None:
    image = encode(Image.new("L", (40, 40)), "PNG")
    end = image.index(b"IDAT") - 4
    usual = image[:end] + chunk(kind) * 400 + image[end:]
    assert quick_work(usual) == 1600
    many = image[:end] + chunk(kind) * 95_000 + image[end:]
    assert quick_work(many) is None
    assert announced(many).pixels == 1600
    assert announced_work(many) > 1.5 * LARGE_WORK
    assert announced_work(image[:end] + chunk(kind) * 900 + image[end:]) == 1600


def test_a_png_whose_header_is_not_first_has_no_pixels_and_is_not_read() -> None:
    image = encode(Image.new("L", (40, 40)), "PNG")
    assert announced(image[:8] + chunk(b"tEXt") * 95_000 + image[8:]) == (0, 0)


@pytest.mark.parametrize("comment", [b"\x21\xfe\1c\0", b"\x21\xfe\0"])
def test_the_blocks_of_a_gif_count_above_a_thousand(comment: bytes) -> None:
    """65,000 in 327 kB took 0.12 s, and counted as 64 pixels."""
    image = encode(Image.new("P", (8, 8)), "GIF")
    at = image.index(b"\x2c", 13)
    for count, work in ((1000, 0), (1001, 150), (65_000, 64_000 * 150)):
        assert announced(image[:at] + comment * count + image[at:]) == (64, 64 + work)
    assert announced(image[:at] + comment * 65_537 + image[at:]) == (0, 0)


def test_a_webp_or_avif_takes_a_fifth_more_than_its_pixels() -> None:
    assert announced_work(encode(Image.new("RGBA", (1000, 1000)), "AVIF")) == 1_200_000
    for mode in ("RGB", "RGBA"):
        assert quick_work(encode(Image.new(mode, (400, 400)), "WEBP", lossless=True)) == 192_000


@pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
def test_the_bytes_of_noise_count(kind: str) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (300, 400, 3), np.uint8)
    image = encode(Image.fromarray(noise), kind, quality=95)
    assert announced_work(image) == len(image) * {"WEBP": 3, "AVIF": 10}[kind]
    assert announced_work(image) > 2 * 300 * 400
    assert announced(image).pixels == 300 * 400


def test_the_prefix_codes_of_a_lossless_webp_count() -> None:
    hostile = webp((b"VP8L", lossless(600, 600, 22500)))
    assert quick_work(hostile) is None
    assert announced_work(hostile) == 22500 * GROUP_WORK

    usual = encode(Image.effect_noise((600, 600), 50).convert("RGB"), "WEBP", lossless=True)
    assert announced_work(usual) == max(600 * 600 * 6 // 5, 3 * len(usual))

    assert quick_work(usual) is None  # its groups are read, and not on the threads that decode
    small = encode(Image.effect_noise((100, 100), 50).convert("RGB"), "WEBP", lossless=True)
    assert quick_work(small) == max(100 * 100 * 6 // 5, 3 * len(small))


def test_the_frames_of_an_avif_count_and_not_what_its_boxes_say() -> None:
    assert announced(stated_size(avif(800, 600), 16, 16)) == (480_000, 480_000 * 6 // 5)


def test_the_run_lengths_of_a_bmp_count() -> None:
    gaps = bmp_of(V1, (64, 64), 8, RLE8, b"\0\2\1\0" * 300_000, palette=PALETTE)
    assert announced_work(gaps) == 600_035 * RUN_CODE_WORK
    short = (b"\1\5" * 15 + b"\0\0") * 4_000
    assert announced_work(bmp_of(V1, (64, 64), 8, RLE8, short, palette=PALETTE)) >= 60_000 * 100
    drawing = (b"\x40\5" + b"\0\0") * 64
    assert announced_work(bmp_of(V1, (64, 64), 8, RLE8, drawing, palette=PALETTE)) < 30_000
    plain = encode(Image.new("P", (64, 64)), "BMP")
    assert announced_work(plain) == 64 * 64


def test_the_tables_of_an_avif_count_also_where_it_is_refused() -> None:
    many = avif(64, 64) + box(b"free", b"") * 20_000
    assert 20_000 * AVIF_STEP_WORK < announced_work(many) < 20_100 * AVIF_STEP_WORK
    assert announced(many).pixels == 64 * 64
    refused = avif(64, 64) + box(b"free", b"") * MOST_STEPS
    assert announced(refused) == (0, MOST_STEPS * AVIF_STEP_WORK)
    assert announced(avif(64, 64)[:100]).work <= 50 * AVIF_STEP_WORK
