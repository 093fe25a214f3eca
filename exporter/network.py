"""A trained network between its source and the servable: a raw ONNX graph, and the framework that runs the original."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from exporter.graph import Graph
from exporter.recipe import AssumedPixels, Pixels, Task
from service.card import ImageInput, Metric, Normalization

Array = NDArray[Any]
Unstated = Literal["softmax", "color", "resize"]
"""Besides mean and std, what a source may say nothing about."""

EVERY_PART: tuple[Unstated, ...] = ("softmax", "color", "resize")

Outputs = dict[str, Array]
"""The servable's outputs by name; the first axis of each is the batch."""


class Reference(Protocol):
    """The network as its own framework runs it: the truth that the graph is compared with."""

    @property
    def name(self) -> str:
        """Name and version of the framework, for messages and the certificate."""

    def pixels_of_image(self, body: bytes) -> NDArray[np.float32]:
        """Return one encoded image's pixel values by the framework's own code, without a batch axis."""

    def pixels_of_frames(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the pixel values of frames uint8 (N, H, W, 3), normalized as the framework does."""

    def run(self, pixels: NDArray[np.float32]) -> tuple[Array, ...]:
        """Return the raw outputs for a batch of pixel values."""

    def own_outputs(self, body: bytes) -> Outputs | None:
        """Return one encoded image's outputs by the framework's own postprocessing, None where it has none."""

    def layers(self, pixels: NDArray[np.float32]) -> Iterator[tuple[str, Array]]:
        """Yield the name and the output of each layer, in the order in which they run."""


class Comparison(Protocol):
    """How two sets of a task's outputs are compared."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the servable's outputs for the task, in order."""

    @property
    def metric(self) -> Metric:
        """What `agreement` measures."""

    def difference(self, found: Outputs, expected: Outputs) -> float:
        """Return the largest difference between two batches of outputs."""

    def result_difference(self, found: Outputs, expected: Outputs) -> float:
        """Return the largest difference of what a caller reads, a probability or a score."""

    def agreement(self, found: Outputs, expected: Outputs, tolerance: float) -> list[float]:
        """Return the metric for each element of the batch, 0–1.

        Probabilities and scores that a caller reads may differ by the tolerance at most.
        """


class Head(Comparison, Protocol):
    """Turns raw outputs into a task's outputs: once as graph nodes, once in numpy as the truth about these nodes."""

    @property
    def task(self) -> Task: ...

    @property
    def classes(self) -> int | None:
        """How many labels the task needs, None where any number is right."""

    def graft(self, graph: Graph, raw: Sequence[str], image_input: ImageInput) -> None:
        """Add the nodes that end in the task's outputs, except `features`."""

    def expected(self, raw: Sequence[Array], image_input: ImageInput) -> Outputs:
        """Return what the grafted nodes must compute from these raw outputs."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a source knows about its network besides the numbers; a recipe's fields take precedence.

    `classes` is the number of labels that the network needs. With `blank_first` the first of them is a background that
    is never detected, and may be missing among labels from a file.
    """

    title: str
    origin: str
    license: str | None = None
    description: str = ""
    labels: tuple[str, ...] | None = None
    scores: dict[str, float] | None = None
    classes: int | None = None
    blank_first: bool = False


@dataclass(frozen=True, slots=True)
class Borrowed:
    """Whose image input and pixel values are taken where nothing states those that the weights were trained with.

    `parts` are the parts of the image input that are taken: size, resize and interpolation. `beside` is what the
    file of the weights says of its training's images, as `img_size 64`. Without `has_values` mean and
    std are not taken.
    """

    whose: str
    parts: tuple[str, ...]
    beside: tuple[str, ...] = ()
    has_values: bool = True

    @property
    def words(self) -> str:
        """The parts, as `size, resize and interpolation`."""
        return " and ".join(part for part in (", ".join(self.parts[:-1]), *self.parts[-1:]) if part)


@dataclass(frozen=True, slots=True)
class Network:
    """A raw graph over normalized pixels, with everything that is needed to complete and to prove it.

    `graph` has one input, pixel values as `pixels` describes them, and the outputs `raw`, which `head` reads. `proof`
    are encoded images of the kind that the network was trained on, where the source has its own. `assumed` are the
    parts of `pixels` that nobody stated, and `borrowed` says whose these and parts of `image_input` are. By
    `own_factor` the graph multiplies pixel values before its first layer; None where it leaves some as they are.
    `silent` are the parts that its source can not state.
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
    assumed: tuple[AssumedPixels, ...] = ()
    borrowed: Borrowed | None = None
    own_factor: float | None = None
    silent: tuple[Unstated, ...] = ()

    @property
    def normalization(self) -> Normalization:
        """The pixel values as the card states them."""
        pixels = self.pixels
        return Normalization(
            scale=pixels.scale,
            mean=pixels.mean[: pixels.channels],
            std=pixels.std[: pixels.channels],
            color=pixels.color,
            assumed=self.assumed,
        )
