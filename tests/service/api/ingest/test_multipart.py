"""Forms: every file as it was sent, in order; and a clear error for whatever is no form."""

import base64
from email.mime.image import MIMEImage
from email.mime.multipart import MIMEMultipart
from email.policy import compat32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.ingest.multipart import MOST_FIELDS, FormReader, files_of, is_form
from service.api.ingest.part import MOST_PARAMETERS
from service.errors import MalformedMultipartError, TooManyImagesError
from tests.service.api.ingest.forms import END, FORM, NOTE, file_part, form


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5))
def test_the_files_of_a_form_come_back_as_they_were_sent(files: list[bytes]) -> None:
    assert files_of(form(*files), FORM, "cat.jpg", 9) == files


@given(st.lists(st.binary(max_size=99), min_size=1, max_size=3), st.integers(1, 40))
def test_a_form_may_arrive_in_pieces_of_any_size(files: list[bytes], size: int) -> None:
    data, ends = bytearray(), list[int]()
    reader = FormReader(
        FORM, on_data=data.extend, on_file_end=lambda: ends.append(len(data)), example="cat.jpg"
    )
    body = form(*files)
    for start in range(0, len(body), size):
        reader.write(body[start : start + size])
    reader.end()
    assert bytes(data) == b"".join(files)
    assert ends == [sum(map(len, files[:count])) for count in range(1, len(files) + 1)]
    assert reader.files == len(files)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_form_or_a_clear_error(body: bytes) -> None:
    with pytest.raises(MalformedMultipartError):
        files_of(body, FORM, "cat.jpg", 9)


@pytest.mark.parametrize("cut", range(3, 120, 7))
def test_a_form_that_is_cut_short_is_an_error_wherever_the_cut_is(cut: int) -> None:
    with pytest.raises(MalformedMultipartError):
        files_of(form(b"first image", b"second image")[:-cut], FORM, "cat.jpg", 9)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (file_part(b"image"), "cut short: its closing boundary"),
        (NOTE + END, "no file: .* Send one: curl -F file=@cat.jpg"),
        (b"no form", "can not be parsed: "),
    ],
)
def test_the_error_says_what_is_wrong_with_the_form(body: bytes, message: str) -> None:
    with pytest.raises(MalformedMultipartError, match=message):
        files_of(body, FORM, "cat.jpg", 9)


@pytest.mark.parametrize(
    ("content_type", "message"),
    [
        ("multipart/form-data", "names no boundary"),
        ("multipart/form-data; boundary=", "names no boundary"),
        ("multipart/form-data; boundary=" + "x" * 300, "can not be parsed: "),
    ],
)
def test_a_content_type_without_a_usable_boundary_is_an_error(
    content_type: str, message: str
) -> None:
    with pytest.raises(MalformedMultipartError, match=message):
        files_of(form(b"image"), content_type, "cat.jpg", 9)


def test_fields_that_are_not_files_are_skipped() -> None:
    body = NOTE + file_part(b"one") + NOTE + file_part(b"two") + NOTE + END
    assert files_of(body, FORM, "cat.jpg", 9) == [b"one", b"two"]


def test_header_names_are_compared_without_case_and_only_the_disposition_names_a_file() -> None:
    shouted = file_part(b"image").replace(b"Content-Disposition", b"CONTENT-DISPOSITION")
    strange = NOTE.replace(b"\r\n\r\n", b'\r\nContent-Type: text/plain; filename="no"\r\n\r\n')
    assert files_of(strange + shouted + END, FORM, "cat.jpg", 9) == [b"image"]


def part(headers: bytes, content: bytes = b"image") -> bytes:
    return b"--b0\r\n" + headers + b"\r\n\r\n" + content + b"\r\n"


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Disposition: form-data; name=file; filename=a",
        b'content-disposition: Form-Data; NAME="f"; FileName="k\xc3\xa4tz; \\"chen\\".jpg"',
        b"Content-Disposition: form-data; name=file; filename*=UTF-8''k%C3%A4tzchen.png",
        b'Content-Disposition: form-data; name=file; filename*0="cat"; filename*1=".png"',
        b"Content-Disposition: form-data;\r\n name=file;\r\n filename=a",
        b"Content-Disposition: attachment; filename=a",
        b"Content-Disposition: form-data; name=file\r\nContent-Type: image/jpeg",
        b"Content-Disposition: form-data; name=file\r\nContent-Type: Application/Octet-Stream",
        b"Content-Type: image/png; name=a",
        b'Content-Disposition: form-data; filename=""\r\nContent-Type: image/png',
    ],
)
def test_a_part_is_a_file_by_its_filename_or_the_type_of_a_file(headers: bytes) -> None:
    assert files_of(part(headers) + END, FORM, "cat.jpg", 9) == [b"image"]


