"""A trained network between its source and the servable: a raw ONNX graph, and how its own framework runs it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from exporter.graph import Graph
from exporter.recipe import ImageTask, Pixels
from service.card import ImageInput, Metric

Array = NDArray[Any]
Outputs = dict[str, Array]
"""The contract's outputs by name; the batch is the first axis of each."""


class Reference(Protocol):
    """The network as its own framework runs it: the truth that the graph is held against."""

    @property
    def name(self) -> str: ...

    def pixels_of_image(self, body: bytes) -> NDArray[np.float32]:
        """Return one image's pixel values through the framework's own decode and transforms, no batch axis."""

    def pixels_of_frames(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the pixel values of frames uint8 (N, H, W, 3), normalized by the framework."""

    def run(self, pixels: NDArray[np.float32]) -> tuple[Array, ...]:
        """Return the raw outputs for a batch of pixel values."""

    def own_answer(self, body: bytes) -> Outputs | None:
        """Return one image's outputs by the framework's own postprocessing, where it has any."""

    def layers(self, pixels: NDArray[np.float32]) -> Iterator[tuple[str, Array]]:
        """Yield the name and the output of each layer, in the order they run."""


class Head(Protocol):
    """What turns raw outputs into a task's outputs: once as graph nodes, once in numpy as the truth about them."""

    @property
    def task(self) -> ImageTask: ...

    @property
    def metric(self) -> Metric: ...

    @property
    def classes(self) -> int | None:
        """How many labels the task needs, None where any number will do."""

    def graft(self, graph: Graph, raw: Sequence[str], image_input: ImageInput) -> None:
        """Add the nodes that end in the task's outputs."""

    def expected(self, raw: Sequence[Array], image_input: ImageInput) -> Outputs:
        """Return what the grafted nodes must give for these raw outputs."""

    def difference(self, found: Outputs, expected: Outputs) -> float:
        """Return the largest difference between two batches of outputs."""

    def agreement(self, found: Outputs, expected: Outputs) -> list[float]:
        """Return the metric for each image, 0–1."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a source knows about its network besides the numbers; a recipe's own words go before these."""

    title: str
    origin: str
    license: str | None = None
    description: str = ""
    labels: tuple[str, ...] | None = None
    scores: dict[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Network:
    """A raw graph over normalized pixels, with what is needed to finish and to prove it.

    `graph` has one input, pixel values as `pixels` says, and the outputs `raw`, which `head` understands. `proof` are
    encoded images of the kind the network was trained on, where the source has its own.
    """

    graph: Graph
    raw: tuple[str, ...]
    head: Head
    reference: Reference
    image_input: ImageInput
    pixels: Pixels
    facts: Facts
    background_id: int | None = None
    proof: tuple[bytes, ...] = ()
    max_batch: int | None = None
