"""How long an image takes by its header: pixels, times what its format costs."""

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service.imaging.jpeg_scans import count_markers
from service.imaging.work import SMALL_JPEG_BYTES, announced, quick_work
from service.imaging.work_weights import GROUP_WORK, LARGE_WORK, LONG_WORK
from tests.avifs import avif, stated_size
from tests.images import encode
from tests.pngs import RGB, RGB_ALPHA, SIGNATURE, chunk, header
from tests.tiffs import tiled
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
    image = SIGNATURE + header((40, 40), 8, RGB)
    assert quick_work(image + chunk(b"IDAT", bytes(3_900_000))) == 1600
    long = image + chunk(b"IDAT", bytes(4_100_000))
    assert quick_work(long) == 2 * len(long) > LONG_WORK
    assert quick_work(image + chunk(b"IDAT", bytes(9_000_000))) == LARGE_WORK


@pytest.mark.parametrize(("size", "work"), [(7_900_000, 1000), (8_100_000, 8_100_000)])
def test_the_bytes_of_a_deflated_tiff_count_where_they_make_it_take_long(
    size: int, work: int
) -> None:
    assert announced_work(tiled((16, 16), (16, 16), bytes(size))) == work


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

    small = encode(Image.effect_noise((200, 200), 50).convert("RGB"), "WEBP", lossless=True)
    assert quick_work(small) == max(200 * 200 * 6 // 5, 3 * len(small))


def test_the_frames_of_an_avif_count_and_not_what_its_boxes_say() -> None:
    assert announced(stated_size(avif(800, 600), 16, 16)) == (
        480_000 - 256,
        (480_000 - 256) * 6 // 5,
    )
