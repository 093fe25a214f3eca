"""X-AnyLabeling's remote server: an image as base64 in, labeled shapes out.

It is below a prefix, because its `/v1/models` has another shape than ours.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from fastapi import Response

from service.api.ingest.body import LARGE_BYTES, read_body
from service.api.ingest.images import image_from_base64
from service.api.ingest.json_object import (
    Object,
    object_in,
    read_object,
    share_in,
    text_in,
    texts_in,
)
from service.api.protocol import Call, Endpoint, Protocol, json_answer
from service.api.responses import run_images
from service.calls import TaskCall
from service.engine import Engine
from service.errors import InvalidParameterError, UnknownModelError
from service.imaging.outlines import outer_outlines, simplified
from service.runtime.model import Model
from service.tasks.classify import ClassifyOptions
from service.tasks.detect import DetectOptions
from service.tasks.segment import SegmentOptions
from service.tasks.task import JsonForm

PREFIX = "/x-anylabeling"
EXAMPLE = '{"model": "…", "image": "<base64>", "params": {}}'
DEFAULT_FINENESS = 0.001
"""Of an outline: how far it may be from the mask's, as a share of its length; X-AnyLabeling's own default."""
SCORE, OVERLAP = 0.3, 0.5
_RUN = {"name": "button_run", "value": None}
_KEEP = {"name": "toggle_preserve_existing_annotations", "value": False}
_WIDGETS = {
    "detect": [
        _RUN,
        {"name": "input_conf", "value": None},
        {"name": "edit_conf", "value": SCORE},
        {"name": "input_iou", "value": None},
        {"name": "edit_iou", "value": OVERLAP},
        {"name": "button_classes_filter", "value": None},
        _KEEP,
    ],
    "segment": [
        _RUN,
        {"name": "mask_fineness_slider", "value": 10},
        {"name": "mask_fineness_value_label", "value": None},
        {"name": "button_classes_filter", "value": None},
        _KEEP,
    ],
    "classify": [_RUN],
}
"""What the tool shows for a model of each task. The slider's 10 of 100 are a fineness of 0.001."""
Shape = dict[str, Any]
Shown = dict[str, Any]


def x_anylabeling() -> Protocol:
    """Return the protocol."""
    return Protocol(
        "x-anylabeling",
        {
            f"{PREFIX}/health": Endpoint("GET", _health),
            f"{PREFIX}/v1/models": Endpoint("GET", _list),
            f"{PREFIX}/v1/models/{{model}}/info": Endpoint("GET", _info),
            f"{PREFIX}/v1/predict": Endpoint("POST", _predict),
        },
        (PREFIX,),
    )


async def _health(call: Call) -> Response:
    ready = [one for one in call.services.engine.registry.models if one.can_answer]
    return json_answer({"status": "healthy", "models_loaded": len(ready)})


async def _list(call: Call) -> Response:
    registry = call.services.engine.registry
    names = dict.fromkeys(one.name for one in registry.models if one.card.task in _WIDGETS)
    found = {name: _described(call.services.engine.model(name)) for name in names}
    return json_answer({"success": True, "data": found})


async def _info(call: Call) -> Response:
    model = _model_of(call.services.engine, call.model or "")
    return json_answer({"success": True, "data": {"model_id": model.name, **_described(model)}})


def _model_of(engine: Engine, name: str) -> Model:
    """Return a model that this protocol can show.

    Raises:
        UnknownModelError: there is none of this name.
    """
    model = engine.model(name)
    if model.card.task not in _WIDGETS:
        raise UnknownModelError(
            f"X-AnyLabeling can not show what {name} finds: it does {model.card.task}."
        )
    return model


def _described(model: Model) -> dict[str, Any]:
    return {
        "display_name": f"{model.card.title} ({model.name})",
        "widgets": _WIDGETS[model.card.task],
        "params": {},
        "classes": [one for one in model.card.labels if one],
        "batch_processing_mode": "default",
    }


