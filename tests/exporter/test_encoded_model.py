"""A model's bytes in parts: protobuf's own encoding is the truth."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from exporter.encoded_model import graph_parts, model_parts
from tests.exporter.graphs import small_classifier
from tests.servables import color_model


def rich_model() -> onnx.ModelProto:
    """Return a model with a field on each side of the graph and of its constants, and lengths of 1, 2 and 3 bytes."""
    model = small_classifier()
    model.producer_name, model.model_version, model.doc_string = "foveal", 300, "text"
    model.metadata_props.add(key="card", value="x" * 20_000)
    model.graph.doc_string = "graph"
    model.graph.metadata_props.add(key="a", value="b")
    model.graph.value_info.append(helper.make_tensor_value_info("inner", 1, [1, 2]))
    for name, size in (("empty", 0), ("small", 3), ("middle", 100), ("large", 10_000)):
        model.graph.initializer.append(numpy_helper.from_array(np.ones(size, np.float32), name))
    model.graph.initializer.append(helper.make_tensor("listed", 1, [2], [0.5, 1.5]))
    model.functions.append(
        helper.make_function(
            "own", "Same", ["x"], ["y"], [helper.make_node("Identity", ["x"], ["y"])], []
        )
    )
    return model


@pytest.mark.parametrize("make", [rich_model, color_model, small_classifier])
def test_the_parts_are_what_protobuf_encodes(make: Callable[[], onnx.ModelProto]) -> None:
    model = make()

    assert b"".join(model_parts(model)) == model.SerializeToString(deterministic=True)
    assert b"".join(graph_parts(model.graph)) == model.graph.SerializeToString(deterministic=True)


def test_no_part_has_two_constants() -> None:
    model = onnx.ModelProto()
    for name in "abc":
        model.graph.initializer.append(numpy_helper.from_array(np.ones(1000, np.float32), name))

    assert max(map(len, model_parts(model))) < 2 * 4000