@pytest.mark.parametrize(
    "charset",
    [b"utf-8\0", b"idna", b"punycode", b"undefined", b"hex", b"utf-16", b"", b"none-such", b"\xff"],
)
def test_the_charset_of_a_filename_does_not_matter(charset: bytes) -> None:
    headers = b"Content-Disposition: form-data; name=file; filename*=" + charset + b"''%ff%00a.png"

    assert files_of(part(headers) + END, FORM, "cat.jpg", 9) == [b"image"]


@pytest.mark.parametrize(
    "parameters",
    [
        b"filename*" + b"1" * 5000 + b"=a",
        b"filename*=a; filename*0=b",
        b"filename*0=a; filename*0=b; filename*7*=c",
        b"FILENAME* = a",
        b"filename*='",
        b"filename*='''",
        b'filename*="a; b',
        b'name="; filename*="; filename*=a',
    ],
)
def test_a_filename_in_strange_pieces_is_one(parameters: bytes) -> None:
    """Python's mail library fails on the first two."""
    headers = b"Content-Disposition: form-data; " + parameters
    assert files_of(part(headers) + END, FORM, "cat.jpg", 9) == [b"image"]


@pytest.mark.parametrize(
    "parameters", [b'name="; filename*=a"', b"filename*", b"filename*x=a", b"xfilename*=a"]
)
def test_what_only_looks_like_a_filename_is_none(parameters: bytes) -> None:
    headers = b"Content-Disposition: form-data; " + parameters
    with pytest.raises(MalformedMultipartError, match="neither a filename"):
        files_of(part(headers) + END, FORM, "cat.jpg", 9)


@pytest.mark.parametrize("name", [b"filename*=UTF-8''", b'filename*0=""; filename*1=""'])
def test_an_empty_filename_in_pieces_is_a_field_in_which_nothing_was_chosen(name: bytes) -> None:
    none = part(b"Content-Disposition: form-data; " + name, b"")
    with pytest.raises(MalformedMultipartError, match="its file field is empty"):
        files_of(none + END, FORM, "cat.jpg", 9)


@pytest.mark.parametrize(
    "header",
    [
        b'Content-Disposition: form-data; filename="a%s"',
        b"Content-Disposition: form-data; name=x\r\nContent-Type: image/png%s",
        b"Content-Disposition: form-data; filename*=UTF-8''a%s",
    ],
)
def test_a_header_has_so_many_semicolons_and_one_more_is_refused(header: bytes) -> None:
    """A reader of parameters takes a fifth of a second for sixteen thousand of them."""
    most = MOST_PARAMETERS - header.splitlines()[-1].count(b";")
    assert files_of(part(header % (b";" * most)) + END, FORM, "cat.jpg", 9) == [b"image"]
    with pytest.raises(MalformedMultipartError, match="has 101 semicolons; at most 100"):
        files_of(part(header % (b";" * (most + 1))) + END, FORM, "cat.jpg", 9)


def test_the_content_type_of_the_form_has_so_many_semicolons_too() -> None:
    assert files_of(form(b"one"), f"{FORM}{';' * 99}", "cat.jpg", 9) == [b"one"]
    with pytest.raises(MalformedMultipartError, match="has 101 semicolons"):
        files_of(form(b"one"), f"{FORM}{';' * 100}", "cat.jpg", 9)


@pytest.mark.parametrize("media_type", [b"text/plain; charset=utf-8", b"application/json", b"x"])
def test_a_field_of_text_may_have_a_type(media_type: bytes) -> None:
    body = part(b"Content-Disposition: form-data; name=x\r\nContent-Type: " + media_type)
    assert files_of(body + file_part(b"one") + END, FORM, "cat.jpg", 9) == [b"one"]


def test_a_file_field_in_which_nothing_was_chosen_is_no_file() -> None:
    none = part(
        b'Content-Disposition: form-data; name=f; filename=""\r\nContent-Type: application/octet-stream',
        b"",
    )
    assert files_of(none + file_part(b"one") + END, FORM, "cat.jpg", 9) == [b"one"]
    with pytest.raises(MalformedMultipartError, match="its file field is empty"):
        files_of(none + END, FORM, "cat.jpg", 9)


