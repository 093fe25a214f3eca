"""The pixels of an AVIF are those of its AV1 frames, which its boxes may not say."""

import struct
import time
from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from service.card import ImageInput
from service.errors import BrokenImageError, TooManyPixelsError
from service.imaging.av1_frames import MOST_FRAMES, FrameReader, Frames
from service.imaging.avif_boxes import MOST_STEPS, Budget
from service.imaging.avif_first_frame import first_frame
from service.imaging.avif_frames import Decoded, decoded
from service.imaging.avif_rewritten import rewritten
from service.imaging.decode import Limits, open_image
from service.imaging.decoder import ThreadDecoder
from service.imaging.room import TIGHT_BYTES_PER_PIXEL, PixelRoom
from tests.avifs import Item, avif, box, calls, grid, obu_of, of_items, stated_size


def taken(body: bytes) -> Decoded:
    budget = Budget()
    return decoded(first_frame(body, budget), budget)


def frames_of(stream: bytes) -> Frames:
    return FrameReader(Budget()).frames_of(stream)


def canvas(body: bytes) -> int:
    with Image.open(BytesIO(body)) as image:
        return image.width * image.height


@pytest.mark.parametrize("size", [(1, 1), (17, 40), (300, 200), (4100, 16)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_an_ordinary_image_counts_as_its_boxes_say(size: tuple[int, int], mode: str) -> None:
    body = avif(*size, mode)

    assert taken(body)[:2] == (size[0] * size[1], size[0] * size[1])


def test_an_ordinary_sequence_counts_as_one_frame() -> None:
    frames = [Image.effect_noise((200, 100), spread).convert("RGB") for spread in (10, 50, 90)]
    file = BytesIO()
    frames[0].save(file, "AVIF", save_all=True, append_images=frames[1:], speed=10)
    assert b"moov" in file.getvalue()

    assert taken(file.getvalue())[:2] == (20_000, 20_000)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_what_is_decoded_counts_where_boxes_say_less(mode: str) -> None:
    body = stated_size(avif(1500, 1000, mode), 16, 16)
    with Image.open(BytesIO(body)) as image:
        assert np.asarray(image).shape[:2] == (16, 16)

    opened = open_image(body, Limits())

    assert opened.held_pixels >= 1_500_000
    with pytest.raises(TooManyPixelsError, match=r"more than the 1\.4 million allowed"):
        open_image(body, Limits(max_pixels=1_400_000))


def test_layers_have_so_many_times_the_pixels_that_an_image_may_have() -> None:
    stream = obu_of(avif(200, 100))
    layers = grid([stream * 5] * 2, (200, 100))

    assert open_image(layers, Limits(max_pixels=93_333)).pixels == 93_333
    with pytest.raises(TooManyPixelsError):
        open_image(grid([stream * 20] * 2, (200, 100)), Limits(max_pixels=160_000))


def test_the_tiles_of_a_grid_count_together() -> None:
    tile = obu_of(avif(640, 640))
    honest, hostile = grid([tile, tile], (640, 640)), grid([tile] * 4, (64, 64))
    for body in (honest, hostile):
        with Image.open(BytesIO(body)) as image:
            assert np.asarray(image).any()

    assert taken(honest)[:2] == (2 * 640 * 640, 2 * 640 * 640)
    assert taken(hostile)[:2] == (4 * 640 * 640 - 4 * 64 * 64, 4 * 640 * 640)


def test_large_frames_take_room() -> None:
    room = PixelRoom(10**9)
    room.fit(1_200_000, 1_200_000)
    decoder = ThreadDecoder(Limits(), room)
    target = ImageInput(height=24, width=24, resize="letterbox")
    until = time.perf_counter() + 60
    assert decoder.prepare(avif(1100, 1000), target, until)[0].any()

    with pytest.raises(TooManyPixelsError, match="memory of the service"):
        decoder.prepare(stated_size(avif(1500, 1000), 16, 16), target, until)


def test_frames_before_the_one_that_is_shown_count_as_work() -> None:
    stream = obu_of(avif(640, 480))

    assert frames_of(stream * 4)[:2] == (2 * 640 * 480, 4 * 640 * 480)
    assert frames_of(stream * MOST_FRAMES).total == MOST_FRAMES * 640 * 480
    with pytest.raises(BrokenImageError, match="frames before the one that is shown"):
        frames_of(stream * (MOST_FRAMES + 1))


def unit(kind: int, content: bytes) -> bytes:
    """Return a unit of AV1 with its size (5.3)."""
    size = len(content)
    return bytes((kind << 3 | 2, size & 127 | 128, size >> 7)) + content


def test_a_header_that_says_it_is_repeated_counts_as_what_decoders_take_it_for() -> None:
    stream = obu_of(avif(200, 100))
    start = next(place for place in range(len(stream)) if stream[place] == 6 << 3 | 2)
    frame = stream[start + 2 :]
    assert stream[start + 1] == len(frame)

    def disguised(header_bytes: int) -> bytes:
        header, tiles = frame[:header_bytes], frame[header_bytes:]
        return stream[:start] + unit(7, header) + unit(4, tiles)

    def is_decoded(one: bytes) -> bool:
        try:
            with Image.open(BytesIO(grid([one] * 2, (200, 100)))) as image:
                return bool(np.asarray(image).any())
        except (OSError, RuntimeError, ValueError):
            return False

    decoded = [one for one in map(disguised, range(1, len(frame))) if is_decoded(one)]
    assert decoded
    assert {frames_of(one)[:2] for one in decoded} == {(20_000, 20_000)}


def bits(*fields: tuple[int, int]) -> bytes:
    """Return numbers of so many bits each, the highest first."""
    text = "".join(f"{value:0{count}b}" for value, count in fields)
    return int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8))


