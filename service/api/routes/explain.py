"""`POST /v1/explain`: what a network sees in an image; `GET /v1/models/{name}/filters`: what it looks for in any."""

import asyncio
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic_core import to_json

from service.api.deps import RecordDep, Services, ServicesDep
from service.api.explain_options import ExplainAnswer, ExplainOptions, FiltersOptions
from service.api.ingest.images import read_images
from service.api.negotiation import preferred
from service.api.openapi import Components
from service.api.responses import (
    image_response,
    require_single,
    while_connected,
)
from service.api.schemas import image_body, responses
from service.card import Task
from service.errors import InvalidParameterError
from service.explain.filters import explain_filters
from service.explain.heat import explain_heat
from service.explain.maps import explain_maps
from service.explain.patterns import explain_patterns
from service.explain.probe import explain_probe, require_classifier
from service.explain.request import ExplainRequest, Form, check_channel, find_stage, require_stages
from service.explain.story import explain_story
from service.heads.targets import class_id_of
from service.imaging.overlay import RenderedImage
from service.media_types import JSON, PNG
from service.pipeline import EncodedImage
from service.runtime.job import JobResult
from service.runtime.model import Model

EXPLAINED: tuple[Task, ...] = ("classify", "segment", "detect", "embed")
"""Every network that sees images; a classifier answers when no model is named."""

HEAT_OPTIONS = {"class_name", "box", "samples", "score", "steps"}
USED = {
    "filters": {"thumbnails"},
    "maps": {"stage", "channel", "channels", "thumbnails"},
    "patterns": {"stage", "channel", "count", "thumbnails"},
    "cam": HEAT_OPTIONS | {"method", "stage", "seed"},
    "occlusion": HEAT_OPTIONS,
    "rise": HEAT_OPTIONS | {"seed"},
    "probe": {"class_name", "seed"},
    "story": {"class_name", "box"},
}
"""The options that each view uses, besides `model`, `version`, `view` and `format`."""

INNER = frozenset({"maps", "patterns", "story"})
"""Views that are nothing without inner maps."""


def explain_router(components: Components) -> APIRouter:
    """Return the routes of explanations."""
    router = APIRouter(tags=["explanations"])
    described = responses(components, "ExplainResponse", ExplainAnswer, PNG)
    router.add_api_route(
        "/v1/explain",
        explain_image,
        methods=["POST"],
        summary="What a network sees: its filters, maps, patterns, and the pixels that speak for its answer",
        response_class=Response,
        openapi_extra=image_body(),
        responses=described,
    )
    router.add_api_route(
        "/v1/models/{name}/filters",
        show_filters,
        summary="The first convolution's learned filters",
        response_class=Response,
        responses=described,
    )
    return router


async def explain_image(
    request: Request,
    services: ServicesDep,
    record: RecordDep,
    options: Annotated[ExplainOptions, Query()],
) -> Response:
    """One image a request; docs/explain.md describes every view and what it answers."""
    model = services.engine.registry.find(EXPLAINED, options.model, options.version)
    record.model = model.name
    wish = _explain_request(options, model, request.headers.get("accept", ""))
    if wish.view == "filters":
        return await _filters(services, model, wish)
    images = await read_images(request, services, record, held=False)
    require_single(images, "explain")
    work = _explain(services, model, images[0], wish, record.deadline.left())
    answer = await while_connected(request, work, record.deadline)
    record.answered_by(model, [answer])
    return _respond(model, wish, answer.value)


async def show_filters(
    request: Request,
    name: str,
    services: ServicesDep,
    record: RecordDep,
    options: Annotated[FiltersOptions, Query()],
) -> Response:
    model = services.engine.registry.find(EXPLAINED, name, options.version)
    record.model = model.name
    form = _form("filters", options.format, request.headers.get("accept", ""))
    return await _filters(
        services, model, ExplainRequest("filters", form, thumbnails=options.thumbnails)
    )


