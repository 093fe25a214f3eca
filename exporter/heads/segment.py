"""One raw output of class maps → the class of every pixel and how sure it is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, helper

from exporter.graph import BATCH, Graph, floats, integers
from exporter.heads.activation import Activation, activate, grafted_activation
from exporter.heads.metrics import mask_iou, resize_bilinear
from exporter.network import Array, Outputs
from exporter.recipe import ImageTask
from service.card import ImageInput, Metric

CHANCES = "chances"
"""Beside the contract's outputs `expected` keeps every class's probability, to weigh pixels that
flip between two classes of almost the same one."""

HALF_STEP = 0.5 / 255


@dataclass(frozen=True, slots=True)
class SegmentHead:
    """Maps (N, C, h, w) → `mask` and `confidence`, uint8 (N, H, W).

    With one map it is the chance of class 1 against class 0. Maps smaller than the image are
    enlarged bilinearly, before the activation, as DeepLab (arXiv:1706.05587) does.
    """

    channels: int
    size: tuple[int, int]
    activation: Activation = "softmax"
    task: ImageTask = "segment"
    metric: Metric = "mask_iou"

    @property
    def classes(self) -> int:
        return max(2, self.channels)

    def graft(self, graph: Graph, raw: Sequence[str], image_input: ImageInput) -> None:
        maps = raw[0]
        if self.size != (image_input.height, image_input.width):
            sizes = [graph.constant("sizes", integers(image_input.height, image_input.width))]
            maps = _enlarged(graph, maps, sizes[0])
        chances = grafted_activation(graph, maps, self.activation, axis=1)
        if self.channels == 1:
            mask, confidence = self._graft_two(graph, chances)
        else:
            best = graph.add("ArgMax", [chances], axis=1, keepdims=0)
            mask = graph.add("Cast", [best], to=TensorProto.UINT8)
            axes = graph.constant("class_axis", integers(1))
            confidence = graph.add("ReduceMax", [chances, axes], keepdims=0)
        full = graph.constant("full", floats(255.0))
        steps = graph.add("Round", [graph.add("Mul", [confidence, full])])
        graph.add("Identity", [mask], output="mask")
        graph.add("Cast", [steps], output="confidence", to=TensorProto.UINT8)
        dims: list[str | int | None] = [BATCH, image_input.height, image_input.width]
        graph.set_outputs(
            helper.make_tensor_value_info(name, TensorProto.UINT8, dims)
            for name in ("mask", "confidence")
        )

    def _graft_two(self, graph: Graph, chances: str) -> tuple[str, str]:
        axes = graph.constant("class_axis", integers(1))
        chance = graph.add("Squeeze", [chances, axes])
        half = graph.constant("half", floats(0.5))
        one = graph.constant("one", floats(1.0))
        mask = graph.add("Cast", [graph.add("Greater", [chance, half])], to=TensorProto.UINT8)
        confidence = graph.add("Max", [chance, graph.add("Sub", [one, chance])])
        return mask, confidence

    def expected(self, raw: Sequence[Array], image_input: ImageInput) -> Outputs:
        maps = raw[0].astype(np.float32)
        if self.size != (image_input.height, image_input.width):
            maps = resize_bilinear(maps, (image_input.height, image_input.width))
        chances = activate(maps, self.activation, axis=1)
        if self.channels == 1:
            chances = np.concatenate([1 - chances, chances], axis=1)
        mask = chances.argmax(axis=1).astype(np.uint8)
        return {"mask": mask, "confidence": chances.max(axis=1), CHANCES: chances}

    def difference(self, found: Outputs, expected: Outputs) -> float:
        """Return the largest error of a probability beyond the rounding to 1/255.

        A pixel of another class differs by what its class lacks to the expected one's probability.
        """
        chances = expected[CHANCES]
        at = np.take_along_axis(chances, found["mask"][:, None].astype(np.int64), axis=1)[:, 0]
        flipped = float((expected["confidence"] - at).max())
        off = float(np.abs(found["confidence"] / np.float32(255) - at).max()) - HALF_STEP
        return max(flipped, off, 0.0)

    def agreement(self, found: Outputs, expected: Outputs) -> list[float]:
        pairs = zip(found["mask"], expected["mask"], strict=True)
        return [mask_iou(one, other) for one, other in pairs]


def _enlarged(graph: Graph, maps: str, size: str) -> str:
    """Resize to a size whose batch and channels come from the maps."""
    shape = graph.add("Shape", [maps], start=0, end=2)
    sizes = graph.add("Concat", [shape, size], axis=0)
    return graph.add(
        "Resize",
        [maps, "", "", sizes],
        mode="linear",
        coordinate_transformation_mode="half_pixel",
    )
