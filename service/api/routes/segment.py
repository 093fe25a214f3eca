"""`POST /v1/segment`: an image in, a mask out, as areas or as an image."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from service.api.deps import RecordDep, ServicesDep, header_of
from service.api.fast_path import TaskRoute
from service.api.ingest.images import read_images
from service.api.negotiation import preferred
from service.api.responses import image_answer, json_answer, predict_all, require_single
from service.api.schemas import Rendering, SegmentAnswer, SegmentOptions, answers, image_body
from service.errors import InvalidParameterError
from service.heads.outputs import Outputs
from service.heads.segment import (
    SegmentClasses,
    draw_confidence,
    draw_cutout,
    draw_index_mask,
    draw_segments,
    segment,
)
from service.imaging.overlay import ImageFormat, RenderedImage, encode_image
from service.imaging.source_image import SourceImage
from service.media_types import JPEG, JSON, PNG
from service.pipeline import Head

router = APIRouter(tags=["tasks"])


@router.post(
    "/v1/segment",
    summary="Which pixels belong to what",
    openapi_extra=image_body(),
    responses=answers(SegmentAnswer, PNG, JPEG),
)
async def segment_images(
    request: Request,
    services: ServicesDep,
    record: RecordDep,
    options: Annotated[SegmentOptions, Query()],
) -> Response:
    model = services.registry.find(["segment"], options.model, options.version)
    record.model = model.name
    classes = SegmentClasses(model.card.labels, model.card.background_id)
    rendering = _rendering(options, header_of(request, b"accept") or "")
    if rendering == "cutout" and classes.background_id is None:
        raise InvalidParameterError(
            f"format: cutout needs a background class, and {model.name} has none"
        )
    images = await read_images(request, services, record)
    head: Head[Any] = partial(segment, classes=classes, with_polygons=options.polygons)
    if rendering is not None:
        require_single(images, f"format={rendering}")
        form: ImageFormat = "png"
        if rendering == "overlay":
            accepted = preferred(header_of(request, b"accept") or "", [JPEG, PNG])
            form = "jpeg" if accepted == JPEG else "png"
        head = partial(_image, classes=classes, rendering=rendering, form=form)
    found = await predict_all(request, services, record, model=model, images=images, head=head)
    return json_answer(model, found) if rendering is None else image_answer(found[0])


_DRAW = {
    "mask": draw_index_mask,
    "overlay": draw_segments,
    "cutout": draw_cutout,
    "confidence": draw_confidence,
}


def _image(
    outputs: Outputs,
    source: SourceImage,
    *,
    classes: SegmentClasses,
    rendering: Rendering,
    form: ImageFormat,
) -> RenderedImage:
    return encode_image(_DRAW[rendering](outputs, source, classes), form)


def _rendering(options: SegmentOptions, accept: str) -> Rendering | None:
    """Return which image to answer with, None for JSON; `Accept` alone asks for the mask or, as JPEG, the overlay."""
    if options.format == "json":
        return None
    if options.format is not None:
        return options.format
    by_accept: dict[str, Rendering] = {PNG: "mask", JPEG: "overlay"}
    return by_accept.get(preferred(accept, [JSON, PNG, JPEG]))


ROUTE = TaskRoute("/v1/segment", segment_images, SegmentOptions)
