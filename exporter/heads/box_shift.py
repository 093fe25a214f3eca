"""Whether what a detector finds moves with the image: boxes counted from the bottom, half sizes and offsets do not.

Each image is moved by a quarter of the frame along its diagonal. Real boxes move with it, and are cut at the edge of
the frame. A cut box has another center and another size, so it also shows what the numbers of a point and a size are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exporter.errors import RecipeError
from exporter.heads.box_form import BOX_WORDS
from exporter.heads.box_order import STAYS, Run
from exporter.heads.boxes import Y_FIRST, Candidates, xyxy
from exporter.heads.detect import DetectHead
from exporter.heads.detections import Detections
from exporter.heads.found_boxes import find_clearly
from exporter.heads.metrics import iou_matrix
from exporter.network import Array
from service.card import ImageInput

IMAGES = 8
"""So many images are moved, at most; each one down to the right, and up to the left."""

PART = 4
"""Images are moved by about the frame's side divided by this."""

STEPS = (32, 16, 8, 1)
"""They are moved by a multiple of the largest of these that is no third of the side: the same cells see the same."""

GRAY = 114
FEWEST = 3
"""Fewer detections, of all images together, show nothing."""

FOUND_AGAIN = 0.6
"""The mean IoU of detections with those of the moved image that shows a reading."""

CLEARLY = 0.2
"""The reading that is taken must be worse by this much."""

SAME = 0.8
"""Boxes of a larger IoU are the same in both readings, and show nothing."""

ENOUGH_AGAINST = 6
"""At least so many detections must contradict a form that is stated."""

CLEARLY_AGAINST = 0.3
"""A form that is stated must be worse by this much."""

VISIBLE = 0.3
"""So large a share of a box must still be in the frame."""

INSIDE = 0.9
"""So large a share of a box is in the frame before the image is moved."""

FEWEST_STILL = 6
MOST_STILL = 0.9
"""So many boxes, and so large a share of all that are clear, stay where they are though other rows give them."""

LARGE = 0.5
"""A box of more than this share of the frame may stay where it is."""

_WITH_Y_FIRST = {plain: y_first for y_first, plain in Y_FIRST.items()}


@dataclass(frozen=True, slots=True)
class _Reading:
    """What four numbers may be, in 0–1 and x first: one of the plain forms.

    `is_turned` where y is counted from the bottom, `is_half` where sizes are half of width and height.
    """

    form: str
    is_turned: bool = False
    is_half: bool = False

    def corners(self, numbers: Array) -> Array:
        """Return xyxy (B, 4) of these numbers."""
        first, second = numbers[:, :2], numbers[:, 2:] * (2 if self.is_half else 1)
        if self.form == "cxcywh":
            first, second = first - second / 2, first + second / 2
        elif self.form == "xywh":
            second = first + second
        return self._turned(np.concatenate([first, second], axis=1))

    def numbers(self, corners: Array) -> Array:
        """Return the numbers (B, 4) of xyxy."""
        upright = self._turned(corners)
        first, second = upright[:, :2], upright[:, 2:]
        if self.form == "cxcywh":
            first, second = (first + second) / 2, second - first
        elif self.form == "xywh":
            second = second - first
        return np.concatenate([first, second / (2 if self.is_half else 1)], axis=1)

    def _turned(self, corners: Array) -> Array:
        if not self.is_turned:
            return corners
        left, top, right, bottom = corners.T
        return np.stack([left, 1 - bottom, right, 1 - top], axis=1)


_READINGS = tuple(
    _Reading(form, is_turned, is_half)
    for is_half in (False, True)
    for is_turned in (False, True)
    for form in ("cxcywh", "xywh", "xyxy")
    if form == "cxcywh" or not is_half
)
"""The simplest first."""


