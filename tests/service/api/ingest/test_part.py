"""A part of a form: its name, its filename and its content, by RFC 7578, 2045, 2231 and 5987."""

import base64

import pytest

from service.api.ingest.part import (
    BASE64_PIECE,
    MOST_PARAMETERS,
    PartHeaders,
    TransferDecoder,
    boundary_of,
    parameters_of,
)
from service.errors import MalformedMultipartError

IMAGE = bytes(range(256))


def part(disposition: bytes, content_type: bytes = b"") -> PartHeaders:
    headers = [(b"content-disposition", b"form-data" + disposition)]
    return PartHeaders([*headers, (b"content-type", content_type)] if content_type else headers)


def test_a_value_is_read_in_lower_case_with_its_parameters() -> None:
    assert parameters_of(b'Text/Plain; Charset="a;b"') == (b"text/plain", {b"charset": b"a;b"})


def test_a_header_has_so_many_parameters_and_not_one_more() -> None:
    most = b"form-data" + b"; a=b" * MOST_PARAMETERS
    assert parameters_of(most)[1] == {b"a": b"b"}
    with pytest.raises(MalformedMultipartError, match=f"{MOST_PARAMETERS + 1} semicolons"):
        parameters_of(most + b";")


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=b0", b"b0"),
        ('multipart/form-data; charset=utf-8; Boundary="b 0"', b"b 0"),
        ('multipart/form-data; boundary="a; boundary=b"', b"a; boundary=b"),
        ("multipart/form-data", b""),
    ],
)
def test_a_content_type_names_the_boundary(content_type: str, boundary: bytes) -> None:
    assert boundary_of(content_type) == boundary


def test_a_content_type_that_names_two_boundaries_is_refused() -> None:
    with pytest.raises(MalformedMultipartError, match="several boundaries"):
        boundary_of("multipart/form-data; boundary=a; BOUNDARY=b")


def test_a_part_has_each_header_that_is_read_once() -> None:
    twice = [(b"content-type", b"image/png"), (b"x-other", b"1"), (b"content-type", b"text/plain")]
    with pytest.raises(MalformedMultipartError, match="header content-type more than once"):
        PartHeaders(twice)
    assert PartHeaders([*twice[:2], (b"x-other", b"2")]).has_file_type()


@pytest.mark.parametrize(
    ("disposition", "field"),
    [
        (b'; name="image"', "image"),
        (b"; name=image", "image"),
        ('; name="größe"'.encode(), "größe"),
        (b'; name="\xff"', "\ufffd"),
        (b"", ""),
    ],
)
def test_a_field_has_the_name_that_is_sent(disposition: bytes, field: str) -> None:
    assert part(disposition).field == field


def test_a_field_with_two_names_is_refused() -> None:
    with pytest.raises(MalformedMultipartError, match="a part has several names"):
        _ = part(b'; name="a"; NAME=b').field
    assert part(b'; name="a; name=b"; filename="name=c"').field == "a; name=b"


@pytest.mark.parametrize(
    ("disposition", "filename"),
    [
        (b'; name="image"; filename="a.png"', b"a.png"),
        (b'; name="image"; filename=""', b""),
        (b'; name="image"', None),
        (b'; name="filename*=a"', None),
        (b"; name=image; filename*=UTF-8''a%20b.png", b"a%20b.png"),
        (b"; name=image; FileName*=utf-8'en'a.png", b"a.png"),
        (b'; name=image; filename*0="a"; filename*1=".png"', b"a.png"),
        (b"; name=image; filename*0*=utf-8''a; filename*1=.png", b"a.png"),
        (b"; filename=\"a.png\"; filename*=UTF-8''b.png", b"a.png"),
    ],
)
def test_a_part_has_a_filename_in_either_form(disposition: bytes, filename: bytes | None) -> None:
    assert part(disposition).filename() == filename


@pytest.mark.parametrize(
    ("content_type", "is_file"),
    [
        (b"image/png", True),
        (b"IMAGE/PNG; q=1", True),
        (b"video/mp4", True),
        (b"application/octet-stream", True),
        (b"application/json", False),
        (b"application/json; charset=utf-8", False),
        (b"text/plain", False),
        (b"", False),
    ],
)
def test_a_type_is_one_of_files_or_of_text(content_type: bytes, is_file: bool) -> None:  # noqa: FBT001
    assert part(b"", content_type).has_file_type() == is_file


@pytest.mark.parametrize("encoding", [b"", b"binary", b"8bit", b"7bit"])
def test_content_that_is_not_encoded_stays_as_it_is(encoding: bytes) -> None:
    decoder = TransferDecoder(encoding)
    assert decoder.decode(b" \r\n=") == b" \r\n="
    decoder.end()


@pytest.mark.parametrize("size", [1, 3, 5, 76, 1000])
def test_base64_in_lines_is_decoded_wherever_it_is_cut(size: int) -> None:
    text = base64.encodebytes(IMAGE).replace(b"\n", b"\r\n")
    decoder = TransferDecoder(b"base64")
    found = [decoder.decode(text[at : at + size]) for at in range(0, len(text), size)]
    decoder.end()
    assert b"".join(found) == IMAGE


@pytest.mark.parametrize("text", [b"AAA", b"A"])
def test_base64_that_is_cut_short_is_seen_at_its_end(text: bytes) -> None:
    decoder = TransferDecoder(b"base64")
    assert decoder.decode(text) == b""
    with pytest.raises(MalformedMultipartError, match="not valid base64"):
        decoder.end()


def test_a_byte_that_base64_has_not_is_refused() -> None:
    with pytest.raises(MalformedMultipartError, match="not valid base64"):
        TransferDecoder(b"base64").decode(b"AA*A")


@pytest.mark.parametrize("encoding", [b"quoted-printable", b"x" * 1000])
def test_another_encoding_is_refused_in_a_short_message(encoding: bytes) -> None:
    with pytest.raises(MalformedMultipartError) as caught:
        TransferDecoder(encoding)
    assert encoding[:40].decode() in str(caught.value)
    assert len(str(caught.value)) < 200


def test_a_large_piece_of_base64_is_decoded_in_steps() -> None:
    decoder = TransferDecoder(b"base64")
    assert decoder.decode(b"QUJD\r\n" * BASE64_PIECE) == b"ABC" * BASE64_PIECE
    decoder.end()


@pytest.mark.parametrize("pieces", [(b"QQ==", b"QUJD"), (b"QUI=" * BASE64_PIECE,)])
def test_nothing_follows_the_padding_in_a_later_piece_either(pieces: tuple[bytes, ...]) -> None:
    *first, last = pieces
    decoder = TransferDecoder(b"base64")
    for piece in first:
        decoder.decode(piece)
    with pytest.raises(MalformedMultipartError, match="xcess data after padding"):
        decoder.decode(last)
