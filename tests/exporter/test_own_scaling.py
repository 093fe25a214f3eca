"""Networks that divide bytes by 255 themselves get bytes; others get what is stated or assumed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from exporter.graph import OPSET
from exporter.own_scaling import own_factor, settle_scale
from exporter.progress import SilentProgress
from exporter.recipe import make_recipe
from tests.exporter.exporting import export_to, outputs_of, some_frames
from tests.exporter.nets import LABELS, SIDE, Small, save_weights, small

Step = tuple[str, Sequence[str]]

CONSTANTS = {
    "255": np.float32(255),
    "1/255": np.float32(1 / 255),
    "1/127.5": np.float32(1 / 127.5),
    "one": np.float32(1),
    "two": np.float32(2),
    "mean": np.array([0.485, 0.456, 0.406], np.float32).reshape(3, 1, 1),
    "std": np.array([0.229, 0.224, 0.225], np.float32).reshape(3, 1, 1),
    "mean of bytes": np.array([103.939, 116.779, 123.68], np.float32).reshape(3, 1, 1),
    "std of bytes": np.array([57.375, 57.12, 58.395], np.float32).reshape(3, 1, 1),
    "bgr": np.array([2, 1, 0]),
    "ones": np.ones(3, np.float32),
    "zeros": np.zeros(3, np.float32),
    "variance of bytes": np.full(3, 60.0**2, np.float32),
    "kernel": np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32),
}


def scaled(steps: Sequence[Step]) -> onnx.ModelProto:
    """Return a classifier of four classes whose first layer reads what these steps make of `pixels`, in turn `x`."""
    names = ["pixels", *(f"step_{index}" for index in range(len(steps)))]
    nodes = [
        helper.make_node(op, [names[index] if one == "x" else one for one in read], [after])
        for index, ((op, read), after) in enumerate(zip(steps, names[1:], strict=True))
    ]
    nodes += [
        helper.make_node("Conv", [names[-1], "kernel"], ["map"], strides=[4, 4]),
        helper.make_node("GlobalAveragePool", ["map"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "scaled",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in CONSTANTS.items()],
    )
    opset = helper.make_opsetid("", OPSET)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8)


def factor(model: onnx.ModelProto) -> float | None:
    return own_factor(model.graph, OPSET)


BYTES: dict[str, tuple[list[Step], float]] = {
    "torch: x / 255": ([("Div", ["x", "255"])], 1 / 255),
    "Keras: Rescaling": ([("Mul", ["x", "1/127.5"]), ("Sub", ["x", "one"])], 1 / 127.5),
    "a constant first": ([("Mul", ["1/255", "x"])], 1 / 255),
    "Caffe, in BGR": (
        [("Gather", ["x", "bgr"]), ("Sub", ["x", "mean of bytes"]), ("Div", ["x", "std of bytes"])],
        1 / 57.12,
    ),
    "Keras: Rescaling and Normalization": (
        [("Mul", ["x", "1/255"]), ("Sub", ["x", "mean"]), ("Div", ["x", "std"])],
        1 / 255 / 0.224,
    ),
    "a batch norm first": (
        [("BatchNormalization", ["x", "ones", "zeros", "zeros", "variance of bytes"])],
        1 / 60,
    ),
}
FRACTIONS: dict[str, list[Step]] = {
    "ImageNet's mean and std": [("Sub", ["x", "mean"]), ("Div", ["x", "std"])],
    "minus one to one": [("Mul", ["x", "two"]), ("Sub", ["x", "one"])],
}


def with_axis(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give a Gather of channels its axis."""
    for node in model.graph.node:
        if node.op_type == "Gather":
            node.attribute.append(helper.make_attribute("axis", 1))
    return model


@pytest.mark.parametrize("form", BYTES)
def test_a_graph_that_makes_fractions_of_bytes_is_seen(form: str) -> None:
    steps, expected = BYTES[form]
    assert factor(with_axis(scaled(steps))) == pytest.approx(expected, rel=0.001)


@pytest.mark.parametrize("form", FRACTIONS)
def test_a_graph_that_reads_fractions_does_not_look_as_if_it_reads_bytes(form: str) -> None:
    found = factor(scaled(FRACTIONS[form]))
    assert found is not None
    assert found > 1


def test_a_graph_whose_first_layer_reads_the_pixels_has_no_factor() -> None:
    assert factor(scaled([])) is None
    assert factor(scaled([("Transpose", ["x"])])) is None


