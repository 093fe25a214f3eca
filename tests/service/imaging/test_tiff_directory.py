"""A TIFF's directories: files are written by hand from TIFF 6.0 and BigTIFF; Pillow reads what is written anew."""

import struct
from collections.abc import Sequence
from fractions import Fraction
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational, ImageFileDirectory_v2, TiffImageFile

from service.errors import TooMuchMetadataError
from service.imaging.announced import read_header
from service.imaging.decode import Limits, open_image, read_pixels
from service.imaging.tiff_directory import (
    CUT,
    MOST_TAGS,
    directories,
    entry_count,
    held_bytes,
    is_big_endian_bigtiff,
    many,
    with_directories,
)
from tests.tiffs import DEFLATE, tiff_of

SHORT, LONG, RATIONAL, LONG8 = 3, 4, 5, 16
SUBDIRECTORIES = 330


def linked(
    places: dict[int, tuple[dict[int, Sequence[int]], int]], first: int, size: int, order: str = "<"
) -> bytes:
    """Return a TIFF of `size` bytes with directories of LONGs at these places, each with its next."""
    body = bytearray(size)
    struct.pack_into(order + "2sHL", body, 0, b"II" if order == "<" else b"MM", 42, first)
    for place, (tags, following) in places.items():
        at = place + 2 + 12 * len(tags) + 4
        struct.pack_into(order + "H", body, place, len(tags))
        for number, (tag, values) in enumerate(sorted(tags.items())):
            entry = place + 2 + 12 * number
            struct.pack_into(order + "HHL", body, entry, tag, LONG, len(values))
            if len(values) == 1:
                struct.pack_into(order + "L", body, entry + 8, values[0])
            else:
                struct.pack_into(order + "L", body, entry + 8, at)
                struct.pack_into(f"{order}{len(values)}L", body, at, *values)
                at += 4 * len(values)
        struct.pack_into(order + "L", body, place + 2 + 12 * len(tags), following)
    return bytes(body)


def widths(body: bytes) -> list[int]:
    return [directory[256] for directory in directories(body)]


@pytest.mark.parametrize("order", "<>")
def test_directories_come_in_the_order_of_the_file(order: str) -> None:
    body = linked(
        {100: ({256: [1]}, 50), 50: ({256: [2]}, 200), 200: ({256: [3]}, 0)}, 100, 300, order
    )
    assert widths(body) == [1, 2, 3]
    assert [directory.next for directory in directories(body)] == [50, 200, 0]


def test_each_directory_is_followed_by_its_subdirectories() -> None:
    places: dict[int, tuple[dict[int, Sequence[int]], int]] = {
        50: ({256: [1], SUBDIRECTORIES: [200, 300]}, 100),
        200: ({256: [2], SUBDIRECTORIES: [400]}, 0),
        400: ({256: [3]}, 0),
        300: ({256: [4]}, 0),
        100: ({256: [5]}, 0),
    }
    assert widths(linked(places, 50, 500)) == [1, 2, 3, 4, 5]


def test_a_circle_is_walked_once() -> None:
    body = linked({50: ({256: [1], SUBDIRECTORIES: [50]}, 100), 100: ({256: [2]}, 50)}, 50, 200)
    assert widths(body) == [1, 2]


@pytest.mark.parametrize(("size", "found"), [(101, 2), (100, 1)])
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_a_place_behind_the_end_is_none(size: int, found: int) -> None:
    body = linked({50: ({256: [1]}, 100), 100: ({256: [2]}, 0)}, 50, 200)[:size]
    assert len(list(directories(body))) == found


@pytest.mark.parametrize("pages", [15, 16, 17])
def test_sixteen_directories_are_read_at_most(pages: int) -> None:
    places: dict[int, tuple[dict[int, Sequence[int]], int]] = {
        50 * number: ({256: [number]}, 50 * number + 50) for number in range(1, pages + 1)
    }
    assert widths(linked(places, 50, 50 * pages + 50)) == list(range(1, min(pages, 16) + 1))


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_a_directory_that_is_cut_says_so() -> None:
    body = linked({50: ({256: [1], 257: [9]}, 0)}, 50, 80)
    assert [directory.next for directory in directories(body)] == [0]
    (cut,) = directories(body[:79])
    assert (cut.next, cut[256], cut[257]) == (CUT, 1, 9)
    assert CUT < 0, "no place in a file"


