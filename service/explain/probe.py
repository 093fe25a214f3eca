"""`view=probe`: how a class's probability changes under perturbations, and by texture against shape."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from service.card import Card
from service.errors import FovealError
from service.explain.explanation import Explanation
from service.explain.frame import Frame
from service.explain.heat import Subject, read_subject
from service.explain.pace import FIRST_COPIES, LATE_SHARE, too_slow
from service.explain.sheets import on_white, shown_geometry
from service.explain.view import View
from service.heads.outputs import Outputs
from service.heads.rounding import figure
from service.heads.targets import ClassFigures, ClassTarget
from service.imaging.charts import Curve, draw_curve
from service.imaging.masks import mask_on_image
from service.imaging.overlay import RenderedImage, encode_image
from service.imaging.perturb import LADDERS, Perturbation, silhouette
from service.imaging.sheet import Row, Tile, draw_sheet, fit_size, scale_image
from service.imaging.source_image import SourceImage
from service.runtime.job import Job, JobResult
from service.runtime.model import Model

TEXTURE_SIDE = 4
"""Patches along each side of the shuffled copy whose probability counts as texture: no shape is left in it."""
LEAST_PROBABILITY = 0.01
"""Where both texture and shape give less than this, their ratio would be noise."""

_EXAMPLES: dict[Perturbation, tuple[float, str]] = {
    "rotation": (60, "turned by 60°"),
    "scale": (0.5, "half as large"),
    "blur": (4, "blurred by 4 pixels"),
    "jpeg": (5, "JPEG quality 5"),
    "shuffle": (4, "in 16 patches"),
}
"""The perturbed copies that the sheet shows."""

_SLACK = 1.5
"""Jobs are given up if they need so many times the time left: the first ones are slower than those after them."""
_FIGURES_LATE_SHARE = 0.95
"""The share of the time left after which jobs are given up whose figures alone are answered."""
_OUTLINE_SHARE = 0.2
"""The share of the time left that the silhouette may take."""

Probability = Annotated[float, Field(ge=0, le=1)]


@with_config(ConfigDict(extra="forbid"))
class PointFigures(TypedDict):
    """One perturbed copy."""

    amount: float
    probability: Annotated[Probability, Field(description="Of the target's class")]
    top: Annotated[str, Field(description="The label of the most probable class")]


@with_config(ConfigDict(extra="forbid"))
class CurveFigures(TypedDict):
    """The probability by the strength of one perturbation."""

    perturbation: Perturbation
    unit: Annotated[str, Field(description="Of `amount`")]
    points: list[PointFigures]


@with_config(ConfigDict(extra="forbid"))
class SilhouetteFigures(TypedDict):
    """The silhouette of the image's main thing, black on white."""

    probability: Annotated[Probability, Field(description="Of the target's class")]
    top: Annotated[str, Field(description="The label of the most probable class")]
    by: Annotated[str, Field(description="The model that separated the thing from its background")]


@with_config(ConfigDict(extra="forbid"))
class ProbeResult(TypedDict):
    """How a class's probability changes; `width` and `height` are the displayed image's."""

    view: Literal["probe"]
    width: int
    height: int
    target: ClassFigures
    curves: list[CurveFigures]
    silhouette: Annotated[
        SilhouetteFigures | None,
        Field(description="Null where no model could draw it, or found no thing"),
    ]
    texture: Annotated[
        Probability, Field(description="The probability after shuffling 4 by 4 patches")
    ]
    shape: Annotated[Probability | None, Field(description="The probability of the silhouette")]
    shape_share: Annotated[
        Probability | None,
        Field(description="shape ÷ (shape + texture); null where both are too low to compare"),
    ]
    seed: int


@dataclass(frozen=True, slots=True)
class Point:
    """The class's probability in one perturbed copy; `kept`: the class is still the first.

    `shown` is the copy, uint8 (H, W, 3), where a sheet shows it; of the others, only the figures stay in memory.
    """

    amount: float
    probability: float
    top: str
    kept: bool
    shown: NDArray[np.uint8] | None = None

    def figures(self) -> PointFigures:
        """Return the point as JSON."""
        return {
            "amount": self.amount,
            "probability": figure(self.probability),
            "top": self.top,
        }