def test_a_graph_that_also_reads_the_pixels_as_they_are_has_no_factor() -> None:
    model = scaled([("Div", ["x", "255"])])
    model.graph.node.append(helper.make_node("ReduceMax", ["pixels"], ["largest"]))
    assert factor(model) is None


def test_a_branch_that_reads_the_pixels_as_they_are_leaves_no_factor() -> None:
    model = scaled([("Div", ["x", "255"])])
    value = helper.make_tensor_value_info("largest", TensorProto.FLOAT, None)
    largest = helper.make_node("ReduceMax", ["pixels"], ["largest"])
    branch = helper.make_graph([largest], "branch", [], [value])
    model.graph.initializer.append(numpy_helper.from_array(np.ones((), bool), "always"))
    node = helper.make_node("If", ["always"], ["found"], then_branch=branch, else_branch=branch)
    model.graph.node.append(node)
    assert factor(model) is None


def test_a_product_of_the_pixels_with_themselves_is_no_scaling() -> None:
    model = scaled([("Mul", ["x", "pixels"]), ("Div", ["x", "255"])])
    assert factor(model) is None


def settled(stated: dict[str, object]) -> float:
    fields = {"source": "onnx:net.onnx", "task": "classify", "name": "net", "pixels": stated}
    recipe = make_recipe(fields)
    graph = scaled([("Div", ["x", "255"])]).graph
    pixels = recipe.pixel_values(None)
    return settle_scale(pixels, recipe, own_factor(graph, OPSET), SilentProgress()).scale


def test_a_stated_scale_stays() -> None:
    assert settled({"scale": 0.5}) == 0.5


def test_a_stated_mean_of_fractions_keeps_fractions() -> None:
    assert settled({"mean": (0.485, 0.456, 0.406)}) == pytest.approx(1 / 255)


def test_a_stated_mean_of_zero_does_not() -> None:
    assert settled({"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}) == 1.0


def probabilities(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def test_an_onnx_file_that_divides_by_255_answers_as_for_bytes(tmp_path: Path) -> None:
    onnx.save(scaled([("Div", ["x", "255"])]), tmp_path / "net.onnx")

    done = export_to(tmp_path, "onnx:net.onnx", labels=LABELS)

    frames = some_frames(3, SIDE)
    session = onnxruntime.InferenceSession(
        tmp_path / "net.onnx", providers=["CPUExecutionProvider"]
    )
    (logits,) = session.run(None, {"pixels": frames.transpose(0, 3, 1, 2).astype(np.float32)})
    found = outputs_of(done.path, frames)["probabilities"]
    np.testing.assert_allclose(found, probabilities(logits), atol=1e-5)
    normalization = done.card.normalization
    assert normalization is not None
    assert (normalization.scale, normalization.assumed) == (1.0, ())
    assert not any("assumed" in hint for hint in done.hints)


def test_a_stated_scale_that_leaves_a_network_nearly_blank_images_is_warned_of(
    tmp_path: Path,
) -> None:
    onnx.save(scaled([("Div", ["x", "255"])]), tmp_path / "net.onnx")

    done = export_to(tmp_path, "onnx:net.onnx", labels=LABELS, pixels={"scale": 1 / 255})

    assert any("multiplies them by 0.003922 itself" in hint for hint in done.hints)


class OfBytes(Small):
    """A network of PyTorch that divides by 255 itself."""

    def forward(self, pixels: Tensor) -> Tensor:
        return super().forward(pixels / 255.0)


def test_a_module_that_divides_by_255_answers_as_for_bytes(tmp_path: Path) -> None:
    weights = save_weights(small(), tmp_path)

    done = export_to(
        tmp_path,
        "python:tests.exporter.test_own_scaling:OfBytes",
        weights=weights,
        labels=LABELS,
        input={"height": SIDE, "width": SIDE},
    )

    module: nn.Module = OfBytes().eval()
    module.load_state_dict(torch.load(tmp_path / weights))
    frames = some_frames(3, SIDE)
    with torch.no_grad():
        logits = module(torch.from_numpy(frames).permute(0, 3, 1, 2).float()).numpy()
    found = outputs_of(done.path, frames)["probabilities"]
    np.testing.assert_allclose(found, probabilities(logits), atol=1e-5)
