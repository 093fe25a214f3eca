"""In which form an error is sent: as a problem, or as the protocol wants it that the path belongs to."""

from http import HTTPStatus

from fastapi import Response
from pydantic_core import to_json
from starlette.types import Scope

from service.api.errors import detail_of, headers_of, problem
from service.api.record import RECORD_KEY, RequestRecord
from service.errors import DeadlineError, FovealError, OverloadedError
from service.media_types import JSON

OPEN_INFERENCE = "/v2"
"""The path under which everything speaks the Open Inference Protocol."""

_TEXTS: dict[type[FovealError], str] = {
    DeadlineError: "Request timeout expired",
    OverloadedError: "Exceeds maximum queue size",
}
"""Texts of Triton that clients know; ours follows."""


def is_open_inference(path: str) -> bool:
    """Return whether a path belongs to the Open Inference Protocol."""
    return path.startswith(OPEN_INFERENCE) and path[3:4] in {"", "/"}


def error_response(error: FovealError, scope: Scope) -> Response:
    """Return the response for an error of a request, and note its code for the log and the metrics."""
    record: RequestRecord = scope[RECORD_KEY]
    record.error_code = error.code
    return answer_to(error, scope["path"], record.request_id)


def answer_to(error: FovealError, path: str, request_id: str) -> Response:
    """Return the response for an error in the form of its path."""
    return inference_error(error) if is_open_inference(path) else problem(error, request_id)


def inference_error(error: FovealError) -> Response:
    """Return `{"error": text}` with a status of the Open Inference Protocol."""
    known = next((text for kind, text in _TEXTS.items() if isinstance(error, kind)), None)
    detail = detail_of(error)
    body = {"error": detail if known is None else f"{known}: {detail}"}
    return Response(to_json(body), _status_of(error), headers_of(error), JSON)


def _status_of(error: FovealError) -> int:
    """Return the status: what a client sent wrong is 400 there, and a deadline that passed is 503."""
    if error.status in {HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.UNSUPPORTED_MEDIA_TYPE}:
        return HTTPStatus.BAD_REQUEST
    return HTTPStatus.SERVICE_UNAVAILABLE if isinstance(error, DeadlineError) else error.status
