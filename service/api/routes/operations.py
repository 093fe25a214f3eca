"""What machines ask: is it alive, is it ready, what has it counted."""

import re

from fastapi import APIRouter, Response
from prometheus_client.exposition import choose_encoder
from pydantic_core import to_json
from starlette.requests import Request

from service.api.deps import ServicesDep
from service.api.record import list_header_of

router = APIRouter(tags=["operations"])

_VERSION = re.compile(r"\s*version=(?!\d{1,2}(\.\d{1,2}){0,2}\s*$)")
"""A version that is no number: prometheus-client fails at it, or repeats it in the content type."""

OPEN: dict[str, list[str]] = {"security": []}
"""Of an operation in the OpenAPI document that needs no key, also where the service has keys."""
READINESS = {
    "type": "object",
    "properties": {
        "status": {"enum": ["ready", "not ready"]},
        "reasons": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["status", "reasons"],
    "additionalProperties": False,
}


@router.get("/health/live", summary="200 while the process answers at all", openapi_extra=OPEN)
async def live() -> dict[str, str]:
    return {"status": "alive"}


@router.get(
    "/health/ready",
    summary="200 when a version of each model is ready; else 503 with the reasons",
    responses={
        503: {"description": "Not ready", "content": {"application/json": {"schema": READINESS}}},
        200: {"content": {"application/json": {"schema": READINESS}}},
    },
    response_class=Response,
    openapi_extra=OPEN,
)
async def ready(services: ServicesDep) -> Response:
    reasons = await services.not_ready()
    body = {"status": "not ready" if reasons else "ready", "reasons": reasons}
    return Response(to_json(body), 503 if reasons else 200, media_type="application/json")


@router.get(
    "/metrics",
    summary="Prometheus metrics",
    response_class=Response,
    responses={
        200: {
            "content": {
                "text/plain": {"schema": {"type": "string"}},
                "application/openmetrics-text": {"schema": {"type": "string"}},
            }
        }
    },
)
async def metrics(request: Request, services: ServicesDep) -> Response:
    encode, content_type = choose_encoder(_with_versions(list_header_of(request, b"accept")))
    text = await services.exposition(content_type, encode, services.metrics.registry)
    return Response(text, headers={"Content-Type": content_type})


def _with_versions(accept: str) -> str:
    """Return an `Accept` header without the formats whose version is no number."""
    formats = accept.split(",")
    return ",".join(one for one in formats if not any(map(_VERSION.match, one.split(";"))))
