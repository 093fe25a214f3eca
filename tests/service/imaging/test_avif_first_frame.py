"""Of an AVIF the decoder's library sees only our file of the first frame: the same pixels, and no box of a client."""

import struct
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from service.errors import BrokenImageError, DeadlineError, ImageError, UnsupportedImageError
from service.imaging.avif import MOST_PICTURES
from service.imaging.avif_boxes import MOST_PROPERTY_BYTES, MOST_STEPS, Budget
from service.imaging.avif_first_frame import first_frame
from service.imaging.avif_frames import decoded
from service.imaging.avif_rewritten import rewritten
from service.imaging.decode import Limits, open_image, read_pixels
from service.imaging.faults import PILLOW_FAULTS
from service.imaging.work import announced
from tests.avifs import Item, avif, box, calls, grid, obu_of, of_items

ORIENTATION = 274
PROFILE = bytes(range(256)) * 9


def picture(width: int, height: int, mode: str) -> Image.Image:
    rng = np.random.default_rng(width)
    rough = rng.integers(0, 256, (5, 7, 4), dtype=np.uint8)
    return Image.fromarray(rough).resize((width, height)).convert(mode)


def encoded(width: int = 70, height: int = 41, mode: str = "RGB", **options: Any) -> bytes:
    file = BytesIO()
    picture(width, height, mode).save(file, "AVIF", **{"speed": 10, "quality": 60} | options)
    return file.getvalue()


def animated(mode: str = "RGB", **options: Any) -> bytes:
    more = [ImageOps.mirror(picture(70, 41, mode)), picture(70, 41, mode)]
    return encoded(mode=mode, save_all=True, append_images=more, **options)


def seen(body: bytes) -> tuple[object, ...]:
    """Return what Pillow reads of an AVIF."""
    with Image.open(BytesIO(body)) as image:
        turned = image.getexif().get(ORIENTATION, 1)
        return image.mode, image.size, image.tobytes(), image.info.get("icc_profile"), turned


