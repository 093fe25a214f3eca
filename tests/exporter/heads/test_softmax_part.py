"""A softmax of which classes are cut off is told from two probabilities for each of several labels, by its axis."""

from typing import Any

import numpy as np
import pytest
from onnx import NodeProto, helper

from exporter.graph import Graph
from exporter.heads.score_kind import score_kind
from exporter.heads.softmax_part import is_part_of_softmax, is_quantized_softmax
from tests.exporter.graphs import normal, pixel_graph

ONE = np.array(1)
LOW = np.array([[0.1, 0.2, 0.05], [0.02, 0.3, 0.2]])


def node(operator: str, *inputs: str, to: str = "raw", **attributes: Any) -> NodeProto:
    return helper.make_node(operator, list(inputs), [to], **attributes)


def graph(*nodes: NodeProto, **constants: Any) -> Graph:
    """Return a graph of these nodes behind 8 maps of 1×1, `maps`."""
    held: dict[str, Any] = {
        "one": ONE,
        "begin": ONE[None],
        "end": np.array([4]),
        "axis": ONE[None],
        **constants,
    }
    first = node("Conv", "pixels", "w", to="maps")
    return Graph(pixel_graph(first, *nodes, w=normal(8, 3, 16, 16), **held))


CUT = node("Slice", "p", "begin", "end", "axis", to="cut")
ROWS = np.array([-1, 8])
PAIRS = np.array([-1, 2, 4])
LAST_PAIRS = np.array([-1, 4, 2])

PARTS = {
    "cut": [node("Softmax", "maps", to="p", axis=1), CUT, node("Identity", "cut")],
    "cut and resized": [
        node("Softmax", "maps", to="p", axis=-3),
        CUT,
        node("GlobalAveragePool", "cut"),
    ],
    "channels last": [
        node("Transpose", "maps", to="turned", perm=[0, 2, 3, 1]),
        node("Softmax", "turned", to="shares", axis=-1),
        node("Transpose", "shares", to="p", perm=[0, 3, 1, 2]),
        CUT,
        node("Identity", "cut"),
    ],
    "flattened": [
        node("Reshape", "maps", "rows", to="flat"),
        node("Softmax", "flat", to="p"),
        CUT,
        node("Identity", "cut"),
    ],
    "gathered": [
        node("Softmax", "maps", to="p", axis=1),
        node("Gather", "p", "some", axis=1),
    ],
    "a position, then a cut": [
        node("Reshape", "maps", "all", to="lines"),
        node("Softmax", "lines", to="shares", axis=2),
        node("Gather", "shares", "zero", to="p", axis=1),
        CUT,
        node("Identity", "cut"),
    ],
}

NO_PARTS = {
    "whole": [node("Softmax", "maps", axis=1)],
    "one of two for each label": [
        node("Reshape", "maps", "pairs", to="two"),
        node("Softmax", "two", to="p", axis=1),
        node("Gather", "p", "one", axis=1),
    ],
    "one of two for each label, behind each other": [
        node("Reshape", "maps", "last_pairs", to="two"),
        node("Softmax", "two", to="p", axis=-1),
        node("Gather", "p", "one", axis=-1),
    ],
    "a sigmoid": [node("Sigmoid", "maps", to="p"), CUT, node("Identity", "cut")],
    "over the batch": [node("Softmax", "maps", to="p", axis=0), CUT, node("Identity", "cut")],
}
SHAPES = {
    "rows": ROWS,
    "pairs": PAIRS,
    "last_pairs": LAST_PAIRS,
    "some": np.array([1, 2, 5]),
    "all": np.array([-1, 1, 8]),
    "zero": np.array(0),
}


@pytest.mark.parametrize("nodes", PARTS.values(), ids=PARTS)
def test_classes_that_are_cut_off_along_the_softmax_leave_a_part(nodes: list[NodeProto]) -> None:
    made = graph(*nodes, **SHAPES)
    assert is_part_of_softmax(made, "raw") is True
    assert score_kind(made, "raw", [LOW], axis=1) == "softmax_part"


@pytest.mark.parametrize("nodes", NO_PARTS.values(), ids=NO_PARTS)
def test_what_is_cut_along_another_axis_is_no_part(nodes: list[NodeProto]) -> None:
    made = graph(*nodes, **SHAPES)
    assert is_part_of_softmax(made, "raw") is False
    assert score_kind(made, "raw", [LOW], axis=1) == "sigmoid"


def test_an_axis_that_can_not_be_followed_is_asked_about() -> None:
    """Two labels and the two probabilities of each become one axis, of which some are taken."""
    made = graph(
        node("Reshape", "maps", "pairs", to="two"),
        node("Softmax", "two", to="p", axis=1),
        node("Reshape", "p", "rows", to="flat"),
        node("Gather", "flat", "some", axis=1),
        **SHAPES,
    )
    assert is_part_of_softmax(made, "raw") is None
    assert score_kind(made, "raw", [LOW], axis=1) == "bounded"


STEP, ZERO = np.array(1 / 256, np.float32), np.array(0, np.uint8)
WHOLE = node("Softmax", "maps", to="p", axis=1)
ROUNDED = [
    node("QuantizeLinear", "p", "step", "zero", to="q"),
    node("DequantizeLinear", "q", "step", "zero", to="d"),
]


@pytest.mark.parametrize(
    ("nodes", "is_whole"),
    [
        ([WHOLE, *ROUNDED, node("Flatten", "d")], True),
        ([WHOLE, node("Flatten", "p")], False),
        ([node("Softmax", "maps", to="p", axis=2), *ROUNDED, node("Flatten", "d")], False),
        ([WHOLE, *ROUNDED, node("Slice", "d", "begin", "end", "axis", to="c"), node("Flatten", "c")],
         False),
        ([node("Sigmoid", "maps", to="p"), *ROUNDED, node("Flatten", "d")], False),
    ],
    ids=["whole", "not rounded", "another axis", "cut", "sigmoid"],
)  # fmt: skip
def test_a_softmax_that_is_rounded_to_integers_is_one(
    nodes: list[NodeProto], *, is_whole: bool
) -> None:
    """Its values sum to a little more or less than one, as those of sigmoids do."""
    made = graph(*nodes, step=STEP, zero=ZERO)
    assert is_quantized_softmax(made, "raw") == is_whole
    shares = np.array([[0.5, 0.25, 0.125, 0.0625, 0.03, 0, 0, 0]])
    assert (score_kind(made, "raw", [shares], 1) == "softmax") == is_whole
