"""One raw output of class maps → the class of every pixel and its probability."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from onnx import TensorProto, helper

from exporter.backbone import FEATURES
from exporter.graph import BATCH, Graph, floats, integers
from exporter.heads.activation import activate, graft_activation
from exporter.heads.metrics import mask_iou, resize_bilinear
from exporter.network import Array, Outputs
from exporter.recipe import Task
from exporter.recipe_tables import Activation
from service.card import ImageInput, Metric

CLASS_PROBABILITIES = "class_probabilities"
"""Besides the servable's outputs, `expected` returns the probability of every class, (N, C, H, W): where two classes
are almost equally probable, a pixel of the other class is a small difference."""

HALF_STEP = 0.5 / 255


@dataclass(frozen=True, slots=True)
class SegmentHead:
    """Maps (N, C, h, w) → `mask` and `confidence`, uint8 (N, H, W).

    A single map is the probability of class 1 against class 0. So are several with `has_rest`: class 0 is where none of
    them has more than 0.5. Maps smaller than the image are enlarged bilinearly before the activation, as in DeepLab
    (arXiv:1706.05587). `stated` is the recipe's activation. With `assumes_softmax`
    nothing says that a pixel has one class.
    """

    channels: int
    size: tuple[int, int]
    activation: Activation = "softmax"
    stated: Activation | None = None
    has_rest: bool = False
    assumes_softmax: bool = False
    task: ClassVar[Task] = "segment"
    outputs: ClassVar[tuple[str, ...]] = ("mask", "confidence", FEATURES)
    metric: ClassVar[Metric] = "mask_iou"

    @property
    def classes(self) -> int:
        return self.channels + (self.has_rest or self.channels == 1)

    def graft(self, graph: Graph, raw: Sequence[str], image_input: ImageInput) -> None:
        maps = raw[0]
        if self.size != (image_input.height, image_input.width):
            sizes = [graph.constant("sizes", integers(image_input.height, image_input.width))]
            maps = _enlarged(graph, maps, sizes[0])
        probabilities = graft_activation(graph, maps, self.activation, axis=1)
        if self.channels == 1:
            mask, confidence = self._graft_two(graph, probabilities)
        else:
            axes = graph.constant("class_axis", integers(1))
            if self.has_rest:
                highest = graph.add("ReduceMax", [probabilities, axes], keepdims=1)
                rest = graph.add("Sub", [graph.constant("one", floats(1.0)), highest])
                probabilities = graph.add("Concat", [rest, probabilities], axis=1)
            best = graph.add("ArgMax", [probabilities], axis=1, keepdims=0)
            mask = graph.add("Cast", [best], to=TensorProto.UINT8)
            confidence = graph.add("ReduceMax", [probabilities, axes], keepdims=0)
        full = graph.constant("full", floats(255.0))
        levels = graph.add("Round", [graph.add("Mul", [confidence, full])])
        graph.add("Identity", [mask], output="mask")
        graph.add("Cast", [levels], output="confidence", to=TensorProto.UINT8)
        dims: list[str | int | None] = [BATCH, image_input.height, image_input.width]
        graph.set_outputs(
            helper.make_tensor_value_info(name, TensorProto.UINT8, dims)
            for name in ("mask", "confidence")
        )

    def _graft_two(self, graph: Graph, probabilities: str) -> tuple[str, str]:
        axes = graph.constant("class_axis", integers(1))
        probability = graph.add("Squeeze", [probabilities, axes])
        half = graph.constant("half", floats(0.5))
        one = graph.constant("one", floats(1.0))
        mask = graph.add("Cast", [graph.add("Greater", [probability, half])], to=TensorProto.UINT8)
        confidence = graph.add("Max", [probability, graph.add("Sub", [one, probability])])
        return mask, confidence

    def expected(self, raw: Sequence[Array], image_input: ImageInput) -> Outputs:
        maps = raw[0].astype(np.float32)
        if self.size != (image_input.height, image_input.width):
            maps = resize_bilinear(maps, (image_input.height, image_input.width))
        probabilities = activate(maps, self.activation, axis=1)
        if self.classes > self.channels:
            rest = 1 - probabilities.max(axis=1, keepdims=True)
            probabilities = np.concatenate([rest, probabilities], axis=1)
        mask = probabilities.argmax(axis=1).astype(np.uint8)
        return {
            "mask": mask,
            "confidence": probabilities.max(axis=1),
            CLASS_PROBABILITIES: probabilities,
        }

    def difference(self, found: Outputs, expected: Outputs) -> float:
        """Return the largest error of a probability, less the rounding to 1/255.

        A pixel of another class differs by the expected class's probability minus that of its own class.
        """
        probabilities = expected[CLASS_PROBABILITIES]
        at = np.take_along_axis(probabilities, found["mask"][:, None].astype(np.int64), axis=1)[
            :, 0
        ]
        flipped = float((expected["confidence"] - at).max())
        off = float(np.abs(found["confidence"] / np.float32(255) - at).max()) - HALF_STEP
        return max(flipped, off, 0.0)

    def result_difference(self, found: Outputs, expected: Outputs) -> float:
        """Return the largest of the images' mean differences of the confidence, a pixel of another class counts 1."""
        scale, other_scale = (
            255.0 if outputs["confidence"].dtype == np.uint8 else 1.0
            for outputs in (found, expected)
        )
        apart = np.abs(found["confidence"] / scale - expected["confidence"] / other_scale)
        apart = np.where(found["mask"] == expected["mask"], apart, 1.0)
        return float(apart.mean(axis=(1, 2)).max())

    def agreement(self, found: Outputs, expected: Outputs, tolerance: float) -> list[float]:  # noqa: ARG002 - a Head's
        """Return the mean IoU of each image's mask."""
        pairs = zip(found["mask"], expected["mask"], strict=True)
        return [mask_iou(one, other) for one, other in pairs]


def _enlarged(graph: Graph, maps: str, size: str) -> str:
    """Add a bilinear resize to a height and width; batch and channels are those of the maps."""
    shape = graph.add("Shape", [maps], start=0, end=2)
    sizes = graph.add("Concat", [shape, size], axis=0)
    return graph.add(
        "Resize",
        [maps, "", "", sizes],
        mode="linear",
        coordinate_transformation_mode="half_pixel",
    )
