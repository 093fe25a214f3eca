"""What clients of DeepStack and CodeProject.AI speak: cameras post a form with an image, and get its boxes.

Its most impatient client is Frigate's detector: it waits 0.1 s, sends no `min_confidence`, stops at the first label
that it does not know, and can hold 20 boxes.
"""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

from fastapi import Response

from service.api.ingest.body import LARGE_BYTES, read_body
from service.api.ingest.images import checked_images
from service.api.ingest.multipart import Form, form_of, is_form
from service.api.protocol import Call, Endpoint, Protocol, json_answer
from service.api.record import single_header_of
from service.api.responses import run_images
from service.errors import EmptyBodyError, InvalidParameterError
from service.tasks.classify import ClassifyOptions
from service.tasks.detect import DetectOptions
from service.tasks.task import TaskOptions

DEFAULT_CONFIDENCE = 0.4
"""That of CodeProject.AI; Frigate ignores what is below."""
MOST_UNASKED = 20
"""Boxes for a request without `min_confidence`: Frigate's detector fails at one more."""
CONFIDENCE = "min_confidence"
OTHERS = "*"


def deepstack(labels: Mapping[str, str]) -> Protocol:
    """Return the protocol.

    Args:
        labels: what to call a class, by our label; boxes of a class that maps to an empty name are left out. `*` stands
            for all labels that are not listed.
    """
    detection = partial(_detect, labels)
    return Protocol(
        "deepstack",
        {
            "/v1/vision/detection": Endpoint("POST", detection, sheds=True),
            "/v1/vision/custom/list": Endpoint("POST", _list),
            "/v1/vision/custom/{model}": Endpoint("POST", detection, sheds=True),
            "/v1/vision/scene": Endpoint("POST", _scene, sheds=True),
        },
        ("/v1/vision",),
    )


async def _detect(labels: Mapping[str, str], call: Call) -> Response:
    form = await _read(call)
    confidence = _confidence(form.values.get(CONFIDENCE))
    threshold = DEFAULT_CONFIDENCE if confidence is None else confidence
    result = await _run(call, form, "detect", DetectOptions(score_threshold=threshold))
    found = [_prediction(one, result) for one in result["detections"]]
    named = [{**one, "label": name} for one in found if (name := _renamed(one["label"], labels))]
    if confidence is None:
        named = named[:MOST_UNASKED]
    return json_answer(
        {
            "success": True,
            "message": f"Found {len(named)} objects",
            "count": len(named),
            "predictions": named,
            **_durations(call),
        }
    )


async def _scene(call: Call) -> Response:
    form = await _read(call)
    result = await _run(call, form, "classify", ClassifyOptions(top_k=1))
    best = result["predictions"][0]
    return json_answer(
        {
            "success": True,
            "label": best["label"],
            "confidence": best["probability"],
            **_durations(call),
        }
    )


async def _list(call: Call) -> Response:
    models = call.services.engine.registry.models
    names = dict.fromkeys(one.name for one in models if one.card.task == "detect")
    return json_answer({"success": True, "models": list(names)})


async def _run(call: Call, form: Form, task: str, options: TaskOptions) -> Any:  # noqa: ANN401  # each task's own
    services = call.services
    chosen = services.engine.dispatch.call(services.engine.task(task), options, model=call.model)
    call.record.found(chosen.model)
    [result] = await run_images(
        call.request, services, call.record, call=chosen, images=checked_images(form.files)
    )
    return result


async def _read(call: Call) -> Form:
    """Return the form of a request, with its only image; a body that is no form is the image itself."""
    body = await read_body(call.request, call.services, call.record)
    if not body:
        raise EmptyBodyError("The request has no body. Send an image: curl -F image=@cat.jpg …")
    content_type = single_header_of(call.request, b"content-type") or ""
    if not is_form(content_type):
        return Form([body], {})
    fields = call.services.max_form_fields
    wanted = {CONFIDENCE}
    read = partial(form_of, body, content_type, "cat.jpg", 1, fields, wanted=wanted)
    return await asyncio.to_thread(read) if len(body) > LARGE_BYTES else read()


def _confidence(text: bytes | None) -> float | None:
    if text is None:
        return None
    try:
        value = -1.0 if b"_" in text else float(text)  # Python alone reads 0_1 as a number
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        shown = text[:40].decode(errors="replace")
        raise InvalidParameterError(f"{CONFIDENCE} must be a number from 0 to 1, not {shown!r}")
    return value


def _prediction(found: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a box as the protocol has it: whole pixels within the image, at least one wide and high."""
    box, width, height = found["box"], result["width"], result["height"]
    x_min, y_min = min(int(box["x_min"]), width - 1), min(int(box["y_min"]), height - 1)
    return {
        "label": found["label"],
        "confidence": found["score"],
        "x_min": x_min,
        "y_min": y_min,
        "x_max": max(x_min + 1, round(box["x_max"])),
        "y_max": max(y_min + 1, round(box["y_max"])),
    }


def _renamed(label: str, labels: Mapping[str, str]) -> str:
    return labels.get(label, labels.get(OTHERS, label))


def _durations(call: Call) -> dict[str, int]:
    """Return CodeProject.AI's durations in ms."""
    return {
        "inferenceMs": round(call.record.stage_ms().get("infer", 0)),
        "processMs": round(call.record.elapsed_seconds() * 1e3),
    }