@pytest.mark.parametrize("has_own_size", [0, 1])
def test_a_frame_with_a_size_of_its_own_counts_as_its_bits_allow(has_own_size: int) -> None:
    # 16×16 at most, but with 12 bits a side; no tools, no numbers and no order of frames (AV1, 5.5.1).
    operating = ((0, 3), (0, 2), (0, 1), (0, 1), (0, 5), (0, 12), (0, 5))
    sides = ((11, 4), (11, 4), (15, 12), (15, 12))
    sequence = bits(*operating, *sides, (0, 1), (0, 7), (0, 1), (1, 1), (1, 1), (0, 8))
    # A key frame that is shown, without screen content (5.9.2).
    frame = bits((0, 1), (0, 2), (1, 1), (0, 1), (0, 1), (has_own_size, 1), (0, 9))
    stream = b"\x0a" + bytes([len(sequence)]) + sequence + b"\x32" + bytes([len(frame)]) + frame

    pixels = 4096 * 4096 if has_own_size else 256
    assert frames_of(stream)[:2] == (pixels, pixels)


def test_streams_are_read_in_bounded_time() -> None:
    with pytest.raises(BrokenImageError, match="units of AV1"):
        frames_of(b"\x12\0" * (MOST_STEPS + 1))
    assert frames_of(b"\x12\0" * 100)[:3] == (0, 0, 100)


def test_units_count_for_each_tile_that_shares_them() -> None:
    stream = bytes((0x12, 0)) * 5_000 + obu_of(avif(64, 64))
    tiles = grid([stream] * 25, (64, 64))
    first = tiles.index(b"mdat") + 4 + 8
    for tile in range(25):
        own = struct.pack(">II", first + tile * len(stream), len(stream))
        tiles = tiles.replace(own, struct.pack(">II", first, len(stream)))
    with pytest.raises(BrokenImageError, match="units of AV1"):
        open_image(tiles, Limits())


def test_all_tiles_together_are_read_in_bounded_time() -> None:
    empty = [bytes((0x12, 0)) * (9_000 + count) for count in range(12)]
    with pytest.raises(BrokenImageError, match="units of AV1"):
        taken(grid(empty, (64, 64)))

    count, size = 40, len(obu_of(avif(64, 64)))
    tiles = grid([obu_of(avif(64, 64))] * count, (64, 64))
    first = tiles.index(b"mdat") + 4 + 8  # behind the description of the grid
    shared = overlapping = tiles
    for tile in range(count):
        at = first + tile * size
        own = struct.pack(">II", at, size)
        shared = shared.replace(own, struct.pack(">II", first, size))
        overlapping = overlapping.replace(own, struct.pack(">II", at, len(tiles) - at))
    assert shared != tiles
    assert taken(shared) == taken(tiles)
    with pytest.raises(BrokenImageError, match="lie over each other"):
        taken(overlapping)


