"""One raw output of class scores → logits and probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from exporter.backbone import FEATURES
from exporter.graph import Graph, float_output
from exporter.heads.activation import activate, graft_activation
from exporter.heads.metrics import relative_difference
from exporter.network import Array, Outputs
from exporter.recipe import Activation, Task
from service.card import ImageInput, Metric


@dataclass(frozen=True, slots=True)
class ClassifyHead:
    """Softmax over `classes` logits; with `multi_label`, where an image may have several labels, a sigmoid of each."""

    classes: int
    multi_label: bool = False
    task: ClassVar[Task] = "classify"
    outputs: ClassVar[tuple[str, ...]] = ("logits", "probabilities", FEATURES)
    metric: ClassVar[Metric] = "top1"

    @property
    def activation(self) -> Activation:
        return "sigmoid" if self.multi_label else "softmax"

    def graft(self, graph: Graph, raw: Sequence[str], image_input: ImageInput) -> None:  # noqa: ARG002 - a Head's
        self.graft_classes(graph, raw[0])

    def graft_classes(self, graph: Graph, raw: str) -> None:
        """Add the nodes that follow a tensor of logits (N, K)."""
        graph.rename(raw, "logits")
        graft_activation(graph, "logits", self.activation, axis=1, output="probabilities")
        graph.set_outputs(float_output(name, self.classes) for name in ("logits", "probabilities"))

    def expected(self, raw: Sequence[Array], image_input: ImageInput) -> Outputs:  # noqa: ARG002 - a Head's
        return self.expected_classes(raw[0])

    def expected_classes(self, raw: Array) -> Outputs:
        """Return what the grafted nodes must compute from logits (N, K)."""
        logits = raw.astype(np.float64)
        return {"logits": logits, "probabilities": activate(logits, self.activation, axis=1)}

    def difference(self, found: Outputs, expected: Outputs) -> float:
        return max(relative_difference(found[name], expected[name]) for name in expected)

    def agreement(self, found: Outputs, expected: Outputs) -> list[float]:
        """Return 1 for each image whose best class is the same, 0 for the others."""
        same = found["logits"].argmax(axis=1) == expected["logits"].argmax(axis=1)
        return [float(one) for one in same]
