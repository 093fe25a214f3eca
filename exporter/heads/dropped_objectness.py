"""An output of one value for each box, which no decoder would read: an objectness, without which scores are wrong."""

from collections.abc import Sequence
from math import prod

from exporter.errors import RecipeError
from exporter.heads.box_pair import is_boxes, pair
from exporter.heads.raw_tensor import Tensor

_CLASSES = ("label", "class", "cls", "category", "categories")
_PLACES = {"id", "ids", "idx", "ind", "inds", "index", "indices", "num", "count", "counts", "valid"}
_REPEATED = {"max", "best", "top"}
"""Words in names of class ids; of places and counts; of what repeats the scores."""

_FACTORS = ("objectness", "obj", "centerness", "ctrness", "iou", "quality")
_SCORES = ("score", "cls", "class", "conf", "prob", "logit")


def pair_objectness(outputs: Sequence[Tensor], *, is_stated: bool) -> list[Tensor] | None:
    """Return boxes, scores and an objectness (N, A), in any order, None where there are none.

    Args:
        outputs: of the network.
        is_stated: their order is the user's: boxes, scores, objectness. It counts where shapes and names do not tell.
    """
    found = pair(outputs, is_stated=is_stated)
    if found is None:
        return None
    boxes, scores = found
    count = boxes.dims[1]
    rest = [one for one in outputs if one is not boxes and _is_one_a_box(one, count)]
    if prod(scores.dims[1:]) == count:  # the objectness itself may have been taken for the scores
        others = [one for one in outputs if one is not boxes and len(one.dims) == 3]
        of_classes = (one for one in others if count in one.dims[1:] and prod(one.dims[1:]) > count)
        named = (one for one in rest if len(one.dims) == 3 and not _is_factor(one))
        scores = next(of_classes, scores if not _is_factor(scores) else next(named, scores))
    rest = [one for one in rest if one is not scores]
    objectness = next(filter(_is_factor, rest), next(iter(rest), None))
    return None if objectness is None else [boxes, scores, objectness]


def refuse_dropped(
    outputs: Sequence[Tensor], read: Sequence[Tensor], boxes: int, labels: int
) -> None:
    """Refuse to leave out an output of one value for each box beside scores of the classes.

    Args:
        outputs: of the network, or those that the user names.
        read: boxes and scores, or an output that holds both.
        boxes: how many there are.
        labels: how many are known, 0 for none.

    Raises:
        RecipeError: there is one that is neither a class id nor a count.
    """
    left_out = [one for one in outputs if one not in read and not one.is_integer]
    scores = read[-1]
    found = next((one for one in left_out if _is_one_a_box(one, boxes)), None)
    if found is None and prod(scores.dims[1:]) == boxes:
        # The scores of the classes may be what would be left out.
        of_classes = (one for one in left_out if _is_of_classes(one, boxes, labels))
        found, scores = scores, next(of_classes, scores)
    if found is None or found is scores:
        return
    names = dict.fromkeys([read[0].name, scores.name])
    product = (
        "state --decoder pair_objectness"
        if len(names) > 1
        else "export the network with this product in place of both"
    )
    raise RecipeError(
        f"The output {found.name} {found.dims} has one value for each box, beside {scores.name} {scores.dims}. If it "
        "is an objectness, a centerness or a quality, the score of a class is its product with it: "
        f"{product}. If the scores are right without it, name what to read: --outputs {','.join(names)}"
    )


def _is_one_a_box(one: Tensor, boxes: int) -> bool:
    is_other = any(word.startswith(_CLASSES) or word in _PLACES | _REPEATED for word in one.words)
    return boxes > 1 and boxes in one.dims[1:] and prod(one.dims[1:]) == boxes and not is_other


def _is_factor(one: Tensor) -> bool:
    return any(word.startswith(_FACTORS) for word in one.words)


def _is_of_classes(one: Tensor, boxes: int, labels: int) -> bool:
    if len(one.dims) != 3 or one.dims[1] != boxes or one.dims[2] == 1 or is_boxes(one):
        return False
    return one.dims[2] == labels or any(word.startswith(_SCORES) for word in one.words)
