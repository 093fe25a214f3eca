"""Openings of networks: what they say of every place is what ONNX Runtime computes there."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import ArrayLike, NDArray

from service.graph.activations import Activation
from service.graph.opening import Opening, Pooling, find_opening
from service.graph.wiring import Wiring
from tests.service.graph.graphs import Node, graph_of

RANDOM = np.random.default_rng(11)
IMAGE = RANDOM.normal(size=(1, 4, 13, 12)).astype(np.float32)
CONSTANTS: Mapping[str, ArrayLike] = {
    "w": RANDOM.normal(size=(6, 4, 3, 5)).astype(np.float32),
    "grouped": RANDOM.normal(size=(6, 2, 3, 3)).astype(np.float32),
    "b": RANDOM.normal(size=6).astype(np.float32),
    "gain": RANDOM.normal(size=6).astype(np.float32),
    "offset": RANDOM.normal(size=6).astype(np.float32),
    "mean": RANDOM.normal(size=6).astype(np.float32),
    "variance": RANDOM.uniform(0.1, 2, size=6).astype(np.float32),
    "per_filter": RANDOM.normal(size=(6, 1, 1)).astype(np.float32),
    "one": np.array(0.7, np.float32),
    "zero": np.array(0, np.float32),
    "six": np.array(6, np.float32),
}
POOLS: Mapping[str, dict[str, Any]] = {
    "MaxPool": {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
    "AveragePool": {"kernel_shape": [2, 3], "strides": [2, 3], "pads": [1, 1, 0, 1]},
}

CONVOLUTIONS: Mapping[str, Node] = {
    "plain": ("Conv", ["image", "w", "b"], "sum", {}),
    "without a bias": ("Conv", ["image", "w"], "sum", {}),
    "strided and padded": (
        "Conv",
        ["image", "w", "b"],
        "sum",
        {"strides": [2, 3], "pads": [1, 2, 0, 1]},
    ),
    "dilated": ("Conv", ["image", "w", "b"], "sum", {"dilations": [2, 1], "pads": [2, 2, 2, 2]}),
    "grouped": ("Conv", ["image", "grouped", "b"], "sum", {"group": 2}),
    "upper": ("Conv", ["image", "w"], "sum", {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    "lower": ("Conv", ["image", "w"], "sum", {"auto_pad": "SAME_LOWER", "strides": [3, 2]}),
    "valid": ("Conv", ["image", "w"], "sum", {"auto_pad": "VALID", "strides": [2, 2]}),
}
FOLDED: Mapping[str, list[Node]] = {
    "batch normalization": [
        ("BatchNormalization", ["sum", "gain", "offset", "mean", "variance"], "out", {})
    ],
    "a product and a sum": [
        ("Mul", ["per_filter", "sum"], "m", {}),
        ("Sub", ["m", "one"], "s", {}),
        ("Add", ["s", "per_filter"], "out", {}),
    ],
}
ACTIVATIONS: Mapping[str, list[Node]] = {
    "relu": [("Relu", ["sum"], "out", {})],
    "clip": [("Clip", ["sum", "zero", "six"], "out", {})],
    "leaky_relu": [("LeakyRelu", ["sum"], "out", {"alpha": 0.2})],
    "elu": [("Elu", ["sum"], "out", {})],
    "tanh": [("Tanh", ["sum"], "out", {})],
    "sigmoid": [("Sigmoid", ["sum"], "out", {})],
    "softplus": [("Softplus", ["sum"], "out", {})],
    "hard_sigmoid": [("HardSigmoid", ["sum"], "out", {"alpha": 0.3})],
    "hard_swish": [("HardSwish", ["sum"], "out", {})],
    "silu": [("Sigmoid", ["sum"], "gate", {}), ("Mul", ["sum", "gate"], "out", {})],
}


def read(nodes: list[Node], output: str = "out") -> tuple[Opening, dict[str, NDArray[np.float32]]]:
    """Return the opening of a graph, and its tensors as ONNX Runtime computes them."""
    model = graph_of(nodes, output, CONSTANTS, image=IMAGE.shape)
    opening = find_opening(Wiring(model.graph))
    assert opening is not None
    inner = [name for name in dict.fromkeys(opening.tensors) if name not in {"image", output}]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    made = session.run([output, *inner], {"image": IMAGE})
    return opening, {"image": IMAGE, **dict(zip([output, *inner], made, strict=True))}


def multiplied_out(opening: Opening, tensors: dict[str, NDArray[np.float32]]) -> Any:
    """Return the sums of the convolution, float64 (F, h, w), each from the places that `taps` names."""
    image, made = tensors[opening.input][0], tensors[opening.output].shape[2:]
    sums = np.empty((len(opening.weights), *made))
    for index, weights in enumerate(opening.weights.astype(np.float64)):
        planes = image[opening.channels_of(index)]
        for place in np.ndindex(*made):
            rows, columns = opening.window.taps(place, image.shape[1:], made)
            sums[(index, *place)] = opening.bias[index] + sum(
                (planes[:, row, column] * weights[:, i, j]).sum()
                for i, row in enumerate(rows)
                for j, column in enumerate(columns)
                if 0 <= row < image.shape[1] and 0 <= column < image.shape[2]
            )
    return sums


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_the_numbers_under_a_filter_add_up_to_what_onnx_runtime_computes(name: str) -> None:
    opening, tensors = read([CONVOLUTIONS[name]], "sum")
    assert opening.steps == ()
    np.testing.assert_allclose(
        multiplied_out(opening, tensors), tensors["sum"][0], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", FOLDED)
def test_constants_that_follow_are_folded_into_the_filters(name: str) -> None:
    opening, tensors = read([CONVOLUTIONS["plain"], *FOLDED[name]])
    assert opening.output == "out"
    np.testing.assert_allclose(
        multiplied_out(opening, tensors), tensors["out"][0], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_is_what_onnx_runtime_computes(name: str) -> None:
    opening, tensors = read([CONVOLUTIONS["plain"], *ACTIVATIONS[name]])
    (step,) = opening.steps
    assert isinstance(step, Activation)
    assert (step.name, step.tensor) == (name, "out")
    own = [step.apply(float(value)) for value in tensors["sum"].ravel()]
    np.testing.assert_allclose(own, tensors["out"].ravel(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("operator", POOLS)
@pytest.mark.parametrize("counted", [0, 1])
@pytest.mark.parametrize("first", [False, True])
def test_a_pooling_comes_before_or_after_the_activation(
    operator: str, *, counted: int, first: bool
) -> None:
    options = dict(POOLS[operator])
    if operator == "AveragePool":
        options["count_include_pad"] = counted
    pool: Node = (operator, ["sum" if first else "a"], "p" if first else "out", options)
    relu: Node = ("Relu", ["p" if first else "sum"], "out" if first else "a", {})
    order = [pool, relu] if first else [relu, pool]
    opening, tensors = read([CONVOLUTIONS["plain"], *order])
    assert [type(step) for step in opening.steps] == (
        [Pooling, Activation] if first else [Activation, Pooling]
    )
    pooling = opening.steps[0 if first else 1]
    assert isinstance(pooling, Pooling)
    before = tensors["sum" if first else "a"][0]
    after = tensors[pooling.tensor][0]
    for place in np.ndindex(*after.shape[1:]):
        rows, columns = pooling.window.taps(place, before.shape[1:], after.shape[1:])
        known = [
            before[0, row, column]
            for row in rows
            for column in columns
            if 0 <= row < before.shape[1] and 0 <= column < before.shape[2]
        ]
        size = len(rows) * len(columns) if pooling.counts_padding else len(known)
        value = max(known) if pooling.kind == "max" else sum(known) / size
        assert value == pytest.approx(after[(0, *place)], rel=1e-4, abs=1e-6)
        over = pooling.window.place_over((rows[-1], columns[-1]), before.shape[1:], after.shape[1:])
        assert over is not None


def test_a_cell_that_no_window_holds_has_no_place() -> None:
    options = {"kernel_shape": [1, 1], "strides": [2, 2]}
    opening, _ = read([CONVOLUTIONS["plain"], ("MaxPool", ["sum"], "out", options)])
    (pooling,) = opening.steps
    assert isinstance(pooling, Pooling)
    assert pooling.window.place_over((2, 4), (11, 8), (6, 4)) == (1, 2)
    assert pooling.window.place_over((3, 4), (11, 8), (6, 4)) is None


@pytest.mark.parametrize(
    "nodes",
    [
        [("Erf", ["sum"], "out", {})],
        [("Relu", ["sum"], "a", {}), ("Add", ["a", "sum"], "out", {})],
        [("Clip", ["sum", "zero", "zero", "six"][:2], "out", {})],
        [("Add", ["sum", "sum"], "out", {})],
    ],
)
def test_what_is_not_an_activation_alone_is_none(nodes: list[Node]) -> None:
    opening, _ = read([CONVOLUTIONS["plain"], *nodes])
    assert opening.output == "sum"
    assert opening.steps == ()


def test_a_network_without_a_convolution_has_no_opening() -> None:
    model = graph_of([("Relu", ["image"], "out", {})], "out", CONSTANTS, image=IMAGE.shape)
    assert find_opening(Wiring(model.graph)) is None
