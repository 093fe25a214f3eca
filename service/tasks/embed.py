"""`embed`: an image in, its features out, to search by similarity."""

from collections.abc import Sequence

from service.card import Card
from service.heads.agreement import VECTORS
from service.heads.embed import Embedding, embed, embedding_json
from service.heads.outputs import Outputs
from service.heads.over_time.embed import EmbedCombiner, EmbedFrame, EmbedSummary
from service.heads.sameness import same_direction
from service.heads.targets import choose_features
from service.imaging.overlay import RenderedImage
from service.imaging.source_image import SourceImage
from service.media_types import FLOATS
from service.tasks.task import OverTime, Rendering, Task, TaskOptions


class EmbedOptions(TaskOptions):
    pass


def _head(
    outputs: Outputs,
    source: SourceImage,
    card: Card,
    options: EmbedOptions,
) -> Embedding:
    return embedding_json(embed(outputs, source))


def _floats(
    outputs: Outputs,
    source: SourceImage,
    card: Card,
    options: EmbedOptions,
    media_type: str,
) -> RenderedImage:
    return RenderedImage(embed(outputs, source).astype("<f4").tobytes(), media_type)


def _join(vectors: Sequence[RenderedImage]) -> RenderedImage:
    content = b"".join(vector.content for vector in vectors)
    return RenderedImage(content, FLOATS, (len(vectors), len(vectors[0].content) // 4))


def _begin(options: EmbedOptions, card: Card) -> EmbedCombiner:
    return EmbedCombiner()


EMBED = Task(
    name="embed",
    summary="The features of each image, as a vector of length one",
    outputs=("features",),
    options=EmbedOptions,
    result=Embedding,
    head=_head,
    labeled=False,
    # Every network for images gives features.
    models=("embed", "classify", "detect", "segment"),
    renderings={
        "floats": Rendering(
            "float32, little-endian, one vector after the other", _floats, (FLOATS,), join=_join
        )
    },
    over_time=OverTime(EmbedOptions, _begin, EmbedFrame, EmbedSummary, draws=False),
    target=choose_features,
    agreement=VECTORS,
    same_result=same_direction,
)
