"""What a step of reading a detector looks at, and what it gives; `detector_steps` lists the steps in their order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from exporter.heads.raw_tensor import Tensor
from service.card import ImageInput


@dataclass(frozen=True, slots=True)
class Shapes:
    """A detector's outputs before it has run.

    `labels` is how many are known, 0 for none. `decoder` is the one that the recipe states, empty where it states none;
    `are_named` is whether the user names the outputs, in the order in which they are read.
    """

    outputs: Sequence[Tensor]
    image_input: ImageInput
    labels: int
    decoder: str
    are_named: bool


@dataclass(frozen=True, slots=True)
class ShapeReading:
    """The decoder that reads the outputs, and these in its order; those that it does not read are behind."""

    decoder: str
    outputs: list[Tensor]


ShapeStep = Callable[[Shapes], ShapeReading | None]
"""Gives a reading, which ends the search; None where it has nothing to say; or raises RecipeError, a refusal."""
