"""How far two runs of a network agree: figures over several images, and what they must reach.

The truth is the network in fp32 on the CPU's plain kernels. The limits are those of a decision, not of digits: where
the truth itself can hardly decide, another answer is no fault.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from service.card import Card
from service.heads.boxes import iou
from service.heads.nms import default_suppression, suppress
from service.heads.outputs import Outputs

Figures = dict[str, float]
Measure = Callable[[Sequence[Outputs], Sequence[Outputs], Card], Figures]
"""The outputs of each image as found and as expected, and the card → figures."""

CLEAR = 0.1
"""A best class is clear where it is more probable than the second by more than this."""
LEAST_CLEAR = 8
"""So many images must have a clear best class, else nothing is proved."""
LARGEST_CHANGE = 0.02
LEAST_OVERLAP = 0.98
LEAST_COSINE = 0.999
LOST_ACCURACY = 0.005
"""Half a point: of the accuracy on labeled images, so much may be lost."""
REPRODUCED = 0.01
"""By so much a figure may be worse on this chip than at the export, where labeled images have proved the variant."""

SHOWN_SCORE = 0.3
SHOWN_IOU = 0.5
SHOWN = 100
"""Detections are compared as a request gets them by default."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """The figures of a task, with the limits of each; a figure without one is for information."""

    measure: Measure
    at_least: Mapping[str, float] = field(default_factory=dict)
    at_most: Mapping[str, float] = field(default_factory=dict)

    def shortfall(self, figures: Mapping[str, float], *, reduced: bool) -> str:
        """Return which figures are beyond their limits, with these; empty where all are within.

        Args:
            figures: as `measure` returns them.
            reduced: whether a lower precision is judged. Other kernels in the same precision need no images with a
                clear class.
        """
        beyond = [
            f"{name} {figures.get(name, np.nan):.4g} where at least {least:g} is needed"
            for name, least in self.at_least.items()
            if not figures.get(name, np.nan) >= least and (reduced or name != "clear")
        ]
        beyond += [
            f"{name} {figures.get(name, np.nan):.4g} where at most {most:g} is allowed"
            for name, most in self.at_most.items()
            if not figures.get(name, np.nan) <= most
        ]
        return ", ".join(beyond)

    def is_proved_by_labels(
        self, figures: Mapping[str, float], variant: Card, servable: Card
    ) -> bool:
        """Return whether labeled images have proved a variant at the export, and it computes the same here.

        Args:
            figures: measured here.
            variant: the variant's card.
            servable: the card of the servable that it stands in for.
        """
        if variant.variant is None or not keeps_accuracy(variant, servable):
            return False
        exported = variant.variant.agreement
        low = (
            figures.get(name, np.nan) >= exported.get(name, np.nan) - REPRODUCED
            for name in self.at_least
            if name != "clear"
        )
        high = (
            figures.get(name, np.nan) <= exported.get(name, np.nan) + REPRODUCED
            for name in self.at_most
        )
        return all(low) and all(high)


def keeps_accuracy(variant: Card, servable: Card) -> bool:
    """Return whether labeled images have shown at the export that a variant loses at most half a point of any score."""
    if variant.accuracy is None or servable.accuracy is None:
        return False
    found, expected = variant.accuracy, servable.accuracy
    return (
        bool(expected.scores)
        and found.images == expected.images
        and all(
            found.scores.get(name, 0.0) >= score - LOST_ACCURACY
            for name, score in expected.scores.items()
        )
    )


def class_figures(found: Sequence[Outputs], expected: Sequence[Outputs], card: Card) -> Figures:
    """Compare `probabilities` (K,).

    Returns:
        `top_class`: the share of images with the same best class, of those in which it is clear; `clear`: how many
        these are; `probability_change`: the mean change of the probability of the class that was expected to be best.
        Where an image may have several classes, each class is decided at 0.5, and the largest change of each image
        counts.
    """
    mine, truth = (_stacked(outputs, "probabilities") for outputs in (found, expected))
    if card.multi_label or truth.shape[1] == 1:
        clear = np.abs(truth - 0.5) > CLEAR / 2
        same = ((mine >= 0.5) == (truth >= 0.5)) | ~clear
        decided = clear.any(axis=1)
        changes = np.abs(mine - truth).max(axis=1)
        agree = same.all(axis=1)
    else:
        best = truth.argmax(axis=1)
        two = np.partition(truth, -2, axis=1)[:, -2:]
        decided = two[:, 1] - two[:, 0] > CLEAR
        rows = np.arange(len(truth))
        changes = np.abs(mine[rows, best] - truth[rows, best])
        agree = mine.argmax(axis=1) == best
    agree &= np.isfinite(mine).all(axis=1)
    return {
        "top_class": float(agree[decided].mean()) if decided.any() else 1.0,
        "clear": float(decided.sum()),
        "probability_change": float(changes.mean()),
        **vector_figures(found, expected, card),
    }


def mask_figures(found: Sequence[Outputs], expected: Sequence[Outputs], card: Card) -> Figures:
    """Compare `mask` (H, W): `mask_iou` is the mean over images of the mean IoU over the classes that occur."""
    pairs = zip(found, expected, strict=True)
    overlaps = [_mask_iou(mine["mask"], truth["mask"]) for mine, truth in pairs]
    return {"mask_iou": float(np.mean(overlaps)), **vector_figures(found, expected, card)}


def box_figures(found: Sequence[Outputs], expected: Sequence[Outputs], card: Card) -> Figures:
    """Compare the detections that a request gets by default.

    `map50` is the mean over the classes of the average precision at IoU 0.5 (PASCAL VOC 2010) over all images, with the
    expected detections as the truth.
    """
    mine = [_shown(outputs, card) for outputs in found]
    truth = [_shown(outputs, card) for outputs in expected]
    classes = np.unique(np.concatenate([classes for _, _, classes in (*mine, *truth)]))
    precisions = [_average_precision(mine, truth, kind) for kind in classes]
    return {
        "map50": float(np.mean(precisions)) if precisions else 0.0,
        **vector_figures(found, expected, card),
    }


def vector_figures(found: Sequence[Outputs], expected: Sequence[Outputs], _: Card) -> Figures:
    """Compare `features` (F,): `features_cosine` is the least cosine of any image."""
    mine, truth = (_stacked(outputs, "features") for outputs in (found, expected))
    lengths = np.linalg.norm(mine, axis=1) * np.linalg.norm(truth, axis=1)
    cosines = np.divide(
        (mine * truth).sum(axis=1), lengths, out=np.ones(len(mine)), where=lengths != 0
    )
    return {"features_cosine": float(cosines.min())}


CLASSES = Agreement(
    class_figures,
    {"top_class": 1.0, "clear": LEAST_CLEAR},
    {"probability_change": LARGEST_CHANGE},
)
MASKS = Agreement(mask_figures, {"mask_iou": LEAST_OVERLAP})
BOXES = Agreement(box_figures, {"map50": LEAST_OVERLAP})
VECTORS = Agreement(vector_figures, {"features_cosine": LEAST_COSINE})


def _stacked(outputs: Sequence[Outputs], name: str) -> NDArray[np.float64]:
    return np.stack([one[name] for one in outputs]).astype(np.float64)


def _mask_iou(mask: NDArray[np.uint8], truth: NDArray[np.uint8]) -> float:
    classes = np.union1d(mask, truth)
    pairs = [(mask == kind, truth == kind) for kind in classes]
    return float(np.mean([(one & other).sum() / (one | other).sum() for one, other in pairs]))


_Detections = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32]]


def _shown(outputs: Outputs, card: Card) -> _Detections:
    """Return what a request shows of a whole frame: what is kept is cut to it, and needs an area there."""
    seen = outputs["scores"] >= SHOWN_SCORE
    boxes, scores, classes = (outputs[name][seen] for name in ("boxes", "scores", "classes"))
    kept, final = suppress(
        boxes, scores, classes, iou_threshold=SHOWN_IOU, mode=default_suppression(card)
    )
    cut = np.clip(boxes[kept], 0, 1)
    inside = np.flatnonzero((cut[:, 2:] > cut[:, :2]).all(axis=1))[:SHOWN]
    return cut[inside], final[inside], classes[kept[inside]]


def _average_precision(
    found: Sequence[_Detections], expected: Sequence[_Detections], kind: int
) -> float:
    """Return the area under monotonic precision over recall of one class over all images."""
    scores: list[NDArray[np.float32]] = []
    right: list[NDArray[np.bool_]] = []
    count = 0
    for (boxes, each, classes), (truth, _, kinds) in zip(found, expected, strict=True):
        wanted = truth[kinds == kind]
        count += len(wanted)
        mine = classes == kind
        scores.append(each[mine])
        right.append(_matched(boxes[mine], wanted))
    if not count:
        return 0.0  # every detection of this class is wrong
    order = np.argsort(-np.concatenate(scores), kind="stable")
    hits = np.concatenate(right)[order]
    precision = hits.cumsum() / np.arange(1, len(hits) + 1)
    monotonic = np.maximum.accumulate(precision[::-1])[::-1]
    return float((monotonic * hits).sum() / count)


def _matched(boxes: NDArray[np.float32], truth: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Match each box, best first, with the best true one that is not matched yet."""
    overlaps = iou(boxes, truth)
    right = np.zeros(len(boxes), bool)
    for index in range(len(boxes) if len(truth) else 0):
        best = int(overlaps[index].argmax())
        if overlaps[index, best] >= SHOWN_IOU:
            right[index] = True
            overlaps[:, best] = 0
    return right
