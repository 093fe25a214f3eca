"""Constants of 16 bits in `Constant` nodes: kept bit by bit, and computed as ONNX Runtime computes the file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from exporter.cost import count_parameters
from exporter.errors import RecipeError
from exporter.folding import fold_norms
from exporter.graph import Graph
from tests.exporter.exporting import export_to, outputs_of, some_frames
from tests.exporter.graphs import SIDE, normal, pixel_graph

LABELS = ["a", "b", "c"]
TYPES = [TensorProto.FLOAT16, TensorProto.BFLOAT16]


def constant(name: str, kind: int, *, raw: bool) -> onnx.NodeProto:
    """Return a node that gives weights (3, 3, 16, 16) of 16 bits."""
    values = normal(3, 3, SIDE, SIDE) * 0.1
    bits = (
        (values.view(np.uint32) >> 16).astype(np.uint16)
        if kind == TensorProto.BFLOAT16
        else values.astype(np.float16).view(np.uint16)
    )
    tensor = TensorProto(data_type=kind, dims=values.shape)
    if raw:
        tensor.raw_data = bits.tobytes()
    else:
        tensor.int32_data.extend(int(one) for one in bits.reshape(-1))
    return helper.make_node("Constant", [], [name], value=tensor)


def classifier(kind: int, *, raw: bool) -> onnx.ModelProto:
    return pixel_graph(
        constant("w16", kind, raw=raw),
        helper.make_node("Cast", ["w16"], ["w"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["pixels", "w"], ["map"]),
        helper.make_node("Flatten", ["map"], ["raw"]),
    )


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("kind", TYPES)
def test_a_constant_node_keeps_its_bits(kind: int, *, raw: bool) -> None:
    model = classifier(kind, raw=raw)
    (held,) = Graph(model).constants.values()
    before = model.graph.node[0].attribute[0].t
    assert (held.name, held.data_type) == ("w16", kind)
    np.testing.assert_array_equal(
        numpy_helper.to_array(held).astype(np.float32),
        numpy_helper.to_array(before).astype(np.float32),
    )


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("kind", TYPES)
def test_a_network_with_weights_of_16_bits_computes_what_its_file_does(
    kind: int, tmp_path: Path, *, raw: bool
) -> None:
    model = classifier(kind, raw=raw)
    onnx.save(model, tmp_path / "net.onnx")
    done = export_to(tmp_path, "onnx:net.onnx", labels=LABELS)
    frames = some_frames(3, SIDE)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    pixels = np.ascontiguousarray(frames.transpose(0, 3, 1, 2) / 255, np.float32)
    np.testing.assert_allclose(
        outputs_of(done.path, frames)["logits"], session.run(None, {"pixels": pixels})[0], atol=1e-5
    )
    assert done.card.cost.parameters == 3 * 3 * SIDE * SIDE


def test_weights_that_are_quantized_to_16_bits_are_parameters() -> None:
    model = pixel_graph(
        helper.make_node("Identity", ["pixels"], ["raw"]),
        w=np.ones((4, 5), np.int16),
        zeros=np.zeros(4, np.int16),
    )
    assert count_parameters(model) == 20


def half_inside() -> onnx.ModelProto:
    """Return a network that computes in float16 between its input and its scores."""
    return pixel_graph(
        helper.make_node("Cast", ["pixels"], ["p"], to=TensorProto.FLOAT16),
        helper.make_node("Conv", ["p", "w"], ["c"], strides=[4, 4]),
        helper.make_node("Mul", ["c", "gain"], ["scaled"]),
        helper.make_node("Cast", ["scaled"], ["e"], to=TensorProto.FLOAT),
        helper.make_node("GlobalAveragePool", ["e"], ["f"]),
        helper.make_node("Flatten", ["f"], ["raw"]),
        w=normal(3, 3, 4, 4).astype(np.float16),
        gain=np.full((3, 1, 1), 0.5, np.float16),
    )


def quantized_inside() -> onnx.ModelProto:
    return pixel_graph(
        helper.make_node("QuantizeLinear", ["pixels", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["p"]),
        helper.make_node("Conv", ["p", "w"], ["c"], strides=[4, 4]),
        helper.make_node("GlobalAveragePool", ["c"], ["f"]),
        helper.make_node("Flatten", ["f"], ["raw"]),
        w=normal(3, 3, 4, 4),
        s=np.array(0.01, np.float32),
        z=np.array(0, np.uint8),
    )


@pytest.mark.parametrize(
    ("fields", "option"),
    [
        ({"precision": ("int8", "fp32")}, "--precision int8"),
        ({"precision": ("fp16",)}, "--precision fp16"),
        ({"variants": ("bf16",)}, "--variants bf16"),
    ],
)
@pytest.mark.parametrize(
    ("make", "what"),
    [(half_inside, "computes in float16 itself"), (quantized_inside, "is quantized itself")],
)
def test_what_is_reduced_already_is_not_reduced_again(
    make: Callable[[], onnx.ModelProto],
    what: str,
    fields: dict[str, Any],
    option: str,
    tmp_path: Path,
) -> None:
    onnx.save(make(), tmp_path / "net.onnx")
    with pytest.raises(RecipeError, match=f"{option}: the network {what}"):
        export_to(tmp_path, "onnx:net.onnx", labels=LABELS, **fields)
    assert export_to(tmp_path, "onnx:net.onnx", labels=LABELS).path.is_file()


def test_a_convolution_in_float16_is_not_folded_into_one_in_float32() -> None:
    model = half_inside()
    assert [node.op_type for node in fold_norms(model).graph.node][1:3] == ["Conv", "Mul"]
