"""A raw graph becomes the servable's: bytes in, the task's outputs, features and stages out."""

from typing import Any, cast

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import NodeProto, helper

from exporter.assemble import assemble
from exporter.errors import GraphError
from exporter.graph import Graph, with_outputs
from exporter.heads.classify import ClassifyHead
from exporter.heads.embed import EmbedHead
from exporter.heads.segment import SegmentHead
from exporter.network import Facts, Head, Network, Reference
from exporter.recipe import Pixels
from exporter.sessions import optimized_session
from service.card import ImageInput
from tests.exporter.exporting import some_frames
from tests.exporter.graphs import SIDE, normal, pixel_graph, raw_values, small_classifier
from tests.exporter.heads.judged import detect_head

FRAMES = some_frames(2, SIDE)


def network(model: onnx.ModelProto, head: Head, *raw: str, **pixels: Any) -> Network:
    return Network(
        graph=Graph(model),
        raw=raw or ("raw",),
        head=head,
        reference=cast("Reference", None),
        image_input=ImageInput(height=SIDE, width=SIDE, resize="stretch"),
        pixels=Pixels(**pixels),
        facts=Facts("", ""),
    )


def served(model: onnx.ModelProto, *names: str) -> dict[str, NDArray[Any]]:
    """Return a servable's outputs, or any of its tensors, for the frames."""
    names = names or tuple(value.name for value in model.graph.output)
    session = optimized_session(with_outputs(model, names))
    return dict(zip(names, session.run(list(names), {"image": FRAMES}), strict=True))


