"""A pad of zeros before a max pooling gives the same in ONNX Runtime with its optimizations and without."""

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from exporter.graph import Graph
from exporter.sessions import optimized_session, unoptimized_session
from exporter.zero_pads import keep_zero_pads
from tests.exporter.graphs import SIDE, pixel_graph

NEGATIVE = -1 - np.random.default_rng(0).random((2, 3, SIDE, SIDE)).astype(np.float32)
"""In a window at the edge, zeros of a pad are the largest values."""

EDGES = np.array([0, 0, 1, 1, 0, 0, 1, 1])
POOL: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2]}


def pads_of(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in model.graph.node if node.op_type == "Pad"]


def kept(model: onnx.ModelProto) -> onnx.ModelProto:
    graph = Graph(model)
    keep_zero_pads(graph)
    return graph.current()


def run(session: Any) -> NDArray[np.float32]:
    found: NDArray[np.float32] = session.run(["raw"], {"pixels": NEGATIVE})[0]
    return found


def padded(*inputs: str, between: tuple[onnx.NodeProto, ...] = (), **more: Any) -> onnx.ModelProto:
    """Return a graph of a Pad with these inputs, nodes from `padded` to `between`, and a MaxPool."""
    return pixel_graph(
        helper.make_node("Pad", ["pixels", *inputs], ["padded"]),
        *between,
        helper.make_node("MaxPool", ["between" if between else "padded"], ["raw"], **POOL),
        edges=EDGES,
        **more,
    )


TO_HALF = helper.make_node("Cast", ["padded"], ["half"], to=TensorProto.FLOAT16)
TO_FLOAT = helper.make_node("Cast", ["half"], ["between"], to=TensorProto.FLOAT)


@pytest.mark.parametrize(
    "model",
    [
        padded("edges"),
        padded("edges", "zero", zero=np.float32(0)),
        padded("edges", between=(helper.make_node("Identity", ["padded"], ["between"]),)),
        padded("edges", between=(TO_HALF, TO_FLOAT)),
    ],
    ids=["no value", "a value", "through Identity", "through Cast"],
)
def test_a_pad_of_zeros_is_the_maximum_of_negative_values(model: onnx.ModelProto) -> None:
    finished = kept(model)

    found = run(optimized_session(finished))

    assert (found[:, :, 0] == 0).all()
    np.testing.assert_array_equal(found, run(unoptimized_session(model)))
    (pad,) = pads_of(finished)
    assert len(pad.input) == 4


def test_pads_that_no_max_pooling_reads_or_that_state_their_axes_stay_as_they_are() -> None:
    weights = np.ones((4, 3, 3, 3), np.float32)
    convolved = pixel_graph(
        helper.make_node("Pad", ["pixels", "edges"], ["padded"]),
        helper.make_node("Conv", ["padded", "weights"], ["raw"]),
        edges=EDGES,
        weights=weights,
    )
    stated = padded("edges", "", "axes", axes=np.arange(4))
    mirrored = padded("edges")
    pads_of(mirrored)[0].attribute.append(helper.make_attribute("mode", "reflect"))

    for model in (convolved, stated, mirrored):
        before = [list(pad.input) for pad in pads_of(model)]
        assert [list(pad.input) for pad in pads_of(kept(model))] == before
