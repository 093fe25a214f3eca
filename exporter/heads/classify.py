"""One raw output of class scores → logits and probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exporter.graph import Graph, float_output
from exporter.heads.metrics import relative_difference
from exporter.network import Array, Outputs
from exporter.recipe import ImageTask
from service.card import OUTPUTS, ImageInput, Metric


@dataclass(frozen=True, slots=True)
class ClassifyHead:
    """Softmax over `classes` logits; a sigmoid each where an image may be several things (`multi_label`)."""

    classes: int
    multi_label: bool = False
    task: ImageTask = "classify"
    metric: Metric = "top1"

    def graft(self, graph: Graph, raw: Sequence[str], image_input: ImageInput) -> None:  # noqa: ARG002
        self.graft_classes(graph, raw[0])

    def graft_classes(self, graph: Graph, raw: str) -> None:
        """Add the nodes from a tensor of logits (N, K) on."""
        graph.rename(raw, "logits")
        if self.multi_label:
            graph.add("Sigmoid", ["logits"], output="probabilities")
        else:
            graph.add("Softmax", ["logits"], output="probabilities", axis=1)
        names = OUTPUTS["classify"][:2]
        graph.set_outputs([float_output(name, self.classes) for name in names])

    def expected(self, raw: Sequence[Array], image_input: ImageInput) -> Outputs:  # noqa: ARG002
        return self.expected_of(raw[0])

    def expected_of(self, raw: Array) -> Outputs:
        """Return what the grafted nodes must give for logits (N, K)."""
        logits = raw.astype(np.float64)
        chances = 1 / (1 + np.exp(-logits)) if self.multi_label else softmax(logits)
        return {"logits": logits, "probabilities": chances}

    def difference(self, found: Outputs, expected: Outputs) -> float:
        return max(relative_difference(found[name], expected[name]) for name in expected)

    def agreement(self, found: Outputs, expected: Outputs) -> list[float]:
        same = found["logits"].argmax(axis=1) == expected["logits"].argmax(axis=1)
        return [float(one) for one in same]


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the softmax over the second axis."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    chances: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
    return chances
