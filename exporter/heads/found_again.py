"""How well what a detector finds in an image is found again in the same one changed, by IoU, as its boxes are read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exporter.heads.box_order import STAYS
from exporter.heads.box_readings import Reading
from exporter.heads.boxes import Candidates
from exporter.heads.detect import DetectHead
from exporter.heads.detections import Detections
from exporter.heads.found_boxes import find_clearly
from exporter.heads.metrics import iou_matrix
from exporter.heads.moved_images import Change
from exporter.network import Array

FEWEST = 3
"""Fewer detections, of all images together, show nothing."""

FOUND_AGAIN = 0.6
"""The mean IoU of detections with those of the changed image that shows a reading."""

CLEARLY = 0.2
"""The reading that is taken must be worse by this much."""

SAME = 0.8
"""Boxes of a larger IoU are the same in both readings, and show nothing."""

VISIBLE = 0.3
"""So large a share of a box must still be in the frame."""

INSIDE = 0.9
"""So large a share of a box is in the frame before the image is changed."""

LARGE = 0.5
"""A box of more than this share of the frame may stay where it is."""


@dataclass(frozen=True, slots=True)
class Found:
    """What is found in one image, the numbers (B, 4) that the network gives for each box, and their rows (B,)."""

    found: Detections
    numbers: Array
    rows: NDArray[np.int64]

    @classmethod
    def of(cls, head: DetectHead, part: Candidates[Array], taken: Reading) -> "Found":
        numbers = part.boxes[0]
        found, rows = find_clearly(head, part, taken.corners(numbers))
        return cls(found, numbers[rows], rows)


@dataclass(frozen=True, slots=True)
class Pair:
    """What is found in an image, and in the same one changed.

    `stays` (B,) is true for what is found at the same place in both, and `is_still` where another row gives it.
    """

    taken: Reading
    change: Change
    plain: Found
    again: Found
    stays: NDArray[np.bool_]
    is_still: NDArray[np.bool_]

    @classmethod
    def of(cls, taken: Reading, change: Change, plain: Found, again: Found) -> "Pair":
        found, other = plain.found, again.found
        if not len(found) or not len(other):
            nothing = np.zeros(len(found), bool)
            return cls(taken, change, plain, again, nothing, nothing)
        overlaps = _same_kind(found, other, found.boxes, other.boxes)
        stays = overlaps.max(axis=1) >= STAYS
        is_other_row = plain.rows != again.rows[overlaps.argmax(axis=1)]
        still = stays & is_other_row & (_areas(found.boxes) <= LARGE)
        return cls(taken, change, plain, again, stays, still)

    def ratios(self) -> Iterator[float]:
        """Yield how many times as far as the image the points of what is found once, in both images, have moved."""
        before, after = self.plain, self.again
        for kind in set(before.found.classes) & set(after.found.classes):
            places = [np.flatnonzero(one.found.classes == kind) for one in (before, after)]
            if all(len(one) == 1 for one in places):
                moved = after.numbers[places[1][0], :2] - before.numbers[places[0][0], :2]
                yield from np.abs(moved / (np.array(self.change.offset) * self.taken.unit))

    def marks(self, one: Reading, other: Reading) -> Iterator[tuple[float, float]]:
        """Yield for each detection how well it is found again, by IoU, in two readings.

        Those that both expect at one place, or that leave the frame, are left out. Another reading than the one
        that is taken is wrong where it has boxes outside of the frame.
        """
        found, again = self.plain.found, self.again.found
        if not len(found) or not len(again):
            return
        boxes = [reading.corners(self.plain.numbers) for reading in (one, other)]
        expected = [np.clip(self.change.boxes(each), 0, 1) for each in boxes]
        # What is not in the frame before the image is changed can not leave it: such boxes are read wrongly.
        visible = [
            (_areas(seen) >= VISIBLE * _areas(self.change.boxes(each)))
            | (_areas(np.clip(each, 0, 1)) < VISIBLE * _areas(each))
            for seen, each in zip(expected, boxes, strict=True)
        ]
        differs = _ious(other.corners(one.numbers(expected[0])), expected[1]) < SAME
        there = [np.clip(reading.corners(self.again.numbers), 0, 1) for reading in (one, other)]
        marks = [
            _same_kind(found, again, *pair).max(axis=1)
            for pair in zip(expected, there, strict=True)
        ]
        for reading, each, mark in zip((one, other), boxes, marks, strict=True):
            if reading != self.taken:
                mark[_areas(np.clip(each, 0, 1)) < INSIDE * _areas(each)] = 0
        for place in np.flatnonzero(visible[0] & visible[1] & differs & ~self.stays):
            yield float(marks[0][place]), float(marks[1][place])


class Marks:
    """How well detections are found again, by IoU, as they are read (`taken`) and in another reading (`other`)."""

    def __init__(self) -> None:
        self.taken: list[float] = []
        self.other: list[float] = []

    def add(self, pairs: Sequence[Pair], taken: Reading, other: Reading) -> "Marks":
        for pair in pairs:
            for mine, theirs in pair.marks(taken, other):
                self.taken.append(mine)
                self.other.append(theirs)
        return self

    def lead(self) -> float:
        """Return by how much the other reading is better, 0 where they do not differ."""
        return float(np.mean(self.other) - np.mean(self.taken)) if self.other else 0.0

    def is_better(self, fewest: int, lead: float) -> bool:
        """Return whether the other reading is better by so much, for so many detections at least."""
        return (
            len(self.other) >= fewest
            and float(np.mean(self.other)) >= FOUND_AGAIN
            and self.lead() >= lead
        )

    def is_ruled_out(self) -> bool:
        """Return whether the reading that is taken is clearly better."""
        return (
            len(self.taken) >= FEWEST
            and float(np.mean(self.taken)) >= FOUND_AGAIN
            and self.lead() <= -CLEARLY
        )


def _areas(boxes: Array) -> Array:
    area: Array = np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(axis=1)
    return area


def _ious(boxes: Array, others: Array) -> Array:
    """Return the IoU of each box with the one at its place, (B,)."""
    return np.diagonal(iou_matrix(boxes, others))


def _same_kind(found: Detections, again: Detections, boxes: Array, others: Array) -> Array:
    """Return the IoU of each of boxes with each of others, (B, C), 0 between two classes."""
    overlaps = iou_matrix(boxes, others)
    overlaps[found.classes[:, None] != again.classes[None]] = 0
    return overlaps
