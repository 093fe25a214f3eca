"""Label Studio's ML backend: tasks and a label config in, predictions in the form of the project out.

`/label-studio` fills in every tag that it knows with the default model of the tag's task, `/label-studio/{model}` the
tags of that model's task. Nothing is remembered between requests.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from fastapi import Response

from service.api.dialects.label_studio.config import TASKS, Control, controls_of
from service.api.dialects.label_studio.regions import (
    areas,
    regions_of,
    score_of,
)
from service.api.ingest.body import LARGE_BYTES, read_body
from service.api.ingest.fetched import FetchedImages, fetching
from service.api.ingest.images import checked_images, image_from_base64
from service.api.ingest.json_object import Object, read_object, text_in
from service.api.ingest.remote_images import RemoteImages
from service.api.protocol import Call, Endpoint, Protocol, json_answer
from service.api.responses import run_images, while_connected
from service.calls import TaskCall
from service.card import Card
from service.engine import Engine
from service.errors import (
    ImageError,
    InvalidParameterError,
    NoDefaultModelError,
    RemoteImageError,
    TooManyImagesError,
    UnknownModelError,
    forget_frames,
)
from service.faults import shown
from service.pipeline import EncodedImage
from service.spans import span
from service.tasks.classify import ClassifyOptions
from service.tasks.detect import DetectOptions
from service.tasks.segment import SegmentOptions
from service.tasks.task import JsonForm

PREFIX = "/label-studio"
EXAMPLE = '{"tasks": [{"data": {"image": "…"}}], "label_config": "<View>…</View>"}'
MOST_VALUES = 1 << 20
"""Tasks come with their annotations, of which nothing is read."""
LARGE_CONFIG = 8 * 1024
"""Characters of a label config; a larger one is read on a thread."""
FEW_RESULTS = 64
"""More results, or regions, are written on a thread: each may be a mask."""
_TRAINS = re.compile(rb'\s*\{\s*"action"\s*:\s*"START_TRAINING"')


def label_studio(remote: RemoteImages) -> Protocol:
    """Return the protocol.

    Args:
        remote: fetches the images that tasks name by URL.
    """
    endpoints: dict[str, Endpoint] = {}
    for prefix in (PREFIX, f"{PREFIX}/{{model}}"):
        endpoints |= {
            f"{prefix}/health": Endpoint("GET", _health),
            f"{prefix}/setup": Endpoint("POST", _setup),
            f"{prefix}/predict": Endpoint("POST", partial(_predict, remote)),
            f"{prefix}/versions": Endpoint("GET", _versions),
            f"{prefix}/webhook": Endpoint("POST", _webhook),
        }
    return Protocol("label-studio", endpoints, (PREFIX,))


async def _health(call: Call) -> Response:
    if call.model is not None:
        _model_task(call.services.engine, call.model)
    return json_answer({"status": "UP", "model_class": "Foveal"})


async def _setup(call: Call) -> Response:
    """Name the version that predictions will have; a project whose config is still empty can be set up, too."""
    given = await _read(call)
    config = text_in(given, "schema") or ""
    controls = await _controls(config) if config.strip() else []
    calls = _calls(call.services.engine, call.model, controls)
    return json_answer({"model_version": _version(call.services.engine, calls)})


async def _versions(call: Call) -> Response:
    registry = call.services.engine.registry
    models = registry.models if call.model is None else registry.versions(call.model)
    known = set(TASKS.values())
    names = [f"{one.name} {one.version}" for one in models if one.card.task in known]
    return json_answer({"versions": names})


async def _webhook(call: Call) -> Response:
    """Accept the news of a project, which Label Studio sends to every backend, and refuse to train."""
    body = await read_body(call.request, call.services, call.record, held=False)
    if _TRAINS.match(body[:256]):
        raise InvalidParameterError("Foveal does not train. Export a new version of the model.")
    return json_answer({"status": "ignored"})


async def _predict(remote: RemoteImages, call: Call) -> Response:
    body = await read_body(call.request, call.services, call.record, held=False)
    body_bytes, given = len(body), await _object(call, body)
    del body
    tasks = _tasks(given, call.services.max_images)
    controls = await _controls(text_in(given, "label_config") or "")
    calls = _calls(call.services.engine, call.model, controls)
    chosen = [one for one in controls if TASKS[one.kind] in calls]
    if not chosen:
        raise InvalidParameterError(_nothing_to_do(controls, call))
    if len(calls) == 1:  # several models have no common name in the metrics
        call.record.found(next(iter(calls.values())).model)
    by_image = _pages(chosen)
    _require_few(len(by_image) * len(tasks), call.services.max_images)
    variables = [one[0].variable for one in by_image]
    work = _images(remote, call, tasks, variables, body_bytes)
    pages = list(zip(by_image, await while_connected(call.request, work, None), strict=True))
    if len(pages) > 1:  # else the pixels are counted where the images run
        every = [image for _, images in pages for image in images]
        pipeline = call.services.engine.pipeline
        await pipeline.announce(every, pipeline.clock() + call.record.deadline.left())
    found: list[list[Any]] = [[] for _ in tasks]
    version = _version(call.services.engine, calls)
    for controls_of_page, images in pages:
        for task in dict.fromkeys(TASKS[one.kind] for one in controls_of_page):
            fill = [one for one in controls_of_page if TASKS[one.kind] == task]
            results = await run_images(
                call.request, call.services, call.record, call=calls[task], images=images
            )
            extend = partial(_extend, found, fill, results)
            if len(fill) * len(results) > FEW_RESULTS:
                await asyncio.to_thread(extend)
            else:
                extend()
    answer = partial(_answer, found, version)
    regions = sum(map(len, found))
    return await asyncio.to_thread(answer) if regions > FEW_RESULTS else answer()


async def _read(call: Call) -> Object:
    return await _object(call, await read_body(call.request, call.services, call.record))


async def _object(call: Call, body: bytes) -> Object:
    read = partial(read_object, body, call.services.max_json_depth, EXAMPLE, MOST_VALUES)
    return await asyncio.to_thread(read) if len(body) > LARGE_BYTES else read()


async def _controls(config: str) -> list[Control]:
    read = partial(controls_of, config)
    return await asyncio.to_thread(read) if len(config) > LARGE_CONFIG else read()


def _require_few(images: int, most: int) -> None:
    """Refuse tasks with too many images; a task has one for each variable of the label config.

    Raises:
        TooManyImagesError
    """
    if images > most:
        raise TooManyImagesError(
            f"The tasks hold {images} images, more than the {most} allowed. Select fewer tasks."
        )


def _tasks(given: Object, most: int) -> list[Mapping[str, Any]]:
    """Return the data of each task."""
    tasks = given.get("tasks")
    if not isinstance(tasks, list) or not tasks:
        raise InvalidParameterError(f"tasks must be a list that is not empty. Send {EXAMPLE}.")
    _require_few(len(tasks), most)
    found = [one.get("data") if isinstance(one, dict) else None for one in tasks]
    if not all(isinstance(one, dict) for one in found):
        raise InvalidParameterError(f"Each task must have its data. Send {EXAMPLE}.")
    return found  # type: ignore[return-value]


# Which model fills in which tags.


def _calls(engine: Engine, name: str | None, controls: Sequence[Control]) -> dict[str, TaskCall]:
    """Return the call of each task that fills in a tag, by the task's name: the default models', or the one named.

    Raises:
        NoDefaultModelError: each task has several models and no default.
    """
    wanted = dict.fromkeys(TASKS[one.kind] for one in controls)
    if name is not None:
        own = _model_task(engine, name)
        return {own: _call(engine, own, name, controls)} if own in wanted else {}
    calls, unclear = {}, []
    for task in wanted:
        try:
            calls[task] = _call(engine, task, None, controls)
        except UnknownModelError:  # no model does it; others may fill in the other tags
            continue
        except NoDefaultModelError as error:
            unclear.append(error)
    if unclear and not calls:
        raise unclear[0]
    return calls


def _model_task(engine: Engine, name: str) -> str:
    task = engine.model(name).card.task
    if task not in TASKS.values():
        raise UnknownModelError(f"No tag of Label Studio shows what {name} finds: it does {task}.")
    return task


def _call(engine: Engine, name: str, model: str | None, controls: Sequence[Control]) -> TaskCall:
    task, kinds = engine.task(name), {one.kind for one in controls}
    if name == "segment":
        brushes = "BrushLabels" in kinds
        form = JsonForm(f"label-studio brushes={brushes}", partial(areas, brushes=brushes))
        options = SegmentOptions(polygons="PolygonLabels" in kinds)
        return engine.dispatch.call(task, options, model=model, form=form)
    if name == "classify":
        return engine.dispatch.call(task, _every_class, model=model)
    return engine.dispatch.call(task, DetectOptions(), model=model)


def _every_class(card: Card) -> ClassifyOptions:
    """The project may name any."""
    return ClassifyOptions(top_k=len(card.labels))


def _version(engine: Engine, calls: Mapping[str, TaskCall]) -> str:
    models = dict.fromkeys(f"{one.model.name} {one.model.version}" for one in calls.values())
    return ", ".join(models) or f"foveal {engine.version}"


def _nothing_to_do(controls: Sequence[Control], call: Call) -> str:
    found = ", ".join(dict.fromkeys(one.kind for one in controls)) or "none of them"
    known = ", ".join(TASKS)
    if call.model is None:
        return (
            f"The label config has no tag that a model here fills in. Tags: {known}, each on an Image whose value is a "
            f"variable; found: {found}."
        )
    task = _model_task(call.services.engine, call.model)
    tags = ", ".join(kind for kind, name in TASKS.items() if name == task)
    return f"{call.model} does {task} and fills in {tags}; the label config has {found}."


# The images of the tasks.


def _pages(controls: Sequence[Control]) -> list[list[Control]]:
    """Return the tags by their image: a task may have several."""
    variables = dict.fromkeys(one.variable for one in controls)
    return [[one for one in controls if one.variable == name] for name in variables]


async def _images(
    remote: RemoteImages,
    call: Call,
    tasks: Sequence[Mapping[str, Any]],
    variables: Sequence[str],
    body_bytes: int,
) -> list[list[EncodedImage]]:
    """Return for each variable the image of each task, or why there is none.

    What is fetched takes its room of the memory as the request's body of `body_bytes` does; both are held then.

    Raises:
        BodyTooLargeError: the memory never has room for an image.
        OverloadedError: there was no room in time.
    """
    later = sum(_is_url(task.get(one)) for one in variables for task in tasks)
    found: list[list[EncodedImage]] = []
    async with fetching(call.services, call.record, body_bytes) as fetched:
        for variable in variables:
            images: list[EncodedImage] = []
            for task in tasks:
                given = task.get(variable)
                if _is_url(given):
                    later -= 1
                    fetched.begin(is_last=not later)
                images.append(await _image(remote, call, given, variable, fetched))
            found.append(images)
    return found


def _is_url(given: object) -> bool:
    """Whether this is fetched, if it may be."""
    return isinstance(given, str) and bool(given) and not _is_data(given)


def _is_data(given: str) -> bool:
    return given[:5].lower() == "data:"


async def _image(
    remote: RemoteImages, call: Call, given: object, variable: str, fetched: FetchedImages
) -> EncodedImage:
    if not isinstance(given, str) or not given:
        return RemoteImageError(
            f"The task has no image: its {variable[:60]} is {shown(given)}, not a URL."
        )
    if _is_data(given):
        decode = partial(image_from_base64, given)
        return await asyncio.to_thread(decode) if len(given) > LARGE_BYTES else decode()
    try:
        with span("fetch"):
            content = await remote.fetch(given, fetched.left, call.record.deadline.left(), fetched)
    except ImageError as error:
        fetched.drop()
        forget_frames(error)  # they hold what has arrived of it
        return error
    [image] = checked_images([content])
    return image


# The answer.


def _extend(
    found: Sequence[list[Any]], controls: Sequence[Control], results: Sequence[Mapping[str, Any]]
) -> None:
    """Add what a task has found in each image."""
    for regions, result in zip(found, results, strict=True):
        regions.extend(_filled(controls, result))


def _answer(found: Sequence[Sequence[Any]], version: str) -> Response:
    return json_answer(
        {"results": [_prediction(one, version) for one in found], "model_version": version}
    )


def _filled(controls: Sequence[Control], result: Mapping[str, Any]) -> list[Any]:
    if "error" in result:
        return [result["error"]]
    return [region for control in controls for region in regions_of(control, result)]


def _prediction(found: Sequence[Any], version: str) -> dict[str, Any]:
    """Return the prediction of a task, or its error: Label Studio logs what has no result, and stores nothing."""
    failed = [one for one in found if "code" in one]
    if failed:
        return {"error": failed[0]}
    regions = [{"id": f"foveal-{index}", **one} for index, one in enumerate(found)]
    return {"result": regions, "score": score_of(regions), "model_version": version}
