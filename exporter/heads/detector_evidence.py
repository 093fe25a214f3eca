"""What a step of reading a detector looks at, and what it gives; `detector_steps` lists the steps in their order."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from exporter.graph import Graph
from exporter.heads.box_grid import GridReading, read_grid
from exporter.heads.boxes import Candidates
from exporter.heads.detect import DetectHead
from exporter.heads.one_output import ROWS
from exporter.heads.raw_tensor import Tensor
from exporter.heads.score_kind import graph_ends
from exporter.network import Array
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


@dataclass(frozen=True)
class Evidence:
    """The head as the steps before have settled it, and the network's input."""

    head: DetectHead
    image_input: ImageInput


@dataclass(frozen=True)
class RawValues(Evidence):
    """What the source gives for real images: its raw outputs for each of them, and the graph that computes these.

    `raw` are the names of the outputs, `labels` those of the classes.
    """

    graph: Graph
    raw: Sequence[str]
    outputs: Sequence[Sequence[Array]]
    labels: Sequence[str]

    @cached_property
    def parts(self) -> list[Candidates[Array]]:
        """The candidates on each image."""
        return [self.head.decoder.split(one) for one in self.outputs]

    @property
    def scores(self) -> list[Array]:
        """The scores on each image, (N, A, K), or (N, A) where the network names the class of each box."""
        return [one.scores for one in self.parts]

    @property
    def names_classes(self) -> bool:
        """Whether the network names the class of each box."""
        return self.parts[0].classes is not None

    @property
    def scores_tensor(self) -> str:
        """The output with the scores: all parts of a head are in one, or boxes are before scores."""
        return self.raw[min(1, len(self.raw) - 1)]

    @cached_property
    def ends(self) -> set[str]:
        """What computes the scores; of one output that holds the boxes too, what computes these as well."""
        return graph_ends(self.graph, self.scores_tensor)


@dataclass(frozen=True)
class Boxes(Evidence):
    """The candidates on each of several real images, and what the grid shows that their boxes lie on.

    `every` are the boxes of all images (I, A, 4), float64; None where images have different numbers of them. `is_open`
    is whether the shape alone leaves open if they are relative to cells.
    """

    parts: Sequence[Candidates[Array]]
    every: Array | None
    seen: GridReading | None
    is_open: bool

    @classmethod
    def of(
        cls, head: DetectHead, parts: Sequence[Candidates[Array]], image_input: ImageInput
    ) -> "Boxes":
        are_as_many = len({one.boxes.shape[1:] for one in parts}) == 1
        every = None
        if are_as_many:
            every = np.concatenate([one.boxes for one in parts]).astype(np.float64)
        seen = read_grid(every, image_input) if every is not None else None
        return cls(head, image_input, parts, every, seen, is_open=head.recipe.decoder == ROWS)

    @property
    def are_relative(self) -> bool:
        """Whether they are read as relative to the cells of a grid."""
        return self.head.recipe.box_format == "grid"


@dataclass(frozen=True)
class Changes(Evidence):
    """Real images uint8 (I, H, W, 3), the raw outputs for the first of them, and what computes those of other frames.

    `is_stated` is whether the form of the boxes is stated.
    """

    frames: NDArray[np.uint8]
    outputs: Sequence[Sequence[Array]]
    run: Callable[[NDArray[np.uint8]], Sequence[Array]]
    is_stated: bool


@dataclass(frozen=True, slots=True)
class Settled:
    """A head that the steps behind do not look at."""

    head: DetectHead


E = TypeVar("E", bound=Evidence)

Step = Callable[[E], DetectHead | Settled | None]
"""Gives a head, which the steps behind look at; a settled one, which ends the list; None where it has nothing to say.

It raises RecipeError, a refusal.
"""


def settled_by(steps: Sequence[Step[E]], known: E) -> DetectHead:
    """Return the head that steps give in their order."""
    for step in steps:
        found = step(known)
        if isinstance(found, Settled):
            return found.head
        if found is not None:
            known = replace(known, head=found)
    return known.head