async def _predict(call: Call) -> Response:
    services, record = call.services, call.record
    body = await read_body(call.request, services, record)
    read = partial(read_object, body, services.max_json_depth, EXAMPLE)
    given = await asyncio.to_thread(read) if len(body) > LARGE_BYTES else read()
    name, image = text_in(given, "model"), text_in(given, "image")
    if name is None or image is None:
        raise InvalidParameterError(f"model and image must be strings. Send {EXAMPLE}.")
    params = object_in(given, "params")
    chosen = _chosen(services.engine, name, params)
    record.found(chosen.model)
    decode = partial(image_from_base64, image)
    encoded = await asyncio.to_thread(decode) if len(image) > LARGE_BYTES else decode()
    [found] = await run_images(call.request, services, record, call=chosen, images=[encoded])
    shown = _SHOWN[chosen.task.name](found, params)
    return json_answer({"success": True, "data": shown})


def _chosen(engine: Engine, name: str, params: Object) -> TaskCall:
    model = _model_of(engine, name)
    kind, form = model.card.task, None
    if kind == "detect":
        score, overlap = share_in(params, "conf_threshold"), share_in(params, "iou_threshold")
        options: Any = DetectOptions(
            score_threshold=SCORE if score is None else score,
            iou_threshold=OVERLAP if overlap is None else overlap,
            classes=texts_in(params, "filter_classes"),
        )
    elif kind == "segment":
        given = share_in(params, "epsilon_factor")
        fineness = DEFAULT_FINENESS if given is None else given
        options = SegmentOptions(polygons=True)
        form = JsonForm(f"x-anylabeling fineness={fineness}", partial(_outlined, fineness=fineness))
    else:
        options = ClassifyOptions(top_k=1)
    return engine.dispatch.call(engine.task(kind), options, model=name, form=form)


# A task's own result → the tool's shapes.


def _outlined(result: Any, *, fineness: float) -> Any:  # noqa: ANN401  # of `segment`
    """Return a result with few points in its outlines; runs on a worker thread."""
    for one in result["segments"]:
        del one["rle"]
        outlines = outer_outlines(one.pop("polygons"))
        found = [simplified(outline, fineness) for outline in outlines]
        one["outlines"] = [points.tolist() for points in found if len(points) >= 3]
    return result


def _boxes(result: Any, _: Object) -> Shown:  # noqa: ANN401  # of `detect`
    shapes = []
    for one in result["detections"]:
        left, top, right, bottom = (one["box"][key] for key in ("x_min", "y_min", "x_max", "y_max"))
        corners = [[left, top], [right, top], [right, bottom], [left, bottom]]
        shapes.append(_shape(one["label"], "rectangle", corners, one["score"]))
    return {"shapes": shapes, "description": ""}


def _outlines(result: Any, params: Object) -> Shown:  # noqa: ANN401  # of `segment`
    wanted = set(texts_in(params, "filter_classes"))
    shapes = [
        _shape(one["label"], "polygon", points, one["confidence"])
        for one in result["segments"]
        for points in one["outlines"]
        if not wanted or one["label"] in wanted
    ]
    return {"shapes": shapes, "description": ""}


def _description(result: Any, _: Object) -> Shown:  # noqa: ANN401  # of `classify`
    """Return the class as the image's description, and leave its shapes as they are."""
    [best] = result["predictions"]
    return {"shapes": [], "description": best["label"], "replace": False}


_SHOWN: Mapping[str, Callable[[Any, Object], Shown]] = {
    "detect": _boxes,
    "segment": _outlines,
    "classify": _description,
}


def _shape(label: str, kind: str, points: list[list[float]], score: float) -> Shape:
    return {
        "label": label,
        "shape_type": kind,
        "points": points,
        "score": score,
        "attributes": {},
        "description": None,
        "difficult": False,
        "direction": 0,
        "flags": None,
        "group_id": None,
        "kie_linking": [],
    }
