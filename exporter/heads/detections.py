"""How far two lists of detections of one image are the same: each is held against the other."""

from dataclasses import dataclass

import numpy as np

from exporter.heads.metrics import MATCH_IOU, average_precision, iou_matrix
from exporter.network import Array

MARGIN = 0.05
"""A detection whose score is so near the threshold may be on either side of it, and needs no counterpart."""

SAME_BOX = 0.01
"""Boxes whose IoU with another one differs by at most so much are about the same."""


@dataclass(frozen=True, slots=True)
class Detections:
    """Boxes (B, 4), scores (B,) and classes (B,) of one image."""

    boxes: Array
    scores: Array
    classes: Array

    def __len__(self) -> int:
        return len(self.scores)

    def only(self, which: Array) -> "Detections":
        """Return those at the places, or those that are True."""
        return Detections(self.boxes[which], self.scores[which], self.classes[which])


def score_difference(found: Detections, expected: Detections) -> float:
    """Return the largest difference of score between a detection and the expected one of its class at its place.

    Those without one do not count here: the agreement is about them.
    """
    if not len(found) or not len(expected):
        return 0.0
    ious = iou_matrix(found.boxes, expected.boxes)
    ious[found.classes[:, None] != expected.classes[None]] = 0
    best = ious.max(axis=1, keepdims=True)
    # A network without suppression may give the same box twice: of those the one with the nearest score is meant.
    apart = np.abs(found.scores[:, None] - expected.scores[None])
    nearest = np.where(ious >= best - SAME_BOX, apart, np.inf).min(axis=1)
    return float(nearest[best[:, 0] >= MATCH_IOU].max(initial=0.0))


def rank_difference(found: Array, expected: Array, most: int) -> float:
    """Return the largest difference between the best scores of two lists (D,), rank by rank."""
    places = min(len(found), len(expected), most)
    pair = (np.sort(one)[::-1][:places].astype(np.float64) for one in (found, expected))
    worst = float(np.abs(np.subtract(*pair)).max(initial=0.0))
    return worst if np.isfinite(worst) else float("inf")


def mean_average_precision(
    found: Detections, expected: Detections, tolerance: float, threshold: float, most: int
) -> float:
    """Return mAP at IoU 0.5 over the classes that either side has, the lower of both directions.

    One direction alone would not see boxes that only the other side has. Two empty lists agree.

    Args:
        found: detections with scores of at least the threshold, the best first.
        expected: the same of the source.
        tolerance: only detections match whose scores differ by at most so much.
        threshold: below this no detection is in the lists.
        most: only the first so many of a list need a counterpart; it may be any of the other list.
    """
    sides = (found, expected), (expected, found)
    return min(_covered(one, other, tolerance, threshold, most) for one, other in sides)


def _covered(
    found: Detections, expected: Detections, tolerance: float, threshold: float, most: int
) -> float:
    """Return the mean over the classes of the best expected detections of how well the found ones cover them."""
    needed = expected.only(np.arange(min(most, len(expected))))
    precisions = []
    for kind in np.unique(needed.classes):
        mine, theirs = (one.only(one.classes == kind) for one in (found, needed))
        theirs = theirs.only(_counts(theirs, mine, tolerance, threshold))
        if len(theirs):
            pair = (mine.boxes, mine.scores), theirs.boxes, theirs.scores
            precisions.append(average_precision(*pair, tolerance) if len(mine) else 0.0)
    return float(np.mean(precisions)) if precisions else 1.0


def _counts(one: Detections, other: Detections, tolerance: float, threshold: float) -> Array:
    """Return which detections count: all but those near the threshold that the other side does not have."""
    clear: Array = one.scores >= threshold + MARGIN
    if len(other):
        near = np.abs(one.scores[:, None] - other.scores[None]) <= tolerance
        same = near & (iou_matrix(one.boxes, other.boxes) >= MATCH_IOU)
        clear = clear | same.any(axis=1)
    return clear
