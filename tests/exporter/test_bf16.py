"""Weights in bf16, and products as a processor computes them."""

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper

from exporter.bf16 import as_computed, to_bf16
from tests.exporter.exporting import some_frames
from tests.exporter.graphs import SIDE, image_graph, logits_of, normal


def by_torch(frames: NDArray[np.uint8], *, products: bool) -> NDArray[np.float32]:
    """Return a 1×1 convolution of the frames with weights in bf16; with `products`, what it reads and gives too."""

    def rounded(values: torch.Tensor) -> torch.Tensor:
        return values.to(torch.bfloat16).to(torch.float32)

    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).to(torch.float32)
    weights = rounded(torch.from_numpy(normal(5, 3, 1, 1)))
    found = torch.nn.functional.conv2d(rounded(pixels) if products else pixels, weights)
    return (rounded(found) if products else found).numpy()


def test_weights_are_rounded_as_pytorch_rounds_them_and_half_as_large() -> None:
    conv = helper.make_node("Conv", ["pixels", "w"], ["logits"])
    model = image_graph(conv, w=normal(5, 3, 1, 1))
    frames = some_frames(2, SIDE)

    found = to_bf16(model)

    assert [one.data_type for one in found.graph.initializer] == [TensorProto.BFLOAT16]
    np.testing.assert_allclose(
        logits_of(found, frames), by_torch(frames, products=False), rtol=1e-5
    )
    exact = logits_of(model, frames)
    assert not np.allclose(logits_of(found, frames), exact, rtol=1e-5)


def test_what_is_computed_is_the_product_of_rounded_factors_rounded_again() -> None:
    scale = np.array(1.0 / 3, np.float32)
    model = image_graph(
        helper.make_node("Mul", ["pixels", "third"], ["small"]),
        helper.make_node("Conv", ["small", "w"], ["logits"]),
        w=normal(5, 3, 1, 1),
        third=scale,
    )
    frames = some_frames(1, SIDE)
    short = to_bf16(model)

    found = logits_of(as_computed(short), frames)

    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).to(torch.float32) * float(scale)
    weights = torch.from_numpy(normal(5, 3, 1, 1)).to(torch.bfloat16).to(torch.float32)
    product = torch.nn.functional.conv2d(pixels.to(torch.bfloat16).to(torch.float32), weights)
    expected = product.to(torch.bfloat16).to(torch.float32).numpy()
    np.testing.assert_allclose(found, expected, rtol=2**-7, atol=0.05)
    assert (found == expected).mean() > 0.98  # a sum in another order may round to the neighbor
    assert not np.array_equal(found, logits_of(short, frames))
