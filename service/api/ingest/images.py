"""The images in a request's body. The bytes decide whether it is JSON; the content type only decides for a form."""

import asyncio
import binascii
import codecs
import io
import json
import string
from collections.abc import Callable, Iterable, Iterator

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.api.ingest.body import LARGE_BYTES, BodyLimits, read_body
from service.api.ingest.json_depth import is_deeper
from service.api.ingest.json_keys import SHOWN_KEY, require_unique_keys
from service.api.ingest.json_pieces import PieceParser
from service.api.ingest.json_start import UTF16_STARTS, may_begin_json
from service.api.ingest.json_strings import PIECE_BYTES, count_in
from service.api.ingest.kind import (
    HEAD_BYTES,
    URLENCODED,
    begins_as_stripped_box,
    not_an_image,
    stripped_by_curl,
)
from service.api.ingest.multipart import files_of, is_form, too_many_images
from service.api.ingest.part import BASE64_PIECE
from service.api.record import RequestRecord, single_header_of
from service.errors import (
    EmptyBodyError,
    MalformedBase64Error,
    MalformedJsonError,
    TooManyImagesError,
    UnsupportedImageError,
)
from service.pipeline import EncodedImage

JPEG_START = b"\xff\xd8"

MAX_JSON_DEPTH = 200
"""The parser's own limit."""
SPARE_COMMAS = 16
"""A list has a comma for each image, and a `data:` URL another one; so many more may stand beside them."""
LONGEST_URL_HEAD = 1024
"""What a `data:` URL may have before its comma."""

_SPACES = string.whitespace.encode()
_BLANKS = str.maketrans(string.whitespace, " " * len(string.whitespace))


class ImagesAsJson(BaseModel):
    """Images as base64, with or without a `data:` prefix."""

    model_config = ConfigDict(extra="forbid")

    images: list[str] = Field(
        min_length=1, fail_fast=True, description="Encoded images, each as base64"
    )


async def read_images(
    request: Request, limits: BodyLimits, record: RequestRecord, *, held: bool = True
) -> list[EncodedImage]:
    """Return the images of a request: one as it is, the files of a form, or the base64 strings of a JSON object.

    In the place of bytes that are another kind of file is the error that says so.

    Args:
        request: its body must not have been read.
        limits: the largest size and number, and the admission of large bodies.
        record: has the deadline; gets the body's size.
        held: as in `read_body`.

    Raises:
        EmptyBodyError, MalformedMultipartError, MalformedJsonError, TooManyImagesError, UnsupportedImageError
        FovealError: the body could not be received, as `read_body` says.
    """
    body = await read_body(request, limits, record, held=held)
    if not body:
        raise EmptyBodyError(
            "The request has no body. Send an image: curl --data-binary @cat.jpg …"
        )
    content_type = single_header_of(request, b"content-type") or ""
    size = len(body)
    images = await _parse(body, content_type, limits)
    if record.place is not None:
        record.place.shrink(size)  # the copies that reading made are gone
    return images


async def _parse(body: bytes, content_type: str, limits: BodyLimits) -> list[EncodedImage]:
    most = limits.max_images
    if is_form(content_type):
        fields = limits.max_form_fields
        return await _off_loop(
            body, lambda: checked_images(files_of(body, content_type, "cat.jpg", most, fields))
        )
    if content_type and content_type.lower().startswith(URLENCODED):
        return await _off_loop(body, lambda: _urlencoded(body, content_type, limits))
    if body.startswith(JPEG_START):
        return [body]
    if _may_be_json(body, content_type):
        return await _off_loop(body, lambda: parse_json(body, most, limits.max_json_depth))
    return checked_images([body])


async def _off_loop(body: bytes, parse: Callable[[], list[EncodedImage]]) -> list[EncodedImage]:
    """Parse a large body on a thread, because it would hold up the event loop."""
    return await asyncio.to_thread(parse) if len(body) > LARGE_BYTES else parse()


def checked_images(images: Iterable[bytes]) -> list[EncodedImage]:
    """Return the images, with an error in the place of each that is known to be another kind of file."""
    return [_check(image) for image in images]


def _check(image: bytes) -> EncodedImage:
    reason = not_an_image(image) if image else None
    return image if reason is None else UnsupportedImageError(reason)


def _urlencoded(body: bytes, content_type: str, limits: BodyLimits) -> list[EncodedImage]:
    """Return the images of a body with the content type that curl sends of its own accord."""
    if _may_be_json(body, ""):
        return parse_json(body, limits.max_images, limits.max_json_depth)
    reason = stripped_by_curl(body, content_type)
    if reason is not None:
        raise UnsupportedImageError(reason)
    return checked_images([body])


def _may_be_json(body: bytes, content_type: str) -> bool:
    if may_begin_json(body) and _begins_as_json(body[:HEAD_BYTES]):
        return not begins_as_stripped_box(body)
    return content_type.lower().startswith("application/json") and _is_text(body[:HEAD_BYTES])


def _begins_as_json(head: bytes) -> bool:
    """Return whether an object, a list or a string begins after a byte-order mark and white space.

    Other kinds of files begin with a line feed (PCX) or with a byte-order mark too. UTF-16 and UTF-32 have zeros beside
    what JSON begins with.
    """
    for mark in (*UTF16_STARTS, codecs.BOM_UTF8):
        head = head.removeprefix(mark)
    rest = head.replace(b"\0", b"").lstrip(_SPACES)
    return not rest or rest[0] in b'{["'


