"""Pooled features → a vector of length one, for search by similarity."""

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from service.heads.outputs import Outputs, require_finite
from service.imaging.source_image import SourceImage

_TINY = 1e-12
"""The least divisor: a vector of zeros, which has no direction, stays zeros and does not become NaN."""


@with_config(ConfigDict(extra="forbid"))
class Embedding(TypedDict):
    embedding: Annotated[list[float], Field(description="The L2-normalized features")]


def embed(outputs: Outputs, _: SourceImage) -> NDArray[np.float32]:
    """Return the L2-normalized features; the dot product of two is their cosine similarity.

    Args:
        outputs: `features`, float (F,).

    Returns:
        float32 (F,), of length one; zeros where all features are 0.

    Raises:
        InferenceError: the features are not finite.
    """
    features = outputs["features"].astype(np.float32)
    require_finite(features, "features")
    unit: NDArray[np.float32] = normalized(features)
    return unit


def normalized(vector: NDArray[Any]) -> NDArray[Any]:
    """Return a vector divided by its L2 norm, in its own dtype; zeros stay zeros."""
    unit: NDArray[Any] = vector / max(float(np.linalg.norm(vector)), _TINY)
    return unit


def embedding_json(vector: NDArray[Any]) -> Embedding:
    """Return a vector as JSON, rounded to seven decimal places: float32 holds no more."""
    return {"embedding": np.round(vector.astype(np.float64), 7).tolist()}
