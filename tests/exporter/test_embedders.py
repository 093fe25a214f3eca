"""Networks whose output is an embedding, in every order of its axes, and features of maps with the channels last."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper

from exporter.errors import RecipeError
from tests.exporter import nets
from tests.exporter.exporting import export_to, outputs_of, some_frames
from tests.exporter.graphs import SIDE, normal, pixel_graph, raw_values

FRAMES = some_frames(3, SIDE)
PIXELS = (FRAMES.transpose(0, 3, 1, 2) / 255).astype(np.float32)


def embedder(turn: onnx.NodeProto) -> onnx.ModelProto:
    """Return a graph to `raw`, made by a node of `map` (N, 6, 4, 4), `vector` (N, 6, 1, 1) and constants."""
    return pixel_graph(
        helper.make_node("Conv", ["pixels", "w"], ["linear"], strides=[4, 4]),
        helper.make_node("Relu", ["linear"], ["map"]),
        helper.make_node("GlobalAveragePool", ["map"], ["vector"]),
        turn,
        w=normal(6, 3, 4, 4),
        one=np.array([0, 1, 6]),
        last=np.array([0, 6, 1]),
        tokens=np.array([0, 16, 6]),
        only=np.array([1]),
    )


@pytest.mark.parametrize(
    "turn",
    [
        helper.make_node("Identity", ["map"], ["raw"]),
        helper.make_node("Transpose", ["map"], ["raw"], perm=[0, 2, 3, 1]),
        helper.make_node("Identity", ["vector"], ["raw"]),
        helper.make_node("Transpose", ["vector"], ["raw"], perm=[0, 2, 3, 1]),
        helper.make_node("Reshape", ["vector", "one"], ["raw"]),
        helper.make_node("Reshape", ["vector", "last"], ["raw"]),
        helper.make_node("Flatten", ["vector"], ["raw"]),
    ],
)
def test_the_channels_of_an_embedding_stay_apart(tmp_path: Path, turn: onnx.NodeProto) -> None:
    model = embedder(turn)
    onnx.save(model, tmp_path / "net.onnx")
    (expected,) = raw_values(model, PIXELS, "vector")

    done = export_to(tmp_path, "onnx:net.onnx", task="embed")

    found = outputs_of(done.path, FRAMES)["features"]
    np.testing.assert_allclose(found, expected[:, :, 0, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("turn", "words"),
    [
        (helper.make_node("Reshape", ["map", "tokens"], ["raw"]), "If these are tokens"),
        (helper.make_node("ReduceMean", ["vector", "only"], ["raw"], keepdims=0), "single number"),
    ],
)
def test_what_is_no_embedding_is_refused(tmp_path: Path, turn: onnx.NodeProto, words: str) -> None:
    onnx.save(embedder(turn), tmp_path / "net.onnx")
    with pytest.raises(RecipeError, match=words):
        export_to(tmp_path, "onnx:net.onnx", task="embed")


def test_a_module_may_have_the_channels_of_its_map_last(tmp_path: Path) -> None:
    module = nets.ChannelsLast().eval()
    weights = nets.save_weights(module, tmp_path)
    frames = some_frames(3, nets.SIDE)

    done = export_to(
        tmp_path,
        "python:tests.exporter.nets:ChannelsLast",
        task="embed",
        weights=weights,
        input={"height": nets.SIDE, "width": nets.SIDE},
    )

    with torch.inference_mode():
        maps = module(torch.from_numpy(frames).permute(0, 3, 1, 2) / 255)
    found = outputs_of(done.path, frames)["features"]
    np.testing.assert_allclose(found, maps.mean((1, 2)), rtol=1e-4, atol=1e-5)


def test_features_of_a_segmenter_are_averaged_over_the_places_of_a_map_with_the_channels_last(
    tmp_path: Path,
) -> None:
    model = pixel_graph(
        helper.make_node("Conv", ["pixels", "w0"], ["linear"], strides=[4, 4]),
        helper.make_node("Transpose", ["linear"], ["turned"], perm=[0, 2, 3, 1]),
        helper.make_node("MatMul", ["turned", "w1"], ["deep"]),
        helper.make_node("Relu", ["deep"], ["rectified"]),
        helper.make_node("Transpose", ["rectified"], ["back"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["back", "w2"], ["raw"]),
        w0=normal(6, 3, 4, 4),
        w1=normal(6, 10),
        w2=normal(2, 10, 1, 1),
    )
    onnx.save(model, tmp_path / "net.onnx")

    done = export_to(tmp_path, "onnx:net.onnx", task="segment", labels=["no", "yes"])

    (deep,) = raw_values(model, PIXELS, "rectified")
    found = outputs_of(done.path, FRAMES)["features"]
    np.testing.assert_allclose(found, deep.mean((1, 2)), rtol=1e-4, atol=1e-4)


def test_features_of_a_classifier_are_averaged_over_the_places_that_its_last_layer_reads(
    tmp_path: Path,
) -> None:
    model = pixel_graph(
        helper.make_node("Conv", ["pixels", "w0"], ["linear"], strides=[4, 4]),
        helper.make_node("Relu", ["linear"], ["map"]),
        helper.make_node("Transpose", ["map"], ["turned"], perm=[0, 2, 3, 1]),
        helper.make_node("MatMul", ["turned", "w1"], ["scores"]),
        helper.make_node("ReduceMean", ["scores", "places"], ["raw"], keepdims=0),
        w0=normal(6, 3, 4, 4),
        w1=normal(6, 3),
        places=np.array([1, 2]),
    )
    onnx.save(model, tmp_path / "net.onnx")

    done = export_to(tmp_path, "onnx:net.onnx", labels=["a", "b", "c"])

    (maps,) = raw_values(model, PIXELS, "map")
    found = outputs_of(done.path, FRAMES)["features"]
    np.testing.assert_allclose(found, maps.mean((2, 3)), rtol=1e-4, atol=1e-5)
