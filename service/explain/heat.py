"""What `view=cam`, `occlusion` and `rise` share: which pixels a result depends on, and how good that heat is."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Literal, NotRequired, TypeVar

from PIL import Image
from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict

from service.explain.explanation import Explanation
from service.explain.frame import Frame
from service.explain.heat_map import Heat, HeatFigures, PeakFigures
from service.explain.insertion_deletion import ScoreFigures, curve_scores, insertion_deletion
from service.explain.request import Form
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


@dataclass(frozen=True, slots=True)
class Subject:
    """What one run of the whole image gave: frame uint8 (H, W, 3), the target, and the target's score, 0–1."""

    frame: Frame
    source: SourceImage
    target: Target
    score: float


@dataclass(frozen=True, slots=True)
class MadeHeat:
    """A heat and how it was made: in words, and by stage, the linear layer's bias or number of copies."""

    heat: Heat
    how: str
    stage: str | None = None
    bias: float | None = None
    samples: int | None = None


@dataclass(frozen=True, slots=True)
class HeatMethod:
    """A way to make a heat; it has either `read` or `sample`.

    Args:
        name: its name in the JSON.
        title: of the sheet; `{}` is the target's caption.
        read: makes the heat of the outputs and inner maps for the whole image; on a worker thread.
        sample: makes the heat by running perturbed copies.
    """

    name: MethodName
    title: str
    read: Callable[[Outputs, Subject], MadeHeat] | None = None
    sample: Callable[[Explanation, Subject], Awaitable[MadeHeat]] | None = None


@dataclass(frozen=True, slots=True)
class ExplainedHeat:
    """A finished explanation; `scores` is None where the request does not want them."""

    subject: Subject
    made: MadeHeat
    scores: ScoreFigures | None

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
        return evidence


async def explain_heat(
    explanation: Explanation, method: HeatMethod, result: Callable[[ExplainedHeat], T]
) -> JobResult[T | RenderedImage]:
    """Return the heat for the target, with its insertion and deletion score where the request asks for it.

    A request takes a place among those with perturbed copies only where it runs any.

    Args:
        explanation: the image, the network, and the request's target and form.
        method: how the heat is made.
        result: makes the view's JSON.

    Raises:
        InvalidParameterError: the network does not find the target in the image.
        OverloadedError: too many requests run perturbed copies already.
        FovealError: the image can not be read, or a run failed.
    """
    request = explanation.request
    runs_copies = method.sample is not None or request.score
    with explanation.admit() if runs_copies else nullcontext():
        head = partial(_read, explanation=explanation, method=method)
        outcome = await explanation.run_explainer(head)
        subject, made = outcome.value
        if method.sample is not None:
            made = await method.sample(explanation, subject)
        assert made is not None, "a method either reads or samples its heat"
        scores = await _scores(explanation, subject, made.heat) if request.score else None
    explained = ExplainedHeat(subject, made, scores)
    if request.form == "json":
        return JobResult(await asyncio.to_thread(result, explained), outcome.trace)
    image = await asyncio.to_thread(_drawn, explained, method, explanation)
    return JobResult(image, outcome.trace)


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
    subject = read_subject(outputs, frame, source, explanation=explanation)
    return subject, method.read(outputs, subject) if method.read is not None else None


async def _scores(explanation: Explanation, subject: Subject, heat: Heat) -> ScoreFigures:
    steps = explanation.request.steps
    curves = await asyncio.to_thread(insertion_deletion, subject.frame, heat, steps)
    copies = await asyncio.to_thread(curves.copies)
    return curve_scores(await explanation.score_copies(copies, subject.target))


def _drawn(explained: ExplainedHeat, method: HeatMethod, explanation: Explanation) -> RenderedImage:
    form, geometry, heat = explanation.request.form, explained.geometry, explained.made.heat
    if form == "heat":
        return encode_image(heat_image(heat.on_image(geometry), geometry.seen), "png")
    image = explained.subject.source.displayed()
    if form == "overlay":
        warm = overlay_heat(image, heat.on_image(geometry), geometry.seen)
        return encode_image(warm, "png")
    return encode_image(_sheet(explained, method, explanation.card.name, image), "png")


def _sheet(
    explained: ExplainedHeat, method: HeatMethod, model: str, image: Image.Image
) -> Image.Image:
    """Return the image, the heat over it and the heat alone."""
    geometry, scores = explained.geometry, explained.scores
    levels = explained.made.heat.on_image(geometry)
    figures = "the heat alone"
    if scores is not None:
        figures = f"insertion {scores['insertion']:.2f}   deletion {scores['deletion']:.2f}"
    tiles = [
        Tile(image, "the image"),
        Tile(overlay_heat(image, levels, geometry.seen), "the heat on it"),
        Tile(heat_image(levels, geometry.seen), figures),
    ]
    title = method.title.format(explained.subject.target.caption)
    return draw_sheet(title, f"{model}, {explained.made.how}", [Row(tiles, 3, smooth=True)])
