"""An output of one value for each box, which no decoder would read: an objectness, without which scores are wrong."""

from collections.abc import Sequence
from math import prod

from exporter.errors import RecipeError
from exporter.heads.box_pair import is_boxes
from exporter.heads.raw_tensor import Tensor

_CLASSES = ("label", "class", "cls", "category", "categories")
_PLACES = {"id", "ids", "idx", "ind", "inds", "index", "indices", "num", "count", "counts", "valid"}
_REPEATED = {"max", "best", "top"}
"""Words in names of class ids; of places and counts; of what repeats the scores."""

_SCORES = ("score", "cls", "class", "conf", "prob", "logit")


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
    raise RecipeError(
        f"The output {found.name} {found.dims} has one value for each box, beside {scores.name} {scores.dims}. If it "
        "is an objectness, a centerness or a quality, the score of a class is its product with it: export the network "
        "with this product in place of both. If the scores are right without it, name what to read: --outputs "
        f"{','.join(names)}"
    )


def _is_one_a_box(one: Tensor, boxes: int) -> bool:
    is_other = any(word.startswith(_CLASSES) or word in _PLACES | _REPEATED for word in one.words)
    return boxes > 1 and boxes in one.dims[1:] and prod(one.dims[1:]) == boxes and not is_other


def _is_of_classes(one: Tensor, boxes: int, labels: int) -> bool:
    if len(one.dims) != 3 or one.dims[1] != boxes or one.dims[2] == 1 or is_boxes(one):
        return False
    return one.dims[2] == labels or any(word.startswith(_SCORES) for word in one.words)
