"""`view=probe`: how sure is the network, really? Its class under perturbations, and texture against shape."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from service.card import Card
from service.errors import FovealError, InvalidParameterError
from service.explain.explainers import Explainer
from service.explain.request import ExplainRequest
from service.explain.runner import Frame, Runner
from service.explain.sheets import Probed, ProbeSheet, probe_sheet
from service.heads.rounding import figure
from service.heads.targets import ClassTarget, choose_target
from service.imaging.masks import mask_on_image
from service.imaging.overlay import RenderedImage, encode_image
from service.imaging.perturb import LADDERS, Perturbation, silhouette
from service.imaging.source_image import SourceImage
from service.pipeline import EncodedImage
from service.runtime.job import Job, JobResult, Outputs
from service.runtime.model import Model

TEXTURE_SIDE = 4
"""Patches a side at which no shape is left, and of texture still most."""
SURE_OF_NEITHER = 0.01
"""Below this for both, a share of one against the other would be a share of noise."""


@dataclass(frozen=True, slots=True)
class _Subject:
    frame: Frame
    source: SourceImage
    target: ClassTarget


async def explain_probe(
    explanation: Runner,
    model: Model,
    explainer: Explainer,
    image: EncodedImage,
    request: ExplainRequest,
    *,
    segmenter: Model | None,
    timeout_seconds: float,
) -> JobResult[dict[str, Any] | RenderedImage]:
    """Return a curve for each perturbation, and the texture against the shape, from one fan-out.

    Args:
        explanation: what runs it.
        model: a classifier.
        explainer: its laid-open twin.
        image: what to perturb.
        request: class and seed.
        segmenter: tells things from their background, for the silhouette; None: there is none.
        timeout_seconds: of each run.

    Raises:
        FovealError: the image can not be read, or a run failed.
    """
    head = partial(_see, card=model.card, class_id=request.class_id)
    answer = await explanation.look(explainer, image, head, timeout_seconds=timeout_seconds)
    subject = answer.value
    outlined = None
    if segmenter is not None:
        outlined = await _silhouette(explanation, segmenter, image, timeout_seconds)
    labels = model.card.labels
    read = partial(_read, class_id=subject.target.class_id, labels=labels)
    steps = [(name, amount) for name, ladder in LADDERS.items() for amount in ladder.amounts]
    jobs: list[Job[Any, Probed]] = [
        Job(
            partial(_perturb, subject.frame, name, amount, request.seed),
            partial(read, amount=amount),
        )
        for name, amount in steps
    ]
    if outlined is not None:
        shown = explanation.pipeline.job(outlined.content, model.card, partial(read, amount=0.0))
        jobs.append(shown)
    found = await explanation.run(model, jobs, timeout_seconds=timeout_seconds)
    sheet = ProbeSheet(
        subject.target,
        {
            name: [probed for (step, _), probed in zip(steps, found, strict=False) if step == name]
            for name in LADDERS
        },
        found[-1] if outlined is not None else None,
    )
    by = segmenter.name if segmenter is not None and outlined is not None else None
    told = await asyncio.to_thread(_tell, subject, sheet, model.card, request, by)
    return JobResult(told, answer.trace)


def require_classifier(card: Card) -> None:
    """Raise for networks that have no class probability.

    Raises:
        InvalidParameterError: the network is no classifier.
    """
    if card.task != "classify":
        raise InvalidParameterError(
            f"view: probe follows a class's probability, and {card.name} does {card.task}; name a classifier"
        )


def _see(
    outputs: Outputs, frame: Frame, source: SourceImage, *, card: Card, class_id: int | None
) -> _Subject:
    target = choose_target(outputs, source, card, class_id=class_id, box=0)
    assert isinstance(target, ClassTarget)
    return _Subject(frame.copy(), source, target)


async def _silhouette(
    explanation: Runner, segmenter: Model, image: EncodedImage, timeout_seconds: float
) -> RenderedImage | None:
    """Return the main thing's silhouette as an image, None where there is no thing, or nobody to tell."""
    draw = partial(_draw_silhouette, card=segmenter.card)
    job = explanation.pipeline.job(image, segmenter.card, draw)
    try:
        (outlined,) = await explanation.run(segmenter, [job], timeout_seconds=timeout_seconds)
    except FovealError:
        return None
    return outlined


def _draw_silhouette(outputs: Outputs, source: SourceImage, *, card: Card) -> RenderedImage | None:
    found = mask_on_image(outputs["mask"], outputs["confidence"], source.geometry, len(card.labels))
    region = found.foreground(card.background_id)
    return encode_image(silhouette(region), "png") if region.any() else None


def _perturb(frame: Frame, name: Perturbation, amount: float, seed: int) -> tuple[Frame, Frame]:
    perturbed = LADDERS[name].apply(frame, amount, seed)
    return perturbed, perturbed


def _read(
    outputs: Outputs,
    seen: Frame | SourceImage,
    *,
    class_id: int,
    labels: Sequence[str],
    amount: float,
) -> Probed:
    probabilities = outputs["probabilities"]
    best = int(probabilities.argmax())
    shown = seen if isinstance(seen, np.ndarray) else np.asarray(seen.displayed())
    return Probed(amount, float(probabilities[class_id]), labels[best], best == class_id, shown)


def _tell(
    subject: _Subject, sheet: ProbeSheet, card: Card, request: ExplainRequest, by: str | None
) -> dict[str, Any] | RenderedImage:
    texture = next(p for p in sheet.curves["shuffle"] if p.amount == TEXTURE_SIDE).probability
    shape = sheet.silhouette.probability if sheet.silhouette is not None else None
    share = None
    if shape is not None and max(shape, texture) >= SURE_OF_NEITHER:
        share = figure(shape / (shape + texture))
    if request.form != "json":
        return encode_image(probe_sheet(card.name, subject.frame, sheet, share), "png")
    outlined = None
    if sheet.silhouette is not None:
        outlined = {
            "probability": figure(sheet.silhouette.probability),
            "top": sheet.silhouette.top,
            "by": by,
        }
    return {
        "width": subject.source.geometry.width,
        "height": subject.source.geometry.height,
        "target": subject.target.figures(),
        "curves": [
            {
                "perturbation": name,
                "unit": LADDERS[name].unit,
                "points": [point.figures() for point in points],
            }
            for name, points in sheet.curves.items()
        ],
        "silhouette": outlined,
        "texture": figure(texture),
        "shape": None if shape is None else figure(shape),
        "shape_share": share,
        "seed": request.seed,
    }