def refuse_unmoved(
    head: DetectHead,
    frames: NDArray[np.uint8],
    outputs: Sequence[Sequence[Array]],
    image_input: ImageInput,
    run: Run,
    *,
    is_stated: bool = False,
) -> None:
    """Refuse boxes that do not move with the image, or that do so only where they are read in another way.

    Args:
        head: with its activation and the form of its boxes settled; one whose library settles the form is believed.
        frames: real images, uint8 (I, H, W, 3).
        outputs: the source's raw outputs for each of the first of them.
        image_input: the network's.
        run: computes the source's raw outputs for a batch of frames.
        is_stated: whether the form is stated: then only a clear contradiction counts, and boxes may stay in place.

    Raises:
        RecipeError: the message says what the boxes seem to be, and the next step.
    """
    if head.recipe.box_format == "grid" or head.is_known:
        return
    taken = _Reading(Y_FIRST.get(head.recipe.box_format, head.recipe.box_format))
    pairs: list[tuple[_Pair, Array]] = []
    for frame, raw in zip(frames[:IMAGES], outputs, strict=False):
        plain = head.decoder.split(raw)
        for moved, shift in _moved(frame):
            again = head.decoder.split(run(moved[None]))
            pairs.append((_Pair.of(head, taken, plain, again, image_input), shift))
    if not is_stated:
        _refuse_still(head, [pair for pair, _ in pairs])
    fewest, lead = (ENOUGH_AGAINST, CLEARLY_AGAINST) if is_stated else (FEWEST, CLEARLY)
    others = [one for one in _READINGS if one != taken]
    better = [one for one in others if _is_better(*_marks(pairs, taken, one), fewest, lead)]
    if better:
        seems = max(better, key=lambda one: _least_lead(pairs, one, better))
        raise _contradiction(head, seems, is_stated=is_stated)


def _is_better(taken: Sequence[float], other: Sequence[float], fewest: int, lead: float) -> bool:
    if len(other) < fewest:
        return False
    return float(np.mean(other)) >= max(FOUND_AGAIN, float(np.mean(taken)) + lead)


def _least_lead(
    pairs: Sequence[tuple["_Pair", Array]], one: _Reading, others: Sequence[_Reading]
) -> float:
    """Return by how much boxes are found again better in a reading than in the one that suits them best beside it.

    Most boxes, those that are not cut, suit several readings.
    """
    marks = (_marks(pairs, one, other) for other in others if other != one)
    return min(
        (float(np.mean(mine) - np.mean(theirs)) for mine, theirs in marks if mine), default=0
    )


def _marks(
    pairs: Sequence[tuple["_Pair", Array]], one: _Reading, other: _Reading
) -> tuple[list[float], list[float]]:
    found = [marks for pair, shift in pairs for marks in pair.marks(one, other, shift)]
    return [mine for mine, _ in found], [theirs for _, theirs in found]


def _refuse_still(head: DetectHead, pairs: Sequence["_Pair"]) -> None:
    still = sum(int(one.is_still.sum()) for one in pairs)
    clear = sum(int((one.is_still | ~one.stays).sum()) for one in pairs)
    if still >= FEWEST_STILL and still >= MOST_STILL * clear:
        raise RecipeError(
            "The boxes look like offsets from anchors: where an image is moved, other rows find what is in it, and "
            "give the same numbers. The anchors are not in the file. Export the network with its decoding, as its own "
            "library's detect or predict does. If they are boxes all the same, state "
            f"--box-format {head.recipe.box_format}"
        )


def _contradiction(head: DetectHead, reading: _Reading, *, is_stated: bool) -> RecipeError:
    form = head.recipe.box_format
    other = _WITH_Y_FIRST[reading.form] if form in Y_FIRST else reading.form
    given = "" if other == form else f", and give --box-format {other}"
    if reading.is_turned:
        words = f"y were counted from the bottom of the image ({other})"
        step = f"Export the network with height - y in place of y (1 - y in 0 to 1 of the frame){given}"
    elif reading.is_half:
        words = f"the sizes were half of width and height ({other})"
        step = f"Export the network with its sizes doubled{given}"
    else:
        words, step = f"they were {BOX_WORDS[other]}", f"Give --box-format {other}"
    taken, believe = (
        ("stated", "prove the network on photographs of what it finds (--images FOLDER)")
        if is_stated
        else ("taken", f"state --box-format {form}")
    )
    return RecipeError(
        f"Boxes are {taken} to be {form}, {BOX_WORDS[form]}; but what the network finds in moved images lies where it "
        f"should if {words}. {step}. If they are right all the same, {believe}"
    )


