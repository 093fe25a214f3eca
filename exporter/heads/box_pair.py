"""Which of a detector's outputs holds the boxes and which the scores; of four classes both have the same shape."""

from collections.abc import Sequence

from exporter.errors import RecipeError
from exporter.heads.raw_tensor import Tensor

_OF_BOXES = ("box", "bbox", "reg", "loc", "coord", "rect", "det")
_OF_SCORES = ("score", "cls", "class", "conf", "prob", "logit", "label", "category", "categories")
"""How words in the names of outputs begin."""


def is_boxes(one: Tensor) -> bool:
    """Return whether an output may be boxes, (N, A, 4); axes of size one may be between."""
    return len(one.dims) in {3, 4} and one.dims[-1] == 4 and set(one.dims[2:-1]) <= {1}


def pair(outputs: Sequence[Tensor], *, is_stated: bool) -> list[Tensor] | None:
    """Return boxes (N, A, 4) and scores (N, A, K) or (N, K, A), in any order, None where there are none.

    Args:
        outputs: of the network.
        is_stated: their order is the user's, boxes before scores.

    Raises:
        RecipeError: several outputs could be the boxes, and their names do not tell which.
    """
    pairs = [
        [boxes, scores]
        for boxes in filter(is_boxes, outputs)
        for scores in outputs
        if scores is not boxes and len(scores.dims) == 3 and boxes.dims[1] in scores.dims[1:]
    ]
    if is_stated or not pairs:
        return pairs[0] if pairs else None
    named = max(_named(*one) for one in pairs)
    best = [one for one in pairs if _named(*one) == named]
    could_be = [one.name for one in dict.fromkeys(boxes for boxes, _ in best)]
    if len(could_be) > 1:
        raise RecipeError(
            f"Each of the outputs {', '.join(could_be)} could be the boxes: their last axis is four, and so may be the "
            "number of classes. Name boxes and scores in this order: --outputs BOXES,SCORES, for example --outputs "
            f"{best[0][0].name},{best[0][1].name}"
        )
    return best[0]


def pair_of_one_class(outputs: Sequence[Tensor]) -> list[Tensor] | None:
    """Return boxes (N, A, 4) and the scores (N, A) of one class, in any order; None where there is more, or neither."""
    boxes = next(filter(is_boxes, outputs), None)
    rest = [one for one in outputs if one is not boxes and not one.is_integer]
    if boxes is None or len(rest) != 1 or rest[0].dims != boxes.dims[:2]:
        return None
    return None if _begins(rest[0], ("label", "id")) else [boxes, rest[0]]


def _named(boxes: Tensor, scores: Tensor) -> int:
    """Return how much the names of two outputs say for this order of them, below 0 where they speak against it."""
    for_boxes = _begins(boxes, _OF_BOXES) - _begins(boxes, _OF_SCORES)
    for_scores = _begins(scores, _OF_SCORES) - _begins(scores, _OF_BOXES)
    return for_boxes + for_scores


def _begins(one: Tensor, words: tuple[str, ...]) -> int:
    """Return 1 if a word of the name begins with one of these."""
    return int(any(word.startswith(words) for word in one.words))
