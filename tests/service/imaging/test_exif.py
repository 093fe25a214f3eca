"""The orientation of an EXIF block: blocks are written by hand from TIFF 6.0, and Pillow reads them too."""

import struct

import pytest
from PIL import Image

from service.imaging.exif import exif_orientation

SHORT, LONG = 3, 4
ORIENTATION = 274
Entry = tuple[int, int, int, bytes]
"""Tag, type, count and the four bytes of the value."""


def block(entries: list[Entry], order: str = "<", place: int = 8) -> bytes:
    start = (b"II" if order == "<" else b"MM") + struct.pack(order + "HL", 42, place)
    written = [struct.pack(order + "HHL4s", *entry) for entry in entries]
    directory = struct.pack(order + "H", len(entries)) + b"".join(written) + bytes(4)
    return b"Exif\0\0" + start.ljust(place, b"\0") + directory


def turned(value: int, order: str = "<", form: str = "H", kind: int = SHORT) -> Entry:
    return ORIENTATION, kind, 1, struct.pack(order + form, value).ljust(4, b"\0")


OTHER: Entry = (271, 2, 3, b"abc\0")
LONG_TEXT: Entry = (305, 2, 3_000_000, struct.pack("<L", 8))


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    ("form", "kind"), [("H", SHORT), ("L", LONG), ("h", 8), ("l", 9), ("b", 6)]
)
def test_the_orientation_is_as_a_reader_of_all_tags_finds_it(
    value: int, order: str, form: str, kind: int
) -> None:
    body = block([OTHER, turned(value, order, form, kind), (272, SHORT, 1, bytes(4))], order, 20)
    tags = Image.Exif()
    tags.load(body)
    assert exif_orientation(body) == tags[ORIENTATION] == value
    assert exif_orientation(body.removeprefix(b"Exif\0\0")) == value
    assert exif_orientation(b"Exif\0\0" + body) == value


@pytest.mark.parametrize("start", [b"II\0*", b"MM*\0"])
def test_a_block_that_mixes_the_byte_orders_is_read_as_it_begins(start: bytes) -> None:
    body = block([turned(6, "<" if start[:1] == b"I" else ">")], "<" if start[:1] == b"I" else ">")
    assert exif_orientation(start + body[10:]) == 6


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("place", [0, 30_000, 65_534])
def test_the_tag_is_found_among_so_many_as_a_directory_can_have(place: int) -> None:
    """65,500 tags with more bytes than the block took a reader 0.3 s, and it wrote a warning for each."""
    entries = [LONG_TEXT] * 65_535
    entries[place] = turned(8)
    assert exif_orientation(block(entries)) == 8


@pytest.mark.parametrize(
    "entry",
    [
        (ORIENTATION, SHORT, 0, b"\6\0\0\0"),
        (ORIENTATION, SHORT, 3, b"\x08\0\0\0"),
        (ORIENTATION, LONG, 2**32 - 1, b"\x08\0\0\0"),
        (ORIENTATION, 1, 1, b"\6\0\0\0"),
        (ORIENTATION, 5, 1, b"\x08\0\0\0"),
        (ORIENTATION, 99, 1, b"\6\0\0\0"),
        OTHER,
    ],
    ids=["no value", "three", "billions", "bytes", "a fraction", "an unknown type", "another tag"],
)
def test_what_is_no_number_in_the_entry_itself_is_passed_over(entry: Entry) -> None:
    assert exif_orientation(block([entry])) == 1
    assert exif_orientation(block([entry, turned(3)])) == 3
    assert exif_orientation(block([entry] * 50_000 + [OTHER])) == 1


@pytest.mark.parametrize("order", "<>")
def test_a_block_that_is_cut_has_the_orientation_once_its_entry_is_there(order: str) -> None:
    body = block([OTHER, turned(6, order)], order)
    whole = len(body) - 4
    found = [exif_orientation(body[:size]) for size in range(len(body) + 1)]
    assert found == [1] * whole + [6] * (len(body) + 1 - whole)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"Exif\0\0",
        b"Exif\0\0nonsense",
        b"MM\0*\xff\xff\xff\xff",
        b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0" + bytes(60),
        b"II*\0\0\0\0\0",
    ],
)
def test_what_is_no_block_turns_nothing(body: bytes) -> None:
    assert exif_orientation(body) == 1