def _moved(frame: NDArray[np.uint8]) -> Iterator[tuple[NDArray[np.uint8], Array]]:
    """Yield a frame that is moved, gray where nothing is, and by how much as shares of the frame: x, y, x, y."""
    height, width = frame.shape[:2]
    down, right = _step(height), _step(width)
    shift = np.array([right / width, down / height] * 2)
    forward = np.full_like(frame, GRAY)
    forward[down:, right:] = frame[: height - down, : width - right]
    yield forward, shift
    back = np.full_like(frame, GRAY)
    back[: height - down, : width - right] = frame[down:, right:]
    yield back, -shift


def _step(side: int) -> int:
    step = next(one for one in STEPS if 3 * one <= side or one == 1)
    return max(1, round(side / PART / step)) * step


@dataclass(frozen=True, slots=True)
class _Pair:
    """What is found in an image, and in the same one moved.

    `numbers` (B, 4) and `numbers_again` (C, 4) are those of the boxes. `stays` (B,) is true for what is found at the
    same place in both, and `is_still` where another row gives it.
    """

    taken: _Reading
    found: Detections
    again: Detections
    numbers: Array
    numbers_again: Array
    stays: NDArray[np.bool_]
    is_still: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        head: DetectHead,
        taken: _Reading,
        plain: Candidates[Array],
        moved: Candidates[Array],
        image_input: ImageInput,
    ) -> "_Pair":
        (found, rows), (again, other_rows) = (
            find_clearly(head, part, xyxy(part.boxes, head.recipe, image_input)[0])
            for part in (plain, moved)
        )
        numbers = taken.numbers(found.boxes), taken.numbers(again.boxes)
        if not len(found) or not len(again):
            nothing = np.zeros(len(found), bool)
            return cls(taken, found, again, *numbers, nothing, nothing)
        overlaps = _same_kind(found, again, found.boxes, again.boxes)
        stays = overlaps.max(axis=1) >= STAYS
        other = rows != other_rows[overlaps.argmax(axis=1)]
        still = stays & other & (_areas(found.boxes) <= LARGE)
        return cls(taken, found, again, *numbers, stays, still)

    def marks(self, one: _Reading, other: _Reading, shift: Array) -> Iterator[tuple[float, float]]:
        """Yield for each detection how well it is found again, by IoU, in two readings.

        Those that both expect at one place, or that have left the frame, are left out. Another reading than the one
        that is taken is wrong where it has boxes outside of the frame.
        """
        if not len(self.found) or not len(self.again):
            return
        boxes = [reading.corners(self.numbers) for reading in (one, other)]
        expected = [np.clip(each + shift, 0, 1) for each in boxes]
        visible = [
            _areas(seen) >= VISIBLE * _areas(each)
            for seen, each in zip(expected, boxes, strict=True)
        ]
        differs = _ious(other.corners(one.numbers(expected[0])), expected[1]) < SAME
        again = [np.clip(reading.corners(self.numbers_again), 0, 1) for reading in (one, other)]
        marks = [
            _same_kind(self.found, self.again, *pair).max(axis=1)
            for pair in zip(expected, again, strict=True)
        ]
        for reading, each, mark in zip((one, other), boxes, marks, strict=True):
            if reading != self.taken:
                mark[_areas(np.clip(each, 0, 1)) < INSIDE * _areas(each)] = 0
        for place in np.flatnonzero(visible[0] & visible[1] & differs & ~self.stays):
            yield float(marks[0][place]), float(marks[1][place])


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
