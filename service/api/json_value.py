"""A small JSON body of a call of the operator → a checked value; bounded before a parser builds it."""

from typing import TypeVar

from fastapi import Request
from pydantic import TypeAdapter, ValidationError

from service.api.errors import invalid_parameters
from service.api.ingest.body import BodyLimits, read_body
from service.api.ingest.json_object import read_object
from service.api.record import RECORD_KEY
from service.errors import BodyTooLargeError

T = TypeVar("T")

LARGEST_BODY = 64 * 1024


async def read_value(request: Request, limits: BodyLimits, kind: TypeAdapter[T], example: str) -> T:
    """Return what a request's body says.

    Args:
        request: its body must not have been read.
        limits: of bodies.
        kind: what it must be.
        example: what to send, for messages.

    Raises:
        BodyTooLargeError: it has more than 64 KiB.
        MalformedJsonError: it is no JSON object, is nested too deep, or has a key twice.
        EmptyBodyError: there is none.
        InvalidParameterError: it says something else.
        ClientLeftError, DeadlineError, OverloadedError: as `read_body` says.
    """
    body = await read_body(request, limits, request.scope[RECORD_KEY], held=False)
    if len(body) > LARGEST_BODY:
        raise BodyTooLargeError(
            f"The body has {len(body)} bytes, more than the {LARGEST_BODY} allowed here. Send {example}."
        )
    given = read_object(body, limits.max_json_depth, example)
    try:
        return kind.validate_python(given)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False)
        raise invalid_parameters(faults) from error