def test_a_subdirectory_that_is_no_number_is_skipped() -> None:
    body = bytearray(
        linked({50: ({256: [1], SUBDIRECTORIES: [7]}, 100), 100: ({256: [2]}, 0)}, 50, 200)
    )
    struct.pack_into("<HHL4s", body, 50 + 2 + 12, SUBDIRECTORIES, 2, 4, b"abc\0")
    assert widths(bytes(body)) == [1, 2]


@pytest.mark.parametrize(
    ("tags", "held"),
    [
        ({256: [1]}, 4),
        ({256: [1], 257: [2]}, 8),
        ({256: [1], 273: [1, 2, 3]}, 16),
    ],
)
def test_the_bytes_of_the_values_are_counted(tags: dict[int, Sequence[int]], held: int) -> None:
    (directory,) = directories(linked({50: (tags, 0)}, 50, 200))
    assert held_bytes(directory) == held


def bigtiff(order: str, width: int) -> bytes:
    """Return a BigTIFF of 8-bit gray in one row: awaresystems.be, The BigTIFF File Format Proposal."""
    tags = {
        256: (LONG, width), 257: (LONG, 1), 258: (SHORT, 8), 259: (SHORT, 1), 262: (SHORT, 1),
        273: (LONG8, 16), 277: (SHORT, 1), 278: (LONG, 1), 279: (LONG8, width),
    }  # fmt: skip
    body = struct.pack(order + "2sHHHQ", b"II" if order == "<" else b"MM", 43, 8, 0, 16 + width)
    body += bytes(range(width)) + struct.pack(order + "Q", len(tags))
    for tag, (kind, value) in tags.items():
        packed = struct.pack(order + {SHORT: "H", LONG: "L", LONG8: "Q"}[kind], value)
        body += struct.pack(order + "HHQ", tag, kind, 1) + packed.ljust(8, b"\0")
    return body + bytes(8)


@pytest.mark.parametrize("order", "<>")
def test_a_bigtiff_becomes_a_tiff_of_the_same_pixels(order: str) -> None:
    body = bigtiff(order, 9)
    assert is_big_endian_bigtiff(body) is (order == ">")
    (directory,) = directories(body)
    assert (directory[256], directory[273], directory.next) == (9, (16,), 0)
    made = with_directories(body, directory, [{}])
    assert made[2:4] in {b"*\0", b"\0*"}
    with Image.open(BytesIO(made)) as image:
        assert np.asarray(image).tolist() == [list(range(9))]


def test_other_files_are_no_big_endian_bigtiff() -> None:
    for head in (b"MM\0*", b"II+\0", b"MM\0", b"MM+\0"):
        assert not is_big_endian_bigtiff(head + bytes(20))


def test_one_value_or_several_are_a_tuple() -> None:
    assert many(7) == (7,)
    assert many((7, 8)) == (7, 8)
    assert many(()) == ()


# TIFF 6.0 begins a directory at an even place.
@pytest.mark.parametrize("odd", [b"", b"\0"])
@pytest.mark.parametrize("order", "<>")
def test_pages_that_describe_the_same_bytes_anew_are_read_by_pillow(order: str, odd: bytes) -> None:
    rows = [bytes(range(number, number + 6)) for number in (0, 10, 20, 30)]
    body = tiff_of(rows, {256: 6, 258: 8}, order=order, rows_per_strip=2) + odd
    (directory,) = directories(body)
    strips, counts = directory[273], directory[279]
    pages: list[dict[int, Any]] = [
        {},
        {257: 2, 273: strips[1:], 279: counts[1:]},
        {256: 2, 257: 1, 258: (8, 8, 8), 262: 2, 277: 3, 273: strips[:1], 279: (6,), 278: 1},
    ]
    made = with_directories(body, directory, pages)
    assert made[8 : len(body)] == body[8:]
    first = struct.unpack_from(order + "L", made, 4)[0]
    assert first == len(body) + len(odd), "an even place"
    with TiffImageFile(BytesIO(made)) as image:
        assert image.n_frames == 3
        seen = []
        for number in range(3):
            image.seek(number)
            seen.append(np.asarray(image).tolist())
    gray = [list(row) for row in rows]
    assert seen == [gray, gray[2:], [[[0, 1, 2], [3, 4, 5]]]]


