"""Which of a network's outputs is the embedding."""

from collections.abc import Sequence

from exporter.errors import RecipeError
from exporter.heads.raw_tensor import Tensor

_EMBEDDINGS = (
    *("image_embeds", "image_embedding", "image_embeddings", "sentence_embedding"),
    *("embeddings", "embedding", "embeds", "image_features", "features", "pooler_output"),
)
"""Names of outputs that hold an embedding, the surest first."""


def embedding_first(outputs: Sequence[Tensor], *, is_stated: bool) -> list[Tensor]:
    """Return the outputs with an embedder's in front: the one with a usual name, or the only one.

    Raises:
        RecipeError: there are several, and names do not tell which.
    """
    named = [one for name in _EMBEDDINGS for one in outputs if one.name.lower() == name]
    if is_stated or len(outputs) == 1:
        return list(outputs)
    if not named:
        listed = ", ".join(f"{one.name} {one.dims}" for one in outputs)
        raise RecipeError(
            f"The network returns {listed} for one image, and each could be the embedding. Name the one to take: "
            f"--outputs {outputs[0].name}"
        )
    return [named[0], *(one for one in outputs if one is not named[0])]
