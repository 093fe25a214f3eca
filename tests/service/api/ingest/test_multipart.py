"""Forms: every file as it was sent, in order; and a clear error for whatever is no form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.ingest.multipart import FormReader, files_of, is_form
from service.errors import MalformedMultipartError
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
