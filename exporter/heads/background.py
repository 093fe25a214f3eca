"""The column of a detector's scores that is the background's: labels and real images show it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from exporter.errors import RecipeError
from exporter.heads.class_ids import is_background
from exporter.heads.detect import DetectHead, LikelyBackground
from exporter.heads.score_kind import sums_to_one
from exporter.network import Array

MOST_BOXES = 0.5
"""A background is the best column of more boxes than this: most boxes show nothing."""


def settle_background(
    head: DetectHead, scores: Sequence[Array], labels: Sequence[str], *, is_softmax: bool
) -> DetectHead:
    """Return the head with the column of the background, if a label says that there is one.

    Where each column has a label of a class, and the first and the last one are not the best ones of most boxes, no
    column is the background: that is assumed. What is stated stays, and is doubted where another column looks like one.

    Scores that do not sum to one have a background where a label says so and its column is the best one of most boxes,
    as the share that the best class leaves (1 − max) or the product of what all leave is.

    Args:
        head: of any decoder.
        scores: those of the boxes on real images, (N, A, K), before or after an activation.
        labels: one for each class.
        is_softmax: whether they are those of a softmax, even if these values do not sum to one.

    Raises:
        RecipeError: nothing shows which column is the background, or labels and values do not agree on it. A box that
            shows nothing would be an object.
    """
    if head.columns < 2:
        return head
    if not (is_softmax or sums_to_one(scores, axis=2)):
        return _with_labeled(head, scores, labels)
    leading = _best_of_most(scores)
    if "background" in head.recipe.model_fields_set:
        doubted = leading if leading and leading.which != head.recipe.background else None
        return replace(head, doubted=doubted)
    if len(labels) != head.columns or head.recipe.class_offset:
        raise _unknown("")
    first, last = is_background(labels[0]), is_background(labels[-1])
    if first and last:
        raise _unknown(f" {labels[0]!r} and {labels[-1]!r} may both be its label.")
    if first or last:
        which, label = ("first", labels[0]) if first else ("last", labels[-1])
        if leading and leading.which != which:
            raise _unknown(f" Its label is the {which} one, {label!r}, but {leading.words}.")
        return replace(head, recipe=head.recipe.model_copy(update={"background": which}))
    if leading:
        label = labels[0 if leading.which == "first" else -1]
        raise _unknown(f" {leading.words.capitalize()}, and its label is {label!r}.")
    return replace(head, assumes_no_background=True)


def _with_labeled(head: DetectHead, scores: Sequence[Array], labels: Sequence[str]) -> DetectHead:
    """Return the head with the background that a label names, where its column is the best one of most boxes.

    Where it is not, the column has no part in what is found, as that of a class which no training image shows.
    """
    is_stated = "background" in head.recipe.model_fields_set or head.recipe.class_offset
    if is_stated or len(labels) != head.columns:
        return head
    leading = _best_of_most(scores)
    if leading is None or not is_background(labels[0 if leading.which == "first" else -1]):
        return head
    return replace(head, recipe=head.recipe.model_copy(update={"background": leading.which}))


def leaves_background_out(head: DetectHead, labels: Sequence[str]) -> bool:
    """Return whether there is a label for each class, and none for the stated background, at either end.

    Args:
        head: of any decoder.
        labels: one for each column, or one fewer.
    """
    recipe = head.recipe
    if recipe.background == "none" or recipe.class_offset or not labels:
        return False
    has_own = is_background(labels[0]) or is_background(labels[-1])
    return len(labels) == head.columns - 1 and not has_own


def refuse_background_alone(head: DetectHead) -> None:
    """Refuse a stated background that leaves no class.

    Raises:
        RecipeError: it is the only column of scores.
    """
    which = head.recipe.background
    if head.columns == 1 and which != "none":
        raise RecipeError(
            f"--background {which}: the outputs have one column of scores, and without it no class is left. Leave it "
            "out if the column is that of the only class; else export the network with those of its classes too"
        )


def with_background_label(head: DetectHead, labels: tuple[str, ...]) -> tuple[str, ...]:
    """Return the labels of the classes with an empty one in the place of the background."""
    return ("", *labels) if head.recipe.background == "first" else (*labels, "")


def _best_of_most(scores: Sequence[Array]) -> LikelyBackground | None:
    """Return the first or the last column, if it is the best one of most boxes."""
    columns = scores[0].shape[2]
    best = np.concatenate([one.reshape(-1, columns).argmax(axis=1) for one in scores])
    shares = {"first": float(np.mean(best == 0)), "last": float(np.mean(best == columns - 1))}
    which = max(shares, key=shares.__getitem__)
    return LikelyBackground(which, shares[which]) if shares[which] > MOST_BOXES else None


def _unknown(seen: str) -> RecipeError:
    return RecipeError(
        "The scores of a box sum to one over its classes (a softmax), so that one column may be the background, "
        f"which must not become a box.{seen} State it: --background first, last (as DETR has it) or none; the label "
        "of a background may be left out"
    )
