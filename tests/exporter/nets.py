"""Small networks to export: PyTorch modules, and ONNX graphs as other tools make them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

SIDE = 32
LABELS = ("cat", "cup", "rocket", "moon")


class Small(nn.Module):
    """Two convolutions with batch norms, dropout and a linear layer over four classes."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(channels, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.drop = nn.Dropout(0.5)
        self.classifier = nn.Linear(16, len(LABELS))

    def forward(self, pixels: Tensor) -> Tensor:
        pooled = self.second(self.first(pixels)).mean(dim=(2, 3))
        logits: Tensor = self.classifier(self.drop(pooled))
        return logits


class Sharp(Small):
    """Scores of how much neighboring pixels differ, which a decoder at a reduced scale changes."""

    def forward(self, pixels: Tensor) -> Tensor:
        around = nn.functional.avg_pool2d(pixels, 3, 1, 1)
        sharpness = torch.sin(2e3 * (pixels - around).abs().mean(dim=(1, 2, 3)))
        kept = super().forward(pixels) * 1e-3
        return kept + sharpness[:, None] * torch.tensor([3.0, -3.0, 0.0, 0.0])


class Careless(Small):
    """Functional dropout that is active in evaluation mode too."""

    def forward(self, pixels: Tensor) -> Tensor:
        return nn.functional.dropout(super().forward(pixels), 0.5)


class ChannelsLast(Small):
    """Its map (N, h, w, C), as transformers in windows return it."""

    def forward(self, pixels: Tensor) -> Tensor:
        maps: Tensor = self.second(self.first(pixels)).permute(0, 2, 3, 1)
        return maps


class OwnStatistics(Small):
    """A batch norm that uses the batch's statistics in evaluation mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.first[1] = nn.BatchNorm2d(8, track_running_stats=False)


class ZeroPadded(Small):
    """A max pooling over negative values with a rim of zeros, as BiT and YOLOv3-tiny have one."""

    def __init__(self) -> None:
        super().__init__()
        convolution = nn.Conv2d(3, 8, 3, 2, 1)
        assert convolution.bias is not None
        nn.init.constant_(convolution.bias, -3.0)
        self.first = nn.Sequential(convolution, nn.ZeroPad2d(1), nn.MaxPool2d(3, 2))


def small(channels: int = 3) -> Small:
    """Return the small network with weights that are the same always."""
    torch.manual_seed(0)
    return Small(channels).eval()


def save_weights(module: nn.Module, folder: Path) -> str:
    """Save a state dict and return the file's name."""
    torch.save(module.state_dict(), folder / "weights.pt")
    return "weights.pt"


def conv_onnx(
    raw_shape: Sequence[int],
    *,
    batch: int | str = "n",
    side: int = SIDE,
    opset: int = 13,
    activation: str | None = None,
) -> onnx.ModelProto:
    """Return a graph that convolves an image down to a grid and reshapes it to `raw_shape`.

    The first of `raw_shape` is the batch; a constant 1 fixes it.
    """
    count = int(np.prod(raw_shape[1:]))
    places = (side // 8) ** 2
    assert count % places == 0
    rng = np.random.default_rng(7)
    weights = {
        "w1": _normal(rng, 8, 3, 8, 8) * 0.2,
        "b1": _normal(rng, 8) * 0.1,
        "w2": _normal(rng, count // places, 8, 1, 1) * 0.5,
        "b2": _normal(rng, count // places),
        "shape": np.array(raw_shape, np.int64),
    }
    nodes = [
        helper.make_node("Conv", ["pixels", "w1", "b1"], ["map"], strides=[8, 8]),
        helper.make_node("Relu", ["map"], ["active"]),
        helper.make_node("Conv", ["active", "w2", "b2"], ["grid"]),
        helper.make_node("Reshape", ["grid", "shape"], ["raw" if activation is None else "flat"]),
    ]
    if activation is not None:
        nodes.append(helper.make_node(activation, ["flat"], ["raw"]))
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [batch, 3, side, side])],
        [helper.make_tensor_value_info("raw", TensorProto.FLOAT, [batch, *raw_shape[1:]])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)


def _normal(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return rng.standard_normal(shape).astype(np.float32)
