"""Features frame by frame → vectors of length one, the similarity of neighboring frames, and the video's own vector."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, with_config
from typing_extensions import TypedDict

from service.heads.embed import embed, embedding_json, normalized
from service.heads.outputs import Outputs
from service.heads.over_time.combiner import Combiner
from service.imaging.source_image import SourceImage

Vector = NDArray[np.float32]


@with_config(ConfigDict(extra="forbid"))
class EmbedFrame(TypedDict):
    embedding: Annotated[list[float], Field(description="The L2-normalized features")]
    similarity_to_last: Annotated[
        float | None,
        Field(description="Cosine similarity to the sampled frame before; null for the first"),
    ]


@with_config(ConfigDict(extra="forbid"))
class EmbedSummary(TypedDict):
    embedding: Annotated[
        list[float],
        Field(description="The L2-normalized mean of the frames' vectors; empty without frames"),
    ]


class EmbedCombiner(Combiner[Vector]):
    """Vectors over time. Where the similarity of neighboring frames drops, the scene changes."""

    def __init__(self) -> None:
        self._sum: NDArray[np.float64] | None = None
        self._last: Vector | None = None

    def keep(self, outputs: Outputs, source: SourceImage) -> Vector:
        return embed(outputs, source)

    def add(self, _: float, kept: Vector) -> EmbedFrame:
        similarity = None if self._last is None else round(float(self._last @ kept), 6)
        self._last = kept
        self._sum = kept.astype(np.float64) if self._sum is None else self._sum + kept
        return {**embedding_json(kept), "similarity_to_last": similarity}

    def summary(self) -> EmbedSummary:
        if self._sum is None:
            return {"embedding": []}
        return {"embedding": embedding_json(normalized(self._sum))["embedding"]}
