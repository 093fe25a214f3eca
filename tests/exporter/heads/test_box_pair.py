"""Of two outputs of the same shape, names tell boxes from scores; where they do not, the export asks."""

import itertools

import pytest

from exporter.errors import RecipeError
from exporter.heads.box_pair import pair
from exporter.heads.raw_tensor import Tensor

ALIKE = (1, 9, 4)
"""Nine boxes, or nine boxes' scores of four classes."""


def found(*names: str, is_stated: bool = False) -> list[str]:
    tensors = [Tensor(name, ALIKE) for name in names]
    return [one.name for one in pair(tensors, is_stated=is_stated) or []]


@pytest.mark.parametrize(
    ("boxes", "scores"),
    [
        ("reg", "cls"),
        ("bbox_pred", "cls_score"),
        ("box_regression", "box_classification"),
        ("detection_boxes", "detection_scores"),
        ("locs", "conf"),
        ("out0", "probabilities"),
        ("Boxes", "out1"),
        ("/head/coords", "/head/block_3/logits"),
    ],
)
def test_names_tell_boxes_from_scores_of_four_classes(boxes: str, scores: str) -> None:
    assert found(boxes, scores) == found(scores, boxes) == [boxes, scores]


@pytest.mark.parametrize("names", [("371", "384"), ("output", "block_3"), ("boxes_1", "boxes_2")])
def test_names_that_do_not_tell_are_asked_about(names: tuple[str, str]) -> None:
    for ordered in itertools.permutations(names):
        words = f"Each of the outputs {', '.join(ordered)} could be.*--outputs {','.join(ordered)}"
        with pytest.raises(RecipeError, match=words):
            found(*ordered)


@pytest.mark.parametrize("names", [("371", "384"), ("cls", "reg")])
def test_a_stated_order_is_taken(names: tuple[str, str]) -> None:
    assert found(*names, is_stated=True) == list(names)


def test_a_third_output_of_the_same_shape_is_no_question_where_names_tell() -> None:
    assert found("anchors", "scores", "boxes") == ["boxes", "scores"]


def test_other_shapes_need_no_names() -> None:
    outputs = [Tensor("a", (1, 9, 3)), Tensor("b", ALIKE)]
    ordered = pair(outputs, is_stated=False)
    assert ordered == outputs[::-1]
    assert pair(outputs[:1], is_stated=False) is None
