"""Statistics of a graph's tensors on images."""

from typing import Any

import numpy as np
import pytest
from onnx import helper

from exporter.calibration import as_layer, by_group, calibrate
from tests.exporter.exporting import some_frames
from tests.exporter.graphs import SIDE, image_graph, logits_of, normal


@pytest.mark.parametrize(
    "how",
    [
        {"pads": [1, 1, 1, 1], "strides": [2, 1]},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
        {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
        {"dilations": [2, 3], "group": 3},
    ],
)
def test_the_moments_are_those_of_the_values_that_the_weights_are_multiplied_with(
    how: dict[str, Any],
) -> None:
    """With every place drawn, the mean window times the weights is the mean of the layer's output."""
    groups = 3 if "group" in how else 1
    weight = normal(6, 3 // groups, 3, 3)
    conv = helper.make_node("Conv", ["pixels", "weight"], ["logits"], **how)
    model = image_graph(conv, weight=weight)
    frames = some_frames(1, SIDE)[:, ::2, ::2].repeat(2, 1).repeat(2, 2)

    found = calibrate(model, frames, ["logits"], [conv], places=SIDE * SIDE)

    mean = found.moments["weight"].mean
    expected = logits_of(model, frames)
    product = np.einsum("goi,gi->go", weight.reshape(groups, 6 // groups, -1), mean)
    np.testing.assert_allclose(product.ravel(), expected.mean(axis=(0, 2, 3)), rtol=1e-3)
    ends = (expected.min(), expected.max())
    np.testing.assert_allclose(found.ranges["logits"], ends, rtol=1e-5)


def test_a_range_contains_zero_and_the_values_of_every_frame() -> None:
    conv = helper.make_node("Conv", ["pixels", "weight"], ["logits"])
    model = image_graph(conv, weight=np.ones((1, 3, 1, 1), np.float32))
    frames = np.stack([np.full((SIDE, SIDE, 3), value, np.uint8) for value in (10, 50)])

    assert calibrate(model, frames, ["logits"], []).ranges == {"logits": (0.0, 150.0)}


def test_a_layer_whose_weights_are_computed_has_no_moments() -> None:
    product = helper.make_node("MatMul", ["pixels", "pixels"], ["logits"])
    found = calibrate(image_graph(product), some_frames(1, SIDE), ["logits"], [product])
    assert found.moments == {}


@pytest.mark.parametrize(
    ("node", "shape", "grouped"),
    [
        (helper.make_node("Conv", ["a", "w"], ["b"], group=2), (6, 2, 3, 3), (2, 3, 18)),
        (helper.make_node("Gemm", ["a", "w"], ["b"], transB=1), (4, 5), (1, 4, 5)),
        (helper.make_node("MatMul", ["a", "w"], ["b"]), (5, 4), (1, 4, 5)),
    ],
    ids=["Conv", "Gemm", "MatMul"],
)
def test_weights_by_group_return_to_the_shape_of_the_layer(
    node: Any, shape: tuple[int, ...], grouped: tuple[int, ...]
) -> None:
    weight = normal(*shape)
    found = by_group(node, weight)
    assert found.shape == grouped
    np.testing.assert_array_equal(as_layer(node, found, weight), weight)
