"""Features frame by frame → vectors of length one, how alike neighbors are, and the clip's own vector."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.heads.embed import embed
from service.heads.outputs import Outputs
from service.heads.over_time.combiner import Combiner
from service.imaging.source_image import SourceImage

Vector = NDArray[np.float32]


class EmbedCombiner(Combiner[Vector]):
    """Vectors over time. Where the likeness of neighbors drops, the scene changes."""

    def __init__(self) -> None:
        self._sum: NDArray[np.float64] | None = None
        self._last: Vector | None = None

    def keep(self, outputs: Outputs, source: SourceImage) -> Vector:
        return embed(outputs, source)

    def add(self, _: float, seen: Vector) -> dict[str, Any]:
        likeness = None if self._last is None else round(float(self._last @ seen), 6)
        self._last = seen
        self._sum = seen.astype(np.float64) if self._sum is None else self._sum + seen
        return {"embedding": _rounded(seen), "similarity_to_last": likeness}

    def summary(self) -> dict[str, Any]:
        if self._sum is None:
            return {"embedding": []}
        return {"embedding": _rounded(self._sum / max(float(np.linalg.norm(self._sum)), 1e-12))}


def _rounded(vector: NDArray[Any]) -> list[float]:
    rounded: list[float] = np.round(vector.astype(np.float64), 7).tolist()
    return rounded