GRAY, COLORS_420, COLORS_422, COLORS_444 = 2, 3, 4, 6
SAMPLES = {  # profile, the bits of 5.5.2 → samples of two pixels, bytes of one
    "gray": (0, "0 1 0 0", GRAY, 1),
    "4:2:0": (0, "0 0 0 0 00 0", COLORS_420, 1),
    "4:2:0, 10 bits": (0, "1 0 0 0 00 0", COLORS_420, 2),
    "4:2:0, named colors": (0, "0 0 1 00000010 00000010 00000010 0 00 0", COLORS_420, 1),
    "4:4:4": (1, "0 0 0 0", COLORS_444, 1),
    "4:4:4, sRGB": (1, "0 1 00000001 00001101 00000000 0", COLORS_444, 1),
    "4:2:2": (2, "0 0 0 0 0", COLORS_422, 1),
    "4:2:2, 10 bits": (2, "1 0 0 0 0 0", COLORS_422, 2),
    "4:2:0, 12 bits": (2, "1 1 0 0 0 1 1 00 0", COLORS_420, 2),
    "4:2:2, 12 bits": (2, "1 1 0 0 0 1 0 0", COLORS_422, 2),
    "4:4:4, 12 bits": (2, "1 1 0 0 0 0 0", COLORS_444, 2),
    "gray, 12 bits": (2, "1 1 1 0 0", GRAY, 2),
}


