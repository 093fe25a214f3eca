"""Whether x or y comes first in a detector's boxes, by mirrored images: what is found must be mirrored with them."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from exporter.errors import RecipeError
from exporter.heads.box_form import BOX_WORDS, EXCHANGED
from exporter.heads.box_unit import without
from exporter.heads.boxes import EXCHANGED_ORDER, xyxy
from exporter.heads.detect import DetectHead
from exporter.heads.detections import Detections
from exporter.heads.found_boxes import find_clearly
from exporter.heads.metrics import iou_matrix
from exporter.network import Array
from service.card import ImageInput

IMAGES = 8
"""So many images are mirrored, at most."""

FEWEST = 3
"""Fewer detections, of all images together, show nothing."""

FOUND_AGAIN = 0.6
"""The mean IoU of detections with those of the mirrored image that shows the order."""

CLEARLY = 0.2
"""The other order must be worse by this much: boxes in the middle of an image fit both."""

STAYS = 0.9
"""A box that is where it was, by this IoU, shows nothing: it is in the middle, or does not follow the image at all."""

_AS_READ = (0, 1, 2, 3)

Run = Callable[[NDArray[np.uint8]], Sequence[Array]]
"""Computes the raw outputs for frames."""


def judge_order(
    head: DetectHead,
    frames: NDArray[np.uint8],
    outputs: Sequence[Sequence[Array]],
    image_input: ImageInput,
    run: Run,
) -> DetectHead:
    """Return the head with the order that mirrored images show, where nothing states it.

    Args:
        head: with its activation settled.
        frames: real images, uint8 (I, H, W, 3).
        outputs: the source's raw outputs for each of the first of them.
        image_input: the network's.
        run: computes the source's raw outputs for a batch of frames.

    Raises:
        RecipeError: y comes before x, and no box format has this order.
    """
    if "format" not in head.assumed:
        return head
    own: list[float] = []
    other: list[float] = []
    for frame, plain in zip(frames[:IMAGES], outputs, strict=False):
        mirrored = run(frame[None, :, ::-1])
        for marks, columns in ((own, _AS_READ), (other, EXCHANGED_ORDER)):
            found, again = (
                _detections(head, raw, columns, image_input) for raw in (plain, mirrored)
            )
            marks.extend(_found_again(found, again))
    if min(len(own), len(other)) < FEWEST:
        return head
    as_read, exchanged = float(np.mean(own)), float(np.mean(other))
    if as_read >= FOUND_AGAIN and as_read >= exchanged + CLEARLY:
        return replace(head, assumed=without(head, "format"))
    if exchanged < FOUND_AGAIN or exchanged < as_read + CLEARLY:
        return head
    form = head.recipe.box_format
    if form not in EXCHANGED:
        raise RecipeError(
            f"Boxes are taken to be {form}, {BOX_WORDS[form]}; but what the network finds in mirrored images lies "
            "where it should if y came before x. There is no such format: exchange the columns in the network"
        )
    recipe = head.recipe.model_copy(update={"box_format": EXCHANGED[form]})
    return replace(head, recipe=recipe, assumed=without(head, "format"))


def _detections(
    head: DetectHead, raw: Sequence[Array], columns: tuple[int, ...], image_input: ImageInput
) -> Detections:
    """Return the best detections of one image, with the columns of its boxes in this order."""
    part = head.decoder.split(raw)
    corners = xyxy(part.boxes[..., list(columns)], head.recipe, image_input)[0]
    return find_clearly(head, part, corners)[0]


def _found_again(found: Detections, mirrored: Detections) -> list[float]:
    """Return for each detection the best IoU with one of its class in the mirrored image, mirrored back.

    Those that are found at the same place in the mirrored image are left out.
    """
    if not len(found) or not len(mirrored):
        return [0.0] * len(found)
    left, top, right, bottom = mirrored.boxes.T
    back = np.stack([1 - right, top, 1 - left, bottom], axis=1)
    same, overlaps = (iou_matrix(found.boxes, boxes) for boxes in (mirrored.boxes, back))
    for each in (same, overlaps):
        each[found.classes[:, None] != mirrored.classes[None]] = 0
    moved = same.max(axis=1) < STAYS
    return [float(one) for one in overlaps.max(axis=1)[moved]]
