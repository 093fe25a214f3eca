"""The images of a request: one as it is, the files of a form, or base64 in JSON."""

import asyncio
import base64
import gzip
import json
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.ingest.body import LARGE_BYTES
from service.api.ingest.images import decoded_base64, parse_json, read_images
from service.api.ingest.part import BASE64_PIECE
from service.api.record import RequestRecord
from service.errors import (
    BodyTooLargeError,
    EmptyBodyError,
    MalformedBase64Error,
    MalformedJsonError,
    MalformedMultipartError,
    RequestError,
    TooManyImagesError,
    UnsupportedImageError,
)
from service.pipeline import EncodedImage
from tests.service.api.client import Client
from tests.service.api.ingest.forms import FORM, NOTE, form
from tests.service.api.ingest.test_body import LIMIT, Limits

pytestmark = pytest.mark.anyio


async def images_of(
    body: bytes, content_type: str | None = None, limits: Limits | None = None
) -> list[EncodedImage]:
    client = Client({} if content_type is None else {"content-type": content_type})
    client.send(body)
    return await read_images(client.request, limits or Limits(), RequestRecord("id"))


def as_json(*images: bytes) -> bytes:
    return json.dumps({"images": [base64.b64encode(image).decode() for image in images]}).encode()


@pytest.mark.parametrize("content_type", [None, "image/png", "application/json", "text/plain"])
async def test_a_body_that_is_neither_form_nor_json_is_one_image_whatever_its_type(
    content_type: str | None,
) -> None:
    assert await images_of(b"\xff\xd8 {", content_type) == [b"\xff\xd8 {"]


@pytest.mark.parametrize("content_type", [None, "image/png", "application/json"])
@pytest.mark.parametrize("space", [b"", b" \r\n\t", b" " * 100_000, b"\xef\xbb\xbf"])
async def test_a_body_that_begins_with_a_brace_is_json_whatever_its_type(
    content_type: str | None, space: bytes
) -> None:
    assert await images_of(space + as_json(b"one", b"two"), content_type) == [b"one", b"two"]


async def test_a_large_body_is_held_where_the_caller_does_not_say_otherwise() -> None:
    limits, record, client = Limits(), RequestRecord("id"), Client()
    client.send(bytes(LARGE_BYTES + 1))
    await read_images(client.request, limits, record)
    assert limits.admission.held_bytes == LARGE_BYTES + 1


async def test_a_form_is_one_by_its_type_even_where_its_bytes_look_like_json() -> None:
    assert await images_of(form(b"one", b"two"), FORM) == [b"one", b"two"]
    with pytest.raises(RequestError, match="form"):
        await images_of(as_json(b"one"), FORM)


async def test_a_form_without_a_file_hints_at_an_image() -> None:
    with pytest.raises(RequestError, match=r"file=@cat\.jpg"):
        await images_of(form(), FORM)


async def test_an_empty_body_is_an_error_with_a_hint() -> None:
    with pytest.raises(EmptyBodyError, match=r"Send an image: curl"):
        await images_of(b"")


async def test_as_many_images_as_allowed_are_read_and_one_more_is_an_error() -> None:
    assert len(await images_of(as_json(*[b"one"] * 4))) == 4
    with pytest.raises(TooManyImagesError, match="holds more than 4 images"):
        await images_of(as_json(*[b"one"] * 5))


async def test_the_limits_of_the_body_hold() -> None:
    with pytest.raises(BodyTooLargeError):
        await images_of(bytes(LIMIT + 1))


async def test_a_large_body_is_not_held_where_the_caller_does_not_want_it() -> None:
    limits, record, client = Limits(), RequestRecord("id"), Client()
    client.send(bytes(LARGE_BYTES + 1))
    await read_images(client.request, limits, record, held=False)
    assert limits.admission.held_bytes == 0