def text_bits(*texts: str) -> bytes:
    text = "".join(texts).replace(" ", "")
    return int(text.ljust(-(-len(text) // 8) * 8, "0"), 2).to_bytes(-(-len(text) // 8))


def of_form(
    profile: int, samples: str, *, scales: int = 0, grain: int = 0, is_still: int = 1
) -> bytes:
    """Return a stream of 200×100 whose sequence header states these samples."""
    start = f"{profile:03b} 1 {is_still}" + (
        "00000" if is_still else "0 0 00000 000000000000 00000"
    )
    sides = f"0111 0111 {199:08b} {99:08b}"
    tools = "000" if is_still else "0 0000000 1 00 1 1 000"
    sequence = text_bits(start, sides, tools, f"{scales} 00", samples, str(grain), "1")
    return unit(1, sequence) + unit(6, bytes(4) if is_still else b"\x10\0\0\0")


@pytest.mark.parametrize("is_still", [0, 1])
@pytest.mark.parametrize("name", SAMPLES)
def test_a_frame_takes_memory_by_the_form_of_its_samples(name: str, is_still: int) -> None:
    profile, samples, halves, sample_bytes = SAMPLES[name]
    for scales, grain in ((0, 0), (1, 0), (0, 1), (1, 1)):
        found = frames_of(of_form(profile, samples, scales=scales, grain=grain, is_still=is_still))

        assert found.size == (200, 100)
        assert found[:3] == (20_000, 20_000, 2)
        assert found.pixel_bytes == halves * sample_bytes
        assert found.bytes == 20_000 * halves * sample_bytes // 2 * (1 + scales + grain)


def test_a_header_that_is_cut_behind_its_size_takes_most() -> None:
    whole = of_form(0, "0 0 0 0 00 0")
    header = whole[: whole.index(b"\x32")]
    assert frames_of(unit(1, header[3:8]) + unit(6, bytes(4))).bytes == 20_000 * 6 * 3


def test_frames_before_the_one_that_is_shown_take_memory_by_their_form() -> None:
    layer = of_form(2, SAMPLES["4:4:4, 12 bits"][1], grain=1)

    assert frames_of(layer * 4).bytes == 20_000 * 6 * (4 + 1)


def test_streams_of_different_sizes_have_none() -> None:
    small, large = obu_of(avif(64, 64)), obu_of(avif(100, 64))

    assert frames_of(small + small).size == (64, 64)
    assert frames_of(small + large).size is None
    assert frames_of(large + small)[:2] == (frames_of(large * 2).largest, 6400 + 4096)


SIXTY_FOUR = obu_of(avif(64, 64))


def of_one_tile(stated: tuple[int, int]) -> bytes:
    """Return a grid of 64×64 with one tile, which has this size by the boxes."""
    code = box(b"av1C", bytes((0x81, 0, 0x0C, 0)))
    sizes = [box(b"ispe", struct.pack(">II", *size), full=True) for size in ((64, 64), stated)]
    row = Item(b"grid", struct.pack(">BBBBHH", 0, 0, 0, 0, 64, 64), b"\1")
    reference = box(b"dimg", struct.pack(">HHH", 1, 1, 2))
    return of_items([row, Item(b"av01", SIXTY_FOUR, b"\2\x83")], [*sizes, code], reference)


def of_opacity(stated: tuple[int, int]) -> bytes:
    """Return a picture of 64×64 whose opacity has this size by the boxes."""
    code = box(b"av1C", bytes((0x81, 0, 0x0C, 0)))
    sizes = [box(b"ispe", struct.pack(">II", *size), full=True) for size in ((64, 64), stated)]
    alpha = box(b"auxC", b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0", full=True)
    items = [Item(b"av01", SIXTY_FOUR, b"\1\x83"), Item(b"av01", SIXTY_FOUR, b"\2\x83\4")]
    reference = box(b"auxl", struct.pack(">HHH", 2, 1, 1))
    return of_items(items, [*sizes, code, alpha], reference)


@pytest.mark.parametrize("make", [of_one_tile, of_opacity])
def test_what_a_reader_enlarges_counts(make: Callable[[tuple[int, int]], bytes]) -> None:
    assert taken(make((64, 64)))[:2] == (4096, 4096)
    assert taken(make((2000, 1000))).pixels >= 2_000_000
    with pytest.raises(TooManyPixelsError):
        open_image(make((16_000, 16_000)), Limits())


def test_colors_count_in_full_where_boxes_say_half() -> None:
    body = stated_size(avif(1500, 1000), 1060, 707)

    assert taken(body)[:2] == (1_500_000, 1_500_000)
    scaled = (1_500_000 + 1060 * 707) * 3 // 2
    assert taken(body).bytes == scaled + 1060 * 707 * 12
    with pytest.raises(TooManyPixelsError):
        open_image(body, Limits(max_pixels=1_499_999))


@pytest.mark.parametrize(
    ("name", "grain", "is_deep"),
    [("4:4:4, 12 bits", 1, True), ("4:4:4, 12 bits", 0, True), ("4:2:0", 0, False)],
)
def test_deep_samples_take_room_beyond_their_pixels(name: str, grain: int, is_deep: bool) -> None:  # noqa: FBT001
    profile, samples, *_ = SAMPLES[name]
    body = grid([of_form(profile, samples, grain=grain)], (200, 100))
    own, counted = rewritten(first_frame(body)), 20_000

    held = taken(body).bytes + len(own)

    assert (held > counted * TIGHT_BYTES_PER_PIXEL) is is_deep
    more = max(0, held - counted * TIGHT_BYTES_PER_PIXEL)
    assert open_image(body, Limits()).held_pixels == counted + more // TIGHT_BYTES_PER_PIXEL


@pytest.mark.parametrize("has_layers", [False, True])
def test_tiles_are_held_one_at_a_time_where_they_share_a_decoder(has_layers: bool) -> None:  # noqa: FBT001
    code = box(b"av1C", bytes((0x81, 0, 0x0C, 0)))
    sizes = [box(b"ispe", struct.pack(">II", *size), full=True) for size in ((256, 64), (64, 64))]
    row = Item(b"grid", struct.pack(">BBBBHH", 0, 0, 0, 3, 256, 64), b"\1")
    tile = Item(b"av01", SIXTY_FOUR, b"\2\x83" + (b"\x84" if has_layers else b""))
    reference = box(b"dimg", struct.pack(">HHHHHH", 1, 4, 2, 2, 2, 2))
    body = of_items([row, tile], [*sizes, code, box(b"a1op", b"\0")], reference)

    tiles = 4 if has_layers else 1
    own = frames_of(SIXTY_FOUR)
    assert taken(body).bytes == own.bytes * tiles + 256 * 64 * (12 + own.pixel_bytes / 2)


def test_a_number_of_more_than_32_zeros_ends_a_header() -> None:
    timed = f"000 0 0 1 {0:064b} 1"
    header = text_bits(timed, "0" * 3000)

    assert calls(lambda: frames_of(unit(1, header))) < 200
    assert frames_of(unit(1, header) + SIXTY_FOUR)[:2] == (4096, 4096)


def test_equal_headers_are_read_once() -> None:
    budget, different = Budget(), Budget()
    header = of_form(0, "0 0 0 0 00 0")
    start = header[: header.index(b"\x32", 2)]

    FrameReader(budget).frames_of(start * 5000)
    assert budget.taken < 5100

    many = b"".join(unit(1, start[3:] + struct.pack(">H", one)) for one in range(500))
    FrameReader(different).frames_of(many)
    assert 500 * 60 < different.taken < 500 * 70
    with pytest.raises(BrokenImageError, match="units of AV1"):
        frames_of(b"".join(unit(1, start[3:] + struct.pack(">H", one)) for one in range(1100)))
