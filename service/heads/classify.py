"""Probabilities → the best classes with their names."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypedDict

from service.imaging.source_image import SourceImage


class Prediction(TypedDict):
    label: str
    class_id: int
    probability: float


class Classification(TypedDict):
    predictions: list[Prediction]


def classify(
    outputs: Mapping[str, NDArray[Any]], _: SourceImage, *, labels: Sequence[str], top_k: int
) -> Classification:
    """Return the `top_k` most probable classes, best first; equal ones in the order of their ids.

    Args:
        outputs: holds `probabilities`, float32 (K,).
        labels: K names.
        top_k: 1 to K.
    """
    return {"predictions": best_classes(outputs["probabilities"], labels, top_k)}


def best_classes(
    probabilities: NDArray[Any], labels: Sequence[str], top_k: int
) -> list[Prediction]:
    """Return the `top_k` most probable classes of probabilities (K,), best first; equal ones by their ids."""
    least = np.partition(probabilities, -top_k)[-top_k]
    able = np.flatnonzero(
        probabilities >= least
    )  # a full sort of a thousand classes takes five times as long
    best = able[np.argsort(-probabilities[able], kind="stable")][:top_k].tolist()
    return [
        {
            "label": labels[class_id],
            "class_id": class_id,
            "probability": round(float(probabilities[class_id]), 6),
        }
        for class_id in best
    ]
