"""No nodes of its own: the backbone's vector is the output."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from exporter.backbone import FEATURES, MAP_AXES
from exporter.graph import Graph
from exporter.heads.metrics import relative_difference
from exporter.network import Array, Outputs
from exporter.recipe import Task
from service.card import ImageInput, Metric


@dataclass(frozen=True, slots=True)
class EmbedHead:
    """The raw output becomes `features`: a vector (N, F), (N, 1, F) or (N, F, 1), or a map (N, F, h, w), averaged."""

    task: ClassVar[Task] = "embed"
    outputs: ClassVar[tuple[str, ...]] = (FEATURES,)
    metric: ClassVar[Metric] = "cosine"
    classes: ClassVar[int | None] = None

    def graft(self, graph: Graph, raw: Sequence[str], image_input: ImageInput) -> None:  # noqa: ARG002 - a Head's
        graph.set_outputs([])

    def expected(self, raw: Sequence[Array], image_input: ImageInput) -> Outputs:  # noqa: ARG002 - a Head's
        is_map = raw[0].ndim == MAP_AXES
        return {FEATURES: raw[0].mean(axis=(2, 3)) if is_map else raw[0].reshape(len(raw[0]), -1)}

    def difference(self, found: Outputs, expected: Outputs) -> float:
        return relative_difference(found[FEATURES], expected[FEATURES])

    def result_difference(self, found: Outputs, expected: Outputs) -> float:
        """Return one minus the smallest cosine between two vectors; infinite for a value that is no number."""
        worst = 1 - min(self.agreement(found, expected, 1.0))
        return worst if np.isfinite(found[FEATURES]).all() else float("inf")

    def agreement(self, found: Outputs, expected: Outputs, tolerance: float) -> list[float]:  # noqa: ARG002 - a Head's
        """Return the cosine between the two vectors of each image, at least 0; of vectors of any length but 0."""
        one, other = (_of_length_one(outputs[FEATURES]) for outputs in (found, expected))
        cosines = (one * other).sum(axis=1)
        return [float(np.clip(np.nan_to_num(cosine), 0, 1)) for cosine in cosines]


def _of_length_one(vectors: Array) -> Array:
    """Return vectors (N, F) divided by their lengths, those of length 0 as they are."""
    exact = vectors.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    unit: Array = np.divide(exact, lengths, out=np.zeros_like(exact), where=lengths > 0)
    return unit
