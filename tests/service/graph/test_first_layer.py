import numpy as np
import pytest
from numpy.typing import ArrayLike

from service.graph.first_layer import FirstLayer, first_layer
from service.graph.wiring import Wiring
from tests.service.graph.graphs import Node, graph_of

WEIGHTS = np.random.default_rng(3).normal(size=(4, 3, 5, 2)).astype(np.float16)
CONSTANTS: dict[str, ArrayLike] = {
    "w": WEIGHTS,
    "later": np.ones((1, 4, 1, 1), np.float32),
    "line": np.ones((4, 3, 5), np.float32),
}


def first_of(nodes: list[Node]) -> FirstLayer | None:
    return first_layer(Wiring(graph_of(nodes, "out", CONSTANTS, image=[1, 3, 9, 9]).graph))


@pytest.mark.parametrize(("options", "stride"), [({}, (1, 1)), ({"strides": [2, 3]}, (2, 3))])
def test_the_first_convolution_has_its_weights_and_stride(
    options: dict[str, list[int]], stride: tuple[int, int]
) -> None:
    found = first_of(
        [
            ("Relu", ["image"], "a", {}),
            ("Conv", ["a", "w"], "b", options),
            ("Conv", ["b", "later"], "out", {}),
        ]
    )
    assert found is not None
    assert found.stride == stride
    assert found.weights.dtype == np.float32
    np.testing.assert_array_equal(found.weights, WEIGHTS.astype(np.float32))


@pytest.mark.parametrize(
    "nodes",
    [
        [("Relu", ["image"], "out", {})],
        [("Conv", ["image", "line"], "out", {})],
        [("Conv", ["image", "computed"], "out", {})],
        [("Conv", ["w", "image"], "out", {})],
    ],
    ids=["no convolution", "one dimension", "weights not constant", "image as weights"],
)
def test_other_networks_have_no_first_layer(nodes: list[Node]) -> None:
    assert first_of(nodes) is None


def test_a_convolution_without_an_image_is_passed_over() -> None:
    nodes: list[Node] = [
        ("Conv", ["later", "w"], "a", {}),
        ("Conv", ["image", "line"], "b", {}),
        ("Conv", ["b", "w"], "out", {}),
    ]
    found = first_of(nodes)
    assert found is not None
    assert found.weights.shape == (4, 3, 5, 2)
