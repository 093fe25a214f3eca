"""The images in a request's body. The bytes decide whether it is JSON; the content type only decides for a form."""

import asyncio
import base64
import binascii
from collections.abc import Callable

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.api.ingest.body import LARGE_BYTES, BodyLimits, read_body
from service.api.ingest.multipart import files_of, is_form
from service.api.record import RequestRecord, header_of
from service.errors import (
    EmptyBodyError,
    MalformedBase64Error,
    MalformedJsonError,
    TooManyImagesError,
)
from service.pipeline import EncodedImage

SNIFFED_BYTES = 64
"""JSON begins with a brace after at most so many bytes of white space."""


class ImagesAsJson(BaseModel):
    """Images as base64, with or without a `data:` prefix."""

    model_config = ConfigDict(extra="forbid")

    images: list[str] = Field(min_length=1, description="Encoded images, each as base64")


async def read_images(
    request: Request, limits: BodyLimits, record: RequestRecord, *, held: bool = True
) -> list[EncodedImage]:
    """Return the images of a request: one as it is, the files of a form, or the base64 strings of a JSON object.

    Args:
        request: its body must not have been read.
        limits: the largest size and number, and the admission of large bodies.
        record: has the deadline; gets the body's size.
        held: as in `read_body`.

    Raises:
        EmptyBodyError, MalformedMultipartError, MalformedJsonError, TooManyImagesError
        FovealError: the body could not be received, as `read_body` says.
    """
    body = await read_body(request, limits, record, held=held)
    if not body:
        raise EmptyBodyError(
            "The request has no body. Send an image: curl --data-binary @cat.jpg …"
        )
    images = await _parse(body, header_of(request, b"content-type") or "")
    if len(images) > limits.max_images:
        raise TooManyImagesError(
            f"The request holds {len(images)} images; at most {limits.max_images} are allowed."
        )
    return images


async def _parse(body: bytes, content_type: str) -> list[EncodedImage]:
    if is_form(content_type):
        return await _off_loop(body, lambda: [*files_of(body, content_type, "cat.jpg")])
    if body[:SNIFFED_BYTES].lstrip().startswith(b"{"):
        return await _off_loop(body, lambda: parse_json(body))
    return [body]


async def _off_loop(body: bytes, parse: Callable[[], list[EncodedImage]]) -> list[EncodedImage]:
    """Parse a large body on a thread, because it would hold up the event loop."""
    return await asyncio.to_thread(parse) if len(body) > LARGE_BYTES else parse()


def parse_json(body: bytes) -> list[EncodedImage]:
    """Return the images of `{"images": ["<base64>", …]}`; in place of invalid base64 its error.

    Raises:
        MalformedJsonError: it is not JSON, or not of this form.
    """
    try:
        parsed = ImagesAsJson.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise MalformedJsonError(
            f'{place + ": " if place else ""}{first["msg"]}. Send {{"images": ["<base64>", …]}}.'
        ) from error
    return [_from_base64(text) for text in parsed.images]


def _from_base64(text: str) -> EncodedImage:
    payload = text.partition(",")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode("".join(payload.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        return MalformedBase64Error(f"The image is not valid base64: {error}.")