def turned_exif(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif.tobytes()


def coded(mode: str = "RGB") -> tuple[bytes, bytes]:
    """Return the stream of a picture of 64×64, and its configuration."""
    body = encoded(64, 64, mode, subsampling="4:2:0" if mode == "RGB" else "4:0:0")
    at = body.index(b"av1C")
    return obu_of(body), box(b"av1C", body[at + 4 : at - 4 + int.from_bytes(body[at - 4 : at])])


def sized(width: int, height: int) -> bytes:
    return box(b"ispe", struct.pack(">II", width, height), full=True)


ALPHA = box(b"auxC", b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0", full=True)
COLOR, COLOR_CODE = coded()
GRAY, GRAY_CODE = coded("L")
PROPERTIES = [
    *(sized(64, 64), COLOR_CODE, GRAY_CODE, ALPHA, sized(128, 64)),
    *(box(b"irot", b"\1"), box(b"imir", b"\0"), box(b"abcd", b"")),
]
CODE, TURNED, FLIPPED, UNKNOWN = 0x82, 0x86, 0x87, 0x88
PIXELS, OPACITY = Item(b"av01", COLOR, bytes((1, CODE))), Item(b"av01", GRAY, b"\1\x83\4")
ROW = Item(b"grid", struct.pack(">BBBBHH", 0, 0, 0, 1, 128, 64), b"\5")


def pointing(kind: bytes, source: int, *targets: int) -> bytes:
    return box(kind, struct.pack(f">HH{len(targets)}H", source, len(targets), *targets))


def of_tiles(*, opacity: str) -> bytes:
    """Return a grid whose opacity is a grid too, or a picture for each of its tiles."""
    tiles = pointing(b"dimg", 1, 2, 3)
    if opacity == "grid":
        items = [ROW, PIXELS, PIXELS, ROW._replace(properties=b"\5\4"), OPACITY, OPACITY]
        tiles += pointing(b"dimg", 4, 5, 6) + pointing(b"auxl", 4, 1)
    else:
        items = [ROW, PIXELS, PIXELS, OPACITY, OPACITY]
        tiles += pointing(b"auxl", 4, 2) + pointing(b"auxl", 5, 3)
    return of_items(items, PROPERTIES, tiles)


def right_files() -> Iterator[tuple[str, bytes]]:
    for subsampling in ("4:0:0", "4:2:0", "4:2:2", "4:4:4"):
        for mode in ("RGB", "RGBA", "L"):
            yield f"{mode} {subsampling}", encoded(mode=mode, subsampling=subsampling)
    yield "one pixel", encoded(1, 1, "RGBA")
    yield "lossless", encoded(mode="RGBA", quality=100, range="full")
    yield "limited", encoded(mode="RGBA", range="limited", alpha_premultiplied=True)
    yield "large", encoded(1100, 700, tile_rows=1, tile_cols=1)
    yield "notes", encoded(icc_profile=PROFILE, xmp=b"<x/>" * 99, exif=turned_exif(6))
    for orientation in range(1, 9):
        yield f"turned {orientation}", encoded(exif=turned_exif(orientation))
    for mode in ("RGB", "RGBA"):
        body = animated(mode, icc_profile=PROFILE)
        yield f"animated {mode}", body
        yield f"animated {mode} of a still", body.replace(b"ftypavis", b"ftypavif", 1)
        yield f"animated {mode} of a kind", body.replace(b"ftypavis", b"ftypmsf1", 1)
    yield "tiles", grid([obu_of(avif(64, 64))] * 5, (64, 64))
    for form in ("plain", "parts", "inside", "long"):
        items = [PIXELS._replace(properties=bytes((1, CODE, TURNED, FLIPPED))), OPACITY]
        yield form, of_items(items, PROPERTIES, pointing(b"auxl", 2, 1), form)
    multiplied = pointing(b"auxl", 2, 1) + pointing(b"prem", 1, 2)
    yield "multiplied", of_items([PIXELS, OPACITY], PROPERTIES, multiplied)
    yield "opacity of a grid", of_tiles(opacity="grid")
    yield "opacity of tiles", of_tiles(opacity="tiles")
    hidden = OPACITY._replace(properties=bytes((*OPACITY.properties, UNKNOWN)))
    yield "opacity unknown", of_items([PIXELS, hidden], PROPERTIES, pointing(b"auxl", 2, 1))


RIGHT = dict(right_files())


@pytest.mark.parametrize("name", RIGHT)
def test_the_first_frame_has_the_pixels_and_the_profile_of_the_file(name: str) -> None:
    body = RIGHT[name]
    frame = first_frame(body)
    expected = seen(body)

    assert seen(rewritten(frame)) == expected
    assert frame.size == expected[1]
    assert read_pixels(open_image(body, Limits())).size == expected[1]


def test_the_set_has_opacity_and_turns_of_each_kind() -> None:
    assert {name for name in RIGHT if "opacity" in name and seen(RIGHT[name])[0] == "RGBA"} == {
        "opacity of a grid",
        "opacity of tiles",
    }
    assert {seen(body)[4] for body in RIGHT.values()} == set(range(1, 9))
    assert seen(RIGHT["animated RGBA"])[0] == "RGBA"
    assert seen(RIGHT["multiplied"])[2] != seen(RIGHT["plain"])[2]


def test_what_pixels_do_not_need_is_left_out() -> None:
    own = rewritten(first_frame(RIGHT["notes"]))

    assert PROFILE in own
    assert b"Exif" not in own
    assert b"<x/>" not in own
    assert len(rewritten(first_frame(animated()))) < len(animated()) * 2 // 3


def test_a_stream_that_tiles_share_is_written_once_and_in_one_part() -> None:
    padding = bytes((0x7A, 0x80 | 100, 0x80 | 100, 1)) + bytes(100 + (100 << 7) + (1 << 14))
    tile = PIXELS._replace(data=COLOR + padding)
    row = ROW._replace(data=struct.pack(">BBBBHH", 0, 0, 0, 99, 6400, 64), properties=b"\1")
    properties = [sized(6400, 64), COLOR_CODE, sized(64, 64)]
    tile = tile._replace(properties=bytes((3, CODE)))
    body = of_items([row, tile], properties, pointing(b"dimg", 1, *[2] * 100), "parts")

    own = rewritten(first_frame(body))

    assert len(own) < len(body) + 10_000
    pixels = read_pixels(open_image(body, Limits()))
    assert pixels.size == (6400, 64)
    assert np.array_equal(np.asarray(pixels)[:, 8:56], np.asarray(pixels)[:, -56:-8])


@pytest.mark.parametrize("name", ["notes", "plain", "opacity of a grid", "animated RGBA"])
def test_a_damaged_file_is_read_as_before_or_refused(name: str) -> None:
    rng, body = np.random.default_rng(0), RIGHT[name]
    boxes = body.index(b"mdat")
    same = 0
    for _ in range(300):
        changed = np.frombuffer(body, np.uint8).copy()
        changed[rng.integers(8, boxes, 2)] = rng.integers(0, 256, 2)
        damaged = changed.tobytes()
        try:
            own = seen(rewritten(first_frame(damaged)))
        except (ImageError, *PILLOW_FAULTS):
            continue
        try:
            expected = seen(damaged)
        except PILLOW_FAULTS:
            continue
        assert own == expected
        same += 1
    assert same > 20


@pytest.mark.parametrize("name", ["notes", "parts", "animated RGBA"])
def test_a_file_that_is_cut_is_refused(name: str) -> None:
    body = RIGHT[name]
    whole, refused = read_pixels(open_image(body, Limits())), 0
    for end in range(12, len(body), 7):
        try:
            pixels = read_pixels(open_image(body[:end], Limits()))
        except BrokenImageError:
            refused += 1
        else:  # what is behind it is not needed
            assert np.array_equal(np.asarray(pixels), np.asarray(whole))
    assert refused > 100


def test_a_property_that_a_reader_must_know_is_refused() -> None:
    item = PIXELS._replace(properties=bytes((1, CODE, UNKNOWN)))
    with pytest.raises(UnsupportedImageError, match="essential property"):
        open_image(of_items([item], PROPERTIES), Limits())


START = box(b"ftyp", b"avif" + bytes(4) + b"avifmif1miaf")


def meta(*parts: bytes) -> bytes:
    handler = box(b"hdlr", bytes(4) + b"pict" + bytes(13), full=True)
    return START + box(b"meta", handler + b"".join(parts), full=True)


def empty_parts(items: int) -> bytes:
    places = b"".join(struct.pack(">HHH", item, 0, 65_535) for item in range(1, items + 1))
    return box(b"iloc", b"\0\0" + struct.pack(">H", items) + places, full=True)


def long_places(items: int) -> bytes:
    places = b"".join(struct.pack(">IHHH", item, 0, 0, 0) for item in range(items))
    return box(b"iloc", b"\2\0\0\0\0\0" + struct.pack(">I", items) + places)


def owners(items: int, count: int, content: bytes) -> bytes:
    owned = b"".join(struct.pack(">HB", item, count) + b"\1" * count for item in range(items))
    table = box(b"ipma", struct.pack(">I", items) + owned, full=True)
    return box(b"iprp", box(b"ipco", box(b"abcd", content)) + table)


CUT = box(b"pitm", bytes(4))
PRIMARY = box(b"pitm", b"\0\1", full=True)


@pytest.mark.parametrize(
    "make",
    [
        lambda: meta(empty_parts(450), CUT),
        lambda: meta(PRIMARY, empty_parts(4000)),
        lambda: meta(PRIMARY, long_places(60_000), CUT),
        lambda: meta(PRIMARY, long_places(MOST_STEPS + 1)),
        lambda: meta(PRIMARY, owners(500, 100, bytes(100_000))),
        lambda: meta(PRIMARY, owners(60_000, 0, b"")),
        lambda: meta(PRIMARY, box(b"iprp", box(b"ipco", box(b"free", b"") * 500_000))),
        lambda: START + box(b"free", b"") * 500_000,
        lambda: meta(PRIMARY, box(b"iref", pointing(b"dimg", 1, *[2] * 65_535), full=True)),
    ],
)
def test_tables_that_take_a_reader_long_are_refused(make: Callable[[], bytes]) -> None:
    with pytest.raises(BrokenImageError):
        open_image(make(), Limits())


def test_no_file_has_more_entries_than_are_looked_at() -> None:
    for body in (meta(long_places(MOST_STEPS)), START + box(b"free", b"") * MOST_STEPS):
        with pytest.raises(
            BrokenImageError, match=f"more than {MOST_STEPS} boxes, entries of tables"
        ):
            first_frame(body)


def test_more_tiles_than_a_reader_goes_through_are_refused() -> None:
    for tiles, is_refused in ((MOST_PICTURES - 1, False), (MOST_PICTURES, True)):
        row = Item(b"grid", bytes(8), b"\1")
        tile = Item(b"av01", COLOR, bytes((1, CODE)))
        named = pointing(b"dimg", 1, *[2] * tiles)
        body = of_items([row, tile], [sized(64, 64), COLOR_CODE], named)
        if is_refused:
            with pytest.raises(BrokenImageError, match="tiles, more than the 2048"):
                first_frame(body)
        else:
            assert len(first_frame(body).picture.tiles) == tiles


def test_streams_that_lie_over_each_other_are_refused() -> None:
    names = [ROW, PIXELS, PIXELS]
    body = of_items(names, PROPERTIES, pointing(b"dimg", 1, 2, 3))
    at, size = body.index(COLOR), len(COLOR)
    second = struct.pack(">II", at + size, size)
    assert second in body
    with pytest.raises(BrokenImageError, match="lie over each other"):
        first_frame(body.replace(second, struct.pack(">II", 1, len(body) - 1)))


TILES = 500
MANY = pointing(b"dimg", 1, *[2] * TILES)
LONG_ROW = Item(b"grid", struct.pack(">BBBBHH", 0, 0, 4, 99, 6400, 320), b"")
ROW_SIZE, TILE_CODE = sized(6400, 320), bytes((3, CODE))


def many_tiles(
    references: bytes,
    owned: Sequence[tuple[int, bytes]],
    more: Sequence[bytes] = (),
    items: int = 2,
) -> bytes:
    """Return a grid that names one tile many times; `owned` are an item and the numbers of its properties each."""
    owners = b"".join(struct.pack(">HB", item, len(some)) + some for item, some in owned)
    others = [Item(b"av01", GRAY, b"")] * (items - 2)
    body = of_items(
        [LONG_ROW, Item(b"av01", COLOR, b""), *others],
        [ROW_SIZE, COLOR_CODE, sized(64, 64), GRAY_CODE, ALPHA, *more],
        references,
    )
    start = body.index(b"ipma") - 4
    size = int.from_bytes(body[start : start + 4])
    table = box(b"ipma", struct.pack(">I", len(owned)) + owners, full=True)
    changed = body[:start] + table + body[start + size :]
    for kind in (b"iprp", b"meta"):
        at = body.index(kind) - 4
        grown = int.from_bytes(body[at : at + 4]) + len(table) - size
        changed = changed[:at] + struct.pack(">I", grown) + changed[at + 4 :]
    for item in range(items):  # the streams have moved
        place = body.index(b"iloc") + 12 + 14 * item + 6
        moved = int.from_bytes(body[place : place + 4]) + len(table) - size
        changed = changed[:place] + struct.pack(">I", moved) + changed[place + 4 :]
    return changed


def shared(*, candidates: int = 0, empty: int = 0, full: int = 0) -> bytes:
    """Return such a grid with candidates for the opacity of its tile, and tables of properties of it."""
    items = 2 + candidates
    found = b"".join(pointing(b"auxl", item, 2) for item in range(3, items + 1))
    owned = [(1, b"\1"), (2, TILE_CODE), *[(2, b"")] * empty, *[(2, b"\3" * 255)] * full]
    if candidates:
        owned.append((items, b"\3\4\5"))
    return many_tiles(MANY + found, owned, items=items)


def two_tracks(opacities: int) -> bytes:
    body = animated("RGBA")
    tracks = body[body.index(b"moov") + 4 :]
    ends = [place for place in range(len(tracks)) if tracks.startswith(b"trak", place)]
    last = tracks[ends[-1] - 4 :]
    last = last[: int.from_bytes(last[:4])].replace(b"mpegB:cicp", b"mpegX:cicp")
    assert b"mpegX" in last
    more = last * opacities
    at = body.index(b"moov") - 4
    grown = struct.pack(">I", int.from_bytes(body[at : at + 4]) + len(more))
    return body[:at] + grown + body[at + 4 :] + more


NASTY = {
    "candidates": shared(candidates=400),
    "tables without entries": shared(empty=3000),
    "full tables": shared(full=60),
    "both": shared(candidates=300, empty=2000, full=20),
    "tracks": two_tracks(200),
    "units": of_items([PIXELS._replace(data=b"\x12\0" * 9000 + COLOR)], PROPERTIES),
    "headers": of_items([PIXELS._replace(data=b"\x0a\x01\x10" * 9000 + COLOR)], PROPERTIES),
}


@pytest.mark.parametrize("name", NASTY)
def test_what_is_done_for_a_file_is_in_proportion_to_its_steps(name: str) -> None:
    body, budget = NASTY[name], Budget()

    done = calls(lambda: decoded(first_frame(body, budget), budget))

    assert budget.taken < 30_000
    assert done < 12 * budget.taken + 20 * TILES


@pytest.mark.parametrize("name", ["candidates", "tables without entries", "full tables", "both"])
def test_tiles_that_are_one_item_cost_their_tables_once(name: str) -> None:
    budget = Budget()
    frame = first_frame(NASTY[name], budget)

    assert len(frame.picture.tiles) == TILES
    assert budget.taken < 16 * TILES + 5 * len(NASTY[name]) // 2
    with Image.open(BytesIO(rewritten(frame))) as image:
        assert image.size == (6400, 320)
        assert image.mode == ("RGBA" if name in {"candidates", "both"} else "RGB")


def test_equal_contents_of_properties_are_one_object() -> None:
    profile = box(b"colr", b"prof" + bytes(10_000))
    body = many_tiles(MANY, [(1, b"\1\6"), (2, bytes((*TILE_CODE, 7)))], [profile, profile])

    grid_picture = first_frame(body).picture

    contents = [one.properties[-1].content for one in (grid_picture, *grid_picture.tiles)]
    assert len(contents[0]) == 10_004
    assert {id(one) for one in contents} == {id(contents[0])}
    assert first_frame(body).profile_bytes == 10_000


@pytest.mark.parametrize("kind", [b"auxC", b"pixi", b"av1C", b"irot"])
def test_a_property_that_is_no_profile_is_short(kind: bytes) -> None:
    for size, is_refused in ((MOST_PROPERTY_BYTES, False), (MOST_PROPERTY_BYTES + 1, True)):
        body = of_items(
            [PIXELS._replace(properties=b"\1\x82\3")], [*PROPERTIES[:2], box(kind, bytes(size))]
        )
        if is_refused:
            with pytest.raises(BrokenImageError):
                first_frame(body)
        else:
            assert first_frame(body).size == (64, 64)


def test_colors_of_many_forms_are_skipped() -> None:
    forms = [box(b"colr", struct.pack(">I", form) + bytes(7)) for form in range(100)]
    numbers = bytes(range(6, 106))
    body = many_tiles(MANY, [(1, b"\1"), (2, TILE_CODE), *[(2, numbers)] * 4], forms)

    opened = open_image(body, Limits())

    assert opened.size == (6400, 320)
    assert len(first_frame(body).picture.tiles[0].properties) == 2


def test_the_deadline_is_looked_at_while_boxes_are_read() -> None:
    def give_up() -> None:
        raise DeadlineError("late")

    long, short = START + box(b"free", b"") * 9000, RIGHT["plain"]
    with pytest.raises(DeadlineError):
        first_frame(long, Budget(give_up))
    with pytest.raises(DeadlineError):
        open_image(long, Limits(), give_up)
    with pytest.raises(DeadlineError):
        announced(long, go_on=give_up)
    assert open_image(short, Limits(), give_up).size == (64, 64)