@dataclass(frozen=True, slots=True)
class Probe:
    """A finished probe.

    Args:
        subject: the whole image.
        target: the class.
        curves: the points by the perturbation's name.
        silhouette: the point of the silhouette; None where there is none.
        by: the model that drew the silhouette.
    """

    subject: Subject
    target: ClassTarget
    curves: Mapping[Perturbation, Sequence[Point]]
    silhouette: Point | None = None
    by: str = ""

    @property
    def texture(self) -> float:
        """The probability that remains without shape, 0–1."""
        return next(
            point.probability for point in self.curves["shuffle"] if point.amount == TEXTURE_SIDE
        )

    @property
    def shape_share(self) -> float | None:
        """The shape's part of shape and texture, 0–1 (Geirhos et al. 2019); None where it would be noise."""
        if self.silhouette is None:
            return None
        shape, texture = self.silhouette.probability, self.texture
        if max(shape, texture) < LEAST_PROBABILITY:
            return None
        return figure(shape / (shape + texture))

    def result(self, seed: int) -> ProbeResult:
        """Return the probe as JSON."""
        outlined: SilhouetteFigures | None = None
        if self.silhouette is not None:
            outlined = {
                "probability": figure(self.silhouette.probability),
                "top": self.silhouette.top,
                "by": self.by,
            }
        return {
            "view": "probe",
            "width": self.subject.source.geometry.width,
            "height": self.subject.source.geometry.height,
            "target": self.target.figures(),
            "curves": [
                {
                    "perturbation": name,
                    "unit": LADDERS[name].unit,
                    "points": [point.figures() for point in points],
                }
                for name, points in self.curves.items()
            ],
            "silhouette": outlined,
            "texture": figure(self.texture),
            "shape": None if outlined is None else outlined["probability"],
            "shape_share": self.shape_share,
            "seed": seed,
        }


def find_segmenter(models: Iterable[Model]) -> Model | None:
    """Return the first ready model that separates one kind of thing from its background; None where there is none."""
    for model in models:
        card = model.card
        two = card.task == "segment" and len(card.labels) == 2 and card.background_id is not None
        if two and model.state == "ready":
            return model
    return None


def probe_sheet(model: str, probe: Probe) -> Image.Image:
    """Return some of the perturbed copies, and a curve for each perturbation."""
    share, against = probe.shape_share, "no shape against texture: neither is known alone"
    if share is not None:
        against = f"shape against texture: {share:.0%} to {1 - share:.0%}"
    examples = _example_tiles(probe)
    curves = [
        _curve_tile(name, points, probe.target.probability) for name, points in probe.curves.items()
    ]
    note = "dashed: as it is; a ring: another class is surer"
    rows = [
        Row(examples, len(examples), smooth=True),
        Row(curves, 2, "The probability by degrees", note, smooth=True),
    ]
    return draw_sheet(f"How sure is it of {probe.target.label}?", f"{model}; {against}", rows)


def _example_tiles(probe: Probe) -> list[Tile]:
    frame = probe.subject.frame
    tiles = [Tile(Image.fromarray(frame), f"as it is   {probe.target.probability:.0%}")]
    for name, (amount, words) in _EXAMPLES.items():
        point = next(point for point in probe.curves[name] if point.amount == amount)
        assert point.shown is not None, "a sheet keeps its examples"
        tiles.append(Tile(Image.fromarray(point.shown), f"{words}   {point.probability:.0%}"))
    if probe.silhouette is not None and probe.silhouette.shown is not None:
        shown = Image.fromarray(probe.silhouette.shown)
        tiles.append(Tile(shown, f"its outline   {probe.silhouette.probability:.0%}"))
    return tiles


def _curve_tile(name: Perturbation, points: Sequence[Point], reference: float) -> Tile:
    curve = Curve(
        [f"{point.amount:g}" for point in points],
        [point.probability for point in points],
        [point.kept for point in points],
        reference,
    )
    return Tile(draw_curve(curve), f"{name}, {LADDERS[name].unit}")


async def _run(explanation: Explanation) -> JobResult[ProbeResult | RenderedImage]:
    """Run every perturbed copy, and the silhouette where a segmenter can draw it, as one fan-out."""
    with explanation.admit():
        outcome = await explanation.run_explainer(partial(read_subject, explanation=explanation))
        outline = await _outline(explanation)
        probe = await _probed(explanation, outcome.value, outline)
    result = await asyncio.to_thread(_finished, probe, explanation)
    return JobResult(result, outcome.trace)


