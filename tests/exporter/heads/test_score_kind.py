"""What scores are follows from the end of the graph and from their values."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import NodeProto, helper

from exporter.graph import Graph
from exporter.heads.score_kind import (
    graph_ends,
    in_unit_range,
    score_kind,
    sums_to_one,
    value_range,
)
from tests.exporter.graphs import normal, pixel_graph

Values = NDArray[np.float64]


def op(name: str, *inputs: str, output: str = "out", **attributes: Any) -> NodeProto:
    return helper.make_node(name, inputs, [output], **attributes)


def graph_of(*end: NodeProto) -> Graph:
    """Return a graph with a linear layer, `linear`, and these nodes behind it; `two` and `side` are constants."""
    return Graph(
        pixel_graph(
            helper.make_node("Conv", ["pixels", "w"], ["linear"]),
            *end,
            outputs=[end[-1].output[0] if end else "linear"],
            w=normal(4, 3, 16, 16),
            two=np.array([2.0], np.float32),
            side=normal(4, 4),
        )
    )


def kind(end: str | None, *rows: list[float], axis: int = 1) -> str:
    """Return the kind of scores, one array for each image, behind an operator; None for the linear layer itself."""
    graph = graph_of(op(end, "linear")) if end else graph_of()
    scores = [np.array([row]) for row in rows]
    return score_kind(graph, "out" if end else "linear", scores, axis)


NATURAL_LOGS = [float(np.log(0.25)), float(np.log(0.75))]


@pytest.mark.parametrize(
    ("end", "rows", "expected"),
    [
        # Probabilities of two classes, whatever the graph ends in.
        ("Softmax", [[0.25, 0.75], [0.5, 0.5]], "softmax"),
        ("Selu", [[0.25, 0.75]], "softmax"),
        (None, [[0.25, 0.75]], "softmax"),
        # Half of the images sum to another number.
        ("Sigmoid", [[0.25, 0.75], [0.5, 0.4]], "sigmoid"),
        ("HardSigmoid", [[0.25, 0.7]], "sigmoid"),
        ("Softmax", [[0.25, 0.7]], "sigmoid"),
        (None, [[0.25, 0.7]], "logits"),
        ("Selu", [[0.25, 0.7], [0.1, 0.2]], "bounded"),
        # One score: no sum shows anything.
        ("Sigmoid", [[1.0]], "sigmoid"),
        ("Log", [[0.0]], "bounded"),
        # ln 0.25 and ln 0.75.
        ("LogSoftmax", [NATURAL_LOGS], "log_softmax"),
        (None, [NATURAL_LOGS], "log_softmax"),
        ("Log", [[-0.1, -3.0]], "log"),
        ("Softplus", [[-0.1, -3.0]], "log"),
        # Logarithms to another base.
        ("LogSoftmax", [[-0.1, -3.0]], "log"),
        ("Log", [[0.1, -3.0]], "logits"),
        ("Log", [[0.1, 3.0]], "amount"),
        ("Exp", [[0.1, 3.0]], "amount"),
        ("Exp", [[0.1, 0.3]], "bounded"),
        ("Softplus", [[0.1, 3.0], [2.0, 1.0]], "amount"),
        ("Softplus", [[3.0]], "positive"),
        ("Relu", [[0.1, 3.0]], "logits"),
        ("Log", [[0.0009, -3.0]], "log"),
        ("Log", [[0.0011, -3.0]], "logits"),
        ("Log", [[-0.1, -0.9]], "log"),
        # 0 to 100, or 0 to 255.
        ("Selu", [[25.0, 75.0], [10.0, 90.0]], "constant_sum"),
        ("Selu", [[25.0, 75.0], [10.0, 91.0]], "positive"),
        ("Selu", [[-1.0, 101.0], [10.0, 90.0]], "logits"),
        (None, [[25.0, 75.0], [10.0, 90.0]], "logits"),
        # In -1 to 1.
        ("Tanh", [[-0.9, 0.8]], "tanh"),
        ("Softsign", [[-0.9, 0.8]], "tanh"),
        ("Erf", [[-0.9, 0.8]], "tanh"),
        ("Tanh", [[0.3, 0.8]], "bounded"),
        ("Selu", [[-0.9, 0.8]], "signed"),
        ("Selu", [[-0.9, -0.1]], "signed"),
        ("Selu", [[-1.0009, 1.0009]], "signed"),
        ("Selu", [[-1.0011, 1.0]], "logits"),
        ("Selu", [[-1.0, 1.0011]], "logits"),
        (None, [[-0.9, 0.8]], "logits"),
        # Lengths.
        ("Sqrt", [[3.0, 0.0]], "distance"),
        ("ReduceL2", [[3.0, 4.5]], "distance"),
        ("ReduceSumSquare", [[3.0, 4.5]], "distance"),
        ("Sqrt", [[-3.0, -4.5]], "logits"),
        # Plain logits.
        (None, [[12.5, -3.0]], "logits"),
        ("Selu", [[12.5, -3.0]], "logits"),
    ],
)  # fmt: skip
def test_a_kind_is_known(end: str | None, rows: list[list[float]], expected: str) -> None:
    assert kind(end, *rows) == expected


def test_a_softplus_as_pytorch_writes_it_is_evidence_with_one_added_too() -> None:
    """Where its argument is large it is that itself; Dirichlet networks add one (Sensoy et al., arXiv:1806.01768)."""
    nodes = [
        op("Softplus", "linear", output="soft"),
        op("Greater", "linear", "two", output="large"),
        op("Where", "large", "linear", "soft", output="evidence"),
        op("Add", "evidence", "two", output="alpha"),
    ]
    values = [np.array([[3.1, 2.0, 9.5]]), np.array([[2.5, 7.0, 2.1]])]

    assert score_kind(graph_of(*nodes[:3]), "evidence", values, 1) == "amount"
    assert score_kind(graph_of(*nodes), "alpha", values, 1) == "amount"


def test_a_mask_of_constants_leaves_logits_what_they_are() -> None:
    nodes = [
        op("Less", "linear", "two", output="small"),
        op("Where", "small", "linear", "two", output="masked"),
    ]
    assert score_kind(graph_of(*nodes), "masked", [np.array([[0.2, 0.9]])], 1) == "logits"


@pytest.mark.parametrize("activation", ["Sigmoid", "Softmax", "HardSigmoid"])
@pytest.mark.parametrize(
    ("steps", "values", "expected"),
    [
        (["Mul"], [40.0, 95.0], "scaled"),
        (["Flatten", "Div", "Add"], [40.0, 95.0], "scaled"),
        (["Mul", "Clip", "Flatten"], [40.0, 95.0], "scaled"),
        (["Mul"], [0.4, 0.95], "bounded"),
        (["Add"], [1.4, 1.95], "positive"),
        (["Mul", "Exp"], [1.4, 95.0], "amount"),
        (["Mul"], [-3.0, 95.0], "logits"),
    ],
)
def test_probabilities_times_a_factor_are_no_logits(
    activation: str, steps: list[str], values: list[float], expected: str
) -> None:
    """As percentages: a softmax on top of them gives the best class all of the probability."""
    nodes, last = [op(activation, "linear", output="first")], "first"
    for index, step in enumerate(steps):
        inputs = [last, "two"] if step in {"Mul", "Div", "Add"} else [last]
        last = f"t{index}"
        nodes.append(op(step, *inputs, output=last))

    found = score_kind(
        graph_of(*nodes), last, [np.array([values]), np.array([values[::-1]]) / 2], 1
    )

    assert found == expected


def test_the_classes_may_be_on_any_axis() -> None:
    maps = np.array([[[[0.2, 0.9]], [[0.8, 0.1]]]])  # (1, 2 classes, 1, 2): each pixel sums to one
    graph = graph_of(op("Selu", "linear"))

    assert score_kind(graph, "out", [maps], axis=1) == "softmax"
    assert score_kind(graph, "out", [np.moveaxis(maps, 1, 2)], axis=2) == "softmax"
    assert score_kind(graph, "out", [maps], axis=3) == "bounded"


def test_cosines_are_no_logits_although_a_linear_operator_ends_the_graph() -> None:
    graph = graph_of(
        op("LpNormalization", "linear", output="unit"), op("MatMul", "unit", "side", output="out")
    )

    assert score_kind(graph, "out", [np.array([[-0.5, 0.9]])], axis=1) == "cosine"
    assert score_kind(graph, "out", [np.array([[-5.0, 9.0]])], axis=1) == "logits"


@pytest.mark.parametrize(
    ("nodes", "ends"),
    [
        ([], {"linear"}),
        ([op("Relu", "linear")], {"linear"}),
        ([op("Sigmoid", "linear", output="a"), op("Reshape", "a", "two")], {"sigmoid"}),
        ([op("Elu", "linear")], {"unknown"}),
        # A sum of linear values is linear; one with a sigmoid is not.
        ([op("Conv", "pixels", "w", output="b"), op("Add", "linear", "b")], {"linear"}),
        ([op("Sigmoid", "linear", output="b"), op("Add", "linear", "b")], {"unknown"}),
        # So is a product with a constant, and no other.
        ([op("Mul", "linear", "two")], {"linear"}),
        ([op("Div", "linear", "two")], {"linear"}),
        ([op("Mul", "linear", "linear")], {"unknown"}),
        ([op("Mul", "pixels", "linear")], {"unknown"}),
        ([op("Sigmoid", "linear", output="b"), op("Mul", "b", "two")], {"unknown"}),
        # The sum of several heads is linear if all are.
        ([op("Concat", "linear", "side", output="b", axis=0), op("ReduceSum", "b", "two")], {"linear"}),
        ([op("Sigmoid", "linear", output="b"), op("ReduceSum", "b", "two")], {"unknown"}),
        ([op("Mul", "linear", "linear", output="b"), op("ReduceSum", "b", "two")], {"distance"}),
        # Logarithms stay logarithms when they are scaled or summed.
        ([op("Log", "linear", output="b"), op("Mul", "b", "two")], {"log"}),
        ([op("Log", "linear", output="b"), op("Sub", "two", "b")], {"log"}),
        # A sign or bounds: what was a probability stays one, logits are no longer known.
        ([op("Neg", "linear")], {"unknown"}),
        ([op("Clip", "linear", "", "two")], {"unknown"}),
        ([op("Sigmoid", "linear", output="b"), op("Clip", "b", "", "two")], {"sigmoid"}),
        ([op("LogSoftmax", "linear", output="b"), op("Neg", "b")], {"log_softmax"}),
        # All parts of a concatenation count.
        ([op("Sigmoid", "linear", output="b"), op("Concat", "b", "linear", axis=1)], {"sigmoid", "linear"}),
        ([op("Concat", "linear", "side", axis=1)], {"linear"}),
        # Of a carrier the first input is followed.
        ([op("Sigmoid", "linear", output="b"), op("Gather", "linear", "b")], {"linear"}),
    ],
)  # fmt: skip
def test_the_ends_of_a_graph_are_found_through_what_carries_values(
    nodes: list[NodeProto], ends: set[str]
) -> None:
    graph = graph_of(*nodes)

    assert graph_ends(graph, graph.outputs[0]) == ends


@pytest.mark.parametrize(
    "name",
    ["ConvTranspose", "Gemm", "MatMul", "Einsum", "BatchNormalization", "LayerNormalization"],
)
def test_every_operator_with_weights_is_linear(name: str) -> None:
    graph = graph_of(op(name, "pixels", "w"), op("Sum", "out", "linear", output="all"))

    assert graph_ends(graph, "all") == {"linear"}


def test_a_tensor_that_nothing_computes_has_an_unknown_end() -> None:
    assert graph_ends(graph_of(), "pixels") == {"unknown"}


@pytest.mark.parametrize(
    ("values", "inside"),
    [
        ([0.0, 1.0], True),
        ([-0.0009, 1.0009], True),
        ([-0.0011, 1.0], False),
        ([0.0, 1.0011], False),
        ([0.5, float("nan")], False),
    ],
)
def test_a_thousandth_outside_of_0_to_1_is_still_a_probability(
    values: list[float],
    inside: bool,  # noqa: FBT001 - a parameter
) -> None:
    assert in_unit_range([np.array([0.5]), np.array(values)]) == inside


@pytest.mark.parametrize("total", [1.0049, 0.9951])
def test_a_sum_may_differ_from_one_by_five_thousandths(total: float) -> None:
    assert sums_to_one([np.array([[0.4, total - 0.4]])], axis=1)


@pytest.mark.parametrize("total", [1.0051, 0.9949])
def test_a_sum_that_differs_by_more_is_another(total: float) -> None:
    assert not sums_to_one([np.array([[0.4, total - 0.4]])], axis=1)


def test_one_class_has_no_sum_and_one_image_of_several_can_contradict() -> None:
    assert not sums_to_one([np.array([[1.0]])], axis=1)
    assert not sums_to_one([np.array([[0.5, 0.5]]), np.array([[0.5, 0.6]])], axis=1)
    assert not sums_to_one([np.array([[0.5, 0.5], [0.5, 0.6]])], axis=1)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([[25.0, 75.0]], "positive"),  # one sum is no coincidence
        ([[50.0, 50.0], [50.0, 50.0]], "positive"),  # nothing varies
        ([[50.0, 50.0], [10.0, 90.0]], "constant_sum"),
        ([[0.0, 0.0], [10.0, 90.0]], "positive"),
        ([[0.0, 100.0], [10.0, 90.0]], "constant_sum"),
        ([[0.05, 0.15], [0.1, 0.1]], "constant_sum"),
        ([[0.0, 0.0], [0.0, 0.0]], "bounded"),
        ([[25.0, 75.0], [10.0, 90.49]], "constant_sum"),  # half a percent of 100
        ([[25.0, 75.0], [10.0, 90.51]], "positive"),
    ],
)
def test_the_same_sum_shows_only_where_something_varies(
    rows: list[list[float]], expected: str
) -> None:
    assert kind("Selu", *rows) == expected


def test_the_range_is_that_of_all_images() -> None:
    assert value_range([np.array([[3, 5]]), np.array([[-2, 4]])]) == (-2.0, 5.0)


@pytest.mark.parametrize("at", [0, 1])
def test_a_value_that_is_no_number_shows_in_the_range_wherever_it_is(at: int) -> None:
    images = [np.array([0.2, 0.3]), np.array([0.4, 0.5])]
    images[at][1] = np.nan

    assert np.isnan(value_range(images)).all()
