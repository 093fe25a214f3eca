"""One raw output of class scores → logits and probabilities."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from exporter.backbone import FEATURES
from exporter.graph import Graph, float_output, floats, integers
from exporter.heads.activation import activate, graft_activation
from exporter.heads.metrics import absolute_difference, relative_difference
from exporter.network import Array, Outputs
from exporter.recipe import Task
from exporter.recipe_tables import Activation
from service.card import ImageInput, Metric

DECISION = 0.5
"""A label of a multi-label network is assigned from this probability on."""

SMALLEST = {"softmax": 1e-12, "sigmoid": 1e-4}
"""Probabilities are bounded by this before their logarithm is taken: one minus a probability has few digits."""

Scores = Literal["logits", "softmax", "sigmoid"]


@dataclass(frozen=True, slots=True)
class ClassifyHead:
    """Raw scores → `logits` and `probabilities` (N, K).

    Logits get a softmax over the classes; with `multi_label`, where an image may have several labels, and with a single
    class, a sigmoid of each. Where `scores` says that the network computes probabilities itself, they stay as they are,
    and `logits` are their logarithms (softmax) or log-odds (sigmoid). `notation` makes probabilities of
    percentages or logarithms of such.

    With `both_sides` the network has one score, that of the second of two classes. `stated` is the recipe's activation.
    The raw scores have this number of `axes`: (N,), (N, K), or further ones of size one. With `assumes_softmax` nothing
    says that an image has one class.
    """

    classes: int
    multi_label: bool = False
    scores: Scores = "logits"
    notation: Activation = "none"
    both_sides: bool = False
    stated: Activation | None = None
    axes: int = 2
    assumes_softmax: bool = False
    task: ClassVar[Task] = "classify"
    outputs: ClassVar[tuple[str, ...]] = ("logits", "probabilities", FEATURES)

    @property
    def metric(self) -> Metric:
        """What `agreement` measures: the best class, or where each label is decided alone, all of them."""
        return "exact_match" if self.activation == "sigmoid" else "top1"

    @property
    def activation(self) -> Activation:
        """What makes probabilities of the logits (N, K)."""
        return "sigmoid" if self.multi_label or self.classes == 1 else "softmax"

    @property
    def assumes_logit(self) -> bool:
        """Whether the only score is taken for a logit, and nothing says that it is no measured number, as an age."""
        is_single = self.classes == 1 or self.both_sides
        return (
            is_single and self.scores == "logits" and not self.multi_label and self.stated is None
        )

    def graft(self, graph: Graph, raw: Sequence[str], image_input: ImageInput) -> None:  # noqa: ARG002 - a Head's
        scores = raw[0]
        if self.axes != 2:
            columns = 1 if self.both_sides else self.classes
            # 0 keeps the batch, so that a network that mixes images is still found at the first batch.
            rows = graph.constant("rows", integers(0 if self.axes > 1 else -1, columns))
            scores = graph.add("Reshape", [scores, rows])
        self.graft_classes(graph, scores)

    def graft_classes(self, graph: Graph, raw: str) -> None:
        """Add the nodes that follow a tensor of scores (N, K), or (N, 1) with `both_sides`."""
        if self.scores != "logits":
            self._graft_probabilities(graph, raw)
        elif self.both_sides:
            nothing = graph.add("Mul", [raw, graph.constant("zero", floats(0.0))])
            graph.add("Concat", [nothing, raw], output="logits", axis=1)
            graft_activation(graph, "logits", "softmax", axis=1, output="probabilities")
        else:
            graph.rename(raw, "logits")
            graft_activation(graph, "logits", self.activation, axis=1, output="probabilities")
        graph.set_outputs(float_output(name, self.classes) for name in ("logits", "probabilities"))

    def _graft_probabilities(self, graph: Graph, raw: str) -> None:
        one = graph.constant("one", floats(1.0))
        raw = graft_activation(graph, raw, self.notation, axis=1)
        if self.both_sides:
            raw = graph.add("Concat", [graph.add("Sub", [one, raw]), raw], axis=1)
        zero, unit = (graph.constant("bound", np.array(edge, np.float32)) for edge in (0, 1))
        graph.add("Clip", [raw, zero, unit], output="probabilities")
        if self.activation == "softmax":
            graph.add("Log", [self._graft_bounded(graph, "probabilities")], output="logits")
            return
        rest = graph.add("Sub", [one, "probabilities"])
        sides = [graph.add("Log", [self._graft_bounded(graph, p)]) for p in ("probabilities", rest)]
        graph.add("Sub", sides, output="logits")

    def _graft_bounded(self, graph: Graph, probabilities: str) -> str:
        least = graph.constant("least", floats(SMALLEST[self.scores]))
        return graph.add("Max", [probabilities, least])

    def expected(self, raw: Sequence[Array], image_input: ImageInput) -> Outputs:  # noqa: ARG002 - a Head's
        return self.expected_classes(raw[0].reshape(len(raw[0]), -1))

    def expected_classes(self, raw: Array) -> Outputs:
        """Return what the grafted nodes must compute from scores (N, K), or (N, 1) with `both_sides`."""
        scores = raw.astype(np.float64)
        if self.scores == "logits":
            if self.both_sides:
                scores = np.concatenate([np.zeros_like(scores), scores], axis=1)
            return {"logits": scores, "probabilities": activate(scores, self.activation, axis=1)}
        scores = activate(scores, self.notation, axis=1)
        if self.both_sides:
            scores = np.concatenate([1 - scores, scores], axis=1)
        probabilities = np.clip(scores, 0, 1)
        least = SMALLEST[self.scores]
        logits = np.log(np.maximum(probabilities, least))
        if self.activation == "sigmoid":
            logits = logits - np.log(np.maximum(1 - probabilities, least))
        return {"logits": logits, "probabilities": probabilities}

    def difference(self, found: Outputs, expected: Outputs) -> float:
        """Return the largest difference, as a share of the largest value; that of sigmoids is in probability.

        All labels of a batch may be as improbable as 1e-7, and a sigmoid in float32 is exact to about as much.
        """
        probable = absolute_difference if self.activation == "sigmoid" else relative_difference
        return max(
            relative_difference(found["logits"], expected["logits"]),
            probable(found["probabilities"], expected["probabilities"]),
        )

    def result_difference(self, found: Outputs, expected: Outputs) -> float:
        """Return the largest difference of a probability."""
        return absolute_difference(found["probabilities"], expected["probabilities"])

    def agreement(self, found: Outputs, expected: Outputs, tolerance: float) -> list[float]:
        """Return 1 for each image with the same decision and probabilities that differ by at most the tolerance.

        The decision is the best class, or with a sigmoid whether each class is more probable than not.
        """
        one, other = found["probabilities"], expected["probabilities"]
        if self.activation == "sigmoid":
            same = ((one >= DECISION) == (other >= DECISION)).all(axis=1)
        else:
            same = found["logits"].argmax(axis=1) == expected["logits"].argmax(axis=1)
        near = (np.abs(one.astype(np.float64) - other) <= tolerance).all(axis=1)
        return [float(both) for both in same & near]
