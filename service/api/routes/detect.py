"""`POST /v1/detect`: an image in, boxes out."""

import difflib
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from service.api.deps import RecordDep, ServicesDep, header_of
from service.api.fast_path import TaskRoute
from service.api.ingest.images import read_images
from service.api.negotiation import preferred
from service.api.responses import image_answer, json_answer, predict_all, require_single
from service.api.schemas import DetectAnswer, DetectOptions, answers, image_body
from service.errors import InvalidParameterError
from service.heads.detect import DetectionOptions, detect, draw_detections
from service.heads.outputs import Outputs
from service.imaging.overlay import ImageFormat, RenderedImage, encode_image
from service.imaging.source_image import SourceImage
from service.media_types import JPEG, JSON, PNG
from service.pipeline import Head

router = APIRouter(tags=["tasks"])


@router.post(
    "/v1/detect",
    summary="What is in each image, and where",
    openapi_extra=image_body(),
    responses=answers(DetectAnswer, PNG, JPEG),
)
async def detect_things(
    request: Request,
    services: ServicesDep,
    record: RecordDep,
    options: Annotated[DetectOptions, Query()],
) -> Response:
    model = services.registry.find(["detect"], options.model, options.version)
    record.model = model.name
    labels = model.card.labels
    wanted = DetectionOptions(
        score_threshold=options.score_threshold,
        iou_threshold=options.iou_threshold,
        max_detections=options.max_detections,
        class_ids=class_ids(options.classes, labels),
        nms=options.nms,
        box_format=options.box_format,
        normalized=options.normalized,
    )
    accept = header_of(request, b"accept") or ""
    media_type = JSON if options.format == "json" else preferred(accept, [JSON, JPEG, PNG])
    if options.format == "overlay":
        media_type = preferred(accept, [JPEG, PNG])
    images = await read_images(request, services, record)
    head: Head[Any] = partial(detect, labels=labels, options=wanted)
    if media_type != JSON:
        require_single(images, "format=overlay")
        form: ImageFormat = "png" if media_type == PNG else "jpeg"
        head = partial(_overlay, labels=labels, options=wanted, form=form)
    found = await predict_all(request, services, record, model=model, images=images, head=head)
    return json_answer(model, found) if media_type == JSON else image_answer(found[0])


def _overlay(
    outputs: Outputs,
    source: SourceImage,
    *,
    labels: Sequence[str],
    options: DetectionOptions,
    form: ImageFormat,
) -> RenderedImage:
    return encode_image(draw_detections(outputs, source, labels=labels, options=options), form)


def class_ids(names: Sequence[str], labels: Sequence[str]) -> frozenset[int] | None:
    """Return the ids of classes asked for by name, None where none were.

    Raises:
        InvalidParameterError: the model has no such class; the nearest names are told.
    """
    wanted = [name.strip() for given in names for name in given.split(",") if name.strip()]
    ids: dict[str, int] = {label: class_id for class_id, label in enumerate(labels) if label}
    for name in wanted:
        if name not in ids:
            near = difflib.get_close_matches(name, ids, n=3) or sorted(ids)[:8]
            raise InvalidParameterError(f"classes: there is no {name!r}; near: {', '.join(near)}")
    return frozenset(ids[name] for name in wanted) or None


ROUTE = TaskRoute("/v1/detect", detect_things, DetectOptions)
