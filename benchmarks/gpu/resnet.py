"""A ResNet-50 as an ONNX graph, made without PyTorch: random weights for timing, or given ones for the test.

Source: He et al., arXiv:1512.03385, with the stride in the 3×3 convolution as in torchvision's `resnet50`. The batch
norms are folded into the convolutions, as an export does it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from service.card import INPUT_NAME

Weights = Mapping[str, NDArray[np.float32]]
"""`<layer>.weight` and `<layer>.bias`, by torchvision's names of the convolutions and of `fc`."""

DEPTHS = (3, 4, 6, 3)
EXPANSION = 4
CLASSES = 1000
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LAST_SCALE = 0.2
"""A random block adds this share of its input's size: without batch norms the values would grow block by block."""
LOGIT_SCALE = 4.0
"""Spreads the random logits, so that the best class is no matter of rounding."""
SEED = 7


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution: torchvision's name of it, and its shape."""

    name: str
    inputs: int
    outputs: int
    kernel: int
    stride: int = 1

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.outputs, self.inputs, self.kernel, self.kernel


@dataclass(frozen=True, slots=True)
class Block:
    """A bottleneck: three convolutions, and one beside them where the shape changes."""

    path: tuple[Convolution, Convolution, Convolution]
    shortcut: Convolution | None


def blocks() -> Iterator[Block]:
    """Yield the sixteen blocks in order."""
    inputs = 64
    for stage, depth in enumerate(DEPTHS):
        width = 64 << stage
        outputs = width * EXPANSION
        for index in range(depth):
            stride = 2 if stage and not index else 1
            name = f"layer{stage + 1}.{index}"
            path = (
                Convolution(f"{name}.conv1", inputs, width, 1),
                Convolution(f"{name}.conv2", width, width, 3, stride),
                Convolution(f"{name}.conv3", width, outputs, 1),
            )
            beside = Convolution(f"{name}.downsample.0", inputs, outputs, 1, stride)
            yield Block(path, None if index else beside)
            inputs = outputs


STEM = Convolution("conv1", 3, 64, 7, 2)


def random_weights(seed: int = SEED) -> Weights:
    """Return the same random weights in every run, of a size at which no value overflows in fp16."""
    noise = np.random.default_rng(seed)
    found: dict[str, NDArray[np.float32]] = {}

    def add(layer: Convolution, scale: float = 1.0) -> None:
        deviation = scale * np.sqrt(2 / (layer.inputs * layer.kernel**2))
        weight = noise.standard_normal(layer.shape, np.float32) * np.float32(deviation)
        found[f"{layer.name}.weight"] = weight
        found[f"{layer.name}.bias"] = np.zeros(layer.outputs, np.float32)

    add(STEM)
    for block in blocks():
        *first, last = block.path
        for layer in first:
            add(layer)
        add(last, LAST_SCALE)
        if block.shortcut is not None:
            add(block.shortcut, np.sqrt(0.5))
    features = 512 * EXPANSION
    scale = np.float32(LOGIT_SCALE / np.sqrt(features))
    found["fc.weight"] = noise.standard_normal((CLASSES, features), np.float32) * scale
    found["fc.bias"] = np.zeros(CLASSES, np.float32)
    return found


@dataclass(slots=True)
class _Graph:
    weights: Weights
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:  # noqa: ANN401  # a node's attributes
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def constant(self, name: str, value: NDArray[np.float32]) -> str:
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def layer(self, name: str) -> list[str]:
        """Return the names of a layer's weight and bias, which become constants."""
        parts = (f"{name}.weight", f"{name}.bias")
        return [self.constant(part, self.weights[part]) for part in parts]

    def convolve(self, layer: Convolution, inputs: str) -> str:
        edge = layer.kernel // 2
        return self.add(
            "Conv",
            [inputs, *self.layer(layer.name)],
            f"{layer.name}.out",
            kernel_shape=[layer.kernel] * 2,
            strides=[layer.stride] * 2,
            pads=[edge] * 4,
        )

    def rectify(self, inputs: str) -> str:
        return self.add("Relu", [inputs], f"{inputs}.relu")

    def block(self, block: Block, inputs: str) -> str:
        *first, last = block.path
        found = inputs
        for layer in first:
            found = self.rectify(self.convolve(layer, found))
        found = self.convolve(last, found)
        beside = self.convolve(block.shortcut, inputs) if block.shortcut else inputs
        return self.rectify(self.add("Add", [found, beside], f"{found}.sum"))


def resnet50(weights: Weights, side: int = 224) -> onnx.ModelProto:
    """Return the network as the service's contract wants it.

    The input is `image`, uint8 (N, side, side, 3); the outputs are `logits` and `probabilities` (N, 1000), and
    `features` (N, 2048).
    """
    graph = _Graph(weights)
    pixels = graph.add("Cast", [INPUT_NAME], "pixels", to=TensorProto.FLOAT)
    pixels = graph.add("Transpose", [pixels], "planes", perm=[0, 3, 1, 2])
    column = (1, 3, 1, 1)
    scale = graph.constant(
        "scale", np.array([1 / (255 * s) for s in STD], np.float32).reshape(column)
    )
    pairs = zip(MEAN, STD, strict=True)
    shift = graph.constant(
        "shift", np.array([-m / s for m, s in pairs], np.float32).reshape(column)
    )
    found = graph.add("Add", [graph.add("Mul", [pixels, scale], "scaled"), shift], "normalized")
    found = graph.rectify(graph.convolve(STEM, found))
    found = graph.add(
        "MaxPool", [found], "pooled", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]
    )
    for block in blocks():
        found = graph.block(block, found)
    mean = graph.add("GlobalAveragePool", [found], "mean")
    graph.add("Flatten", [mean], "features", axis=1)
    graph.add("Gemm", ["features", *graph.layer("fc")], "logits", transB=1)
    graph.add("Softmax", ["logits"], "probabilities", axis=1)
    sizes = {"logits": CLASSES, "probabilities": CLASSES, "features": 512 * EXPANSION}
    image = helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, ["N", side, side, 3])
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", size])
        for name, size in sizes.items()
    ]
    made = helper.make_graph(graph.nodes, "resnet50", [image], outputs, graph.constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
