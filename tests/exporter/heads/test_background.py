"""Which column of a detector's scores is the background: labels and real images say it, else it is asked."""

import numpy as np
import pytest

from exporter.errors import RecipeError
from exporter.heads.background import settle_background
from exporter.heads.class_ids import is_background
from exporter.heads.detect import DetectHead
from exporter.network import Array
from tests.exporter.heads.judged import detect_head

BOXES = 8


def shares(*best: int, columns: int = 4) -> list[Array]:
    """Return scores (1, 8, K) that sum to one, the best one of each box in the given column."""
    scores = np.full((1, BOXES, columns), 0.1, np.float32)
    scores[0, np.arange(BOXES), best] = 1 - 0.1 * (columns - 1)
    return [scores]


def settled(scores: list[Array], labels: list[str], **detect: object) -> DetectHead:
    head = detect_head("pair", (1, BOXES, 4), scores[0].shape, **detect)
    return settle_background(head, scores, labels, is_softmax=False)


MIXED = shares(0, 1, 2, 3, 0, 1, 2, 3)
KINDS = ["cat", "dog", "bird", "fish"]


def test_classes_with_a_label_each_are_served_and_that_none_is_the_background_is_assumed() -> None:
    head = settled(MIXED, KINDS)

    assert (head.recipe.background, head.assumes_no_background) == ("none", True)


@pytest.mark.parametrize(
    ("labels", "which"),
    [
        (["__background__", "cat", "dog", "bird"], "first"),
        (["N/A", "cat", "N/A", "bird"], "first"),
        (["cat", "dog", "bird", "no object"], "last"),
        (["cat", "dog", "bird", ""], "last"),
    ],
)
def test_a_label_of_the_background_says_which_column_it_is(labels: list[str], which: str) -> None:
    head = settled(MIXED, labels)

    assert (head.recipe.background, head.assumes_no_background) == (which, False)
    assert head.classes == len(labels)


@pytest.mark.parametrize(("column", "which"), [(0, "first"), (3, "last")])
def test_a_column_that_is_the_best_one_of_most_boxes_is_asked_about(
    column: int, which: str
) -> None:
    with pytest.raises(
        RecipeError,
        match=rf"The {which} column is the best one of 62%.*its label is '{KINDS[column]}'.*--background",
    ):
        settled(shares(1, 1, 2, *[column] * 5), KINDS)
    # A class in the middle is none: a background has the first or the last column.
    assert settled(shares(1, 1, 1, 1, 1, 1, 1, 2), KINDS).assumes_no_background


def test_a_label_of_the_background_at_the_other_end_is_asked_about() -> None:
    wrong = ["cat", "dog", "bird", "background"]
    with pytest.raises(
        RecipeError,
        match=r"Its label is the last one, 'background', but the first column is the best one of 75%",
    ):
        settled(shares(0, 0, 0, 0, 0, 0, 1, 3), wrong)
    with pytest.raises(RecipeError, match=r"the first one, 'none', but the last column is the"):
        settled(shares(3, 3, 3, 3, 3, 3, 1, 0), ["none", "dog", "bird", "fish"])
    assert settled(shares(3, 3, 3, 3, 3, 3, 1, 0), wrong).recipe.background == "last"


@pytest.mark.parametrize("stated", ["last", "none"])
def test_a_stated_background_is_doubted_where_another_column_looks_like_one(stated: str) -> None:
    empty = shares(0, 0, 0, 0, 0, 0, 1, 2)

    head = settled(empty, KINDS, background=stated)

    assert head.doubted is not None
    assert (head.doubted.which, head.doubted.share) == ("first", 0.75)
    assert settled(empty, KINDS, background="first").doubted is None
    assert settled(MIXED, KINDS, background=stated).doubted is None


def test_two_labels_of_a_background_or_another_number_of_labels_are_asked_about() -> None:
    with pytest.raises(RecipeError, match=r"'background' and 'void' may both .*--background first"):
        settled(MIXED, ["background", "cat", "dog", "void"])
    with pytest.raises(RecipeError, match="--background first, last"):
        settled(MIXED, ["background", *KINDS], class_offset=1)


def test_what_is_stated_or_sums_to_another_number_stays_as_it_is() -> None:
    for stated in ("first", "last", "none"):
        head = settled(shares(*[0] * BOXES), KINDS, background=stated)
        assert (head.recipe.background, head.assumes_no_background) == (stated, False)
    alone = [one * 0.9 for one in MIXED]
    assert not settled(alone, KINDS).assumes_no_background
    head = detect_head("pair", (1, BOXES, 4), (1, BOXES, 4))
    assert settle_background(head, alone, KINDS, is_softmax=True).assumes_no_background


def left_over(how: str, which: str) -> list[Array]:
    """Return sigmoids (1, 8, 4) of which one column is what the three classes leave; two boxes show an object."""
    classes = np.random.default_rng(0).uniform(0, 0.1, (1, BOXES, 3))
    classes[0, [1, 4], [0, 2]] = 0.9
    rest = (
        1 - classes.max(axis=2, keepdims=True)
        if how == "max"
        else (1 - classes).prod(axis=2, keepdims=True)
    )
    parts = [rest, classes] if which == "first" else [classes, rest]
    return [np.concatenate(parts, axis=2).astype(np.float32)]


@pytest.mark.parametrize("how", ["max", "product"])
@pytest.mark.parametrize(
    ("which", "labels"),
    [
        ("first", ["background", "cat", "dog", "bird"]),
        ("last", ["cat", "dog", "bird", "no object"]),
    ],
)
def test_a_labeled_background_whose_scores_do_not_sum_to_one_is_no_class(
    how: str, which: str, labels: list[str]
) -> None:
    scores = left_over(how, which)
    assert settled(scores, labels).recipe.background == which
    assert settled(scores, labels, background="none").recipe.background == "none"
    assert settled(scores, KINDS).recipe.background == "none"


def test_a_label_of_the_background_alone_makes_no_background_of_sigmoids() -> None:
    scores = left_over("max", "last")
    assert settled(scores, ["background", "cat", "dog", "bird"]).recipe.background == "none"
    assert settled([scores[0][..., ::-1]], ["cat", "dog", "bird", "void"]).recipe.background == (
        "none"
    )


def test_words_that_are_no_class() -> None:
    for label in (
        "background",
        "__background__",
        "BG",
        "n/a",
        "no-object",
        "No Object",
        "void",
        "none",
        "",
    ):
        assert is_background(label), label
    for label in ("no", "no helmet", "nobody", "avoid", "cat", "object", "no objection"):
        assert not is_background(label), label
