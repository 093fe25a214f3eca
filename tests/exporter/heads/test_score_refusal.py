"""Sorted values and negative probabilities are no scores of classes."""

from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, helper

from exporter.errors import RecipeError
from exporter.graph import Graph
from exporter.heads.score_refusal import (
    refuse_no_class_scores,
    refuse_softmax_over_boxes,
    refuse_softmax_over_places,
)
from tests.exporter.graphs import normal, pixel_graph


def op(name: str, inputs: str, outputs: str, **attributes: Any) -> NodeProto:
    return helper.make_node(name, inputs.split(), outputs.split(), **attributes)


def refuse(rows: list[list[float]], *nodes: NodeProto) -> None:
    """Judge scores, one image a row, behind these nodes; `logits` come from a linear layer."""
    end = nodes or (op("Identity", "logits", "out"),)
    model = pixel_graph(
        op("Flatten", "pixels", "flat"),
        op("MatMul", "flat w", "logits"),
        *end,
        outputs=["out"],
        w=normal(768, 3),
        many=np.array([3], np.int64),
        two=np.array([2.0], np.float32),
    )
    refuse_no_class_scores(Graph(model), "out", [np.array([row], np.float32) for row in rows])


PLAIN = [[0.1, 0.7, 0.2], [0.3, 0.3, 0.4]]


@pytest.mark.parametrize(
    "nodes",
    [
        [op("TopK", "logits many", "out place")],
        [op("TopK", "logits many", "best place"), op("Softmax", "best", "out")],
        [op("TopK", "logits many", "best place"), op("Mul", "best two", "out")],
        [op("TopK", "logits many", "best place"), op("Sub", "two best", "a"), op("Neg", "a", "out")],
    ],
)  # fmt: skip
def test_values_for_each_rank_are_refused_with_the_tensor_before_them(
    nodes: list[NodeProto],
) -> None:
    with pytest.raises(RecipeError, match=r"come from a TopK.*--outputs logits of an ONNX file"):
        refuse(PLAIN, *nodes)


@pytest.mark.parametrize(
    "nodes",
    [
        # The best value of each is not passed on alone, or changed into another.
        [op("TopK", "logits many", "best place"), op("Mul", "best logits", "out")],
        [op("TopK", "logits many", "best place"), op("Gemm", "best w", "out")],
        [op("Softmax", "logits", "out")],
    ],
)
def test_a_sort_inside_of_the_network_is_no_reason(nodes: list[NodeProto]) -> None:
    refuse(PLAIN, *nodes)


def test_one_score_for_an_image_may_be_the_best() -> None:
    refuse([[0.9], [0.2]], op("TopK", "logits many", "out place"))


def test_negative_probabilities_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"negative probabilities: they lie in -1 to 0.*smallest"):
        refuse([[-0.1, -0.7, -0.2], [-0.3, -0.3, -0.4]])


def test_negative_values_that_do_not_sum_to_minus_one_are_logits() -> None:
    refuse([[-0.1, -0.7, -0.2], [-0.3, -0.3, -0.5]])


def test_a_negative_log_softmax_is_refused() -> None:
    # exp(-x) is 0.5, 0.25, 0.25, and 0.8, 0.1, 0.1.
    with pytest.raises(RecipeError, match="negative log-softmax"):
        refuse([[0.693147, 1.386294, 1.386294], [0.223144, 2.302585, 2.302585]])


def test_a_negative_log_softmax_that_is_sure_of_each_image_is_refused() -> None:
    nodes = [op("LogSoftmax", "logits", "log"), op("Neg", "log", "out")]
    with pytest.raises(RecipeError, match="negative log-softmax"):
        refuse([[0.0, 20.0, 30.0]], *nodes)


def test_values_of_a_relu_of_which_one_is_0_are_no_logarithms() -> None:
    """exp(-0) is 1 and exp(-30) about 0: the sum is one, and shows nothing."""
    refuse([[0.0, 30.0, 31.0], [40.0, 0.0, 35.0]])


@pytest.mark.parametrize("best", [0.998, 0.9985])
def test_one_image_without_a_certain_class_is_enough(best: float) -> None:
    rest = -np.log((1 - best) / 2)

    with pytest.raises(RecipeError, match="negative log-softmax"):
        refuse([[0.0, 30.0, 31.0], [float(-np.log(best)), float(rest), float(rest)]])


def test_logits_and_values_that_are_no_numbers_pass() -> None:
    refuse([[5.0, -3.0, 0.2], [0.1, 0.2, 0.4]])
    refuse([[-0.5, -0.5, float("nan")]])
    refuse([[0.693147, 0.693147, float("inf")]])


@pytest.mark.parametrize(
    ("over", "words"),
    [((2,), "rows of a map"), ((3,), "columns of a map"), ((2, 3), "all pixels")],
    ids=str,
)
def test_maps_of_a_softmax_over_places_are_refused(over: tuple[int, ...], words: str) -> None:
    raised = np.exp(normal(2, 3, 4, 5))
    maps = [raised / raised.sum(axis=over, keepdims=True)]
    graph = Graph(pixel_graph(op("Relu", "pixels", "out"), outputs=["out"]))
    with pytest.raises(RecipeError, match=rf"{words}.*softmax over the classes.*--outputs"):
        refuse_softmax_over_places(graph, "out", maps)


def test_maps_that_were_enlarged_behind_a_softmax_over_columns_are_refused_by_the_graph() -> None:
    scales = np.array([1, 1, 2, 2], np.float32)
    nodes = [
        helper.make_node("Softmax", ["pixels"], ["shares"], axis=3),
        helper.make_node("Resize", ["shares", "", "scales"], ["out"], mode="nearest"),
    ]
    graph = Graph(pixel_graph(*nodes, outputs=["out"], scales=scales))
    maps = [np.full((1, 3, 32, 32), 1 / 16)]
    with pytest.raises(RecipeError, match=r"columns of a map \(axis 3\)"):
        refuse_softmax_over_places(graph, "out", maps)


def test_maps_of_a_softmax_over_classes_or_of_sigmoids_pass() -> None:
    raised = np.exp(normal(2, 3, 4, 5))
    graph = Graph(pixel_graph(helper.make_node("Sigmoid", ["pixels"], ["out"]), outputs=["out"]))
    refuse_softmax_over_places(graph, "out", [raised / raised.sum(axis=1, keepdims=True)])
    refuse_softmax_over_places(graph, "out", [raised / (1 + raised)])


def test_scores_of_a_softmax_over_boxes_are_refused() -> None:
    raised = np.exp(normal(2, 40, 3))
    refuse_softmax_over_boxes([raised / raised.sum(axis=2, keepdims=True)])
    with pytest.raises(RecipeError, match=r"the boxes \(axis 1\).*classes of each box"):
        refuse_softmax_over_boxes([raised / raised.sum(axis=1, keepdims=True)])
