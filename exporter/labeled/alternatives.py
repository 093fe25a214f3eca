"""Where mean and std are assumed: whether others that are common would give more right answers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.labeled.measure import BATCH, ReadImage, add_answers, make_scorer, read_images
from exporter.network import Network
from exporter.recipe import Pixels, Triple
from exporter.transforms import pixel_values
from service.labeled.truth import LabeledImages

MOST_IMAGES = 60
CLEARLY_BETTER = 0.1
"""By how much a score must be better before other values are suggested: on few images, scores vary."""

SMALLEST_STD = 1e-3
IMAGENET: dict[str, Triple] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
HALF: dict[str, Triple] = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
OWN = "mean and std of these images themselves"


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
    read = read_images(some.images, network, [])
    if not read:
        return None
    metric, assumed = _score(network, labels, read, network.pixels)
    scored = {
        options: _score(network, labels, read, pixels)[1]
        for options, pixels in _common(network.pixels, [one.frame for one in read])
    }
    best = max(scored, key=lambda options: scored[options])
    if scored[best] < assumed + CLEARLY_BETTER:
        return None
    return Better(best, metric, scored[best], assumed, len(read))


def _common(pixels: Pixels, frames: Sequence[NDArray[np.uint8]]) -> Iterator[tuple[str, Pixels]]:
    """Yield common pixel values with the options that state them."""
    in_order = {
        name: _triple(values[::-1] if pixels.color == "bgr" else values)
        for name, values in IMAGENET.items()
    }
    own = pixel_values(np.stack(frames), Pixels(layout="NHWC", color=pixels.color))
    mean, std = (own.mean(axis=(0, 1, 2)), np.maximum(own.std(axis=(0, 1, 2)), SMALLEST_STD))
    measured = {"mean": _triple(mean), "std": _triple(std)}
    for values, remark in ((in_order, ""), (HALF, ""), (measured, f" ({OWN})")):
        stated = {"scale": 1 / 255, **values}
        words = _options(values, pixels)
        yield words + remark, pixels.model_copy(update=stated)
    bytes_alone = {"mean": _triple([0.0]), "std": _triple([1.0])}
    yield (
        f"--scale 1 {_options(bytes_alone)}",
        pixels.model_copy(update={"scale": 1.0, **bytes_alone}),
    )


def _score(
    network: Network,
    labels: tuple[str, ...],
    read: Sequence[ReadImage],
    pixels: Pixels,
) -> tuple[str, float]:
    """Return the name and value of the first score that the source reaches with these pixel values."""
    scorer = make_scorer(network, labels)
    size = min(BATCH, network.max_batch or BATCH)
    for begin in range(0, len(read), size):
        batch = read[begin : begin + size]
        values = pixel_values(np.stack([one.frame for one in batch]), pixels)
        outputs = network.head.expected(network.reference.run(values), network.image_input)
        add_answers(scorer, outputs, batch)
    return next(iter(scorer.scores().total.items()))


def _options(values: dict[str, Triple], pixels: Pixels | None = None) -> str:
    """Return the options that state mean and std, and the scale of 0–1 where the pixels have another one."""
    scale = "" if pixels is None or pixels.scale == 1 / 255 else f"--scale {1 / 255:.7f} "
    named = {
        name: triple if len(set(triple)) > 1 else triple[:1] for name, triple in values.items()
    }
    return scale + " ".join(
        f"--{name} {','.join(f'{value:.4g}' for value in numbers)}"
        for name, numbers in named.items()
    )


def _triple(values: Sequence[float] | NDArray[np.floating[Any]]) -> Triple:
    """Return a number for each of three channels; one stands for all."""
    rounded = [round(float(value), 4) for value in values]
    first, second, third = rounded * 3 if len(rounded) == 1 else rounded
    return first, second, third