def test_a_part_without_what_makes_it_a_file_is_named_with_what_is_missing() -> None:
    body = part(b"Content-Disposition: form-data; name=picture") + NOTE + END
    with pytest.raises(
        MalformedMultipartError,
        match=r"'picture', 'note'.* neither a filename nor the content type",
    ):
        files_of(body, FORM, "cat.jpg", 9)
    with pytest.raises(MalformedMultipartError, match="form is empty"):
        files_of(END, FORM, "cat.jpg", 9)


@given(st.binary(min_size=1, max_size=200), st.integers(1, 30))
def test_a_file_in_base64_is_decoded(content: bytes, size: int) -> None:
    headers = b"Content-Disposition: form-data; filename=a\r\nContent-Transfer-Encoding: BASE64"
    body = part(headers, base64.encodebytes(content)) + END
    data = bytearray()
    reader = FormReader(FORM, on_data=data.extend, example="cat.jpg")
    for start in range(0, len(body), size):
        reader.write(body[start : start + size])
    reader.end()
    assert bytes(data) == content


@pytest.mark.parametrize(
    ("encoding", "content", "message"),
    [
        (b"base64", b"a*b=", "not valid base64"),
        (b"base64", b"aGk", "not valid base64"),
        (b"quoted-printable", b"hi", "quoted-printable is not understood"),
    ],
)
def test_an_encoding_that_can_not_be_decoded_is_an_error(
    encoding: bytes, content: bytes, message: str
) -> None:
    headers = (
        b"Content-Disposition: form-data; filename=a\r\nContent-Transfer-Encoding: " + encoding
    )
    with pytest.raises(MalformedMultipartError, match=message):
        files_of(part(headers, content) + END, FORM, "cat.jpg", 9)


@pytest.mark.parametrize("encoding", [b"binary", b"8bit", b"7BIT"])
def test_an_encoding_that_changes_nothing_is_understood(encoding: bytes) -> None:
    headers = (
        b"Content-Disposition: form-data; filename=a\r\nContent-Transfer-Encoding: " + encoding
    )
    assert files_of(part(headers) + END, FORM, "cat.jpg", 9) == [b"image"]


def test_more_files_or_fields_than_allowed_are_refused_where_they_begin() -> None:
    assert len(files_of(form(*[b"x"] * 9), FORM, "cat.jpg", 9)) == 9
    with pytest.raises(TooManyImagesError, match="more than 9 images"):
        files_of(form(*[b"x"] * 10), FORM, "cat.jpg", 9)
    fields = NOTE * MOST_FIELDS
    assert files_of(fields + form(b"x"), FORM, "cat.jpg", 9) == [b"x"]
    with pytest.raises(MalformedMultipartError, match="more than 1000 parts"):
        files_of(fields + NOTE + form(b"x"), FORM, "cat.jpg", 9)


@pytest.mark.parametrize(
    "content_type",
    [
        'multipart/form-data; boundary="b0"',
        "MULTIPART/MIXED; charset=utf-8; BOUNDARY=b0",
        'multipart/related;boundary="b0";type="image/png"',
    ],
)
def test_the_boundary_may_be_quoted_and_stand_anywhere(content_type: str) -> None:
    assert files_of(form(b"one"), content_type, "cat.jpg", 9) == [b"one"]


def test_a_boundary_may_have_any_character_when_quoted() -> None:
    body = form(b"one").replace(b"b0", b"a b:c;d=e")
    assert files_of(body, 'multipart/form-data; boundary="a b:c;d=e"', "cat.jpg", 9) == [b"one"]


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_what_pythons_mail_library_writes_is_read(line_end: str) -> None:
    message = MIMEMultipart("form-data", boundary="b0")
    file = MIMEImage(b"\x89PNG image", "png")
    file.add_header(
        "Content-Disposition", "form-data", name="f", filename=("utf-8", "", "k\u00e4tz" * 30)
    )
    message.attach(file)
    message.preamble, message.epilogue = "before", "after"
    written = message.as_bytes(policy=compat32.clone(linesep=line_end))
    body = written.partition(2 * line_end.encode())[2]
    assert files_of(body, FORM, "cat.jpg", 9) == [b"\x89PNG image"]


@pytest.mark.parametrize(
    ("content_type", "found"),
    [
        (FORM, True),
        ("Multipart/Form-Data; boundary=b0", True),
        ("multipart/mixed", True),
        ("image/jpeg", False),
        ("application/multipart", False),
        ("", False),
    ],
)
def test_the_content_type_says_whether_a_body_is_a_form(content_type: str, *, found: bool) -> None:
    assert is_form(content_type) is found
