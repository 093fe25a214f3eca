"""The tensors that a module returns are put in the order of the task's head."""

from typing import Any

import pytest
import torch
from torch import Tensor

from exporter.errors import GraphError, RecipeError
from exporter.recipe import Recipe, make_recipe
from exporter.torch_order import order_outputs
from service.card import ImageInput

FRAME = ImageInput(height=64, width=64, resize="stretch")


def order(
    output: object, task: str, labels: int = 0, **fields: Any
) -> tuple[Recipe, tuple[str, ...]]:
    recipe = make_recipe({"source": "python:a:b", "task": task, "name": "net", **fields})
    return order_outputs(output, recipe, FRAME, labels)


def maps(classes: int, side: int = 16) -> Tensor:
    return torch.zeros(2, classes, side, side)


@pytest.mark.parametrize(
    ("output", "labels", "names"),
    [
        (maps(5), 5, ("0",)),
        ([maps(7), maps(5)], 5, ("1", "0")),
        # One map for two labels.
        ([maps(7), maps(1)], 2, ("1", "0")),
        ([maps(1), maps(2).long()], 2, ("0", "1")),
        # The only map is the one, whatever the labels say.
        ([torch.zeros(2, 9), maps(7)], 5, ("1", "0")),
        ([maps(7).long(), maps(7)], 0, ("1", "0")),
        ([maps(7) > 0, maps(5)], 5, ("1", "0")),
        ({"aux": maps(5), "out": maps(5)}, 5, ("out",)),
    ],
)
def test_the_map_that_the_labels_fit_comes_first(
    output: object, labels: int, names: tuple[str, ...]
) -> None:
    assert order(output, "segment", labels)[1] == names


@pytest.mark.parametrize(
    ("output", "labels"),
    [
        ([maps(5), maps(5, 8)], 5),
        ([maps(5), maps(7)], 0),
        ([maps(5), maps(7)], 6),
        ([maps(1), maps(2)], 2),
        ([maps(1), maps(7)], 3),
    ],
)
def test_several_maps_that_could_be_the_one_need_an_option(
    output: list[Tensor], labels: int
) -> None:
    with pytest.raises(RecipeError, match=r"0 \(1, .*16, 16\), 1 \(1, .*--outputs 0$"):
        order(output, "segment", labels)


def test_maps_of_whole_numbers_alone_are_refused() -> None:
    with pytest.raises(RecipeError, match="whole numbers"):
        order(maps(1).int(), "segment", 2)


def test_a_map_of_true_and_false_is_no_map_of_whole_numbers() -> None:
    assert order(maps(1) > 0, "segment", 2)[1] == ("0",)


def test_scores_of_a_classifier_are_found_by_the_labels() -> None:
    vectors = [torch.zeros(2, 7), torch.zeros(2, 5)]

    assert order(vectors, "classify", 5)[1] == ("1", "0")
    assert order({"features": vectors[0], "logits": vectors[1]}, "classify")[1] == ("logits",)


def test_boxes_come_first_and_the_recipe_gets_their_form() -> None:
    scores, boxes = torch.zeros(2, 9, 3), torch.zeros(2, 9, 4)

    recipe, names = order([scores, boxes], "detect")
    assert (recipe.detect.decoder, names) == ("pair", ("1", "0"))
    recipe, names = order({"logits": scores, "pred_boxes": boxes}, "detect")
    assert (recipe.detect.box_format, names) == ("cxcywh", ("pred_boxes", "logits"))
    kinds = torch.zeros(2, 9, dtype=torch.int64)
    recipe, names = order([kinds, boxes, torch.zeros(2, 9)], "detect")
    assert (recipe.detect.decoder, names) == ("triple", ("1", "2", "0"))


def test_a_batch_of_two_shows_the_shape_of_one() -> None:
    """84 cells of strides 8, 16 and 32 over 64×64, and 4 + 3 values each."""
    assert order(torch.zeros(2, 7, 84), "detect", 3)[0].detect.decoder == "yolov8"


def test_stated_outputs_are_left_as_they_are() -> None:
    scores, boxes = torch.zeros(2, 9, 3), torch.zeros(2, 9, 4)

    recipe, names = order([scores, boxes], "detect", outputs=["0", "1"])

    assert names == ("0", "1")
    assert "decoder" not in recipe.detect.model_fields_set
    with pytest.raises(RecipeError, match="--outputs 2: the network's outputs are 0, 1"):
        order([scores, boxes], "detect", outputs=["2"])


def test_an_output_without_a_tensor_is_refused() -> None:
    with pytest.raises(GraphError, match="without a tensor"):
        order({"loss": 3}, "classify")
