"""What is proved: samples, and how the source computes the graph's outputs for them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from exporter.finite import require_numbers
from exporter.network import Array, Comparison, Network, Outputs
from exporter.sensitivity import allowed_by_rounding, computes_in_half
from service.card import ImageInput
from service.imaging.decode import Limits
from service.imaging.resize import fit_encoded


class Subject(Protocol):
    """What is proved: samples, and the outputs that the source computes for them."""

    @property
    def comparison(self) -> Comparison: ...

    @property
    def reference(self) -> str:
        """Name and version of the source's framework."""

    @property
    def inputs(self) -> Array:
        """The graph's input for every sample; the first axis counts them."""

    @property
    def unit(self) -> str:
        """What a sample is, in the plural, for messages."""

    @property
    def advice(self) -> str:
        """What to check when the samples do not agree."""

    @property
    def max_batch(self) -> int | None: ...

    def expected(self, inputs: Array) -> Outputs:
        """Return the source's outputs for a batch of the graph's inputs."""

    def expected_of_sample(self, index: int) -> Outputs:
        """Return the source's outputs for one sample, all by its own means where it has them; a batch of one."""

    def allowed_by_rounding(self, inputs: Array) -> float:
        """Return the difference that rounding explains, by how much it changes the source's own outputs."""

    def layers(self, inputs: Array) -> Iterator[tuple[str, Array]]:
        """Yield the name and the output of each of the source's layers, in order."""


_LARGEST_VALUE = 260.0
"""Bytes stay below, and so does what their mean and std make of them."""

_OTHER_VALUES = (
    "The network reads {:.0f} where an image is white: is --scale right for --mean and --std? A network that reads "
    "bytes needs neither of them."
)


@dataclass(frozen=True, slots=True)
class ImageSubject:
    """An image network on encoded images.

    The graph reads what the service's own decode and resize make of an image; the source uses its framework's own
    decode and transforms, and its own postprocessing where it has one.
    """

    network: Network
    images: Sequence[bytes]
    inputs: NDArray[np.uint8]
    unit: str = "images"
    advice: str = "Is the input's size, resize policy or interpolation the one that the network was trained with?"

    @classmethod
    def of(cls, network: Network, images: Sequence[bytes]) -> "ImageSubject":
        """Return the subject with the images decoded and resized by the service's code."""
        inputs = fit_all(images, network.image_input)
        white = [
            (255 * network.pixels.scale - mean) / std
            for mean, std in zip(network.pixels.mean, network.pixels.std, strict=True)
        ]
        if max(white) <= _LARGEST_VALUE:
            return cls(network, images, inputs)
        return cls(network, images, inputs, advice=_OTHER_VALUES.format(max(white)))

    @property
    def comparison(self) -> Comparison:
        return self.network.head

    @property
    def reference(self) -> str:
        return self.network.reference.name

    @property
    def max_batch(self) -> int | None:
        return self.network.max_batch

    def expected(self, inputs: Array) -> Outputs:
        return self._expected_of_pixels(self.network.reference.pixels_of_frames(inputs))

    def expected_of_sample(self, index: int) -> Outputs:
        reference = self.network.reference
        own = reference.own_outputs(self.images[index])
        if own is not None:
            return own
        return self._expected_of_pixels(reference.pixels_of_image(self.images[index])[None])

    def allowed_by_rounding(self, inputs: Array) -> float:
        pixels = self.network.reference.pixels_of_frames(inputs)
        half = computes_in_half(self.network.graph)
        return allowed_by_rounding(self._expected_of_pixels, self.comparison, pixels, half=half)

    def _expected_of_pixels(self, pixels: NDArray[np.float32]) -> Outputs:
        raw = self.network.reference.run(pixels)
        return self.network.head.expected(raw, self.network.image_input)

    def layers(self, inputs: Array) -> Iterator[tuple[str, Array]]:
        reference = self.network.reference
        return reference.layers(reference.pixels_of_frames(inputs))


def fit_all(images: Sequence[bytes], target: ImageInput) -> NDArray[np.uint8]:
    """Return the images as the service's own decode and resize make them: uint8 (N, H, W, 3)."""
    return np.stack([fit_encoded(body, target, Limits())[0] for body in images])


def require_finite(subject: Subject, index: int, values: Sequence[Array]) -> None:
    """Refuse what a network computes for a sample if a value is NaN or infinite.

    Raises:
        ProofError: one is; the message names the sample and the first such layer.
    """
    unit = subject.unit.removesuffix("s")
    one = subject.inputs[index : index + 1]
    what = f"The network's result for {unit} {index + 1} of {len(subject.inputs)}"
    require_numbers(values, what, lambda: subject.layers(one))
