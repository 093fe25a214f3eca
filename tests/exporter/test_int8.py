"""int8: norms folded, weights rounded for their outputs' sake, and what hurts left in float."""

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from exporter.calibration import Moments, calibrate
from exporter.folding import fold_norms
from exporter.int8 import quantize
from exporter.progress import SilentProgress
from exporter.quantization_noise import relative_noise
from exporter.rounding import round_weights
from exporter.sessions import optimized_session
from tests.exporter.exporting import some_frames

SIDE = 16
pytestmark = pytest.mark.timeout(60)


def graph(*nodes: onnx.NodeProto, **constants: NDArray[np.floating[Any]]) -> onnx.ModelProto:
    """Return a graph from `image`, uint8 (N, 16, 16, 3), to `logits`; `pixels` are its planes."""
    for index, node in enumerate(nodes):
        node.name = f"node_{index}"
    front = [
        helper.make_node("Transpose", ["image"], ["planes"], "foveal/planes", perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["pixels"], "foveal/pixels", to=TensorProto.FLOAT),
    ]
    made = helper.make_graph(
        [*front, *nodes],
        "small",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value.astype(np.float32), n) for n, value in constants.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def logits(model: onnx.ModelProto, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = optimized_session(model).run(["logits"], {"image": frames})[0]
    return found


def normal(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def test_a_convolution_swallows_the_constants_after_it() -> None:
    model = graph(
        helper.make_node("Conv", ["pixels", "weight"], ["a"], strides=[2, 2]),
        helper.make_node("Mul", ["a", "gain"], ["b"]),
        helper.make_node("Add", ["offset", "b"], ["c"]),
        helper.make_node("BatchNormalization", ["c", "s", "t", "mean", "variance"], ["logits"]),
        weight=normal(4, 3, 3, 3),
        gain=normal(4, 1, 1),
        offset=normal(1, 4, 1, 1),
        s=normal(4),
        t=normal(4),
        mean=normal(4),
        variance=np.abs(normal(4)),
    )
    frames = some_frames(2, SIDE)

    folded = fold_norms(model)

    assert [node.op_type for node in folded.graph.node] == ["Transpose", "Cast", "Conv"]
    np.testing.assert_allclose(logits(folded, frames), logits(model, frames), rtol=1e-3, atol=1e-2)


def test_a_map_that_others_read_is_not_swallowed() -> None:
    model = graph(
        helper.make_node("Conv", ["pixels", "weight"], ["a"]),
        helper.make_node("Mul", ["a", "gain"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["logits"]),
        weight=normal(4, 3, 3, 3),
        gain=normal(4, 1, 1),
    )
    assert len(fold_norms(model).graph.node) == len(model.graph.node)


def test_rounding_looks_at_what_the_inputs_have_in_common() -> None:
    """Inputs that rise together let the error of one weight be made up by the next."""
    inputs = normal(400, 1) + 0.1 * normal(400, 12)
    weights = normal(1, 5, 12).astype(np.float64)
    covariance = np.cov(inputs.T)[None]

    integers, scales = round_weights(weights, covariance, levels=7)
    nearest = np.clip(np.rint(weights / scales[:, :, None]), -7, 7)

    def error(values: NDArray[np.float64]) -> float:
        lost = (values * scales[:, :, None] - weights)[0]
        return float(np.einsum("oi,ij,oj->", lost, covariance[0], lost))

    assert np.abs(integers).max() <= 7
    assert error(integers) < error(nearest) / 4


def test_the_noise_foretold_is_the_noise_that_rounding_makes() -> None:
    """Inputs in common ranges, weights and outputs all rounded: what is told without running it."""
    inputs = np.abs(normal(4000, 1) + normal(4000, 24)).astype(np.float64)
    weights = normal(1, 6, 24).astype(np.float64)
    steps = (inputs.max() / 255, 0.2)
    coarse = np.rint(weights * 8) / 8
    moments = Moments(len(inputs), inputs.sum(axis=0)[None], (inputs.T @ inputs)[None])

    exact = inputs @ weights[0].T
    found = np.rint(inputs / steps[0]) * steps[0] @ coarse[0].T
    found = np.rint(found / steps[1]) * steps[1]
    measured = (found - exact).var(axis=0).mean() / exact.var(axis=0).mean()

    np.testing.assert_allclose(relative_noise(weights, coarse, moments, steps), measured, rtol=0.1)


@pytest.mark.parametrize(
    "how",
    [
        {"pads": [1, 1, 1, 1], "strides": [2, 1]},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
        {"auto_pad": "SAME_LOWER", "strides": [2, 2]},
        {"dilations": [2, 3], "group": 3},
    ],
)
def test_moments_are_those_of_what_the_weights_are_multiplied_with(how: dict[str, Any]) -> None:
    """Mean window times weights is the mean of the layer's output, if every place was drawn."""
    groups = 3 if "group" in how else 1
    weight = normal(6, 3 // groups, 3, 3)
    conv = helper.make_node("Conv", ["pixels", "weight"], ["logits"], **how)
    model = graph(conv, weight=weight)
    frames = some_frames(1, SIDE)[:, ::2, ::2].repeat(2, 1).repeat(2, 2)

    found = calibrate(model, frames, ["logits"], [conv], places=SIDE * SIDE)

    mean = found.moments["weight"].mean
    expected = logits(model, frames)
    product = np.einsum("goi,gi->go", weight.reshape(groups, 6 // groups, -1), mean)
    np.testing.assert_allclose(product.ravel(), expected.mean(axis=(0, 2, 3)), rtol=1e-3)
    ends = (expected.min(), expected.max())
    np.testing.assert_allclose(found.ranges["logits"], ends, rtol=1e-5)


def test_what_hurts_goes_back_to_float_and_most_stays_in_integers() -> None:
    """One channel a thousand times as large as the others takes all levels of its tensor."""
    spread = normal(8, 8, 1, 1)
    spread[0] *= 1000
    narrow = normal(8, 8, 1, 1)
    narrow[:, 0] /= 1000
    last = normal(5, 8, 1, 1)
    model = graph(
        helper.make_node("Conv", ["pixels", "w0", "b"], ["a"], strides=[2, 2]),
        helper.make_node("Relu", ["a"], ["b0"]),
        helper.make_node("Conv", ["b0", "w1", "b"], ["c"]),
        helper.make_node("Conv", ["c", "w2", "b"], ["d"]),
        helper.make_node("Relu", ["d"], ["e"]),
        helper.make_node("Conv", ["e", "w3", "b"], ["f"]),
        helper.make_node("Relu", ["f"], ["g0"]),
        *(helper.make_node("Conv", [f"g{i}", "w3", "b"], [f"g{i + 1}"]) for i in range(5)),
        helper.make_node("Conv", ["g5", "w4", "b5"], ["logits"]),
        w0=normal(8, 3, 3, 3) / 100,
        w1=spread,
        w2=narrow,
        w3=normal(8, 8, 1, 1),
        w4=last,
        b=np.zeros(8, np.float32),
        b5=np.zeros(5, np.float32),
    )
    frames = some_frames(6, SIDE)
    truth = logits(model, frames)
    seen: list[float] = []

    def agreement(other: onnx.ModelProto) -> float:
        off = np.abs(logits(other, frames) - truth).mean() / np.abs(truth).mean()
        seen.append(1 - float(off))
        return seen[-1]

    found = quantize(model, frames, agreement, 0.95, SilentProgress(), last_layer=True)

    assert seen[0] < 0.95 <= found.agreement
    assert len(seen) <= 5
    layers = sum(node.op_type == "Conv" for node in model.graph.node)
    assert 1 <= found.in_float < layers / 2
    kinds = {node.op_type for node in found.model.graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
