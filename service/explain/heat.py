"""`view=cam`, `occlusion` and `rise`: which pixels speak for what a network said, and how far to believe that."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from PIL import Image

from service.card import Card, Stage
from service.errors import InvalidParameterError
from service.explain.class_activation import eigen_cam, exact_cam
from service.explain.explainers import Explainer
from service.explain.heat_map import Heat
from service.explain.insertion_deletion import curve_scores, deletion
from service.explain.perturbed_copies import RandomMasks, sliding_patch
from service.explain.request import ExplainRequest, require_stages
from service.explain.runner import Frame, Runner
from service.explain.sheets import heat_sheet
from service.graph.anatomy import Anatomy
from service.heads.rounding import figure, finite
from service.heads.targets import ClassTarget, Target, choose_target, place_of
from service.imaging.heatmap import heat_image, overlay_heat
from service.imaging.overlay import RenderedImage, encode_image
from service.imaging.source_image import SourceImage
from service.pipeline import EncodedImage
from service.runtime.job import JobResult, Outputs
from service.runtime.model import Model

Way = Literal["cam", "eigencam", "rise", "occlusion"]

RISE_SAMPLES, OCCLUSION_SAMPLES = 400, 144
CAM_SAMPLES, FEWEST_SAMPLES, CAM_MACS = 200, 48, 2e11
"""Masks for `view=cam` where it needs any: so many, fewer of a heavy network, down to what still shows something."""
FEWEST_PLACES = 5
"""A map of fewer places a side says little of where; EigenCAM takes the deepest one that has them."""

TITLES: dict[Way, str] = {
    "cam": "What speaks for {}",
    "eigencam": "What stands out",
    "rise": "What shows {}",
    "occlusion": "What is missed of {}",
}
WAYS: dict[Way, str] = {
    "cam": "exact class activation map",
    "eigencam": "EigenCAM of {stage}",
    "rise": "RISE, {samples} random masks",
    "occlusion": "occlusion, {samples} places",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look at the image gave; `heat` is None where copies must be made for it."""

    frame: Frame
    source: SourceImage
    target: Target
    whole: float
    heat: Heat | None = None
    stage: str | None = None
    bias: float | None = None
    samples: int | None = None


async def explain_heat(
    explanation: Runner,
    model: Model,
    explainer: Explainer,
    image: EncodedImage,
    request: ExplainRequest,
    *,
    timeout_seconds: float,
) -> JobResult[dict[str, Any] | RenderedImage]:
    """Return the heat for the wished target, with its insertion and deletion score.

    Raises:
        InvalidParameterError: the network does not allow the method, or sees no such target.
        FovealError: the image can not be read, or a run failed.
    """
    way = choose_way(explainer.card, explainer.anatomy, request)
    head = partial(_see, card=explainer.card, anatomy=explainer.anatomy, request=request, way=way)
    answer = await explanation.look(explainer, image, head, timeout_seconds=timeout_seconds)
    seen = answer.value
    send = partial(explanation.scores, model, timeout_seconds=timeout_seconds)
    if seen.heat is None:
        seen = await _perturbed(send, seen, request, way, model.card.cost.macs)
    scores: dict[str, Any] | None = None
    if request.score and seen.heat is not None:
        test = await asyncio.to_thread(deletion, seen.frame, seen.heat, request.steps)
        copies = await asyncio.to_thread(test.copies)
        scores = curve_scores(await send(copies, seen.target))
    told = await asyncio.to_thread(_tell, seen, scores, explainer.card, request, way)
    return JobResult(told, answer.trace)


def choose_way(card: Card, anatomy: Anatomy, request: ExplainRequest) -> Way:
    """Return how the heat is made: as asked for, else the first that the network allows.

    Raises:
        InvalidParameterError: the network does not allow it.
    """
    if request.view in {"occlusion", "rise"}:
        return request.view
    if request.method == "cam" and anatomy.head is None:
        others = "eigencam, rise" if card.stages else "rise"
        raise InvalidParameterError(
            f"method: {card.name} has no head of average pooling and one linear layer, which exact CAM needs. "
            f"Methods: {others}."
        )
    if request.method == "eigencam" or request.stage is not None:
        require_stages(card)
        return "eigencam"
    if request.method in {"cam", "rise"}:
        return request.method
    if card.task in {"segment", "detect"}:
        return "rise"
    if anatomy.head is not None:
        return "cam"
    return "eigencam" if card.stages else "rise"


