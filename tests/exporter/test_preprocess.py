"""The preprocessing in the graph computes what the frameworks' preprocessing does."""

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from exporter.graph import Graph
from exporter.preprocess import graft_preprocessing
from exporter.recipe import Pixels
from exporter.sessions import unoptimized_session
from exporter.transforms import pixel_values
from service.card import ImageInput
from tests.exporter.exporting import some_frames

FRAME = ImageInput(height=6, width=6, resize="stretch")


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4)},
        {"layout": "NHWC", "scale": 1.0, "mean": (127.0, 127.0, 127.0)},
        {"color": "bgr", "mean": (0.4, 0.5, 0.6)},
        {"color": "gray", "mean": (0.5, 0.0, 0.0), "std": (0.25, 1.0, 1.0)},
    ],
)
@pytest.mark.parametrize("name", ["pixels", "image"])
def test_the_nodes_compute_the_pixel_values(fields: dict[str, Any], name: str) -> None:
    pixels = Pixels.model_validate(fields)
    shape: list[str | int | None] = ["N", *pixels.shape(FRAME)]
    ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, shape) for end in (name, "raw")]
    node = helper.make_node("Identity", [name], ["raw"])
    graph = Graph(helper.make_model(helper.make_graph([node], "raw", ends[:1], ends[1:])))

    graft_preprocessing(graph, pixels, FRAME)

    frames = some_frames(2, 6)
    (found,) = unoptimized_session(graph.finish()).run(None, {"image": frames})
    np.testing.assert_allclose(found, pixel_values(frames, pixels), atol=1e-5)
