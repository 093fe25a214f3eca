"""Logits and the probabilities that are made of them are the same scores; two heads are not."""

import numpy as np
import pytest
from onnx import helper

from exporter.heads.score_origin import graph_origins, value_origins
from exporter.network import Array
from tests.exporter.graphs import normal, pixel_graph


def test_activations_factors_and_moves_lead_to_the_same_scores() -> None:
    nodes = [
        helper.make_node("Conv", ["pixels", "w"], ["first"]),
        helper.make_node("Conv", ["pixels", "v"], ["second"]),
        helper.make_node("Add", ["first", "bias"], ["logits"]),
        helper.make_node("Mul", ["logits", "bias"], ["scaled"]),
        helper.make_node("Softmax", ["scaled"], ["probs"], axis=1),
        helper.make_node("Sigmoid", ["second"], ["scores"]),
        helper.make_node("Add", ["first", "second"], ["mixed"]),
    ]
    layer = normal(4, 3, 16, 16)
    model = pixel_graph(*nodes, w=layer, v=layer, bias=normal(1))
    found = graph_origins(model, ["logits", "probs", "scores", "mixed"])
    assert found == {"logits": "first", "probs": "first", "scores": "second", "mixed": "mixed"}


@pytest.mark.parametrize(
    ("node", "is_same"),
    [
        (("Mul", "logits", "half"), True),
        (("Div", "logits", "half"), True),
        (("Add", "half", "logits"), True),
        (("Mul", "logits", "minus"), False),
        (("Sub", "half", "logits"), False),
        (("Div", "half", "logits"), False),
        (("Neg", "logits"), False),
        (("Add", "logits", "prior"), False),
        (("Mul", "logits", "prior"), False),
    ],
)
def test_what_may_change_the_order_of_the_classes_makes_other_scores(
    node: tuple[str, ...], *, is_same: bool
) -> None:
    """A prior that is added to the logits of each class may make another class the best."""
    nodes = [
        helper.make_node("Conv", ["pixels", "w"], ["logits"]),
        helper.make_node(node[0], node[1:], ["changed"]),
        helper.make_node("Softmax", ["changed"], ["scores"], axis=1),
    ]
    half = np.array([0.5], np.float32)
    model = pixel_graph(
        *nodes, w=normal(4, 3, 16, 16), half=half, minus=-half, prior=np.abs(normal(4, 1, 1))
    )
    found = graph_origins(model, ["logits", "scores"])
    assert (found["scores"] == "logits") == is_same


def test_the_parts_of_one_layer_are_heads_of_their_own() -> None:
    nodes = [
        helper.make_node("Conv", ["pixels", "w"], ["both"]),
        helper.make_node("Split", ["both"], ["make", "color"], axis=1, num_outputs=2),
        helper.make_node("Softmax", ["color"], ["colors"], axis=1),
    ]
    model = pixel_graph(*nodes, w=normal(4, 3, 16, 16))
    assert graph_origins(model, ["make", "colors"]) == {"make": "make", "colors": "color"}


LOGITS = np.random.default_rng(2).normal(0, 2, (2, 5)).astype(np.float32)


def softmax(logits: Array) -> Array:
    shares = np.exp(logits)
    probabilities: Array = shares / shares.sum(axis=1, keepdims=True)
    return probabilities


@pytest.mark.parametrize("classes", [2, 5])
def test_values_show_activations(classes: int) -> None:
    logits = LOGITS[:, :classes]
    found = value_origins(
        {
            "logits": logits,
            "sigmoid": 1 / (1 + np.exp(-logits)),
            "softmax": softmax(logits),
            "other": -logits,
        }
    )
    assert found["sigmoid"] == found["softmax"] == "logits"
    assert found["other"] == "other"


def test_a_single_score_may_have_a_sigmoid_alone() -> None:
    logits = LOGITS[:, :1]
    found = value_origins(
        {"logits": logits, "sigmoid": 1 / (1 + np.exp(-logits)), "ones": np.ones_like(logits)}
    )
    assert found == {"logits": "logits", "sigmoid": "logits", "ones": "ones"}


def test_values_of_the_same_order_are_the_same_scores_where_there_are_five() -> None:
    cold = softmax(LOGITS / 7)
    assert value_origins({"a": LOGITS, "b": cold})["b"] == "a"
    for few in (2, 3, 4):
        assert value_origins({"a": LOGITS[:, :few], "b": softmax(LOGITS[:, :few] / 7)})["b"] == "b"


def test_values_of_another_shape_and_values_that_are_no_numbers() -> None:
    assert value_origins({"a": LOGITS, "b": LOGITS[:, :4]})["b"] == "b"
    assert value_origins({"a": LOGITS, "b": LOGITS * np.nan})["b"] == "a"
    assert value_origins({"a": LOGITS, "b": LOGITS[:, :, None, None]})["b"] == "b"