class CountingExecutor(ThreadPoolExecutor):
    """Counts what it is given to run."""

    calls = 0

    def submit(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return super().submit(*args, **kwargs)


@pytest.mark.parametrize(("size", "calls"), [(LARGE_BYTES, 0), (LARGE_BYTES + 1, 1)])
async def test_large_bodies_alone_are_parsed_on_a_thread(size: int, calls: int) -> None:
    executor = CountingExecutor(1)
    asyncio.get_running_loop().set_default_executor(executor)
    body = as_json(b"one")
    assert await images_of(body + b" " * (size - len(body))) == [b"one"]
    assert executor.calls == calls


IMAGES = st.binary(max_size=100).map(lambda tail: b"\x89" + tail)


@given(st.lists(IMAGES, min_size=1, max_size=4))
def test_base64_comes_back_as_it_was_sent(images: list[bytes]) -> None:
    assert parse_json(as_json(*images), 4) == images


@given(st.binary(max_size=200).map(lambda tail: b"{" + tail))
def test_any_bytes_are_json_or_a_clear_error(body: bytes) -> None:
    with pytest.raises(RequestError):
        parse_json(body, 4)


def test_base64_may_have_a_data_prefix_line_breaks_and_escapes() -> None:
    body = b'{"images": ["data:image/png;base64,aGVs\\r\\nbG8=", "aGVs bG8=", "DATA:;BASE64,aGVsbG8=", "Pz8\\/"]}'
    assert parse_json(body, 4) == [b"hello", b"hello", b"hello", b"???"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_json_may_be_in_any_encoding_of_unicode(encoding: str) -> None:
    assert parse_json(' {"images": ["aGk="]}'.encode(encoding), 4) == [b"hi"]


def test_json_that_is_not_text_in_its_encoding_is_an_error() -> None:
    with pytest.raises(MalformedJsonError, match="UTF-8"):
        parse_json(b"\xff\xfe{\0\xff", 4)


@pytest.mark.parametrize("spaces", ["", "\r\n"])
def test_base64_of_several_pieces_comes_back_as_it_was_sent(spaces: str) -> None:
    image = bytes(range(251)) * (3 * BASE64_PIECE // 4 // 251) + b"end"
    text = base64.b64encode(image).decode()
    lines = spaces.join(text[at : at + 76] for at in range(0, len(text), 76))
    assert parse_json(json.dumps({"images": [lines]}).encode(), 1) == [image]


@pytest.mark.parametrize("place", [BASE64_PIECE - 4, BASE64_PIECE, -4, -3])
@pytest.mark.parametrize("change", ["*aaa", "aa==", "a", ""])
def test_base64_of_several_pieces_is_refused_where_pythons_decoder_refuses_it(
    place: int, change: str
) -> None:
    text = "abcd" * (BASE64_PIECE // 2)
    text = text[:place] + change + text[place:] + " \n"
    try:
        wanted: bytes | None = base64.b64decode(text.strip(), validate=True)
    except ValueError:
        wanted = None
    [image] = parse_json(json.dumps({"images": [text]}).encode(), 1)
    assert image == wanted if wanted is not None else isinstance(image, MalformedBase64Error)


def test_no_step_of_the_decoder_gets_more_than_a_piece() -> None:
    sizes: list[int] = []

    def decode(piece: bytes) -> bytes:
        sizes.append(len(piece))
        return base64.b64decode(piece, validate=True)

    text = "QUJD\n" * BASE64_PIECE
    assert decoded_base64(text, decode) == b"ABC" * BASE64_PIECE
    assert max(sizes) <= BASE64_PIECE
    assert len(sizes) > 4


def test_a_data_url_has_its_comma_near_its_beginning() -> None:
    (image,) = parse_json(
        json.dumps({"images": ["data:" + "A" * 10**6 + ";base64,aGk="]}).encode(), 4
    )
    assert isinstance(image, MalformedBase64Error)


def test_a_data_url_that_is_not_base64_is_an_error_that_says_so() -> None:
    (image,) = parse_json(b'{"images": ["data:image/svg+xml,%3Csvg"]}', 4)
    assert isinstance(image, MalformedBase64Error)
    assert "data: URL that is not base64" in str(image)


@pytest.mark.parametrize("item", [b"1", b'""', b"{}", b"[]", b'"aGk="'])
def test_a_list_without_end_is_refused_before_it_is_parsed(item: bytes) -> None:
    body = b'{"images":[' + b",".join([item] * 300_000) + b"]}"
    tracemalloc.start()
    try:
        with pytest.raises(TooManyImagesError, match="more than 64 images"):
            parse_json(body, 64)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_as_many_data_urls_as_allowed_are_read() -> None:
    images = ",".join(['"data:image/png;base64,aGk="'] * 64)
    assert parse_json(f'{{"images": [{images}]}}'.encode(), 64) == [b"hi"] * 64


def test_an_error_does_not_repeat_a_key_of_any_length() -> None:
    body = b'{"images": ["aGk="], "' + b"k" * 100_000 + b'": 1}'
    with pytest.raises(MalformedJsonError) as raised:
        parse_json(body, 4)
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize("body", [b'["aGk="]', b'"aGk="', b" [1]", b"\xef\xbb\xbf[]"])
async def test_json_that_is_no_object_is_named_whatever_its_type(body: bytes) -> None:
    with pytest.raises(MalformedJsonError, match="should be an object"):
        await images_of(body)


@pytest.mark.parametrize("body", [b"null", b"7", b"images=x"])
async def test_text_that_is_typed_as_json_is_judged_as_json(body: bytes) -> None:
    with pytest.raises(MalformedJsonError):
        await images_of(body, "Application/JSON; charset=utf-8")
    assert await images_of(body, "text/plain") == [body]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"\n\x05\x01\x08\0\0\0\0\x57\0\x33\0", id="PCX"),
        pytest.param(b"\xff\xfe\0\xa3\x11\xaf\x0a\0", id="FLI of 41,728 KiB"),
        pytest.param(b"\xfe\xff\x12\xaf", id="big-endian mark"),
        pytest.param(b"\x0bwgT@C\xe1", id="AC-3"),
        pytest.param(b"\xef\xf9\xdd", id="half a mark"),
        pytest.param(b"\n GIF89a\x01\0", id="blanks before a GIF"),
    ],
)
async def test_a_binary_file_that_begins_as_text_is_no_json(body: bytes) -> None:
    for content_type in ("", "application/json"):
        assert await images_of(body, content_type) == [body]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-32-le"])
@pytest.mark.parametrize("blanks", ["", "\r\n\t "])
async def test_json_after_blanks_is_found_in_any_encoding(encoding: str, blanks: str) -> None:
    body = (blanks + as_json(b"one").decode()).encode(encoding)
    assert await images_of(body) == [b"one"]


async def test_another_kind_of_file_is_an_error_in_its_place() -> None:
    (video,) = await images_of(b"\x1aE\xdf\xa3 webm")
    assert isinstance(video, UnsupportedImageError)
    image, pdf = await images_of(form(b"\xff\xd8", b"%PDF-1.7"), FORM)
    assert image == b"\xff\xd8"
    assert "PDF" in str(pdf)


async def test_what_curl_sends_of_its_own_accord_is_distinguished_from_what_it_destroyed() -> None:
    curl = "application/x-www-form-urlencoded"
    assert await images_of(b"\xff\xd8\0", curl) == [b"\xff\xd8\0"]
    assert await images_of(as_json(b"one"), curl) == [b"one"]
    with pytest.raises(UnsupportedImageError, match="--data-binary"):
        await images_of(b"\xff\xd8\xff", curl)
    with pytest.raises(
        UnsupportedImageError, match="--data-binary"
    ):  # an AVIF whose first box has 32 bytes
        await images_of(b" ftypavifavifmif1miafMA1B\xebmeta", curl)


async def test_a_compressed_body_is_read_as_what_it_holds() -> None:
    for body, content_type in (
        (form(b"one"), FORM),
        (as_json(b"one"), "application/json"),
        (b"one", ""),
    ):
        client = Client({"content-type": content_type, "content-encoding": "gzip"})
        client.send(gzip.compress(body))
        assert await read_images(client.request, Limits(), RequestRecord("id")) == [b"one"]


@pytest.mark.parametrize("text", ["a*b", "aGk", "é", "x:image/png;base64,aGk="])
def test_invalid_base64_is_an_error_in_its_place(text: str) -> None:
    good, bad = parse_json(json.dumps({"images": ["aGk=", text]}).encode(), 4)
    assert good == b"hi"
    assert isinstance(bad, MalformedBase64Error)
    assert str(bad).startswith("The image is not valid base64: ")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"images": []}', '^images: List should have at least 1 item .* Send {"images": '),
        (b'{"images": ["aGk=", 7, 8]}', r"^images\.1: "),
        (b'{"images": ["aGk="], "more": 1}', "^more: "),
        (b'{"images": ', r"^Invalid JSON: .* Send {"),
    ],
)
def test_json_of_another_form_is_an_error_that_names_the_place(body: bytes, message: str) -> None:
    with pytest.raises(MalformedJsonError, match=message):
        parse_json(body, 4)


@pytest.mark.parametrize("depth", [3, 200, 201, 10_000_000])
@pytest.mark.parametrize("frame", ["%s", '{"images":%s}', '{"images":["eA=="],"x":%s}'])
async def test_nested_json_is_refused_at_any_depth(depth: int, frame: str) -> None:
    body = frame % ("[" * depth + "]" * depth)
    with pytest.raises(MalformedJsonError):
        await images_of(body.encode(), limits=Limits(max_body_bytes=2**26))


async def test_a_form_has_so_many_fields_and_one_more_is_refused() -> None:
    limits = Limits(max_form_fields=2)
    assert await images_of(NOTE * 2 + form(b"one"), FORM, limits) == [b"one"]
    with pytest.raises(MalformedMultipartError, match="more than 2 parts without a filename"):
        await images_of(NOTE * 3 + form(b"one"), FORM, limits)
