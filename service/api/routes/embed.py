"""`POST /v1/embed`: an image in, its features out, to search by similarity."""

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request, Response

from service.api.deps import RecordDep, ServicesDep, header_of
from service.api.fast_path import TaskRoute
from service.api.ingest.images import read_images
from service.api.negotiation import preferred
from service.api.responses import json_answer, predict_all
from service.api.schemas import EmbedAnswer, EmbedOptions, answers, image_body
from service.card import Task
from service.errors import InvalidParameterError
from service.heads.embed import embed
from service.media_types import FLOATS, JSON

router = APIRouter(tags=["tasks"])

WITH_FEATURES: tuple[Task, ...] = ("embed", "classify", "detect", "segment")
"""Every image network gives features; these are asked in turn for a default."""


@router.post(
    "/v1/embed",
    summary="The features of each image, as a vector of length one",
    openapi_extra=image_body(),
    responses=answers(EmbedAnswer, FLOATS),
)
async def embed_images(
    request: Request,
    services: ServicesDep,
    record: RecordDep,
    options: Annotated[EmbedOptions, Query()],
) -> Response:
    """JSON lists, or with `Accept: application/octet-stream` float32, little-endian, an image after the other."""
    model = services.registry.find(WITH_FEATURES, options.model, options.version)
    record.model = model.name
    media_type = preferred(header_of(request, b"accept") or "", [JSON, FLOATS])
    images = await read_images(request, services, record)
    found = await predict_all(request, services, record, model=model, images=images, head=embed)
    if media_type == FLOATS:
        return _floats(found)
    return json_answer(model, [_embedding(vector) for vector in found])


def _embedding(vector: Any) -> dict[str, Any]:  # noqa: ANN401  # a vector, or the error object of a failed image
    if isinstance(vector, dict):
        return vector
    return {"embedding": np.round(vector.astype(np.float64), 7).tolist()}


def _floats(found: Sequence[Any]) -> Response:
    """Return all vectors end to end; there is no room in them for a failure."""
    failures = [index for index, vector in enumerate(found) if isinstance(vector, dict)]
    if failures:
        told = found[failures[0]]["error"]["detail"]
        raise InvalidParameterError(
            f"Image {failures[0]} has no vector: {told} Ask for JSON to get the others' results."
        )
    rows = np.stack(found).astype("<f4")
    shape = f"{rows.shape[0]},{rows.shape[1]}"
    return Response(rows.tobytes(), media_type=FLOATS, headers={"X-Shape": shape, "Vary": "Accept"})


ROUTE = TaskRoute("/v1/embed", embed_images, EmbedOptions)
