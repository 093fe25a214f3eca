"""What rounding may explain is measured on the source alone."""

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from exporter.graph import Graph
from exporter.heads.embed import EmbedHead
from exporter.network import Array, Outputs
from exporter.sensitivity import LARGEST, allowed_by_rounding, computes_in_half
from tests.exporter.graphs import pixel_graph

PIXELS = np.random.default_rng(2).random((2, 3, 4, 4), np.float32)
HEAD = EmbedHead()


def steps(size: float) -> float:
    """Return what is allowed for a network that rounds the sum of its pixels to steps, as a quantized layer does."""

    def run(pixels: NDArray[np.float32]) -> Outputs:
        middle = PIXELS.astype(np.float64).sum(axis=(1, 2, 3), keepdims=True)
        moved = pixels.astype(np.float64).sum(axis=(1, 2, 3), keepdims=True) > middle
        values: Array = 1 + size * moved.reshape(len(pixels), 1)
        return {"embedding": values, "features": values}

    return allowed_by_rounding(run, HEAD, PIXELS)


def test_smooth_networks_are_allowed_nothing() -> None:
    def run(pixels: NDArray[np.float32]) -> Outputs:
        values = pixels.reshape(len(pixels), -1) @ np.ones((48, 2), np.float32)
        return {"embedding": values, "features": values}

    assert allowed_by_rounding(run, HEAD, PIXELS) < 1e-5


def test_a_step_at_the_values_themselves_is_allowed_four_times_and_not_beyond_a_limit() -> None:
    assert steps(0.002) == pytest.approx(0.008, rel=0.01)
    assert steps(0.5) == LARGEST


def test_a_source_in_float16_rounds_by_its_own_last_bit() -> None:
    def run(pixels: NDArray[np.float32]) -> Outputs:
        values = pixels.astype(np.float16).reshape(len(pixels), -1)[:, :2]
        return {"embedding": values, "features": values}

    assert allowed_by_rounding(run, HEAD, PIXELS) == 0
    assert 1e-3 < allowed_by_rounding(run, HEAD, PIXELS, half=True) < 1e-2


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_weights_in_float16_are_seen(kind: type) -> None:
    conv = helper.make_node("Conv", ["pixels", "w"], ["out"])
    model = pixel_graph(conv, outputs=["out"], w=np.ones((1, 3, 2, 2), kind))
    assert computes_in_half(Graph(model)) == (kind is np.float16)


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_a_cast_to_float16_is_seen(kind: int) -> None:
    cast = helper.make_node("Cast", ["pixels"], ["out"], to=kind)
    assert computes_in_half(Graph(pixel_graph(cast, outputs=["out"]))) == (
        kind == TensorProto.FLOAT16
    )
