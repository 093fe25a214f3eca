"""A request's body → the images in it; the bytes decide, not what the content type claims."""

import asyncio
import base64
import binascii
from collections.abc import Callable
from typing import TYPE_CHECKING

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.api.deps import RequestRecord, Services, header_of
from service.api.ingest.body import LARGE_BYTES, read_body
from service.errors import (
    EmptyBodyError,
    MalformedBase64Error,
    MalformedJsonError,
    MalformedMultipartError,
    TooManyImagesError,
)
from service.pipeline import EncodedImage

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks


class ImagesAsJson(BaseModel):
    """Images as base64, with or without a `data:` prefix."""

    model_config = ConfigDict(extra="forbid")

    images: list[str] = Field(min_length=1, description="Encoded images, each as base64")


async def read_images(
    request: Request, services: Services, record: RequestRecord, *, held: bool = True
) -> list[EncodedImage]:
    """Return the images of a request: a raw one, the files of a multipart form, or the base64 ones of a JSON object.

    Args:
        request: whose body has not been read.
        services: their limits, and the intake.
        record: gets the body's size.
        held: as in `read_body`.

    Raises:
        EmptyBodyError, MalformedMultipartError, MalformedJsonError, TooManyImagesError
        FovealError: the body can not be had, as `read_body` says.
    """
    body = await read_body(request, services, record, held=held)
    if not body:
        raise EmptyBodyError(
            "The request has no body. Send an image: curl --data-binary @cat.jpg …"
        )
    content_type = header_of(request, b"content-type") or ""
    if content_type.startswith("multipart/"):
        images = await _off_loop(body, lambda: parse_multipart(body, content_type))
    elif body[:64].lstrip()[:1] == b"{":
        images = await _off_loop(body, lambda: parse_json(body))
    else:
        images = [body]
    if len(images) > services.max_images:
        raise TooManyImagesError(
            f"{len(images)} images are more than the {services.max_images} that one request may hold."
        )
    return images


def parse_multipart(body: bytes, content_type: str) -> list[EncodedImage]:
    """Return the contents of a form's file parts, in order, whatever their field is called.

    Raises:
        MalformedMultipartError: no boundary, no file, or a form that does not end.
    """
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary:
        raise MalformedMultipartError(
            "The content type names no boundary. Let your HTTP client build the form."
        )
    collected = _CollectedFiles()
    form = FormFiles(on_data=collected.keep, on_end=collected.close)
    parser = MultipartParser(boundary, form.callbacks())
    try:
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise MalformedMultipartError(f"The form can not be parsed: {error}") from error
    if not form.ended:
        raise MalformedMultipartError("The form is cut short: its closing boundary is missing.")
    if not collected.files:
        raise MalformedMultipartError("The form holds no file. Send one: curl -F file=@cat.jpg …")
    return collected.files


def parse_json(body: bytes) -> list[EncodedImage]:
    """Return the images of `{"images": ["<base64>", …]}`; one that is no base64 has its error in its place.

    Raises:
        MalformedJsonError: no JSON, or of another shape.
    """
    try:
        given = ImagesAsJson.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise MalformedJsonError(
            f'{place + ": " if place else ""}{first["msg"]}. Send {{"images": ["<base64>", …]}}.'
        ) from error
    return [_from_base64(text) for text in given.images]


def _from_base64(text: str) -> EncodedImage:
    payload = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode("".join(payload.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        return MalformedBase64Error(f"The image is not valid base64: {error}.")


async def _off_loop(body: bytes, parse: Callable[[], list[EncodedImage]]) -> list[EncodedImage]:
    return await asyncio.to_thread(parse) if len(body) > LARGE_BYTES else parse()


class FormFiles:
    """Follows the parser over a form and passes on what its file parts hold.

    Args:
        on_data: called with each piece of a file.
        on_end: called where a file ends.
    """

    def __init__(
        self, on_data: Callable[[bytes], None], on_end: Callable[[], None] = lambda: None
    ) -> None:
        self.count = 0
        self.ended = False
        self._on_file_data = on_data
        self._on_file_end = on_end
        self._header = b""
        self._value = b""
        self._disposition = b""
        self._is_file = False

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_header,
            "on_header_value": self._on_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }

    def _begin(self) -> None:
        self._disposition, self._is_file = b"", False

    def _on_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._is_file = b"filename" in options
        self.count += self._is_file

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._on_file_data(data[start:end])

    def _on_part_end(self) -> None:
        if self._is_file:
            self._on_file_end()

    def _on_end(self) -> None:
        self.ended = True


class _CollectedFiles:
    """Keeps the files of a form. It knows no form: in a cycle they would all wait for the garbage collector."""

    def __init__(self) -> None:
        self.files: list[EncodedImage] = []
        self._parts: list[bytes] = []

    def keep(self, data: bytes) -> None:
        self._parts.append(data)

    def close(self) -> None:
        self.files.append(b"".join(self._parts))
        self._parts = []
