import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.ingest.images import parse_json, parse_multipart
from service.errors import MalformedBase64Error, MalformedMultipartError, RequestError


def form(*files: bytes, boundary: str = "b0") -> bytes:
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{index}"\r\n'
        f"Content-Type: image/png\r\n\r\n".encode()
        + content
        + b"\r\n"
        for index, content in enumerate(files)
    ]
    return b"".join(parts) + f"--{boundary}--\r\n".encode()


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5))
def test_the_files_of_a_form_come_back_as_they_were_sent(files: list[bytes]) -> None:
    assert parse_multipart(form(*files), "multipart/form-data; boundary=b0") == files


@given(st.binary(max_size=300))
def test_any_bytes_are_a_form_or_a_clear_error(body: bytes) -> None:
    with pytest.raises(MalformedMultipartError):
        parse_multipart(body, "multipart/form-data; boundary=b0")


@pytest.mark.parametrize("cut", range(3, 120, 7))
def test_a_form_cut_anywhere_is_told_so(cut: int) -> None:
    whole = form(b"first image", b"second image")
    with pytest.raises(MalformedMultipartError):
        parse_multipart(whole[:-cut], "multipart/form-data; boundary=b0")


def test_fields_that_are_no_files_are_passed_over() -> None:
    note = b'--b0\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
    assert parse_multipart(note + form(b"image"), "multipart/form-data; boundary=b0") == [b"image"]


@given(st.lists(st.binary(max_size=100), min_size=1, max_size=4))
def test_base64_comes_back_as_it_was_sent(images: list[bytes]) -> None:
    encoded = [base64.b64encode(image).decode() for image in images]
    assert parse_json(str({"images": encoded}).replace("'", '"').encode()) == images


@given(st.binary(max_size=200).map(lambda tail: b"{" + tail))
def test_any_bytes_are_json_or_a_clear_error(body: bytes) -> None:
    with pytest.raises(RequestError):
        parse_json(body)


def test_base64_that_is_none_is_an_error_in_its_place() -> None:
    good, bad = parse_json(b'{"images": ["aGk=", "a*b"]}')
    assert good == b"hi"
    assert isinstance(bad, MalformedBase64Error)