def written(tag: int, value: object, prefix: bytes = b"II") -> tuple[int, int, bytes]:
    """Return a tag's type, count and bytes in a directory that is written anew."""
    directory = ImageFileDirectory_v2(prefix=prefix)
    made = with_directories(bytes(8), directory, [{tag: value}])
    order = "<" if prefix == b"II" else ">"
    count, found, kind, values, inside = struct.unpack_from(order + "HHHLL", made, 8)
    assert (count, found) == (1, tag)
    size = {SHORT: 2, LONG: 4, RATIONAL: 8, 7: 1}[kind] * values
    start = 18 if size <= 4 else inside
    assert start + size <= len(made)
    assert struct.unpack_from(order + "L", made, 22) == (0,), "no other directory follows"
    return kind, values, made[start : start + size]


@pytest.mark.parametrize("tag", [256, 257, 273, 278, 279, 292, 293, 322, 323, 324, 325])
def test_sizes_and_places_are_longs(tag: int) -> None:
    assert written(tag, 70_000) == (LONG, 1, struct.pack("<L", 70_000))
    assert written(tag, (1, 2, 3), b"MM") == (LONG, 3, struct.pack(">3L", 1, 2, 3))


@pytest.mark.parametrize("tag", [258, 259, 262, 266, 274, 277, 284, 317, 320, 338, 339, 530, 531])
def test_other_numbers_are_shorts(tag: int) -> None:
    assert written(tag, 65_535) == (SHORT, 1, b"\xff\xff")
    assert written(tag, (1, 2)) == (SHORT, 2, struct.pack("<2H", 1, 2)), "four bytes fit"
    assert written(tag, (1, 2, 3), b"MM") == (SHORT, 3, struct.pack(">3H", 1, 2, 3))


def test_fractions_and_bytes_keep_their_type() -> None:
    # TIFF 6.0, section 21: LumaRed, LumaGreen, LumaBlue.
    luma = (Fraction(299, 1000), IFDRational(587, 1000), 1)
    assert written(529, luma) == (RATIONAL, 3, struct.pack("<6L", 299, 1000, 587, 1000, 1, 1))
    assert written(529, Fraction(1, 3), b"MM") == (RATIONAL, 1, struct.pack(">2L", 1, 3))
    assert written(347, b"\xff\xd8\xff\xd9") == (7, 4, b"\xff\xd8\xff\xd9")
    assert written(347, b"\xff\xd8\0\xff\xd9") == (7, 5, b"\xff\xd8\0\xff\xd9")


@pytest.mark.parametrize("value", ["text", 0.5, (1, "text"), (0.5, 1)])
def test_text_and_inexact_numbers_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="tag 529 has"):
        written(529, value)


def test_what_pixels_do_not_need_is_left_out_and_none_takes_a_tag_away() -> None:
    directory = ImageFileDirectory_v2(prefix=b"II")
    directory[256], directory[259], directory[270], directory[34665] = 5, 1, "a description", 8
    (made,) = directories(with_directories(bytes(8), directory, [{259: None, 262: 1}]))
    assert dict(made) == {256: 5, 262: 1}


def test_values_of_odd_length_are_padded_to_words() -> None:
    directory = ImageFileDirectory_v2(prefix=b"II")
    made = with_directories(bytes(8), directory, [{347: b"12345", 529: Fraction(1, 3)}, {256: 9}])
    first, second = directories(made)
    assert (first[347], first[529], second[256]) == (b"12345", (pytest.approx(1 / 3),), 9)
    places = [struct.unpack_from("<L", made, 10 + 12 * number + 8)[0] for number in range(2)]
    assert [place % 2 for place in places] == [0, 0]
    assert first.next % 2 == 0


def test_the_byte_order_may_be_another_than_that_of_the_file() -> None:
    directory = ImageFileDirectory_v2(prefix=b"II")
    made = with_directories(b"II*\0" + bytes(4), directory, [{256: 5, 258: (8, 8, 8)}], b"MM")
    assert made[:8] == b"MM\0*\0\0\0\x08"
    (read,) = directories(made)
    assert (read[256], read[258]) == (5, (8, 8, 8))


