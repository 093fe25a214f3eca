"""The bytes of protobuf's encoding guide (protobuf.dev/programming-guides/encoding) → the fields that it names."""

from io import BytesIO

import pytest

from service.errors import ServableError
from service.graph.wire import FIXED32, FIXED64, LENGTH, LONGEST_TEXT, VARINT, Field, WireReader

TESTING = b"\x12\x07testing"
"""The guide's field 2, the text "testing"."""


def fields(body: bytes) -> list[Field]:
    return list(WireReader(BytesIO(body)).fields(len(body)))


def only(body: bytes) -> tuple[WireReader, Field]:
    reader = WireReader(BytesIO(body))
    return reader, next(reader.fields(len(body)))


def test_a_number_is_read_seven_bits_a_byte_the_lowest_first() -> None:
    assert fields(b"\x08\x96\x01") == [Field(1, VARINT, 150, 3)]


def test_a_field_of_bytes_has_their_count_and_where_they_end() -> None:
    reader, field = only(TESTING)
    assert field == Field(2, LENGTH, 7, 9)
    assert reader.text(field) == "testing"


def test_fixed_widths_are_little_endian() -> None:
    assert fields(b"\x0d\x00\x00\x80\x3f" + b"\x11" + bytes(6) + b"\xf0\x3f") == [
        Field(1, FIXED32, 0x3F800000, 5),  # 1.0 as float32
        Field(2, FIXED64, 0x3FF0000000000000, 14),  # 1.0 as float64
    ]


def test_a_field_number_may_take_several_bytes() -> None:
    assert fields(b"\xa0\x06\x01") == [Field(100, VARINT, 1, 3)]


def test_what_nobody_reads_is_skipped() -> None:
    assert [one.number for one in fields(TESTING + b"\x08\x01" + TESTING)] == [2, 1, 2]


def test_a_message_within_a_field_is_read_in_its_place() -> None:
    reader, outer = only(b"\x1a\x03\x08\x96\x01" + TESTING)
    assert [one.value for one in reader.fields(outer.end)] == [150]


def test_packed_numbers_are_read_up_to_a_limit() -> None:
    body = b"\x32\x06\x03\x8e\x02\x9e\xa7\x05"  # the guide's example of a packed field
    reader, field = only(body)
    assert reader.varints(field, 3) == (3, 270, 86942)
    reader, field = only(body)
    assert reader.varints(field, 2) is None


def test_a_negative_number_has_ten_bytes() -> None:
    reader, field = only(b"\x08\xfe" + b"\xff" * 8 + b"\x01")
    assert reader.varints(field, 1) == (-2,)


def test_a_fixed_width_is_no_list_of_numbers() -> None:
    reader, field = only(b"\x0d" + bytes(4))
    with pytest.raises(ServableError, match="does not parse"):
        reader.varints(field, 1)


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"\x12\x08testing", 0),  # a byte is missing
        (b"\x08\x01\x0d\x00\x00", 2),  # so are two of a fixed width
        (b"\x08\x01\x0b", 2),  # a group, which no newer format has
        (b"\x08" + b"\xff" * 10 + b"\x01", 1),  # a number of eleven bytes
        (b"\x08\x96", 1),  # a number without its end
    ],
)
def test_damage_is_refused_with_its_place(body: bytes, place: int) -> None:
    with pytest.raises(ServableError, match=f"at byte {place};"):
        fields(body)


def test_there_is_a_limit_to_the_fields_of_a_file_with_those_within_fields() -> None:
    body = b"\x1a\x02\x08\x01"
    reader = WireReader(BytesIO(body), most=2)
    outer = next(reader.fields(len(body)))
    assert len(list(reader.fields(outer.end))) == 1
    reader = WireReader(BytesIO(body), most=1)
    outer = next(reader.fields(len(body)))
    with pytest.raises(ServableError, match="more than 1 fields"):
        list(reader.fields(outer.end))


def test_a_text_has_a_limit_and_a_number_is_no_text() -> None:
    longest = b"\x12\x80\x80\x04" + b"x" * LONGEST_TEXT  # 65,536 in seven bits a byte
    reader, field = only(longest)
    assert reader.text(field) == "x" * 65_536
    reader, field = only(b"\x12\x81\x80\x04" + b"x" * (LONGEST_TEXT + 1))
    with pytest.raises(ServableError, match="has 65537 bytes"):
        reader.text(field)
    reader, field = only(b"\x08\x01")
    with pytest.raises(ServableError, match="a name in the file"):
        reader.text(field)


def test_a_text_that_is_no_utf_8_is_still_a_name() -> None:
    reader, field = only(b"\x12\x02a\xff")
    assert reader.text(field) == "a\N{REPLACEMENT CHARACTER}"


def test_fields_are_read_across_the_parts_in_which_the_file_is_read() -> None:
    """A byte more or less in front moves each kind of field over every boundary."""
    for front in range(16_370, 16_390):
        size = bytes([front & 0x7F | 0x80, front >> 7 & 0x7F | 0x80, front >> 14])
        body = (
            b"\x0a" + size + bytes(front) + b"\x08\x96\x01" + TESTING + b"\x0d" + bytes(3) + b"\x40"
        )
        reader = WireReader(BytesIO(body))
        values = [
            reader.data(field) if field.kind == LENGTH else field.value
            for field in reader.fields(len(body))
        ]
        assert values == [bytes(front), 150, b"testing", 0x40000000]
