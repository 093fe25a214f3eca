"""Pooled features → a vector of length one, to search by similarity."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.imaging.source_image import SourceImage

_TINY = 1e-12
"""Keeps a vector of zeros, which has no direction, from becoming NaN."""


def embed(outputs: Mapping[str, NDArray[Any]], _: SourceImage) -> NDArray[np.float32]:
    """Return the L2-normalized features, float32 (F,); the dot product of two is their cosine similarity."""
    features = outputs["features"].astype(np.float32)
    unit: NDArray[np.float32] = features / max(float(np.linalg.norm(features)), _TINY)
    return unit