@pytest.mark.parametrize("strips", [100_000, 100_001])
def test_so_many_strips_are_read_and_not_one_more(strips: int) -> None:
    """15 MB with 1.9 million strips for ten rows took 13 s of CPU time, in steps that stop all other threads."""
    places = {273: (8,) * strips, 279: (1,) * strips}
    body = tiff_of([b"\0"], {256: 1, 257: strips, 258: 8, 278: 1, **places})
    if strips == 100_000:
        assert open_image(body, Limits()).size == (1, strips)
        assert read_header(body).pixels == strips
        return
    with pytest.raises(TooMuchMetadataError, match=r"tag 273 has 400004 bytes; at most 400000"):
        open_image(body, Limits())
    assert read_header(body).pixels == 0


def test_many_subdirectories_at_the_same_place_are_read_once() -> None:
    """Each of 99,000 places moved all others: 400 kB took 2 s."""
    body = tiff_of([b"\0"], {256: 1, 258: 8, 330: (8,) * 99_000})
    assert len(list(directories(body))) == 2


def test_so_many_subdirectories_are_not_looked_for() -> None:
    body = tiff_of([b"\0"], {256: 1, 258: 8, 330: (8,) * 100_001})
    with pytest.raises(TooMuchMetadataError, match="tag 330"):
        open_image(body, Limits())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("order", "<>")
