"""Whether the class ids that a detector gives are those of the labels: some networks begin at 1."""

import re
from collections.abc import Sequence

import numpy as np

from exporter.errors import RecipeError
from exporter.heads.boxes import Candidates
from exporter.heads.detect import DetectHead
from exporter.network import Array, Head

_MAY_BEGIN_AT_ONE = {
    "triple",
    "end2end",
    "class_score",
    "paddle",
    "efficientdet",
    "mmdet",
    "detection_output",
}
"""The decoders whose networks name the class of each box, of several tools; YOLOv7's ids begin at 0."""

SURE = 0.3
"""Boxes of at least this score are objects."""

_BACKGROUND = re.compile(
    r"[\W_]*(background|bg|n/?a|unlabell?ed|void|none|nothing|no[\W_]*object)?[\W_]*", re.IGNORECASE
)


def is_background(label: str) -> bool:
    """Return whether a label is that of no class, as `background`, `no object` or an empty one."""
    return _BACKGROUND.fullmatch(label) is not None


def check_classes(head: Head, outputs: Sequence[Sequence[Array]], labels: Sequence[str]) -> None:
    """Refuse class ids that can not be the places of the labels, or may be one off.

    Raises:
        RecipeError: a class id on real images has no label or is no class id, or nothing shows whether ids begin at 0
            or at 1.
    """
    if not isinstance(head, DetectHead):
        return
    parts = [head.decoder.split(one) for one in outputs]
    # Rows of score 0 fill up the list, and some networks give them the class -1.
    ids = [np.floor(one.classes[one.scores > 0]) for one in parts if one.classes is not None]
    if not sum(one.size for one in ids):
        return
    found = np.concatenate(ids)
    offset = head.recipe.class_offset
    first, last = int(found.min()), int(found.max())
    if first + offset < 0:
        raise _below_zero(head, first, last)
    if last + offset >= len(labels):
        raise _without_label(first, last, offset, len(labels))
    if not _is_known(head) and is_background(labels[0]):
        _refuse_background(parts, labels[0])
    elif first > 0 and not _is_known(head):
        raise RecipeError(
            f"The network names the classes {first} to {last} on real images and never 0: where its ids begin at 1, "
            f"each label is one off, and nothing shows it. State --class-offset 0 if its first class has the id 0 "
            f"({labels[0]!r} is 0), --class-offset -1 if it has the id 1 ({labels[0]!r} is 1), or --background first "
            f"if {labels[0]!r} is no class"
        )


def _is_known(head: DetectHead) -> bool:
    """Return whether it is known that the class 0 is that of the first label.

    Where the graph shows from how many classes one is chosen, its ids are places, which begin at 0.
    """
    return (
        head.recipe.decoder not in _MAY_BEGIN_AT_ONE
        or head.known_classes is not None
        or bool({"class_offset", "background"} & head.recipe.model_fields_set)
    )


def _refuse_background(parts: Sequence[Candidates[Array]], label: str) -> None:
    """Refuse sure objects whose label is that of the background."""
    sure = [one.classes[one.scores >= SURE] for one in parts if one.classes is not None]
    if any((one == 0).any() for one in sure):
        raise RecipeError(
            f"The network detects class 0 on real images, and the first label, {label!r}, is that of no class. State "
            "--class-offset 1 if the network's classes begin with the second label, or --class-offset 0 if they do not"
        )


def _below_zero(head: DetectHead, first: int, last: int) -> RecipeError:
    offset = head.recipe.class_offset
    if offset < 0 <= first:
        return RecipeError(
            f"--class-offset {offset} says that the network's class ids begin at {-offset}, but on real images it "
            f"names class {first}. Leave it out"
        )
    return RecipeError(
        f"The last column of --decoder {head.recipe.decoder} must hold class ids, 0, 1, 2, …; on real images it "
        f"holds {first + offset} to {last + offset}. Is the decoder right?"
    )


def _without_label(first: int, last: int, offset: int, labels: int) -> RecipeError:
    begins = (
        ". Or do its ids begin at 1, and no label is the background's? State --class-offset -1"
        if offset == 0 and first > 0 and last == labels
        else ""
    )
    return RecipeError(
        f"labels: {labels} are given, but the network detects class {last + offset} on real images. "
        "Give one label for each of the network's classes, in the order of their ids; where these begin at 1, the "
        f"first label is that of the background{begins}"
    )
