"""The pixels of an AVIF are those of its AV1 frames, which its boxes may not say."""

import struct
import time
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from service.card import ImageInput
from service.errors import BrokenImageError, TooManyPixelsError
from service.imaging.av1_frames import MOST_FRAMES, MOST_UNITS, Frames, frames_of
from service.imaging.avif_frames import MOST, MOST_BOXES, beside_canvas, coded_frames
from service.imaging.decode import Limits, open_image
from service.imaging.decoder import ThreadDecoder
from service.imaging.room import PixelRoom
from tests.avifs import avif, box, grid, obu_of, stated_size


def decoded_frames(body: bytes, pixels: int) -> Frames:
    return beside_canvas(coded_frames(body), pixels)


def canvas(body: bytes) -> int:
    with Image.open(BytesIO(body)) as image:
        return image.width * image.height


@pytest.mark.parametrize("size", [(1, 1), (17, 40), (300, 200), (4100, 16)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_an_ordinary_image_counts_as_its_boxes_say(size: tuple[int, int], mode: str) -> None:
    body = avif(*size, mode)

    assert decoded_frames(body, canvas(body))[:2] == (size[0] * size[1], size[0] * size[1])


def test_an_ordinary_sequence_counts_as_one_frame() -> None:
    frames = [Image.effect_noise((200, 100), spread).convert("RGB") for spread in (10, 50, 90)]
    file = BytesIO()
    frames[0].save(file, "AVIF", save_all=True, append_images=frames[1:], speed=10)
    assert b"moov" in file.getvalue()

    assert decoded_frames(file.getvalue(), 20_000)[:2] == (20_000, 20_000)
    assert decoded_frames(file.getvalue(), 256)[:2] == (19_744, 19_744)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_what_is_decoded_counts_where_boxes_say_less(mode: str) -> None:
    body = stated_size(avif(1500, 1000, mode), 16, 16)
    with Image.open(BytesIO(body)) as image:
        assert np.asarray(image).shape[:2] == (16, 16)

    opened = open_image(body, Limits())

    assert opened.held_pixels >= 1_490_000
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

    assert decoded_frames(honest, canvas(honest)).largest == 2 * 640 * 640
    assert decoded_frames(hostile, canvas(hostile)).largest == 4 * 640 * 640 - 4 * 64 * 64


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


def test_streams_and_boxes_are_read_in_bounded_time() -> None:
    with pytest.raises(BrokenImageError, match="units of AV1"):
        frames_of(b"\x12\0" * (MOST_UNITS + 1))
    assert frames_of(b"\x12\0" * 100) == (0, 0, 100)
    free = box(b"meta", box(b"free", b"") * (MOST_BOXES + 1), full=True)
    with pytest.raises(BrokenImageError, match="boxes"):
        coded_frames(free)


START = box(b"ftyp", b"avif" + bytes(4) + b"avifmif1miaf")


def items(count: int) -> dict[str, bytes]:
    """Return tables of so many items each, or so many entries of few items."""
    identities = range(1, count + 1)
    entries = b"".join(
        box(b"infe", b"\x02\0\0\0" + struct.pack(">HH4sB", item, 0, b"Exif", 0))
        for item in identities
    )
    places = b"".join(struct.pack(">HHH", item, 0, 0) for item in identities)
    owned = b"".join(struct.pack(">HB", item, 0) for item in identities)
    references = b"".join(box(b"cdsc", struct.pack(">HHH", item, 1, 1)) for item in identities)
    return {
        "items": box(b"iinf", struct.pack(">H", count) + entries, full=True),
        "places of items": box(b"iloc", b"\0\0" + struct.pack(">H", count) + places, full=True),
        "items with properties": owners(count, owned),
        "references": box(b"iref", references, full=True),
    }


def owners(count: int, owned: bytes) -> bytes:
    """Return a table that says which items have which properties (ISO/IEC 23008-12, 9.3)."""
    table = box(b"ipma", struct.pack(">I", count) + owned, full=True)
    return box(b"iprp", box(b"ipco", b"") + table)


def of_tracks(*metas: bytes) -> bytes:
    return START + box(b"moov", b"".join(box(b"trak", one) for one in metas))


@pytest.mark.parametrize("table", items(1))
def test_items_whose_reader_takes_the_square_of_their_count_are_refused(table: str) -> None:
    most = MOST[table] // (2 if table == "references" else 1)
    fitting, one = items(most)[table], box(b"meta", items(1)[table], full=True)
    meta = box(b"meta", fitting, full=True)

    coded_frames(START + meta)
    coded_frames(of_tracks(meta))
    for body in (START + meta + one, of_tracks(meta, one), of_tracks(meta + one)):
        with pytest.raises(BrokenImageError, match=f"more than {MOST[table]} {table}"):
            open_image(body, Limits())


def test_parts_and_properties_that_need_no_bytes_are_refused() -> None:
    parts = struct.pack(">HHH", 1, 0, 65_535)
    places = box(b"iloc", b"\0\0" + struct.pack(">H", 4) + parts * 4, full=True)
    with pytest.raises(BrokenImageError, match="parts of items"):
        open_image(START + box(b"meta", places, full=True), Limits())

    owned = (struct.pack(">HB", 1, 255) + bytes(255)) * 300
    with pytest.raises(BrokenImageError, match="properties of items"):
        open_image(START + box(b"meta", owners(300, owned), full=True), Limits())


@pytest.mark.parametrize(
    ("chunks", "runs", "samples", "words"),
    [
        (50_000, 1, 4, None),
        (50_000, 1, 5, "frames"),
        (1, 1, 2_000_000, "frames"),
        (50_000, 5000, 1, "steps"),
        (1, 10_001, 1, "runs of chunks"),
    ],
)
def test_chunks_whose_reader_takes_their_product_are_refused(
    chunks: int, runs: int, samples: int, words: str | None
) -> None:
    table = box(b"stsd", box(b"av01", bytes(78)), full=True)
    table += box(b"stsz", struct.pack(">II", 1, chunks), full=True)
    table += box(b"stco", struct.pack(">I", chunks) + bytes(4 * chunks), full=True)
    run = struct.pack(">III", 1, samples, 1)
    table += box(b"stsc", struct.pack(">I", runs) + run * runs, full=True)
    empty = b""
    for name in (b"stbl", b"minf", b"mdia"):
        table, empty = box(name, table), box(name, empty)

    body = START + box(b"moov", box(b"trak", empty + table))

    if words is None:
        coded_frames(body)
        return
    with pytest.raises(BrokenImageError, match=words):
        open_image(body, Limits())


def test_all_tiles_together_are_read_in_bounded_time() -> None:
    empty = [bytes((0x12, 0)) * (9_000 + count) for count in range(12)]
    with pytest.raises(BrokenImageError, match="units of AV1"):
        decoded_frames(grid(empty, (64, 64)), 1)

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
    assert decoded_frames(shared, 1) == decoded_frames(tiles, 1)
    with pytest.raises(BrokenImageError, match="lie over each other"):
        decoded_frames(overlapping, 1)


@pytest.mark.parametrize(
    "body", [avif(300, 200, "RGBA"), grid([obu_of(avif(64, 64))] * 2, (64, 64))]
)
def test_damaged_boxes_are_no_fault_of_the_reader(body: bytes) -> None:
    rng = np.random.default_rng(0)
    for end in range(len(body)):
        assert decoded_frames(body[:end], 1).largest < 10**10
    for _ in range(500):
        changed = np.frombuffer(body, np.uint8).copy()
        changed[rng.integers(0, len(body), 3)] = rng.integers(0, 256, 3)
        try:
            assert decoded_frames(changed.tobytes(), 1).largest >= 1
        except BrokenImageError:
            continue