def _is_text(head: bytes) -> bool:
    """Return whether no image begins so: each format has a byte beyond ASCII or a zero in its head."""
    return head.isascii() and head.decode().translate(_BLANKS).isprintable()


def parse_json(body: bytes, most: int, max_depth: int = MAX_JSON_DEPTH) -> list[EncodedImage]:
    """Return the images of `{"images": ["<base64>", …]}`; in place of invalid base64 its error.

    Nothing is parsed before the number of values is known to be small, because a parser takes forty bytes for each.

    Args:
        body: JSON in UTF-8, or in UTF-16 or UTF-32, as it begins.
        most: how many images are allowed.
        max_depth: how many levels of lists and objects.

    Raises:
        MalformedJsonError: it is not JSON, not of this form, nested too deep, or has a key twice.
        TooManyImagesError: it holds more images.
    """
    text = _as_text(body)
    commas = count_in(text, b",")
    if commas > 2 * most + SPARE_COMMAS:
        raise TooManyImagesError(
            f"The request holds more than {most} images, the most that are allowed, or more values than they need. "
            'Send {"images": ["<base64>", …]} and nothing else, in several requests.'
        )
    if is_deeper(text, max_depth, commas):
        raise MalformedJsonError(
            f'The JSON is nested more than {max_depth} levels deep. Send {{"images": ["<base64>", …]}}.'
        )
    parsed = _parsed(text)
    require_unique_keys(text, {"images": parsed.images})
    if len(parsed.images) > most:
        raise too_many_images(most)
    return [image_from_base64(text) for text in parsed.images]


def _parsed(text: bytes) -> ImagesAsJson:
    try:
        if len(text) <= PIECE_BYTES:
            return ImagesAsJson.model_validate_json(text)
        given = PieceParser().parsed(text)
        if not isinstance(given, dict):
            raise ValueError("expected an object")
        return ImagesAsJson.model_validate(given)
    except ValidationError as error:
        raise _malformed(error) from error
    except ValueError as error:
        raise MalformedJsonError(
            f'Invalid JSON: {error}. Send {{"images": ["<base64>", …]}}.'
        ) from error


def _as_text(body: bytes) -> bytes:
    """Return JSON in UTF-8 without a byte-order mark."""
    encoding = json.detect_encoding(body[: len(codecs.BOM_UTF32_LE)])
    if encoding == "utf-8":
        return body
    if encoding == "utf-8-sig":
        return body[len(codecs.BOM_UTF8) :]
    try:
        return b"".join(_recoded(body, encoding))
    except UnicodeDecodeError as error:
        raise MalformedJsonError(
            f"The body is not text in {encoding}. Send JSON in UTF-8."
        ) from error


def _recoded(body: bytes, encoding: str) -> Iterator[bytes]:
    """Yield a text piece by piece in UTF-8."""
    decoder = codecs.getincrementaldecoder(encoding)()
    for start in range(0, len(body), PIECE_BYTES):
        end = start + PIECE_BYTES
        yield decoder.decode(body[start:end], final=end >= len(body)).encode()


def _malformed(error: ValidationError) -> MalformedJsonError:
    first = error.errors(include_input=False, include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])[:SHOWN_KEY]
    return MalformedJsonError(
        f'{place + ": " if place else ""}{first["msg"]}. Send {{"images": ["<base64>", …]}}.'
    )


def image_from_base64(text: str) -> EncodedImage:
    """Return the image that is base64 or a `data:` URL with base64, or the error that says why it is none."""
    payload = text
    if text[:5].lower() == "data:":
        comma = text.find(",", 0, LONGEST_URL_HEAD)
        payload = text[comma + 1 :]
        if not text[: max(comma, 0)].lower().endswith(";base64"):
            return MalformedBase64Error(
                "The image is a data: URL that is not base64. Send data:image/…;base64,… or base64 alone."
            )
    try:
        return _check(decoded_base64(payload))
    except ValueError as error:
        return MalformedBase64Error(f"The image is not valid base64: {_reason(error)}.")


def _decode(piece: bytes) -> bytes:
    return binascii.a2b_base64(piece, strict_mode=True)


def decoded_base64(text: str, decode: Callable[[bytes], bytes] = _decode) -> bytes:
    """Return what base64 stands for, a piece after the other, because other threads wait for each step.

    Args:
        text: base64, perhaps with white space.
        decode: decodes a piece.

    Raises:
        ValueError: it is no base64.
    """
    if len(text) <= BASE64_PIECE:
        return decode(_without_spaces(text))
    rest, padded = b"", False
    # Pieces would take their memory again when they are joined.
    decoded = io.BytesIO(bytes(len(text) // 4 * 3))
    for start in range(0, len(text), BASE64_PIECE):
        piece = rest + _without_spaces(text[start : start + BASE64_PIECE])
        if piece and padded:
            raise ValueError("Excess data after padding")
        whole = len(piece) // 4 * 4
        rest = piece[whole:]
        if whole:
            padded = decoded.write(decode(piece[:whole])) % 3 != 0
    decoded.write(decode(rest))
    decoded.truncate()
    return decoded.getvalue()


def _without_spaces(text: str) -> bytes:
    return text.encode("ascii").translate(None, _SPACES)


def _reason(error: ValueError) -> str:
    return "it has a character beyond ASCII" if isinstance(error, UnicodeError) else str(error)
