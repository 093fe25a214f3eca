"""The number of classes is read off the operator that chooses the class of each box."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, helper

from exporter.heads.class_count import class_count
from tests.exporter.graphs import pixel_graph

BOXES, CLASSES = 96, 8
"""The pixels, 3·16·16 = 768 values, are read as the scores of 96 boxes for 8 classes."""


def op(name: str, inputs: str, outputs: str, **attributes: Any) -> NodeProto:
    return helper.make_node(name, inputs.split(), outputs.split(), **attributes)


def graph(*nodes: NodeProto, **constants: Any) -> onnx.ModelProto:
    """Return a graph with `scores` (N, 96, 8) and `turned` (N, 8, 96), to `out`."""
    known = {
        "dims": np.array([-1, BOXES, CLASSES], np.int64),
        "minus": np.array([-1], np.int64),
        "one": np.array([1], np.int64),
        "two": np.array([2], np.int64),
        **constants,
    }
    scores = [
        op("Reshape", "pixels dims", "scores"),
        op("Transpose", "scores", "turned", perm=[0, 2, 1]),
    ]
    return pixel_graph(*scores, *nodes, outputs=["out"], **known)


CHOSEN = [
    op("ArgMax", "scores", "kind", axis=2, keepdims=1),
    op("Cast", "kind", "class", to=TensorProto.FLOAT),
    op("ReduceMax", "scores two", "best", keepdims=1),
]


@pytest.mark.parametrize(
    ("nodes", "count"),
    [
        ([op("ArgMax", "scores", "out", axis=2)], CLASSES),
        ([op("ArgMax", "scores", "out", axis=-1)], CLASSES),
        ([op("ArgMax", "turned", "out", axis=1)], CLASSES),
        ([op("ArgMax", "scores", "out", axis=1)], BOXES),
        # The axis is 0 where it is not written.
        ([op("ArgMax", "scores", "out")], 1),
        ([*CHOSEN, op("Concat", "best class", "out", axis=2)], CLASSES),
        ([*CHOSEN, op("Concat", "class best", "out", axis=2)], None),
        # The best one of a TopK; of several, the place is no class.
        ([op("TopK", "scores one", "best out", axis=2)], CLASSES),
        ([op("TopK", "scores one", "best out")], CLASSES),
        ([op("TopK", "turned one", "best out", axis=1)], CLASSES),
        ([op("TopK", "scores two", "best out", axis=2)], None),
        ([op("TopK", "scores one", "out place", axis=2)], None),
    ],
)
def test_the_best_of_several_scores_is_chosen_from_as_many_classes(
    nodes: list[NodeProto], count: int | None
) -> None:
    assert class_count(graph(*nodes), "out") == count


PLACE = [
    op("Flatten", "scores", "flat"),
    op("TopK", "flat many", "best place", axis=1),
]


def test_what_remains_after_a_division_is_a_class() -> None:
    many = np.array([20], np.int64)
    eighty = np.array([80], np.int64)
    remainder = [*PLACE, op("Mod", "place eighty", "out")]
    written = [
        *PLACE,
        op("Div", "place eighty", "row"),
        op("Mul", "row eighty", "begin"),
        op("Sub", "place begin", "out"),
    ]
    turned = [*written[:-2], op("Mul", "eighty row", "begin"), written[-1]]

    for nodes in (remainder, written, turned):
        assert class_count(graph(*nodes, many=many, eighty=eighty), "out") == 80


def test_the_divisor_may_be_a_constant_among_the_nodes() -> None:
    tensor = onnx.numpy_helper.from_array(np.array(80, np.int64))
    nodes = [op("Constant", "", "k", value=tensor), *PLACE, op("Mod", "place k", "out")]

    assert class_count(graph(*nodes, many=np.array([20], np.int64)), "out") == 80


@pytest.mark.parametrize(
    "nodes",
    [
        [op("Mod", "place several", "out")],
        [op("Cast", "place", "k", to=TensorProto.INT64), op("Mod", "place k", "out")],
        [op("Sub", "place several", "out")],
        [op("Add", "place several", "sum"), op("Sub", "place sum", "out")],
        [op("Mul", "place place", "square"), op("Sub", "place square", "out")],
    ],
)
def test_other_arithmetic_shows_nothing(nodes: list[NodeProto]) -> None:
    constants = {"many": np.array([2], np.int64), "several": np.array([80, 81], np.int64)}

    assert class_count(graph(*PLACE, *nodes, **constants), "out") is None


def test_a_suppression_chooses_from_the_classes_of_its_scores() -> None:
    nodes = [
        op("NonMaxSuppression", "corners turned many", "chosen"),
        op("Gather", "chosen one", "out", axis=1),
    ]
    constants = {
        "corners": np.zeros((1, BOXES, 4), np.float32),
        "many": np.array([5], np.int64),
    }

    assert class_count(graph(*nodes, **constants), "out") == CLASSES


@pytest.mark.parametrize(
    "node",
    [
        op("Identity", "class", "out"),
        op("Squeeze", "class two", "out"),
        op("Unsqueeze", "class one", "out"),
        op("Reshape", "class minus", "out"),
        op("Transpose", "class", "out", perm=[0, 2, 1]),
        op("Slice", "class one two one", "out"),
        op("Floor", "class", "out"),
        op("Round", "class", "out"),
        op("Clip", "class", "out"),
        op("Flatten", "class", "out"),
    ],
    ids=lambda node: node.op_type,
)
def test_a_class_is_found_through_what_moves_it(node: NodeProto) -> None:
    assert class_count(graph(*CHOSEN, node), "out") == CLASSES


@pytest.mark.parametrize("name", ["Abs", "Exp", "Sigmoid"])
def test_what_computes_another_value_hides_the_class(name: str) -> None:
    assert class_count(graph(*CHOSEN, op(name, "class", "out")), "out") is None


def test_an_output_that_is_the_input_has_no_classes() -> None:
    assert class_count(graph(*CHOSEN, op("Identity", "pixels", "out")), "out") is None
