"""Whether a detector that is taken to give each object one box does so: real images show where it gives several."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from exporter.heads.box_grid import read_grid
from exporter.heads.boxes import Candidates, xyxy
from exporter.heads.detect import DetectHead
from exporter.heads.detections import Detections
from exporter.heads.found_boxes import SEEN_SCORE
from exporter.heads.metrics import iou_matrix
from exporter.network import Array
from service.card import ImageInput

CONSIDERED = 100
"""Of an image so many detections count, the best."""

SAME_OBJECT = 0.75
"""Two boxes of a class with a larger IoU are one object's. Networks that suppress themselves do so at 0.45 to 0.7."""

FEWEST = 3
"""Fewer detections that repeat a better one, of all images together, show nothing."""

SHARE = 0.25
"""So large a share of the clear detections repeats a better one where no suppression was done; else hardly any does."""

SHARE_BY_FORM = 0.15
"""The same where only the form of the outputs says that each object has one box, and no operator of the graph.

A network that is given photographs of what it was not trained for finds most of it only once.
"""

DOUBTED = 0.05
FEWEST_BY_FORM = 10
"""Of a network whose form alone says it, at least so many clear detections, of which at most this share repeats a
better one, show it."""

OVERLAP = 0.5
OVERLAPPING = 0.5
FEWEST_OVERLAPPING = 6
"""So many detections, and so large a share of them, that overlap a better one of their class by more than this are no
neighbors: a suppression at 0.7 leaves a few such, in crowds."""

STAYS = 0.9
"""A detection with such an IoU with one of the next image is the same; a network that gives the same ones for every
image, as untrained ones do, shows nothing."""


def judge_suppression(
    head: DetectHead, outputs: Sequence[Sequence[Array]], image_input: ImageInput
) -> DetectHead:
    """Return the head with suppression in each request, where it is assumed to need none and its boxes overlap.

    Boxes that follow the cells of a grid are those of a network that gives an object several. Where too little is found
    to show it, that it needs none is `assumed`. Where the source knows that each object has one box, or the recipe
    states it, the head is returned as it is.

    Args:
        head: with its activation and the form of its boxes settled.
        outputs: the source's raw outputs for each of several real images.
        image_input: the network's.
    """
    if not is_open(head):
        return head
    is_dense = not head.is_written_so and _lie_on_grid(head, outputs, image_input)
    repeats = is_dense or _repeats(head, outputs, image_input)
    if repeats is None and not head.is_written_so:
        return replace(head, assumed=(*head.assumed, "nms_free"))
    return _settled(head, repeats=repeats)


def judge_again(
    head: DetectHead, outputs: Sequence[Sequence[Array]], image_input: ImageInput
) -> DetectHead:
    """Return the head judged by further images; where these show nothing, it stays as it is.

    Args:
        head: as other images have it judged.
        outputs: the source's raw outputs for each of the images.
        image_input: the network's.
    """
    if not is_open(head):
        return head
    return _settled(head, repeats=_repeats(head, outputs, image_input))


def is_open(head: DetectHead) -> bool:
    """Return whether images may show that the head needs suppression: nobody states that it needs none."""
    return head.assumes_nms_free and head.recipe.nms_free and not head.is_known


def _settled(head: DetectHead, *, repeats: bool | None) -> DetectHead:
    if repeats is None:
        return head
    assumed = tuple(part for part in head.assumed if part != "nms_free")
    recipe = head.recipe.model_copy(update={"nms_free": not repeats})
    return replace(head, recipe=recipe, assumed=assumed)


def _lie_on_grid(
    head: DetectHead, outputs: Sequence[Sequence[Array]], image_input: ImageInput
) -> bool:
    """Return whether the boxes, in the order in which the network gives them, follow the cells of a grid."""
    boxes = [head.decoder.split(one).boxes for one in outputs]
    if len({one.shape[1:] for one in boxes}) > 1:
        return False
    seen = read_grid(np.concatenate(boxes), image_input)
    return seen is not None and (seen.form is not None or bool(seen.could_be))


def _repeats(
    head: DetectHead, outputs: Sequence[Sequence[Array]], image_input: ImageInput
) -> bool | None:
    """Return whether the network gives an object several boxes, None where the images do not show it."""
    clear = [_clear(head, head.decoder.split(one), image_input) for one in outputs]
    shown = [one for index, one in enumerate(clear) if not _stays(one, clear[index - 1])]
    if len(clear) == 1:
        shown = clear
    count = sum(map(len, shown))
    repeated, overlapping = (
        sum(_repeated(one, iou) for one in shown) for iou in (SAME_OBJECT, OVERLAP)
    )
    share = SHARE_BY_FORM if head.is_free_by_form else SHARE
    is_repeated = repeated >= FEWEST and repeated >= share * count
    if is_repeated or (overlapping >= FEWEST_OVERLAPPING and overlapping >= OVERLAPPING * count):
        return True
    fewest, most = (FEWEST_BY_FORM, DOUBTED) if head.is_free_by_form else (FEWEST, SHARE)
    return False if count >= fewest and repeated < most * count else None


def _clear(head: DetectHead, part: Candidates[Array], image_input: ImageInput) -> Detections:
    """Return the clear detections of one image, the best first; nothing is suppressed."""
    scores, anchors, classes = (one[0] for one in head.pairs(part))
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] >= SEEN_SCORE][:CONSIDERED]
    corners = np.clip(xyxy(part.boxes, head.recipe, image_input)[0], 0, 1)
    return Detections(corners[anchors[order]], scores[order], classes[order])


def _repeated(found: Detections, iou: float) -> int:
    """Return how many of these overlap a better one of their class by more than this."""
    if not len(found):
        return 0
    better = np.tril(_overlaps(found, found), -1)
    return int((better.max(axis=1) > iou).sum())


def _stays(found: Detections, other: Detections) -> bool:
    """Return whether most of these are in another image too."""
    if not len(found) or not len(other):
        return False
    there = _overlaps(found, other).max(axis=1) >= STAYS
    return bool(there.mean() >= STAYS)


def _overlaps(found: Detections, others: Detections) -> Array:
    """Return the IoU of each of these with each of others, 0 between two classes."""
    ious = iou_matrix(found.boxes, others.boxes)
    ious[found.classes[:, None] != others.classes[None]] = 0
    return ious