def test_so_many_tags_are_read_and_not_one_more(order: str) -> None:
    """65,500 tags took 1.3 s, and libtiff 0.3 s for 4,000: it sorts all that it does not know again for each."""
    more: dict[int, int | tuple[int, ...]] = dict.fromkeys(range(1000, 1000 + MOST_TAGS - 9), 7)
    body = tiff_of([b"\5"], {256: 1, 257: 1, 258: 8, **more}, order=order)
    assert entry_count(body, struct.unpack_from(order + "L", body, 4)[0]) == MOST_TAGS
    assert np.asarray(read_pixels(open_image(body, Limits()))).tolist() == [[5]]
    body = tiff_of([b"\5"], {256: 1, 257: 1, 258: 8, **more, 999: 7}, order=order)
    with pytest.raises(
        TooMuchMetadataError, match="1001 tags or more in its directories; at most 1000"
    ):
        open_image(body, Limits())
    assert read_header(body) == (0, 0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("order", "<>")
def test_so_many_tags_of_a_bigtiff_are_refused_before_one_is_read(order: str) -> None:
    head = struct.pack(order + "2sHHHQ", b"II" if order == "<" else b"MM", 43, 8, 0, 16)
    too_long = struct.pack(order + "HHQQ", 1000, 7, 2**40, 16)
    for count in (1001, 2**63):
        body = head + struct.pack(order + "Q", count) + too_long * 200_000
        assert entry_count(body, 16) == min(count, 200_000)
        with pytest.raises(TooMuchMetadataError, match="at most 1000"):
            open_image(body, Limits())


def test_the_tags_of_all_directories_that_are_searched_count_together() -> None:
    tags: dict[int, Sequence[int]] = {tag: [1] for tag in range(500, 600)}
    places = {2000 * number: (tags, 2000 * number + 2000) for number in range(1, 12)}
    found = directories(linked(places, 2000, 30_000))
    assert [len(next(found)) for _ in range(10)] == [100] * 10
    with pytest.raises(TooMuchMetadataError, match="1100 tags"):
        next(found)


@pytest.mark.parametrize("cut", range(4))
def test_a_directory_has_no_more_tags_than_the_file_has_bytes_for(cut: int) -> None:
    body = linked({50: ({256: [1], 257: [9]}, 0)}, 50, 80)
    struct.pack_into("<H", whole := bytearray(body), 50, 65_535)
    assert entry_count(bytes(whole), 50) == 2
    assert entry_count(bytes(whole[:-5]), 50) == 1
    assert entry_count(body[: 50 + cut], 50) == 0
    assert entry_count(body, 79) == 0


@pytest.mark.filterwarnings("error")
def test_directories_behind_the_page_are_not_read() -> None:
    first = bytearray(tiff_of([bytes([10] * 4)] * 3, {256: 4, 258: 8}))
    place = struct.unpack_from("<L", first, 4)[0]
    count = struct.unpack_from("<H", first, place)[0]
    struct.pack_into("<L", first, place + 2 + 12 * count, len(first))
    other = struct.pack("<HHLL", 1000, 7, 3_000_000, 8)
    body = bytes(first) + struct.pack("<H", 65_535) + other * 65_535
    assert (np.asarray(read_pixels(open_image(body, Limits()))) == 10).all()
    assert read_header(body) == read_header(bytes(first))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("turn", [None, 1, 6])
@pytest.mark.parametrize("compression", [1, DEFLATE])
def test_directories_of_exif_and_positions_are_not_read(turn: int | None, compression: int) -> None:
    """Pillow read each with all values when the pixels were there: 720 kB took 0.5 s."""
    tags: dict[int, int | tuple[int, ...]] = {256: 2, 258: 8}
    if turn is not None:
        tags[274] = turn
    rows = [bytes([1, 2]), bytes([3, 4])]
    plain = tiff_of(rows, tags, compression=compression)
    size = len(plain) + 3 * 12
    named = {34665: size, 34853: size, 40965: size}
    body = tiff_of(rows, {**tags, **named}, compression=compression)
    assert len(body) == size
    other = struct.pack("<HHLL", 1000, 7, 3_000_000, 8)
    body += struct.pack("<H", 65_535) + other * 65_535 + bytes(4)
    expected = [[3, 1], [4, 2]] if turn == 6 else [[1, 2], [3, 4]]
    assert np.asarray(read_pixels(open_image(body, Limits()))).tolist() == expected
    assert np.asarray(read_pixels(open_image(plain, Limits()))).tolist() == expected


def with_values(tag: int, kind: int, count: int, value: bytes) -> bytes:
    """Return a TIFF of a pixel in which this tag has so many equal values."""
    body = bytearray(tiff_of([b"\5"], {256: 1, 257: 1, 258: 8, tag: 1}))
    place = struct.unpack_from("<L", body, 4)[0]
    for number in range(struct.unpack_from("<H", body, place)[0]):
        entry = place + 2 + 12 * number
        if struct.unpack_from("<H", body, entry)[0] == tag:
            struct.pack_into("<HLL", body, entry + 2, kind, count, len(body))
    return bytes(body) + value * count


@pytest.mark.parametrize("tag", [254, 258, 273, 279, 282, 283, 296, 338, 339, 532, 700])
def test_long_lists_of_fractions_are_refused(tag: int) -> None:
    """A million of them in a tag for the resolution took 2.6 s for 8 MB: a reader makes an object of each."""
    fraction = struct.pack("<2L", 7, 3)
    list(directories(with_values(tag, RATIONAL, 512, fraction)))
    body = with_values(tag, RATIONAL, 513, fraction)
    with pytest.raises(TooMuchMetadataError, match=f"tag {tag} has 4104 bytes; at most 4096"):
        open_image(body, Limits())
    assert read_header(body) == (0, 0)


@pytest.mark.parametrize(("tag", "kind"), [(254, LONG), (258, SHORT), (282, 2), (339, 7), (274, 1)])
def test_long_values_of_tags_that_have_few_are_refused(tag: int, kind: int) -> None:
    size = {SHORT: 2, LONG: 4}.get(kind, 1)
    body = with_values(tag, kind, 8192 // size, bytes([1] + [0] * (size - 1)))
    with pytest.raises(TooMuchMetadataError, match=rf"tag {tag} has 8192 bytes.*with fewer values"):
        open_image(body, Limits())


@pytest.mark.parametrize("kind", [1, 7])
def test_notes_that_no_reader_takes_apart_may_be_long(kind: int) -> None:
    for tag in (700, 34377, 34675):
        body = with_values(tag, kind, 1_000_000, b"x")
        assert np.asarray(read_pixels(open_image(body, Limits()))).tolist() == [[5]]


def test_a_tag_that_nobody_reads_may_have_a_list_of_fractions() -> None:
    body = with_values(33550, RATIONAL, 100_000, struct.pack("<2L", 7, 3))
    assert np.asarray(read_pixels(open_image(body, Limits()))).tolist() == [[5]]