async def _outline(explanation: Explanation) -> RenderedImage | None:
    """Return the silhouette of the image's main thing; None where no model draws it in time, or it finds none."""
    segmenter = explanation.segmenter
    if segmenter is None:
        return None
    draw = partial(_draw_silhouette, card=segmenter.card)
    try:
        async with asyncio.timeout(_OUTLINE_SHARE * explanation.left()):
            job = await explanation.image_job(segmenter.card, draw)
            (outline,) = await explanation.run_jobs(segmenter, [job])
    except (FovealError, TimeoutError):
        return None  # the silhouette is an extra: the rest of the probe does not need the segmenter
    return outline


async def _probed(
    explanation: Explanation, subject: Subject, outline: RenderedImage | None
) -> Probe:
    assert isinstance(subject.target, ClassTarget), "probe needs a classifier"
    card, seed = explanation.card, explanation.request.seed
    drawn = explanation.request.form != "json"
    read = partial(_read_point, class_id=subject.target.class_id, labels=card.labels)
    steps = [(name, amount) for name, ladder in LADDERS.items() for amount in ladder.amounts]
    jobs: list[Job[Any, Point]] = [
        Job(
            partial(_perturb, subject.frame, name, amount, seed),
            partial(read, amount=amount, shown=drawn and _EXAMPLES[name][0] == amount),
        )
        for name, amount in steps
    ]
    if outline is not None:
        read_outline = partial(read, amount=0.0, shown=drawn, size=subject.frame.shape)
        jobs.append(explanation.pipeline.job(outline.content, card, read_outline))
    points = await _run_in_time(explanation, jobs)
    curves = {
        name: [point for (step, _), point in zip(steps, points, strict=False) if step == name]
        for name in LADDERS
    }
    if outline is None or explanation.segmenter is None:
        return Probe(subject, subject.target, curves)
    return Probe(subject, subject.target, curves, points[-1], explanation.segmenter.name)


async def _run_in_time(explanation: Explanation, jobs: Sequence[Job[Any, Point]]) -> list[Point]:
    """Return the points of all jobs.

    Raises:
        DeadlineError: their pace shows that the others would not end in time.
    """
    began, points = explanation.clock(), list[Point]()
    share = LATE_SHARE if explanation.request.form != "json" else _FIGURES_LATE_SHARE
    try:
        async with (
            asyncio.timeout(share * explanation.left()),
            aclosing(explanation.each_result(explanation.model, jobs)) as found,
        ):
            async for point in found:
                points.append(point)
                done = len(points)
                needed = (explanation.clock() - began) / done * (len(jobs) - done)
                if done >= FIRST_COPIES and needed > _SLACK * explanation.left():
                    break
    except TimeoutError:
        pass
    if len(points) == len(jobs):
        return points
    raise too_slow(explanation, len(jobs), samples=False)


def _draw_silhouette(outputs: Outputs, source: SourceImage, *, card: Card) -> RenderedImage | None:
    # As large as a sheet shows it: a network's frame is smaller, and the image may have millions of pixels.
    geometry = shown_geometry(source.geometry)
    found = mask_on_image(outputs["mask"], outputs["confidence"], geometry, len(card.labels))
    region = found.foreground(card.background_id)
    return encode_image(silhouette(region), "png") if region.any() else None


def _perturb(frame: Frame, name: Perturbation, amount: float, seed: int) -> tuple[Frame, Frame]:
    perturbed = LADDERS[name].apply(frame, amount, seed)
    return perturbed, perturbed


def _read_point(
    outputs: Outputs,
    copy: Frame | SourceImage,
    *,
    class_id: int,
    labels: Sequence[str],
    amount: float,
    shown: bool,
    size: Sequence[int] = (),
) -> Point:
    probabilities = outputs["probabilities"]
    best = int(probabilities.argmax())
    point = Point(amount, float(probabilities[class_id]), labels[best], best == class_id)
    if not shown:
        return point
    if isinstance(copy, np.ndarray):
        return replace(point, shown=copy)
    height, width = size[:2]
    outline = copy.displayed()
    fitted = scale_image(outline, fit_size(outline.size, (width, height)), smooth=True)
    return replace(point, shown=np.asarray(on_white(fitted, (width, height))))


def _finished(probe: Probe, explanation: Explanation) -> ProbeResult | RenderedImage:
    if explanation.request.form == "json":
        return probe.result(explanation.request.seed)
    return encode_image(probe_sheet(explanation.card.name, probe), "png")


PROBE = View(
    name="probe",
    summary="how a class's probability changes when the image is turned, scaled, blurred, compressed, shuffled",
    options=frozenset({"class_name", "seed"}),
    forms=frozenset({"json", "sheet"}),
    result=ProbeResult,
    run=_run,
    needs_classifier=True,
)
