"""What `view=cam`, `occlusion` and `rise` share: which pixels a result depends on, and how good that heat is."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal, NotRequired, TypeVar

from PIL import Image
from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from service.explain.explanation import Explanation
from service.explain.frame import Frame
from service.explain.heat_map import Heat, HeatFigures, PeakFigures
from service.explain.insertion_deletion import (
    USUAL_STEPS,
    ScoreFigures,
    curve_scores,
    insertion_deletion,
    refinements,
)
from service.explain.pace import SCORE_SHARE, score_within
from service.explain.request import Form
from service.explain.sheets import shown_source
from service.heads.outputs import Outputs
from service.heads.rounding import figure
from service.heads.targets import ClassTarget, Target, TargetFigures
from service.imaging.geometry import Geometry
from service.imaging.heatmap import heat_image, overlay_heat
from service.imaging.overlay import RenderedImage, encode_image
from service.imaging.sheet import Row, Tile, draw_sheet
from service.imaging.source_image import SourceImage
from service.runtime.job import JobResult

T = TypeVar("T")
MethodName = Literal["cam", "eigencam", "rise", "occlusion"]

HEAT_OPTIONS = frozenset({"class_name", "box", "samples", "score", "steps"})
"""The options of `ExplainOptions` that every view with a heat uses."""
HEAT_FORMS: frozenset[Form] = frozenset({"json", "sheet", "overlay", "heat"})


@with_config(ConfigDict(extra="forbid"))
class HeatEvidence(TypedDict):
    """What every view with a heat returns."""

    target: TargetFigures
    heat: HeatFigures
    peak: PeakFigures
    scores: NotRequired[ScoreFigures]
    detail: NotRequired[
        Annotated[
            str, Field(description="What the time did not suffice for, if it makes a difference")
        ]
    ]


@dataclass(frozen=True, slots=True)
class Subject:
    """What one run of the whole image gave: frame uint8 (H, W, 3), the target, and the target's score, 0–1."""

    frame: Frame
    source: SourceImage
    target: Target
    score: float


@dataclass(frozen=True, slots=True)
class MadeHeat:
    """A heat and how it was made: in words, and by stage, the linear layer's bias or number of copies.

    `detail` says what there was no time for.
    """

    heat: Heat
    how: str
    stage: str | None = None
    bias: float | None = None
    samples: int | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class HeatMethod:
    """A way to make a heat; it has either `read`, or `sample` and perhaps `fallback`.

    Args:
        name: its name in the JSON.
        title: of the sheet; `{}` is the target's caption.
        read: makes the heat of the outputs and inner maps for the whole image; on a worker thread.
        sample: makes the heat by running perturbed copies; returns None where there is no time for enough of them.
        fallback: a method with `read`, which makes the heat then.
    """

    name: MethodName
    title: str
    read: Callable[[Outputs, Subject], MadeHeat] | None = None
    sample: Callable[[Explanation, Subject], Awaitable[MadeHeat | None]] | None = None
    fallback: "HeatMethod | None" = None


@dataclass(frozen=True, slots=True)
class ExplainedHeat:
    """A finished explanation.

    Args:
        subject: the image and the target.
        made: the heat.
        method: how it was made.
        seed: of the random masks.
        scores: None where the request does not want them, or there was no time for them.
    """

    subject: Subject
    made: MadeHeat
    method: HeatMethod
    seed: int = 0
    scores: ScoreFigures | None = None

    @property
    def geometry(self) -> Geometry:
        return self.subject.source.geometry

    def evidence(self) -> HeatEvidence:
        """Return target, heat, peak and scores as JSON."""
        target: TargetFigures = self.subject.target.figures()
        if self.made.bias is not None and isinstance(self.subject.target, ClassTarget):
            target = {**self.subject.target.figures(), "bias": figure(self.made.bias)}
        evidence: HeatEvidence = {
            "target": target,
            "heat": self.made.heat.figures(self.geometry.region),
            "peak": self.made.heat.peak(self.geometry),
        }
        if self.scores is not None:
            evidence["scores"] = self.scores
        if self.made.detail is not None:
            evidence["detail"] = self.made.detail
        return evidence


