"""Pixels that are none of a segmenter's classes, where each map is a probability of its own: a sigmoid, no softmax."""

from collections.abc import Sequence

import numpy as np

from exporter.errors import RecipeError
from exporter.heads.activation import activate
from exporter.heads.class_ids import is_background
from exporter.heads.score_kind import Kind, sums_to_one
from exporter.heads.segment import SegmentHead
from exporter.network import Array

LIKELY = 0.5
"""A pixel in which no class is likelier than this is none of them."""

MOST_EMPTY = 0.5
"""Where more of the pixels of real images than this are none of the classes, the background has no map."""


def require_maps_of_their_own(head: SegmentHead, kind: Kind, maps: Sequence[Array]) -> None:
    """Refuse a label more than maps where these are not probabilities of their own.

    Args:
        head: has a label for what no map is.
        kind: of the maps.
        maps: on real images, (N, C, h, w).

    Raises:
        RecipeError: they are logits or sum to one over the classes.
    """
    stated = head.stated
    if stated != "softmax" and (kind == "sigmoid" or stated is not None):
        applied = [activate(one, stated or "none", axis=1) for one in maps]
        if not sums_to_one(applied, axis=1):
            return
    how = (
        ""
        if kind == "softmax"
        else ". If each map is a class of its own (a sigmoid), and a pixel may be none of them, the background's label "
        "is the first one: state --activation sigmoid"
    )
    raise RecipeError(
        f"labels: {head.classes} are given, the network has {head.channels} classes. Give one label for each class, in "
        f"the order of the network's outputs: --labels FILE{how}"
    )


def require_background(
    head: SegmentHead, maps: Sequence[Array], labels: Sequence[str], background_id: int | None
) -> None:
    """Refuse maps that leave most pixels without a class: the best of them would be an object in every pixel.

    Args:
        head: settled.
        maps: raw, on real images, (N, C, h, w).
        labels: those of the maps.
        background_id: the stated one.

    Raises:
        RecipeError: no class is likely in most pixels, and none of them is the background.
    """
    if head.channels == 1 or head.has_rest or head.stated == "none" or background_id is not None:
        return
    if any(is_background(label) for label in labels):
        return
    applied = [activate(one, head.activation, axis=1) for one in maps]
    if sums_to_one(applied, axis=1):
        return
    empty = float(np.mean(np.concatenate([one.max(axis=1).ravel() for one in applied]) < LIKELY))
    if empty > MOST_EMPTY:
        raise RecipeError(
            f"Each map is a probability of its own, and in {empty:.0%} of the pixels of real images none of the "
            f"classes has {LIKELY}: the best one would be an object there. Give the background's label first, one "
            "label more than there are maps; it is where no class is likely. If one of these labels is the "
            "background, state --background-id; if each pixel is the best of them, export the network with a softmax, "
            "or state --activation none where its sigmoid is in the network"
        )