def planes(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.ascontiguousarray(frames.transpose(0, 3, 1, 2) / 255, np.float32)


def test_a_classifier_has_scores_and_what_its_last_layer_reads() -> None:
    raw, features = raw_values(small_classifier(), planes(FRAMES), "raw", "f")

    model, stages = assemble(network(small_classifier(), ClassifyHead(4)))

    assert [value.name for value in model.graph.input] == ["image"]
    found = served(model)
    assert list(found) == ["logits", "probabilities", "features"]
    np.testing.assert_allclose(found["logits"], raw, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["features"], features, rtol=1e-4, atol=1e-5)
    powers = np.exp(raw - raw.max(1, keepdims=True))
    np.testing.assert_allclose(
        found["probabilities"], powers / powers.sum(1, keepdims=True), rtol=1e-3, atol=1e-6
    )
    # The last map of each size: 8×8 of 8 channels after a stride of 2, and 4×4.
    assert [(one.name, one.channels, one.stride) for one in stages] == [
        ("stage_1", 8, 2.0),
        ("stage_2", 16, 4.0),
    ]


def test_stages_are_the_maps_after_their_activation() -> None:
    first, second = raw_values(small_classifier(), planes(FRAMES), "b", "d")

    model, _ = assemble(network(small_classifier(), ClassifyHead(4)))

    found = served(model, "stage_1", "stage_2")
    np.testing.assert_allclose(found["stage_1"], first, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["stage_2"], second, rtol=1e-4, atol=1e-5)


def test_bytes_become_the_pixel_values_that_the_network_reads() -> None:
    pixels = {"mean": (0.5, 0.25, 0.125), "std": (0.5, 0.25, 2.0), "color": "bgr"}
    bgr = FRAMES[..., ::-1] / 255
    values = ((bgr - [0.5, 0.25, 0.125]) / [0.5, 0.25, 2.0]).transpose(0, 3, 1, 2)
    (raw,) = raw_values(small_classifier(), np.ascontiguousarray(values, np.float32), "raw")

    model, _ = assemble(network(small_classifier(), ClassifyHead(4), **pixels))

    np.testing.assert_allclose(served(model)["logits"], raw, rtol=1e-3, atol=1e-4)


def op(name: str, inputs: str, output: str, **attributes: Any) -> NodeProto:
    return helper.make_node(name, inputs.split(), [output], **attributes)


def with_names_of_the_servable() -> onnx.ModelProto:
    """Return a classifier whose inner tensors have the names of a servable's outputs."""
    return pixel_graph(
        op("Conv", "pixels w0", "stage_1", strides=[2, 2], pads=[1, 1, 1, 1]),
        op("Relu", "stage_1", "features"),
        op("GlobalAveragePool", "features", "image"),
        op("Flatten", "image", "probabilities"),
        op("Gemm", "probabilities w2", "logits"),
        outputs=["logits"],
        w0=normal(8, 3, 3, 3),
        w2=normal(8, 4),
    )


def test_names_that_a_servable_needs_are_given_up_by_the_network() -> None:
    raw, features = raw_values(
        with_names_of_the_servable(), planes(FRAMES), "logits", "probabilities"
    )

    model, stages = assemble(network(with_names_of_the_servable(), ClassifyHead(4), "logits"))

    found = served(model)
    np.testing.assert_allclose(found["logits"], raw, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["features"], features, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["probabilities"].sum(1), 1, rtol=1e-5)
    assert [one.tensor for one in stages] == ["stage_1"]


def test_an_output_may_have_the_name_of_the_servable_s_input() -> None:
    model = pixel_graph(
        op("Conv", "pixels w0", "map", strides=[2, 2], pads=[1, 1, 1, 1]),
        op("GlobalAveragePool", "map", "pooled"),
        op("Flatten", "pooled", "flat"),
        op("Gemm", "flat w2", "image"),
        outputs=["image"],
        w0=normal(8, 3, 3, 3),
        w2=normal(8, 4),
    )
    [raw] = raw_values(model, planes(FRAMES), "image")

    completed, _ = assemble(network(model, ClassifyHead(4), "image"))

    np.testing.assert_allclose(served(completed)["logits"], raw, rtol=1e-4, atol=1e-5)


def test_an_embedder_s_output_is_its_features() -> None:
    vector, mapped = raw_values(small_classifier(), planes(FRAMES), "f", "d")

    for raw, expected in (("f", vector), ("d", mapped.mean((2, 3)))):
        model, _ = assemble(network(small_classifier(), EmbedHead(), raw))

        found = served(model)
        assert list(found) == ["features"]
        np.testing.assert_allclose(found["features"], expected, rtol=1e-4, atol=1e-5)


def segmenter() -> onnx.ModelProto:
    """Return a graph to two maps at half the size, with 4×4 places in its middle."""
    return pixel_graph(
        op("Conv", "pixels w0", "a", strides=[2, 2], pads=[1, 1, 1, 1]),
        op("Conv", "a w1", "deep", strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Resize", ["deep", "", "scales"], ["large"], mode="nearest"),
        op("Conv", "large w2", "raw"),
        w0=normal(8, 3, 3, 3),
        w1=normal(16, 8, 3, 3),
        w2=normal(2, 16, 1, 1),
        scales=np.array([1, 1, 2, 2], np.float32),
    )


def test_a_segmenter_has_the_features_of_its_deepest_map() -> None:
    raw, deep = raw_values(segmenter(), planes(FRAMES), "raw", "deep")

    model, stages = assemble(network(segmenter(), SegmentHead(2, (8, 8))))

    found = served(model)
    assert list(found) == ["mask", "confidence", "features"]
    np.testing.assert_allclose(found["features"], deep.mean((2, 3)), rtol=1e-4, atol=1e-5)
    # The middle of each cell of 2×2 pixels is near the cell's own scores.
    agree = found["mask"][:, ::2, ::2] == raw.argmax(1)
    assert agree.mean() > 0.8
    assert [(one.channels, one.stride) for one in stages] == [(8, 2.0), (16, 4.0)]


def detector() -> onnx.ModelProto:
    """Return a graph with 16 boxes, and scores of two classes, from a map of 4×4 places."""
    return pixel_graph(
        op("Conv", "pixels w0", "deep", strides=[4, 4]),
        op("Conv", "deep w1", "b"),
        op("Conv", "deep w2", "s"),
        op("Reshape", "b four", "boxes"),
        op("Reshape", "s two", "flat"),
        op("Sigmoid", "flat", "scores"),
        outputs=["boxes", "scores"],
        w0=normal(8, 3, 4, 4),
        w1=normal(4, 8, 1, 1),
        w2=normal(2, 8, 1, 1),
        four=np.array([0, 16, 4], np.int64),
        two=np.array([0, 16, 2], np.int64),
    )


def test_a_detector_has_the_features_that_boxes_and_scores_come_from() -> None:
    deep, scores = raw_values(detector(), planes(FRAMES), "deep", "scores")
    head = detect_head("pair", (1, 16, 4), (1, 16, 2))

    model, stages = assemble(network(detector(), head, "boxes", "scores"))

    found = served(model)
    assert list(found) == ["boxes", "scores", "classes", "features"]
    np.testing.assert_allclose(found["features"], deep.mean((2, 3)), rtol=1e-4, atol=1e-5)
    best = np.sort(scores.reshape(2, -1), axis=1)[:, ::-1]
    np.testing.assert_allclose(found["scores"], best, rtol=1e-4, atol=1e-6)
    assert [one.channels for one in stages] == [8]


def test_a_graph_without_a_trained_layer_can_not_be_completed() -> None:
    model = pixel_graph(op("GlobalAveragePool", "pixels", "p"), op("Flatten", "p", "raw"))

    with pytest.raises(GraphError, match="no trained layer"):
        assemble(network(model, ClassifyHead(3)))
