"""One image's outputs through the service's own head → the answer that a caller gets, for a scorer."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from exporter.network import Outputs
from service.heads.classify import best_classes
from service.heads.detect import DetectionOptions, find_things
from service.heads.segment import SegmentClasses, draw_index_mask
from service.imaging.source_image import SourceImage
from service.labeled.average_precision import Boxes
from service.labeled.names import ClassNames
from service.labeled.scorers import (
    BoxScorer,
    ClassScorer,
    LabelScorer,
    MaskScorer,
    Scorer,
    boxes_of,
)
from service.labeled.scores import DECISION, Scores
from service.labeled.truth import LabeledImage

S = TypeVar("S", bound=Scorer[Any])

ALL_BOXES = DetectionOptions(score_threshold=0.0)
"""The service's defaults, but no box is left out by its score: mAP goes over all thresholds."""


class OutputScorer(Generic[S]):
    """Collects a network's outputs as the answers that a caller gets.

    Args:
        scorer: of the answers.
        answer: one image's outputs, without a batch axis, and the image → its answer.
    """

    def __init__(self, scorer: S, answer: Callable[[Outputs, SourceImage], Any]) -> None:
        self.scorer = scorer
        self._answer = answer

    def add(self, outputs: Outputs, source: SourceImage, image: LabeledImage) -> None:
        """Add the outputs for one image.

        Raises:
            InferenceError: the service could not answer with them.
        """
        self.scorer.add(self._answer(outputs, source), image)

    def scores(self) -> Scores:
        return self.scorer.scores()


def class_scorer(labels: tuple[str, ...]) -> OutputScorer[ClassScorer]:
    """Return what collects the classes of images that have one each."""
    scorer = ClassScorer(labels, ClassNames(labels))
    return OutputScorer(scorer, partial(_ranked, labels, scorer.top))


def label_scorer(labels: tuple[str, ...]) -> OutputScorer[LabelScorer]:
    """Return what collects the labels of images that have several, or none."""
    scorer = LabelScorer(labels, ClassNames(labels, several=True))
    return OutputScorer(scorer, partial(_assigned, labels))


def box_scorer(labels: tuple[str, ...], *, nms_free: bool = False) -> OutputScorer[BoxScorer]:
    """Return what collects boxes; `nms_free` where the network itself gives each object one."""
    options = replace(ALL_BOXES, nms="none") if nms_free else ALL_BOXES
    return OutputScorer(BoxScorer(labels, ClassNames(labels)), partial(_boxes, labels, options))


def mask_scorer(labels: tuple[str, ...], background_id: int | None) -> OutputScorer[MaskScorer]:
    """Return what collects masks; the answer is the PNG mask that a caller gets."""
    classes = SegmentClasses(labels, background_id)
    return OutputScorer(MaskScorer(labels), partial(_mask, classes))


def _ranked(labels: tuple[str, ...], top: int, outputs: Outputs, _: SourceImage) -> list[int]:
    best = best_classes(outputs["probabilities"], labels, top_k=top)
    return [one["class_id"] for one in best]


def _assigned(labels: tuple[str, ...], outputs: Outputs, _: SourceImage) -> list[int]:
    found = best_classes(outputs["probabilities"], labels, top_k=len(labels))
    return [one["class_id"] for one in found if one["probability"] >= DECISION]


def _boxes(
    labels: tuple[str, ...], options: DetectionOptions, outputs: Outputs, source: SourceImage
) -> Boxes:
    things = find_things(outputs, source, labels=labels, options=options).found
    return boxes_of(
        [one.box for one in things],
        [one.class_id for one in things],
        scores=[one.score for one in things],
    )


def _mask(classes: SegmentClasses, outputs: Outputs, source: SourceImage) -> NDArray[np.uint8]:
    return np.asarray(draw_index_mask(_as_bytes(outputs), source, classes))


def _as_bytes(outputs: Outputs) -> Outputs:
    """Return a mask's outputs with the confidence in 1/255, as the graph gives it; a source's is in 0–1."""
    confidence = outputs["confidence"]
    if confidence.dtype == np.uint8:
        return outputs
    return {**outputs, "confidence": np.round(confidence * 255).astype(np.uint8)}
