"""Constants after a convolution become its weights and bias."""

import numpy as np
from onnx import helper

from exporter.folding import fold_norms
from tests.exporter.exporting import some_frames
from tests.exporter.graphs import SIDE, image_graph, logits_of, normal


def test_constants_after_a_convolution_are_folded_into_it() -> None:
    model = image_graph(
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
    np.testing.assert_allclose(
        logits_of(folded, frames), logits_of(model, frames), rtol=1e-3, atol=1e-2
    )


def test_a_constant_after_a_map_with_two_readers_is_not_folded() -> None:
    model = image_graph(
        helper.make_node("Conv", ["pixels", "weight"], ["a"]),
        helper.make_node("Mul", ["a", "gain"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["logits"]),
        weight=normal(4, 3, 3, 3),
        gain=normal(4, 1, 1),
    )
    assert len(fold_norms(model).graph.node) == len(model.graph.node)


def test_a_constant_that_differs_within_a_channel_is_not_folded() -> None:
    model = image_graph(
        helper.make_node("Conv", ["pixels", "weight"], ["a"]),
        helper.make_node("Add", ["a", "grid"], ["logits"]),
        weight=normal(4, 3, 1, 1),
        grid=normal(1, 4, SIDE, SIDE),
    )
    assert len(fold_norms(model).graph.node) == len(model.graph.node)
