"""Shapes of every tensor, inferred or taken from a run."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from exporter.errors import GraphError
from exporter.shapes import Shape, infer_shapes
from tests.exporter.graphs import pixel_graph, small_classifier


def test_every_tensor_has_its_shape_for_the_batch() -> None:
    shapes = infer_shapes(small_classifier(), batch=3)
    assert shapes["pixels"].dims == (3, 3, 16, 16)
    assert (shapes["b"].dims, shapes["raw"].dims) == ((3, 8, 8, 8), (3, 4))
    assert shapes["w1"].dims == (16, 8, 3, 3)


def test_a_shape_that_the_graph_computes_from_values_is_taken_from_a_run() -> None:
    model = pixel_graph(
        helper.make_node("NonZero", ["pixels"], ["where"]),
        helper.make_node("Shape", ["where"], ["counts"]),
        helper.make_node("ConstantOfShape", ["counts"], ["raw"]),
    )
    assert infer_shapes(model)["raw"].dims == (4, 0)


def test_shapes_that_contradict_each_other_are_refused() -> None:
    model = pixel_graph(
        helper.make_node("MatMul", ["pixels", "w"], ["raw"]), w=np.zeros((5, 5), np.float32)
    )
    with pytest.raises(GraphError, match="contradict"):
        infer_shapes(model)


def test_a_shape_counts_its_values_and_bytes() -> None:
    shape = Shape((2, 3), TensorProto.FLOAT16)
    assert (shape.count, shape.bytes, shape.is_float, shape.is_integer) == (6, 12, True, False)
    assert Shape((), TensorProto.INT64).is_integer
