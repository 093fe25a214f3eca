"""In which form an error is sent: as a problem, or as the protocol wants it that the path belongs to.

A guard refuses before any route is known, so the path alone decides.
"""

import re
from collections.abc import Callable
from http import HTTPStatus

from fastapi import Response
from pydantic_core import to_json
from starlette.types import Scope

from service.api.errors import detail_of, headers_of, problem
from service.api.record import RECORD_KEY, RequestRecord
from service.errors import (
    DeadlineError,
    FovealError,
    ImageError,
    OverloadedError,
    UnknownModelError,
    forget_frames,
)
from service.media_types import JSON

OPEN_INFERENCE = "/v2"
"""The path under which everything speaks the Open Inference Protocol."""
X_ANYLABELING = "/x-anylabeling"
KSERVE_MODEL = re.compile(r"/v1/models/[^/]+(/versions/[0-9]+)?(:predict|/metadata)")
"""The paths of KServe V1 and TensorFlow Serving among our own."""

Form = Callable[[FovealError], Response]

_TEXTS: dict[type[FovealError], str] = {
    DeadlineError: "Request timeout expired",
    OverloadedError: "Exceeds maximum queue size",
}
"""Texts of Triton that clients know; ours follows."""
_X_ANYLABELING_CODES: dict[type[FovealError], str] = {
    UnknownModelError: "MODEL_NOT_FOUND",
    ImageError: "INVALID_IMAGE",
    OverloadedError: "QUEUE_FULL",
}


def is_open_inference(path: str) -> bool:
    """Return whether a path belongs to the Open Inference Protocol."""
    return is_under(path, OPEN_INFERENCE)


def is_under(path: str, prefix: str) -> bool:
    """Return whether a path is a prefix, or lies below it."""
    return path == prefix or path.startswith(f"{prefix}/")


def form_of(path: str) -> Form | None:
    """Return the form of the errors of a path; None for a problem."""
    if path.startswith("/v1/models/") and KSERVE_MODEL.fullmatch(path):
        return plain_error
    return next((form for prefix, form in _FORMS.items() if is_under(path, prefix)), None)


def error_response(error: FovealError, scope: Scope) -> Response:
    """Return the response for an error of a request, and note its code for the log and the metrics."""
    record: RequestRecord = scope[RECORD_KEY]
    record.error_code = error.code
    return answer_to(error, scope["path"], record.request_id)


def answer_to(error: FovealError, path: str, request_id: str) -> Response:
    """Return the response for an error in the form of its path; the error lets go of the frames that it passed."""
    forget_frames(error)
    form = form_of(path)
    return problem(error, request_id) if form is None else form(error)


def inference_error(error: FovealError) -> Response:
    """Return `{"error": text}` with a status of the Open Inference Protocol."""
    known = next((text for kind, text in _TEXTS.items() if isinstance(error, kind)), None)
    detail = detail_of(error)
    late = isinstance(error, DeadlineError)
    status = int(HTTPStatus.SERVICE_UNAVAILABLE) if late else _status_of(error)
    return _response(error, status, {"error": detail if known is None else f"{known}: {detail}"})


def plain_error(error: FovealError) -> Response:
    """Return `{"error": text}`, the form of KServe V1, of TensorFlow Serving and of Label Studio's ML backends."""
    return _response(error, _status_of(error), {"error": detail_of(error)})


def deepstack_error(error: FovealError) -> Response:
    """Return the form of DeepStack and CodeProject.AI."""
    status = _status_of(error)
    return _response(error, status, {"success": False, "error": detail_of(error), "code": status})


def x_anylabeling_error(error: FovealError) -> Response:
    """Return the form of X-AnyLabeling's server, with the status.

    That server answers most errors with 200, which its client takes for an image in which nothing was found. At any
    other status the client shows that there was an error.
    """
    codes = _X_ANYLABELING_CODES.items()
    code = next((name for kind, name in codes if isinstance(error, kind)), error.code.upper())
    body = {"success": False, "error": {"code": code, "message": detail_of(error)}}
    return _response(error, _status_of(error), body)


_FORMS: dict[str, Form] = {
    OPEN_INFERENCE: inference_error,
    "/v1/vision": deepstack_error,
    "/kserve": plain_error,
    "/label-studio": plain_error,
    X_ANYLABELING: x_anylabeling_error,
}
"""By the path under which a protocol is spoken."""


def _response(error: FovealError, status: int, body: dict[str, object]) -> Response:
    return Response(to_json(body), status, headers_of(error), JSON)


def _status_of(error: FovealError) -> int:
    """Return the status: what a client sent wrong is 400 in all these protocols."""
    if error.status in {HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.UNSUPPORTED_MEDIA_TYPE}:
        return int(HTTPStatus.BAD_REQUEST)
    return error.status
