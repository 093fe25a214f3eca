"""How a network's outputs on the GPU are compared with those on the CPU: as its certificate was measured."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.heads.boxes import DECODERS
from exporter.heads.classify import ClassifyHead
from exporter.heads.detect import DetectHead
from exporter.heads.embed import EmbedHead
from exporter.heads.segment import SegmentHead
from exporter.heads.temporal import TemporalHead
from exporter.network import Comparison, Outputs
from exporter.precision import AGREEMENT, TOLERANCES
from exporter.recipe_tables import DetectRecipe
from service.card import Card

Run = Callable[[NDArray[Any]], Any]
BATCHES = (1, 3, 2, 7)
"""Sizes that are not warmed are among them: a batch is padded then, and its surplus rows are cut off."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two runs of a network agree.

    Attributes:
        metric: what `mean` is: the share of equal top classes, the mean mask IoU, mAP@0.5 or the mean cosine.
        mean: over the images, 0–1; an image with a larger difference than the tolerance counts 0, as in an export
            to a reduced precision.
        difference: the largest difference of a probability or score that a caller reads.
        images: how many were compared.
        tolerance: how much a probability or score may differ.
    """

    metric: str
    mean: float
    difference: float
    images: int
    tolerance: float

    @property
    def holds(self) -> bool:
        return self.mean >= AGREEMENT

    def __str__(self) -> str:
        return (
            f"{self.metric} {self.mean:.4f} over {self.images}, the largest difference {self.difference:.2g} "
            f"({AGREEMENT:g} is needed; one that differs by more than {self.tolerance:g} counts 0)"
        )


def comparison_of(card: Card) -> Comparison:
    """Return how a task's outputs are compared.

    Raises:
        KeyError: the task is not one of the service's own.
    """
    return _COMPARISONS[card.task](card)


_COMPARISONS: dict[str, Callable[[Card], Comparison]] = {
    "classify": lambda card: ClassifyHead(len(card.labels), card.multi_label),
    "temporal": lambda card: TemporalHead(len(card.labels), card.multi_label),
    "segment": lambda card: SegmentHead(len(card.labels), (0, 0)),
    "embed": lambda _: EmbedHead(),
    # Only what compares is used of this head, and nothing that decodes.
    "detect": lambda card: DetectHead(
        DECODERS["pair"], DetectRecipe(nms_free=bool(card.nms_free)), 0, 0
    ),
}


def tolerance_of(precision: str) -> float:
    """Return how much a precision may change a probability or score; TF32 has as many digits as fp16."""
    return TOLERANCES["fp32" if precision == "fp32" else "fp16"]


def agree(
    card: Card,
    run: Run,
    expected: Outputs,
    inputs: NDArray[Any],
    precision: str,
    *,
    largest: int = max(BATCHES),
) -> Agreement:
    """Run the inputs in batches of several sizes, and compare each result with the expected one.

    Args:
        card: of the network.
        run: runs a batch (N, …), and returns every output (N, …) by name.
        expected: every output for all inputs.
        inputs: (N, …).
        precision: `fp32`, `tf32` or `fp16`.
        largest: the largest batch that `run` takes.
    """
    comparison, tolerance = comparison_of(card), tolerance_of(precision)
    marks: list[float] = []
    worst = 0.0
    for begin, end in batches(len(inputs), most=largest):
        found = dict(run(inputs[begin:end]))
        if not all(np.isfinite(rows).all() for rows in found.values()):
            return Agreement(comparison.metric, 0.0, float("inf"), len(inputs), tolerance)
        for index in range(end - begin):
            one = {name: rows[index : index + 1] for name, rows in found.items()}
            truth = {name: rows[begin + index][None] for name, rows in expected.items()}
            difference = comparison.result_difference(one, truth)
            worst = max(worst, difference)
            near = difference <= tolerance
            marks += comparison.agreement(one, truth, tolerance) if near else [0.0]
    return Agreement(comparison.metric, float(np.mean(marks)), worst, len(marks), tolerance)


def batches(count: int, most: int) -> Iterator[tuple[int, int]]:
    """Yield where each batch begins and ends, with the sizes in turn."""
    begin = index = 0
    while begin < count:
        size = min(BATCHES[index % len(BATCHES)], most, count - begin)
        yield begin, begin + size
        begin, index = begin + size, index + 1


def reference_outputs(run: Run, inputs: NDArray[Any]) -> Outputs:
    """Return every output for all inputs, each run alone."""
    rows = [run(inputs[index : index + 1]) for index in range(len(inputs))]
    return {name: np.concatenate([one[name] for one in rows]) for name in rows[0]}
