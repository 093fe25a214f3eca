"""Distances that a graph sums up without a root are found, and their negatives are logits."""

import numpy as np
import pytest
from onnx import NodeProto

from exporter.heads.score_kind import score_kind
from tests.exporter.heads.test_score_kind import graph_of, op

SQUARE = op("Mul", "linear", "linear", output="inner")
POWER = op("Pow", "linear", "two", output="inner")
ABSOLUTE = op("Abs", "linear", output="inner")
SUM = op("ReduceSum", "inner")
POSITIVE, SHIFTED, NEGATIVE = [[3.0, 8.0]], [[-2.0, 5.0]], [[-3.0, -8.0]]


@pytest.mark.parametrize(
    ("nodes", "values", "expected"),
    [
        ([SQUARE, SUM], POSITIVE, "distance"),
        ([POWER, SUM], POSITIVE, "distance"),
        ([ABSOLUTE, SUM], POSITIVE, "distance"),
        ([SQUARE, op("ReduceMean", "inner")], POSITIVE, "distance"),
        ([ABSOLUTE, op("ReduceMax", "inner")], POSITIVE, "distance"),
        ([op("ReduceL1", "linear")], POSITIVE, "distance"),
        # Behind a reshape, a factor, a constant; the square of a root.
        ([ABSOLUTE, op("Flatten", "inner", output="f"), op("ReduceSum", "f")], POSITIVE, "distance"),
        ([SQUARE, op("ReduceSum", "inner", output="s"), op("Mul", "s", "two")], POSITIVE, "distance"),
        ([SQUARE, op("ReduceSum", "inner", output="s"), op("Sub", "s", "two")], SHIFTED, "distance"),
        ([op("Sqrt", "linear", output="s"), op("Pow", "s", "two")], POSITIVE, "distance"),
        # |x|² − 2xc + |c|²
        (
            [
                op("ReduceSumSquare", "linear", output="s"),
                op("MatMul", "linear", "side", output="m"),
                op("Sub", "s", "m", output="d"),
                op("Add", "d", "two"),
            ],
            POSITIVE,
            "distance",
        ),
        # The best one is the largest.
        ([SQUARE, op("ReduceSum", "inner", output="s"), op("Neg", "s")], NEGATIVE, "logits"),
        ([SQUARE, op("ReduceSum", "inner", output="s"), op("Sub", "two", "s")], SHIFTED, "logits"),
        ([SQUARE, op("ReduceSum", "inner", output="s"), op("Neg", "s", output="n"), op("Add", "n", "two")],
         SHIFTED, "logits"),
        # No squares.
        ([op("Relu", "linear", output="inner"), SUM], POSITIVE, "logits"),
        ([op("Mul", "linear", "two", output="inner"), SUM], POSITIVE, "logits"),
        ([SQUARE, op("Conv", "inner", "w2")], POSITIVE, "logits"),
    ],
)  # fmt: skip
def test_distances_without_a_root_are_known(
    nodes: list[NodeProto], values: list[list[float]], expected: str
) -> None:
    assert score_kind(graph_of(*nodes), "out", [np.array(values)], 1) == expected