def _see(
    outputs: Outputs,
    frame: Frame,
    source: SourceImage,
    *,
    card: Card,
    anatomy: Anatomy,
    request: ExplainRequest,
    way: Way,
) -> Seen:
    target = choose_target(outputs, source, card, class_id=request.class_id, box=request.box)
    seen = Seen(frame.copy(), source, target, target.score(outputs))
    if way == "cam" and anatomy.head is not None and isinstance(target, ClassTarget):
        head = anatomy.head
        maps = finite(outputs[head.map])
        maps = maps.transpose(2, 0, 1) if head.channels_last else maps
        heat = exact_cam(maps, head.weights[target.class_id])
        named = next((stage.name for stage in card.stages if stage.tensor == head.map), None)
        return replace(seen, heat=heat, stage=named, bias=float(head.bias[target.class_id]))
    if way == "eigencam":
        stage = request.stage or _deepest(outputs, card)
        maps = finite(outputs[stage.tensor])
        heat = eigen_cam(maps, place_of(target, *maps.shape[1:]))
        return replace(seen, heat=heat, stage=stage.name)
    return seen


def see_heat(
    outputs: Outputs,
    frame: Frame,
    source: SourceImage,
    *,
    card: Card,
    anatomy: Anatomy,
    request: ExplainRequest,
) -> Seen:
    """Return the heat that one look gives without a copy: exact CAM where the head allows it, else EigenCAM."""
    way: Way = "cam" if anatomy.head is not None else "eigencam"
    return _see(outputs, frame, source, card=card, anatomy=anatomy, request=request, way=way)


def _deepest(outputs: Outputs, card: Card) -> Stage:
    wide = [stage for stage in card.stages if min(outputs[stage.tensor].shape[1:]) >= FEWEST_PLACES]
    return (wide or list(card.stages))[-1]


async def _perturbed(
    send: Callable[..., Any], seen: Seen, request: ExplainRequest, way: Way, macs: int
) -> Seen:
    if way == "occlusion":
        patch = sliding_patch(request.samples or OCCLUSION_SAMPLES)
        copies = await asyncio.to_thread(patch.copies, seen.frame)
        scores = await send(copies, seen.target)
        return replace(seen, heat=patch.heat(scores, seen.whole), samples=patch.count)
    masks = RandomMasks(request.seed, request.samples or _usual_samples(request, macs))
    copies = await asyncio.to_thread(masks.copies, seen.frame)
    scores = await send(copies, seen.target)
    heat = await asyncio.to_thread(masks.heat, scores)
    return replace(seen, heat=heat, samples=masks.count)


def _usual_samples(request: ExplainRequest, macs: int) -> int:
    if request.view == "rise":
        return RISE_SAMPLES
    return max(FEWEST_SAMPLES, min(CAM_SAMPLES, round(CAM_MACS / max(1, macs))))


def _tell(
    seen: Seen, scores: dict[str, Any] | None, card: Card, request: ExplainRequest, way: Way
) -> dict[str, Any] | RenderedImage:
    heat, geometry = seen.heat, seen.source.geometry
    assert heat is not None
    if request.form != "json":
        return encode_image(_drawn(seen, heat, scores, card, request=request, way=way), "png")
    target = seen.target.figures()
    if seen.bias is not None:
        target["bias"] = figure(seen.bias)
    told: dict[str, Any] = {"width": geometry.width, "height": geometry.height, "method": way}
    if seen.stage is not None:
        told["stage"] = seen.stage
    if seen.samples is not None:
        told["samples"] = seen.samples
    if way == "rise":
        told["seed"] = request.seed
    told |= {
        "target": target,
        "heat": heat.figures(geometry.region),
        "peak": heat.peak(geometry),
    }
    if scores is not None:
        told["scores"] = scores
    return told


def _drawn(
    seen: Seen,
    heat: Heat,
    scores: dict[str, Any] | None,
    card: Card,
    *,
    request: ExplainRequest,
    way: Way,
) -> Image.Image:
    geometry = seen.source.geometry
    if request.form == "heat":
        return heat_image(heat.on_image(geometry), geometry.seen)
    image = seen.source.displayed()
    if request.form == "overlay":
        return overlay_heat(image, heat.on_image(geometry), geometry.seen)
    title = TITLES[way].format(seen.target.caption)
    subtitle = f"{card.name}, {WAYS[way].format(stage=seen.stage, samples=seen.samples)}"
    figures = "the heat alone"
    if scores is not None:
        figures = f"insertion {scores['insertion']:.2f}   deletion {scores['deletion']:.2f}"
    return heat_sheet(title, subtitle, figures, image=image, heat=heat, geometry=geometry)
