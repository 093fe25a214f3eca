"""Quantized ONNX files as ONNX Runtime's tools write them give what ONNX Runtime computes from the file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from exporter.sessions import unoptimized_session
from tests.exporter.exporting import export_to, outputs_of, some_frames
from tests.exporter.test_found_forms import LABELS, SIDE, network, planes

quantization = pytest.importorskip("onnxruntime.quantization")


FRAMES = some_frames(4, SIDE)


class Reader(quantization.CalibrationDataReader):  # type: ignore[misc,name-defined]
    """Gives one image of noise, and then nothing."""

    def __init__(self) -> None:
        self._left = iter([{"images": planes(some_frames(1, SIDE))}])

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self._left, None)


def static(folder: Path, **options: Any) -> None:
    quantization.quantize_static(folder / "float.onnx", folder / "net.onnx", Reader(), **options)


def dynamic(folder: Path) -> None:
    quantization.quantize_dynamic(folder / "float.onnx", folder / "net.onnx")


def named_by_the_runtime(folder: Path) -> None:
    static(folder, extra_options={"UseQDQContribOps": True})


def only_convolutions_and_products(folder: Path) -> None:
    kinds = ["Conv", "MatMul"]
    static(folder, quant_format=quantization.QuantFormat.QOperator, op_types_to_quantize=kinds)


def one_by_one(path: Path, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return what ONNX Runtime computes from the file as it is, for one image at a time."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    alone = [session.run(None, {"images": planes(frame[None])})[0] for frame in frames]
    return np.concatenate(alone)


@pytest.mark.parametrize(
    ("quantize", "expected"),
    [
        (dynamic, "DynamicQuantizeLinear"),
        (named_by_the_runtime, "com.microsoft:QuantizeLinear"),
        (only_convolutions_and_products, "QLinearMatMul"),
    ],
)
def test_each_form_of_the_quantizer_goes_through(
    quantize: Callable[[Path], None], expected: str, tmp_path: Path
) -> None:
    onnx.save(network(), tmp_path / "float.onnx")
    quantize(tmp_path)
    nodes = onnx.load(tmp_path / "net.onnx").graph.node
    assert expected in {f"{n.domain}:{n.op_type}" if n.domain else n.op_type for n in nodes}

    done = export_to(tmp_path, "onnx:net.onnx", labels=LABELS)

    found = np.concatenate([outputs_of(done.path, frame[None])["logits"] for frame in FRAMES])
    step = 0.01 * np.abs(found).max()
    np.testing.assert_allclose(found, one_by_one(tmp_path / "net.onnx", FRAMES), atol=step)
    assert outputs_of(done.path, FRAMES[:1])["features"].shape == (1, 16)
    assert done.card.max_batch == (1 if expected == "DynamicQuantizeLinear" else None)
    assert done.card.cost.parameters >= 8 * 27 + 16 * 72 + 16 * 3
    assert done.card.cost.macs == 8 * 8 * 8 * 27 + 4 * 4 * 16 * 72 + 16 * 3
    assert [stage.channels for stage in done.card.stages] == [8, 16]


def sixteen_bits() -> ModelProto:
    """Return a classifier whose scores pass through ONNX Runtime's own 16 bits, which opset 18 lacks."""
    kind = {"domain": "com.microsoft"}
    model = network(
        after=(
            helper.make_node("QuantizeLinear", ["scores", "step", "zero"], ["q"], **kind),
            helper.make_node("DequantizeLinear", ["q", "step", "zero"], ["out"], **kind),
        ),
        outputs=("out",),
        constants={"step": np.array(1e-3, np.float32), "zero": np.array(0, np.int16)},
    )
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model


def test_sixteen_bits_need_a_newer_opset(tmp_path: Path) -> None:
    onnx.save(sixteen_bits(), tmp_path / "net.onnx")

    done = export_to(tmp_path, "onnx:net.onnx", labels=LABELS)

    found = outputs_of(done.path, FRAMES)["logits"]
    np.testing.assert_allclose(found, one_by_one(tmp_path / "net.onnx", FRAMES), atol=1.1e-3)
    assert onnx.load(done.path).opset_import[0].version == 21


def padded(opset: int) -> ModelProto:
    """Return a quantized classifier that pads negative values with zeros before a max pooling."""
    rng = np.random.default_rng(2)
    constants: dict[str, Any] = {
        "edges": np.array([0, 0, 1, 1, 0, 0, 1, 1]),
        "step": np.float32(2 / 127),
        "zero": np.int8(0),
        "two": np.float32(2),
        "kernels": rng.standard_normal((16, 3, 3, 3)).astype(np.float32),
        "weights": rng.standard_normal((16, len(LABELS))).astype(np.float32),
    }
    nodes = [
        helper.make_node("Sub", ["images", "two"], ["negative"]),
        helper.make_node("QuantizeLinear", ["negative", "step", "zero"], ["whole"]),
        helper.make_node("DequantizeLinear", ["whole", "step", "zero"], ["rounded"]),
        helper.make_node("Pad", ["rounded", "edges"], ["padded"]),
        helper.make_node("MaxPool", ["padded"], ["pooled"], kernel_shape=[3, 3], strides=[2, 2]),
        helper.make_node("Conv", ["pooled", "kernels"], ["map"]),
        helper.make_node("GlobalAveragePool", ["map"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Gemm", ["flat", "weights"], ["scores"]),
    ]
    entry = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, SIDE, SIDE])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", len(LABELS)])
    held = [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()]
    graph = helper.make_graph(nodes, "padded", [entry], [scores], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.mark.parametrize("opset", [13, 18])
def test_a_pad_of_zeros_before_a_max_pooling_is_read_as_the_file_states_it(
    opset: int, tmp_path: Path
) -> None:
    model = padded(opset)
    onnx.save(model, tmp_path / "net.onnx")

    done = export_to(tmp_path, "onnx:net.onnx", labels=LABELS)

    expected = unoptimized_session(model).run(["scores"], {"images": planes(FRAMES)})[0]
    found = outputs_of(done.path, FRAMES)["logits"]
    np.testing.assert_allclose(found, expected, atol=0.01 * np.abs(expected).max())
    merged = one_by_one(tmp_path / "net.onnx", FRAMES)
    assert np.abs(merged - expected).max() > 0.1 * np.abs(expected).max()
