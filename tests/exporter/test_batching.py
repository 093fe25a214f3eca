"""A batch of one is freed."""

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from exporter.batching import free_batch
from exporter.sessions import unoptimized_session
from tests.exporter.graphs import SIDE, normal, pixel_graph


def test_a_reshape_of_a_batch_of_one_follows_the_batch() -> None:
    model = pixel_graph(
        helper.make_node("Reshape", ["pixels", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["raw"]),
        shape=np.array([1, 3 * SIDE * SIDE]),
        w=normal(3 * SIDE * SIDE, 2),
    )
    dim = model.graph.input[0].type.tensor_type.shape.dim[0]
    dim.dim_value = 1
    pixels = normal(4, 3, SIDE, SIDE)

    freed = free_batch(model)

    (found,) = unoptimized_session(freed).run(None, {"pixels": pixels})
    one_by_one = [unoptimized_session(model).run(None, {"pixels": p[None]})[0][0] for p in pixels]
    np.testing.assert_allclose(found, one_by_one, rtol=1e-4, atol=1e-4)
    assert dim.dim_value == 1


def test_a_reshape_that_changes_the_first_axis_stays() -> None:
    model = pixel_graph(
        helper.make_node("Reshape", ["pixels", "shape"], ["raw"]),
        shape=np.array([3, SIDE * SIDE]),
    )
    freed = free_batch(model)
    assert freed.graph.node[0].input[1] == "shape"


@pytest.mark.parametrize("form", ["value", "value_ints"])
def test_the_target_of_a_reshape_may_be_a_constant_node(form: str) -> None:
    target = [1, 3 * SIDE * SIDE]
    held: Any = {"value": numpy_helper.from_array(np.array(target)), "value_ints": target}[form]
    model = pixel_graph(
        helper.make_node("Constant", [], ["shape"], **{form: held}),
        helper.make_node("Reshape", ["pixels", "shape"], ["raw"]),
    )
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    pixels = normal(4, 3, SIDE, SIDE)
    (found,) = unoptimized_session(free_batch(model)).run(None, {"pixels": pixels})
    np.testing.assert_array_equal(found, pixels.reshape(4, -1))


def test_a_reshape_to_the_number_of_detections_keeps_that_number_free() -> None:
    """Where a batch of one is freed, the number of one image must not become the number of all."""
    model = pixel_graph(
        helper.make_node("NonZero", ["pixels"], ["places"]),
        helper.make_node("Cast", ["places"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["numbers", "shape"], ["raw"]),
        shape=np.array([1, -1, 4]),
    )
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    pixels = np.zeros((1, 3, SIDE, SIDE), np.float32)
    pixels[0, 0, 0, :7] = 1
    (found,) = unoptimized_session(free_batch(model)).run(None, {"pixels": pixels})
    assert found.shape == (1, 7, 4)
