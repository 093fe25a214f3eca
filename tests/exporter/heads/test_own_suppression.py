"""A network that suppresses itself, or a detection transformer, gives each object one box."""

from typing import Any

import onnx
import pytest
from onnx import NodeProto, helper

from exporter.heads.own_suppression import gives_each_object_one_box
from tests.exporter.graphs import pixel_graph


def op(name: str, inputs: str, outputs: str, **attributes: Any) -> NodeProto:
    return helper.make_node(name, inputs.split(), outputs.split(), **attributes)


def graph(*nodes: NodeProto) -> onnx.ModelProto:
    return pixel_graph(*nodes, outputs=["out"])


BEST = op("TopK", "scores many", "best out")
SOFTMAX = op("Softmax", "scores", "weights")


def test_a_suppression_in_the_graph_is_enough_however_many_boxes_there_are() -> None:
    assert gives_each_object_one_box(graph(op("NonMaxSuppression", "boxes scores", "out")), 8400)


@pytest.mark.parametrize(
    "attention",
    [
        [SOFTMAX, op("MatMul", "weights values", "sum")],
        [SOFTMAX, op("MatMul", "values weights", "sum")],
        [op("Attention", "q k v", "sum")],
    ],
    ids=["a softmax times values", "values times a softmax", "the operator"],
)
def test_the_best_of_few_queries_with_attention_are_one_each(attention: list[NodeProto]) -> None:
    model = graph(*attention, BEST)

    # DETR has 100 queries, RT-DETR 300, DINO 900.
    assert gives_each_object_one_box(model, 300)
    assert gives_each_object_one_box(model, 1000)
    assert not gives_each_object_one_box(model, 1001)


@pytest.mark.parametrize(
    "nodes",
    [
        [BEST],
        [SOFTMAX, op("MatMul", "weights values", "out")],
        # A classifier's softmax, and a linear layer beside it.
        [SOFTMAX, op("MatMul", "scores values", "sum"), BEST],
        [op("Sigmoid", "scores", "weights"), op("MatMul", "weights values", "sum"), BEST],
        [SOFTMAX, op("Mul", "weights values", "sum"), BEST],
    ],
    ids=["no attention", "no selection", "beside", "a sigmoid", "no product of matrices"],
)
def test_others_need_a_suppression(nodes: list[NodeProto]) -> None:
    assert not gives_each_object_one_box(graph(*nodes), 100)
