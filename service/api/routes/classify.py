"""`POST /v1/classify`: an image in, its class out."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from service.api.deps import RecordDep, ServicesDep
from service.api.fast_path import TaskRoute
from service.api.ingest.images import read_images
from service.api.responses import json_answer, predict_all
from service.api.schemas import ClassifyAnswer, ClassifyOptions, answers, image_body
from service.errors import InvalidParameterError
from service.heads.classify import classify

DEFAULT_TOP_K = 5

router = APIRouter(tags=["tasks"])


@router.post(
    "/v1/classify",
    summary="The best classes of each image",
    openapi_extra=image_body(),
    responses=answers(ClassifyAnswer),
)
async def classify_images(
    request: Request,
    services: ServicesDep,
    record: RecordDep,
    options: Annotated[ClassifyOptions, Query()],
) -> Response:
    model = services.registry.find(["classify"], options.model, options.version)
    record.model = model.name
    labels = model.card.labels
    top_k = options.top_k or min(DEFAULT_TOP_K, len(labels))
    if top_k > len(labels):
        raise InvalidParameterError(
            f"top_k: {model.name} has 1 to {len(labels)} classes, not {top_k}"
        )
    images = await read_images(request, services, record)
    head = partial(classify, labels=labels, top_k=top_k)
    found = await predict_all(request, services, record, model=model, images=images, head=head)
    return json_answer(model, found)


ROUTE = TaskRoute("/v1/classify", classify_images, ClassifyOptions)
