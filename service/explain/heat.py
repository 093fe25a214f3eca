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
from service.explain.request import Wish, require_stages
from service.explain.rounding import figure, finite
from service.explain.runner import Explanation, Frame
from service.explain.sheets import heat_sheet
from service.explain.targets import ClassTarget, Target, choose_target, place_of
from service.graph.dissection import Anatomy
from service.imaging.heatmap import heat_picture, overlay_heat
from service.imaging.overlay import EncodedPicture, encode_picture
from service.imaging.source_image import View
from service.pipeline import Picture
from service.runtime.job import Answer, Outputs
from service.runtime.registry import Model

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
    """What one look at the picture gave; `heat` is None where copies must be made for it."""

    frame: Frame
    view: View
    target: Target
    whole: float
    heat: Heat | None = None
    stage: str | None = None
    bias: float | None = None
    samples: int | None = None


async def explain_heat(
    explanation: Explanation,
    model: Model,
    explainer: Explainer,
    picture: Picture,
    wish: Wish,
    *,
    timeout_seconds: float,
) -> Answer[dict[str, Any] | EncodedPicture]:
    """Return the heat for the wished target, with its insertion and deletion score.

    Raises:
        InvalidParameterError: the network does not allow the method, or sees no such target.
        FovealError: the picture can not be read, or a run failed.
    """
    way = choose_way(explainer.card, explainer.anatomy, wish)
    head = partial(_see, card=explainer.card, anatomy=explainer.anatomy, wish=wish, way=way)
    answer = await explanation.look(explainer, picture, head, timeout_seconds=timeout_seconds)
    seen = answer.value
    send = partial(explanation.scores, model, timeout_seconds=timeout_seconds)
    if seen.heat is None:
        seen = await _perturbed(send, seen, wish, way, model.card.cost.macs)
    scores: dict[str, Any] | None = None
    if wish.score and seen.heat is not None:
        test = await asyncio.to_thread(deletion, seen.frame, seen.heat, wish.steps)
        copies = await asyncio.to_thread(test.copies)
        scores = curve_scores(await send(copies, seen.target))
    told = await asyncio.to_thread(_tell, seen, scores, explainer.card, wish, way)
    return Answer(told, answer.trace)


def choose_way(card: Card, anatomy: Anatomy, wish: Wish) -> Way:
    """Return how the heat is made: as asked for, else the first that the network allows.

    Raises:
        InvalidParameterError: the network does not allow it.
    """
    if wish.view in {"occlusion", "rise"}:
        return wish.view
    if wish.method == "cam" and anatomy.head is None:
        others = "eigencam, rise" if card.stages else "rise"
        raise InvalidParameterError(
            f"method: {card.name} has no head of average pooling and one linear layer, which exact CAM needs. "
            f"Methods: {others}."
        )
    if wish.method == "eigencam" or wish.stage is not None:
        require_stages(card)
        return "eigencam"
    if wish.method in {"cam", "rise"}:
        return wish.method
    if card.task in {"segment", "detect"}:
        return "rise"
    if anatomy.head is not None:
        return "cam"
    return "eigencam" if card.stages else "rise"


def _see(
    outputs: Outputs,
    frame: Frame,
    view: View,
    *,
    card: Card,
    anatomy: Anatomy,
    wish: Wish,
    way: Way,
) -> Seen:
    target = choose_target(outputs, view, card, class_id=wish.class_id, box=wish.box)
    seen = Seen(frame.copy(), view, target, target.score(outputs))
    if way == "cam" and anatomy.head is not None and isinstance(target, ClassTarget):
        head = anatomy.head
        maps = finite(outputs[head.map])
        maps = maps.transpose(2, 0, 1) if head.channels_last else maps
        heat = exact_cam(maps, head.weights[target.class_id])
        named = next((stage.name for stage in card.stages if stage.tensor == head.map), None)
        return replace(seen, heat=heat, stage=named, bias=float(head.bias[target.class_id]))
    if way == "eigencam":
        stage = wish.stage or _deepest(outputs, card)
        maps = finite(outputs[stage.tensor])
        heat = eigen_cam(maps, place_of(target, *maps.shape[1:]))
        return replace(seen, heat=heat, stage=stage.name)
    return seen


def see_heat(
    outputs: Outputs, frame: Frame, view: View, *, card: Card, anatomy: Anatomy, wish: Wish
) -> Seen:
    """Return the heat that one look gives without a copy: exact CAM where the head allows it, else EigenCAM."""
    way: Way = "cam" if anatomy.head is not None else "eigencam"
    return _see(outputs, frame, view, card=card, anatomy=anatomy, wish=wish, way=way)


def _deepest(outputs: Outputs, card: Card) -> Stage:
    wide = [stage for stage in card.stages if min(outputs[stage.tensor].shape[1:]) >= FEWEST_PLACES]
    return (wide or list(card.stages))[-1]


async def _perturbed(send: Callable[..., Any], seen: Seen, wish: Wish, way: Way, macs: int) -> Seen:
    if way == "occlusion":
        patch = sliding_patch(wish.samples or OCCLUSION_SAMPLES)
        copies = await asyncio.to_thread(patch.copies, seen.frame)
        scores = await send(copies, seen.target)
        return replace(seen, heat=patch.heat(scores, seen.whole), samples=patch.count)
    masks = RandomMasks(wish.seed, wish.samples or _usual_samples(wish, macs))
    copies = await asyncio.to_thread(masks.copies, seen.frame)
    scores = await send(copies, seen.target)
    heat = await asyncio.to_thread(masks.heat, scores)
    return replace(seen, heat=heat, samples=masks.count)


def _usual_samples(wish: Wish, macs: int) -> int:
    if wish.view == "rise":
        return RISE_SAMPLES
    return max(FEWEST_SAMPLES, min(CAM_SAMPLES, round(CAM_MACS / max(1, macs))))


def _tell(
    seen: Seen, scores: dict[str, Any] | None, card: Card, wish: Wish, way: Way
) -> dict[str, Any] | EncodedPicture:
    heat, geometry = seen.heat, seen.view.geometry
    assert heat is not None
    if wish.form != "json":
        return encode_picture(_drawn(seen, heat, scores, card, wish=wish, way=way), "png")
    target = seen.target.figures()
    if seen.bias is not None:
        target["bias"] = figure(seen.bias)
    told: dict[str, Any] = {"width": geometry.width, "height": geometry.height, "method": way}
    if seen.stage is not None:
        told["stage"] = seen.stage
    if seen.samples is not None:
        told["samples"] = seen.samples
    if way == "rise":
        told["seed"] = wish.seed
    told |= {
        "target": target,
        "heat": heat.figures(geometry.region),
        "peak": heat.peak(geometry),
    }
    if scores is not None:
        told["scores"] = scores
    return told


def _drawn(
    seen: Seen, heat: Heat, scores: dict[str, Any] | None, card: Card, *, wish: Wish, way: Way
) -> Image.Image:
    geometry = seen.view.geometry
    if wish.form == "heat":
        return heat_picture(heat.on_picture(geometry), geometry.seen)
    picture = seen.view.displayed()
    if wish.form == "overlay":
        return overlay_heat(picture, heat.on_picture(geometry), geometry.seen)
    title = TITLES[way].format(seen.target.caption)
    subtitle = f"{card.name}, {WAYS[way].format(stage=seen.stage, samples=seen.samples)}"
    figures = "the heat alone"
    if scores is not None:
        figures = f"insertion {scores['insertion']:.2f}   deletion {scores['deletion']:.2f}"
    return heat_sheet(title, subtitle, figures, picture=picture, heat=heat, geometry=geometry)
