"""int8: layers that cost the agreement stay in float, and most do not."""

import numpy as np
import onnx
from onnx import helper

from exporter.int8 import quantize
from exporter.progress import SilentProgress
from tests.exporter.exporting import some_frames
from tests.exporter.graphs import SIDE, image_graph, logits_of, normal


def test_what_hurts_goes_back_to_float_and_most_stays_in_integers() -> None:
    """One channel a thousand times as large as the others takes all levels of its tensor."""
    spread = normal(8, 8, 1, 1)
    spread[0] *= 1000
    narrow = normal(8, 8, 1, 1)
    narrow[:, 0] /= 1000
    last = normal(5, 8, 1, 1)
    model = image_graph(
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
    truth = logits_of(model, frames)
    seen: list[float] = []

    def agreement(other: onnx.ModelProto) -> float:
        off = np.abs(logits_of(other, frames) - truth).mean() / np.abs(truth).mean()
        seen.append(1 - float(off))
        return seen[-1]

    found = quantize(model, frames, agreement, 0.95, SilentProgress(), last_layer=True)

    assert seen[0] < 0.95 <= found.agreement
    assert len(seen) <= 5
    layers = sum(node.op_type == "Conv" for node in model.graph.node)
    assert 1 <= found.in_float < layers / 2
    kinds = {node.op_type for node in found.model.graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= kinds
