"""Every error → `application/problem+json` (RFC 9457) with a stable code."""

import logging
from collections.abc import Collection, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from pydantic_core import to_json
from starlette.exceptions import HTTPException

from service.api.record import RECORD_KEY, RequestRecord
from service.errors import (
    ConfigurationError,
    FovealError,
    InvalidParameterError,
    MethodNotAllowedError,
    NotFoundError,
    UnsupportedEncodingError,
    for_clients,
    forget_frames,
    shortage_of,
)
from service.faults import LONGEST_SHOWN_NAME, shown, unknown_parameter, words_of
from service.logs import LOGGER

log = logging.getLogger(LOGGER)

PROBLEM_TYPE = "application/problem+json"
UNDERSTOOD_ENCODINGS = "gzip, deflate"
"""In the response to a body that is compressed in another way (RFC 9110, 12.5.3)."""

SHOWN_FAULTS = 20
"""Faults of parameters that one error names."""
SHOWN_PATH = 200
"""The characters of a path that an error repeats."""


def problem(error: FovealError, request_id: str) -> Response:
    """Return the response for an error, which lets go of the frames that it passed."""
    forget_frames(error)
    body = {
        "type": "about:blank",
        "title": error.title,
        "status": error.status,
        "code": error.code,
        "detail": detail_of(error),
        "request_id": request_id,
    }
    return Response(to_json(body), error.status, headers_of(error), PROBLEM_TYPE)


def detail_of(error: FovealError) -> str:
    """Return what a client may read of an error."""
    return for_clients(str(error)) if isinstance(error, ConfigurationError) else str(error)


def headers_of(error: FovealError) -> dict[str, str]:
    """Return the headers that the response for an error has beside the usual ones."""
    headers = {}
    if error.retry_after_seconds is not None:
        headers["Retry-After"] = str(error.retry_after_seconds)
    if error.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        headers["Connection"] = "close"  # because the rest of the body is not read
    if isinstance(error, UnsupportedEncodingError):
        headers["Accept-Encoding"] = UNDERSTOOD_ENCODINGS
    return headers


def invalid_parameters(faults: Sequence[Any], known: Collection[str] = ()) -> InvalidParameterError:
    """Return one error that names the faults that pydantic found, the first `SHOWN_FAULTS` of them.

    Args:
        faults: what pydantic found.
        known: the names that are allowed; an unknown one is answered with the nearest, or with all of them.
    """
    described = [
        unknown_parameter(str(fault["loc"][-1]), known)
        if known and fault["type"] == "extra_forbidden"
        else _describe(fault)
        for fault in faults[:SHOWN_FAULTS]
    ]
    if more := len(faults) - len(described):
        described.append(f"and {more} more")
    return InvalidParameterError("; ".join(described))


def error_of_fault(fault: BaseException) -> FovealError:
    """Return the error for what is none of ours: a shortage of memory or threads passes, anything else is a fault.

    It shows no detail of the fault; the log has it.
    """
    return shortage_of(fault) or FovealError(
        "The service failed; the request id leads to the reason in its log."
    )


def handle_errors(app: FastAPI) -> None:
    """Make every exception that leaves a route a problem response."""
    app.add_exception_handler(FovealError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_fault)


def _respond(request: Request, error: FovealError) -> Response:
    record: RequestRecord = request.scope[RECORD_KEY]
    record.error_code = error.code
    return problem(error, record.request_id)


async def _on_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, FovealError)
    return _respond(request, error)


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return _respond(request, invalid_parameters(error.errors(), _parameters_of(request)))


def _parameters_of(request: Request) -> list[str]:
    """Return the names that the query of a route may have."""
    declared = getattr(request.scope.get("route"), "dependant", None)  # codespell:ignore dependant
    kinds = [one.field_info.annotation for one in declared.query_params] if declared else []
    models = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
    return [field.alias or name for model in models for name, field in model.model_fields.items()]


async def _on_http(request: Request, error: Exception) -> Response:
    """For Starlette's own exceptions: an unknown path, a method that the path does not take."""
    assert isinstance(error, HTTPException)
    path, method = request.url.path[:SHOWN_PATH], request.method
    if error.status_code == HTTPStatus.NOT_FOUND:
        return _respond(
            request,
            NotFoundError(f"There is nothing at {path}. See /docs for the paths that exist."),
        )
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (error.headers or {}).get("Allow", "")
        if allowed == "GET":
            allowed = "GET, HEAD"  # the app answers HEAD wherever it answers GET
        response = _respond(
            request, MethodNotAllowedError(f"{path} takes {allowed}, not {method}.")
        )
        response.headers["Allow"] = allowed
        return response
    return _respond(request, FovealError(error.detail))


async def _on_fault(request: Request, fault: Exception) -> Response:
    """For faults of the service. Starlette raises the exception again after this, and the middleware logs it."""
    return _respond(request, error_of_fault(fault))


def _describe(fault: Any) -> str:  # noqa: ANN401  # pydantic's ErrorDetails, or what is formed like it
    place, words = fault["loc"], words_of(fault)
    name = ".".join(str(part) for part in place if part not in {"query", "header"}) or "query"
    text = f"{name[:LONGEST_SHOWN_NAME]}: {words[:1].lower()}{words[1:]}"
    # Where something is missing, pydantic's input is all that is there.
    return text if fault.get("type") == "missing" else f"{text}, not {shown(fault.get('input'))}"
