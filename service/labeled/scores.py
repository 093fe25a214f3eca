"""Answers beside the truth → accuracy of classes, labels and masks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TOP = 5
DECISION = 0.5
"""A label is assigned from this probability on, where an image may have several."""
IGNORED = 255
"""The value of pixels in a mask that belong to no class and do not count, as in PASCAL VOC."""

ByLabel = dict[int, dict[str, float]]


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of all images by name, 0–1, and those of each class id that occurs."""

    total: dict[str, float]
    by_class: ByLabel


def class_scores(ranked: Sequence[Sequence[int]], truth: Sequence[int], classes: int) -> Scores:
    """Return top-1 accuracy, with more than five classes also top-5; by class, the share of its images that are right.

    Args:
        ranked: the best classes of each image, best first.
        truth: the class of each image.
        classes: how many there are.
    """
    first = np.array([one[0] == true for one, true in zip(ranked, truth, strict=True)])
    total = {"top1": float(first.mean())}
    if classes > TOP:
        within = [true in one[:TOP] for one, true in zip(ranked, truth, strict=True)]
        total[f"top{TOP}"] = float(np.mean(within))
    true = np.array(truth)
    by_class = {int(one): {"accuracy": float(first[true == one].mean())} for one in np.unique(true)}
    return Scores(total, by_class)


def label_scores(assigned: NDArray[np.bool_], truth: NDArray[np.bool_]) -> Scores:
    """Return how well labels are assigned where an image may have several, or none.

    `accuracy` is the share of right decisions, `exact_match` that of images with every label right. `f1_micro` is the
    F1 over all decisions, `f1_macro` the mean F1 of the labels that are true or assigned somewhere.

    Args:
        assigned: (N, K).
        truth: (N, K).
    """
    hits = (assigned & truth).sum(axis=0)
    wrong = (assigned != truth).sum(axis=0)
    present = hits + wrong > 0
    f1 = np.divide(2 * hits, 2 * hits + wrong, out=np.zeros(len(hits)), where=present)
    right = (assigned == truth).mean(axis=0)
    seen = int(2 * hits.sum() + wrong.sum())
    total = {
        "accuracy": float(right.mean()),
        "exact_match": float((assigned == truth).all(axis=1).mean()),
        "f1_micro": float(2 * hits.sum() / seen) if seen else 1.0,
        "f1_macro": float(f1[present].mean()) if present.any() else 1.0,
    }
    by_class = {
        int(one): {"accuracy": float(right[one]), "f1": float(f1[one])}
        for one in np.flatnonzero(present)
    }
    return Scores(total, by_class)


def confusion(
    found: NDArray[np.uint8], truth: NDArray[np.uint8], classes: int
) -> NDArray[np.int64]:
    """Return how many pixels of each true class were found to be of each class, int64 (K, K + 1).

    Args:
        found: (H, W); a value that is no class, as where the network did not see the pixel, counts in the last column.
        truth: (H, W); ignored pixels do not count.
        classes: K.
    """
    counted = truth != IGNORED
    columns = classes + 1
    # A widening minimum, since K may be 256.
    answers = np.minimum(found[counted].astype(np.int64), classes)
    pairs = truth[counted].astype(np.int64) * columns + answers
    return np.bincount(pairs, minlength=classes * columns).reshape(classes, columns)


def mask_scores(counts: NDArray[np.int64]) -> Scores:
    """Return the mean IoU over the classes that are true or found somewhere, and the share of right pixels.

    Args:
        counts: the sum of all images' `confusion`, (K, K + 1).
    """
    right = np.diag(counts)
    union = counts.sum(axis=1) + counts[:, :-1].sum(axis=0) - right
    present = np.flatnonzero(union)
    iou = right[present] / union[present]
    total = {
        "miou": float(iou.mean()) if len(present) else 1.0,
        "pixel_accuracy": float(right.sum() / max(1, counts.sum())),
    }
    return Scores(total, {int(k): {"iou": float(i)} for k, i in zip(present, iou, strict=True)})


def chance(found: Sequence[int], truth: Sequence[int]) -> float | None:
    """Return the accuracy that these answers would have if they had nothing to do with the images.

    Cohen 1960, "A Coefficient of Agreement for Nominal Scales": the sum over the classes of its share of the answers
    times its share of the truth. None where the truth has a single class, which shows nothing.
    """
    if len(set(truth)) < 2:
        return None
    size = max(*found, *truth) + 1
    answered, true = (np.bincount(one, minlength=size) / len(one) for one in (found, truth))
    return float(answered @ true)


def is_at_chance(accuracy: float, by_chance: float, images: int) -> bool:
    """Return whether an accuracy is no larger than chance explains: within 2.33 standard deviations, 99 %."""
    deviation = float(np.sqrt(by_chance * (1 - by_chance) / images))
    return accuracy <= by_chance + 2.33 * deviation
