"""What a network decides on each image of a proof, and whether that is always the same."""

from collections.abc import Sequence

import numpy as np

from exporter.heads.classify import DECISION, ClassifyHead
from exporter.heads.detect import DetectHead
from exporter.heads.embed import EmbedHead
from exporter.heads.found_boxes import SEEN_SCORE
from exporter.heads.metrics import inside_frame
from exporter.heads.segment import SegmentHead
from exporter.network import Head, Outputs

ENOUGH_IMAGES = 8
SHOWN = 5
MOST_EMPTY = 0.1
"""Trained detectors give hardly any clear box without an area; a quarter of wrongly read ones have one."""

HIGH = 0.9
MOST_HIGH = 0.9
ENOUGH_CANDIDATES = 50
"""Of at least so many candidates an image no trained detector gives most a high score: nearly all show no object."""

NONE = "no label"
SAME_DIRECTION = 1 - 1e-6
"""The cosine of two vectors from which on they tell nothing apart."""

ONE_DIRECTION = "vectors of the same direction"


class Decisions:
    """What the graph decides for each image of the proof, in words."""

    def __init__(self, head: Head, labels: Sequence[str]) -> None:
        self._head = head
        self._labels = labels
        self._made: list[str | None] = []
        self._first: Outputs | None = None
        self._clear = self._empty = 0
        self._high = self._candidates = 0

    def add(self, outputs: Outputs) -> None:
        """Add the outputs for one image, a batch of one."""
        if isinstance(self._head, EmbedHead):
            self._first = outputs if self._first is None else self._first
            (cosine,) = self._head.agreement(outputs, self._first, 1.0)
            self._made.append(ONE_DIRECTION if cosine > SAME_DIRECTION else None)
            return
        self._made.append(_decision(self._head, outputs, self._labels))
        if isinstance(self._head, DetectHead):
            scores = outputs["scores"][0]
            self._candidates += len(scores)
            self._high += int((scores >= HIGH).sum())
            boxes = inside_frame(outputs["boxes"][0][scores >= SEEN_SCORE])
            self._clear += len(boxes)
            self._empty += int((boxes[:, 2:] <= boxes[:, :2]).any(axis=1).sum())

    def hints(self) -> list[str]:
        """Return a hint if several images all have the same result, boxes are empty, or most have a high score."""
        return [*self._same(), *self._without_area(), *self._everywhere()]

    def _everywhere(self) -> list[str]:
        many = self._candidates >= ENOUGH_CANDIDATES * max(1, len(self._made))
        if not many or self._high < MOST_HIGH * self._candidates:
            return []
        high = f"{self._high} of {self._candidates} candidates have a score of {HIGH} or more"
        turned = "The scores may be 1 − the probability of an object: export the network with probabilities"
        return [f"On the images of the proof, {high}. {turned}. Or the weights are not trained"]

    def _without_area(self) -> list[str]:
        if not (isinstance(self._head, DetectHead) and self._empty > MOST_EMPTY * self._clear):
            return []
        empty = f"{self._empty} of {self._clear} boxes with a score of {SEEN_SCORE} or more"
        wrong = f"--box-format {self._head.recipe.box_format} or --box-unit is probably wrong"
        found = f"On the images of the proof, {empty} have no area inside of the image"
        return [f"{found}. {wrong}, or the weights are not trained"]

    def _same(self) -> list[str]:
        first = self._made[0] if self._made else None
        if first is None or len(self._made) < ENOUGH_IMAGES or len(set(self._made)) > 1:
            return []
        causes = (
            "--mean, --std, --scale or --color are probably wrong, or the weights are not trained"
        )
        same = f"All {len(self._made)} images of the proof have the same result: {first}"
        return [f"{same}. If they show different things, {causes}"]


def _decision(head: Head, outputs: Outputs, labels: Sequence[str]) -> str | None:
    """Return an image's result in words where all images could have the same one, else None."""
    match head:
        case ClassifyHead(activation="sigmoid"):
            ids = np.flatnonzero(outputs["probabilities"][0] >= DECISION)
            return f"the labels {', '.join(labels[k] for k in ids[:SHOWN])}" if len(ids) else NONE
        case ClassifyHead():
            return f"class {labels[int(outputs['probabilities'][0].argmax())]!r}"
        case DetectHead():
            seen = bool((outputs["scores"][0] >= SEEN_SCORE).any())
            return None if seen else f"no box with a score of {SEEN_SCORE} or more"
        case SegmentHead():
            present = np.unique(outputs["mask"])
            return f"{labels[int(present[0])]!r} in every pixel" if len(present) == 1 else None
    return None