async def explain_heat(
    explanation: Explanation, method: HeatMethod, result: Callable[[ExplainedHeat], T]
) -> JobResult[T | RenderedImage]:
    """Return the heat for the target, with its insertion and deletion score where the request asks for it.

    A request takes a place among those with perturbed copies only where it runs any; it keeps the place until its
    image is drawn, so that no more are drawn at once.

    Args:
        explanation: the image, the network, and the request's target and form.
        method: how the heat is made.
        result: makes the view's JSON.

    Raises:
        InvalidParameterError: the network does not find the target in the image.
        OverloadedError: too many requests run perturbed copies already.
        DeadlineError: there is no time for the copies that the method needs.
        FovealError: the image can not be read, or a run failed.
    """
    request = explanation.request
    if method.sample is None and not request.score:
        head = partial(_read_and_finish, explanation=explanation, method=method, result=result)
        return await explanation.run_explainer(head)
    with explanation.admit():
        read = partial(_read, explanation=explanation, method=method)
        outcome = await explanation.run_explainer(read)
        subject, made = outcome.value
        if method.sample is not None:
            sampled = await method.sample(explanation, subject)
            method = method if sampled is not None else method.fallback or method
            made = sampled or made
        assert made is not None, "a method without a fallback makes a heat, or raises"
        scores = await _scores(explanation, subject, made.heat) if request.score else None
        explained = ExplainedHeat(subject, made, method, request.seed, scores)
        finished = await asyncio.to_thread(_finished, explained, explanation, result)
        return JobResult(finished, outcome.trace)


def read_subject(
    outputs: Outputs, frame: Frame, source: SourceImage, *, explanation: Explanation
) -> Subject:
    """Return the target that the request asks for, with a copy of the frame, which the batch will overwrite.

    Raises:
        InvalidParameterError: the network does not find it in the image.
    """
    target = explanation.choose_target(outputs, source)
    return Subject(frame.copy(), source, target, target.score(outputs))


def _read(
    outputs: Outputs,
    frame: Frame,
    source: SourceImage,
    *,
    explanation: Explanation,
    method: HeatMethod,
) -> tuple[Subject, MadeHeat | None]:
    """Return the subject, and the heat of the method or of its fallback: the inner maps exist only during this run."""
    subject = read_subject(outputs, frame, source, explanation=explanation)
    reading = method if method.fallback is None else method.fallback
    return subject, reading.read(outputs, subject) if reading.read is not None else None


def _read_and_finish(
    outputs: Outputs,
    frame: Frame,
    source: SourceImage,
    *,
    explanation: Explanation,
    method: HeatMethod,
    result: Callable[[ExplainedHeat], T],
) -> T | RenderedImage:
    subject, made = _read(outputs, frame, source, explanation=explanation, method=method)
    assert made is not None, "this method reads its heat"
    explained = ExplainedHeat(subject, made, method, explanation.request.seed)
    return _finished(explained, explanation, result)


async def _scores(explanation: Explanation, subject: Subject, heat: Heat) -> ScoreFigures | None:
    """Return the scores; where the request does not say the steps, with as many as there is time for, or None."""
    steps = explanation.request.steps
    curves = await asyncio.to_thread(insertion_deletion, subject.frame, heat, steps or USUAL_STEPS)
    copies = await asyncio.to_thread(curves.copies)
    if steps is not None:
        return curve_scores(await explanation.score_copies(copies, subject.target))
    until = explanation.clock() + SCORE_SHARE * explanation.left()
    scores: dict[int, float] = {}
    seconds_per_copy = 0.0
    for places in refinements():
        seconds = until - explanation.clock()
        if seconds_per_copy * len(places) > seconds:
            break
        chosen = [copies[place] for place in places]
        paced = await score_within(explanation, chosen, subject.target, seconds)
        if not paced.is_whole:
            break
        scores.update(zip(places, paced.scores, strict=True))
        seconds_per_copy = paced.seconds_per_copy
    return curve_scores([scores[place] for place in sorted(scores)]) if scores else None


def _finished(
    explained: ExplainedHeat, explanation: Explanation, result: Callable[[ExplainedHeat], T]
) -> T | RenderedImage:
    form, geometry, heat = explanation.request.form, explained.geometry, explained.made.heat
    if form == "json":
        return result(explained)
    if form == "heat":
        return encode_image(heat_image(heat.on_image(geometry), geometry.seen), "png")
    source = explained.subject.source
    if form == "overlay":
        warm = overlay_heat(source.drawable(), heat.on_image(geometry), geometry.seen)
        return encode_image(warm, "png")
    return encode_image(_sheet(explained, explanation.card.name, shown_source(source)), "png")


def _sheet(explained: ExplainedHeat, model: str, shown: SourceImage) -> Image.Image:
    """Return the image, the heat over it and the heat alone."""
    geometry, scores, image = shown.geometry, explained.scores, shown.displayed()
    levels = explained.made.heat.on_image(geometry)
    figures = "the heat alone"
    if scores is not None:
        figures = f"insertion {scores['insertion']:.2f}   deletion {scores['deletion']:.2f}"
    tiles = [
        Tile(image, "the image"),
        Tile(overlay_heat(image.copy(), levels, geometry.seen), "the heat on it"),
        Tile(heat_image(levels, geometry.seen), figures),
    ]
    title = explained.method.title.format(explained.subject.target.caption)
    return draw_sheet(title, f"{model}, {explained.made.how}", [Row(tiles, 3, smooth=True)])
