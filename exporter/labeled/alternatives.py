"""Where mean and std are assumed: whether others that are common would give more right answers."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exporter.labeled.measure import add_answer, make_scorer, read_image
from exporter.labeled.truth import LabeledImage, LabeledImages
from exporter.network import Network
from exporter.recipe import Pixels, Triple
from exporter.transforms import pixel_values
from service.imaging.source_image import SourceImage

MOST_IMAGES = 60
CLEARLY_BETTER = 0.1
"""By how much a score must be better before other values are suggested: on few images, scores vary."""

SMALLEST_STD = 1e-3
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}


@dataclass(frozen=True, slots=True)
class Better:
    """Pixel values with which the source has better answers than with the assumed ones."""

    options: str
    metric: str
    score: float
    assumed_score: float
    images: int


def better_pixels(
    network: Network, labels: tuple[str, ...], labeled: LabeledImages
) -> Better | None:
    """Return the best of the common pixel values, None where the assumed ones are as good or nothing is assumed."""
    if not network.assumed:
        return None
    some = labeled.at_most(MOST_IMAGES)
    read = [found for image in some.images if (found := read_image(image, network)) is not None]
    if not read:
        return None
    metric, assumed = _score(network, labels, read, network.pixels)
    scored = {
        options: _score(network, labels, read, pixels)[1]
        for options, pixels in _common(network.pixels, [frame for _, _, frame in read])
    }
    best = max(scored, key=lambda options: scored[options])
    if scored[best] < assumed + CLEARLY_BETTER:
        return None
    return Better(best, metric, scored[best], assumed, len(read))


def _common(pixels: Pixels, frames: list[NDArray[np.uint8]]) -> Iterator[tuple[str, Pixels]]:
    """Yield common pixel values with the options that state them."""
    own = np.stack(frames).reshape(-1, 3) / 255
    mean, std = _triple(own.mean(axis=0)), _triple(np.maximum(own.std(axis=0), SMALLEST_STD))
    yield _options(IMAGENET), pixels.model_copy(update=IMAGENET)
    yield _options(HALF), pixels.model_copy(update=HALF)
    yield "--scale 1 --mean 0 --std 1", pixels.model_copy(update={"scale": 1.0})
    measured = {"mean": mean, "std": std}
    words = f"{_options(measured)} (mean and std of these images themselves)"
    yield words, pixels.model_copy(update=measured)


def _score(
    network: Network,
    labels: tuple[str, ...],
    read: list[tuple[LabeledImage, SourceImage, NDArray[np.uint8]]],
    pixels: Pixels,
) -> tuple[str, float]:
    """Return the name and value of the first score that the source reaches with these pixel values."""
    scorer = make_scorer(network, labels)
    for image, shown, frame in read:
        raw = network.reference.run(pixel_values(frame[None], pixels))
        add_answer(scorer, network.head.expected(raw, network.image_input), shown, image)
    return next(iter(scorer.scores().total.items()))


def _options(values: dict[str, Triple]) -> str:
    return " ".join(
        f"--{name} {','.join(f'{value:.4g}' for value in triple)}"
        for name, triple in values.items()
    )


def _triple(values: NDArray[np.float64]) -> Triple:
    first, second, third = (round(float(value), 4) for value in values)
    return first, second, third
