"""Options that several tasks share, and how they are held against a model."""

from typing import Annotated

from pydantic import Field

from service.card import Card
from service.errors import InvalidParameterError

DEFAULT_TOP_K = 5

TopK = Annotated[
    int | None,
    Field(ge=1, description="How many classes, best first; default: 5, or all of fewer"),
]
Share = Annotated[float, Field(ge=0, le=1)]
Polygons = Annotated[bool, Field(description="Outlines too, beside the RLE")]


def settle_top_k(top_k: int | None, card: Card) -> int:
    """Return how many classes to report of a model.

    Raises:
        InvalidParameterError: the model has fewer.
    """
    classes = len(card.labels)
    if top_k is None:
        return min(DEFAULT_TOP_K, classes)
    if top_k > classes:
        raise InvalidParameterError(f"top_k: {card.name} has 1 to {classes} classes, not {top_k}")
    return top_k
