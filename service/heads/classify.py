"""Probabilities → the best classes with their names."""

import math
from collections.abc import Sequence
from typing import Annotated, Any

from numpy.typing import NDArray
from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from service.heads.outputs import Outputs, require_finite
from service.imaging.source_image import SourceImage


@with_config(ConfigDict(extra="forbid"))
class Prediction(TypedDict):
    label: str
    class_id: Annotated[int, Field(ge=0)]
    probability: Annotated[float, Field(ge=0, le=1)]


@with_config(ConfigDict(extra="forbid"))
class Classification(TypedDict):
    predictions: Annotated[
        list[Prediction], Field(description="The `top_k` most probable classes, best first")
    ]


def classify(
    outputs: Outputs, _: SourceImage, *, labels: Sequence[str], top_k: int
) -> Classification:
    """Return the `top_k` most probable classes, best first; equal ones in the order of their ids.

    Args:
        outputs: `probabilities`, float32 (K,), 0–1.
        labels: K names.
        top_k: 1 to K.
    """
    return {"predictions": best_classes(outputs["probabilities"], labels, top_k)}


def best_classes(
    probabilities: NDArray[Any], labels: Sequence[str], top_k: int
) -> list[Prediction]:
    """Return the `top_k` most probable classes, best first; equal ones in the order of their ids.

    Args:
        probabilities: float (K,), 0–1.
        labels: K names.
        top_k: 1 to K.

    Raises:
        InferenceError: a probability that would be shown is not finite, or one is NaN.
    """
    # Methods, not NumPy's functions around them: in a service this code is cold each time, and each call counts.
    ordered = probabilities.copy()
    ordered.partition(-top_k)
    # Sorting all of a thousand classes takes five times as long.
    (able,) = (probabilities >= ordered[-top_k]).nonzero()
    found = probabilities[able]
    order = (-found).argsort(kind="stable")[:top_k]
    best, values = able[order].tolist(), found[order].tolist()
    if len(best) < top_k or not all(map(math.isfinite, values)):  # NaN is not above anything
        require_finite(probabilities, "probabilities")
    return [
        {"label": labels[class_id], "class_id": class_id, "probability": round(value, 6)}
        for class_id, value in zip(best, values, strict=True)
    ]
