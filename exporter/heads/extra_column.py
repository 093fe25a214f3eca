"""A column of scores that is that of no class: an objectness that is taken for a class or for the background."""

from collections.abc import Sequence

import numpy as np

from exporter.errors import RecipeError
from exporter.heads.detect import DetectHead
from exporter.heads.score_kind import in_unit_range, sums_to_one
from exporter.network import Array

WITH_OBJECTNESS = {"detr": "yolov5", "yolov8_rows": "yolov5", "yolov8": "yolov5_columns"}
"""The decoder that reads an objectness behind the box where another one reads the score of the first class."""

CLEAR = 0.5
"""A background above this is that of a box without an object, a class above it that of an object."""

FEWEST = 4
"""So many boxes with a clear background show what it is."""

MOST_BOTH = 0.5
"""At most this share of the boxes with a clear background have a clear class, which a background rules out."""


def refuse_one_more(head: DetectHead, labels: int) -> None:
    """Ask what a column of scores without a label is, where it may be an objectness.

    Args:
        head: of any decoder.
        labels: how many there are, 0 where none are known.

    Raises:
        RecipeError: there is one column of scores more, and nothing states which one is no class.
    """
    stated = head.recipe.model_fields_set & {"background", "class_offset"}
    decoder = head.recipe.decoder
    if not labels or head.columns != labels + 1 or stated or decoder not in WITH_OBJECTNESS:
        return
    raise RecipeError(
        f"labels: {labels} are given, and --decoder {decoder} reads {head.columns} columns of scores behind the box. "
        f"If the first of them is an objectness, as YOLOv5 has it, give --decoder {WITH_OBJECTNESS[decoder]}. If one "
        "is the score of the background, give --background first or last. If each is that of a class, give one label "
        "for each: --labels FILE"
    )


def refuse_objectness(head: DetectHead, scores: Sequence[Array]) -> None:
    """Refuse a stated background that is high where a class is: it says that there is an object.

    Args:
        head: of any decoder.
        scores: probabilities of the classes of each box on real images, (N, A, K).

    Raises:
        RecipeError: the column that the recipe states to be the background is none.
    """
    which = head.recipe.background
    if which == "none" or head.columns < 2 or not in_unit_range(scores) or sums_to_one(scores, 2):
        return
    every = np.concatenate([one.reshape(-1, head.columns) for one in scores])
    at = 0 if which == "first" else head.columns - 1
    classes = np.delete(every, at, axis=1)[every[:, at] >= CLEAR].max(axis=1)
    if len(classes) < FEWEST or float(np.mean(classes >= CLEAR)) <= MOST_BOTH:
        return
    other = WITH_OBJECTNESS.get(head.recipe.decoder) if which == "first" else None
    step = (
        f"If it is an objectness, as YOLOv5 has it, give --decoder {other} without --background"
        if other
        else "If it is an objectness or a quality, export the network with the scores of the classes multiplied by it, "
        "and without this column"
    )
    raise RecipeError(
        f"--background {which} says that the {which} column of scores is the background, but of the "
        f"{len(classes)} boxes in which it is {CLEAR} or more on real images {float(np.mean(classes >= CLEAR)):.0%} "
        f"have a class of {CLEAR} or more as well. {step}"
    )