def _explain_request(options: ExplainOptions, model: Model, accept: str) -> ExplainRequest:
    """Return what is asked for, held against what the view uses and the model has.

    Raises:
        InvalidParameterError: an option does not fit; the message says what would.
    """
    given = options.model_fields_set - {"model", "version", "view", "format"}
    for name in sorted(given - USED[options.view]):
        used = ", ".join(sorted(USED[options.view])).replace("class_name", "class")
        raise InvalidParameterError(
            f"{name.replace('class_name', 'class')}: view={options.view} does not use it, but {used}"
        )
    if options.view in INNER:
        require_stages(model.card)
    if options.view == "probe":
        require_classifier(model.card)
    stage = find_stage(model.card, options.stage)
    check_channel(stage, options.channel)
    form = _form(options.view, options.format, accept)
    if form in {"overlay", "heat"} and options.view == "maps" and options.channel is None:
        raise InvalidParameterError(f"format: {form} shows one map; name its stage and channel")
    wanted = options.class_name
    return ExplainRequest(
        view=options.view,
        form=form,
        stage=stage,
        channel=options.channel,
        channels=options.channels,
        count=options.count,
        class_id=None if wanted is None else class_id_of(model.card, wanted),
        box=options.box,
        method=options.method,
        samples=options.samples,
        seed=options.seed,
        score=options.score,
        steps=options.steps,
        thumbnails=options.thumbnails,
    )


def _form(view: str, asked: Form | None, accept: str) -> Form:
    if asked in {"overlay", "heat"} and view not in {"maps", "cam", "occlusion", "rise"}:
        raise InvalidParameterError(f"format: view={view} has no heat; take json or sheet")
    if asked is not None:
        return asked
    return "sheet" if preferred(accept, [JSON, PNG]) == PNG else "json"


async def _filters(services: Services, model: Model, wish: ExplainRequest) -> Response:
    async with services.engine.explainers.use(model) as explainer:
        first = explainer.anatomy.first
        told = await asyncio.to_thread(explain_filters, model.name, first, wish)
    return _respond(model, wish, told)


async def _explain(
    services: Services,
    model: Model,
    image: EncodedImage,
    wish: ExplainRequest,
    timeout_seconds: float,
) -> JobResult[dict[str, Any] | RenderedImage]:
    explanation = services.engine.runner
    async with explanation.explainers.use(model) as explainer:
        if wish.view == "maps":
            head = partial(explain_maps, card=model.card, request=wish)
            return await explanation.look(explainer, image, head, timeout_seconds=timeout_seconds)
        if wish.view == "patterns":
            head = partial(
                explain_patterns, card=model.card, anatomy=explainer.anatomy, request=wish
            )
            return await explanation.look(explainer, image, head, timeout_seconds=timeout_seconds)
        if wish.view == "story":
            head = partial(explain_story, card=model.card, anatomy=explainer.anatomy, request=wish)
            return await explanation.look(explainer, image, head, timeout_seconds=timeout_seconds)
        with services.engine.runner.fan_out.admit():
            if wish.view == "probe":
                return await explain_probe(
                    explanation,
                    model,
                    explainer,
                    image,
                    wish,
                    segmenter=_segmenter(services),
                    timeout_seconds=timeout_seconds,
                )
            return await explain_heat(
                explanation, model, explainer, image, wish, timeout_seconds=timeout_seconds
            )


def _segmenter(services: Services) -> Model | None:
    """Return a ready model that tells one kind of thing from its background: it draws silhouettes."""
    for model in services.engine.registry.models:
        card = model.card
        two = card.task == "segment" and len(card.labels) == 2 and card.background_id is not None
        if two and model.state == "ready":
            return model
    return None


def _respond(model: Model, wish: ExplainRequest, told: dict[str, Any] | RenderedImage) -> Response:
    if isinstance(told, RenderedImage):
        return image_response(told)
    body = {"model": model.name, "version": model.version, "view": wish.view, **told}
    return Response(to_json(body), media_type=JSON, headers={"Vary": "Accept"})
