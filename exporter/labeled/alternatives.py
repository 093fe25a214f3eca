"""Where mean and std are assumed: whether others that are common would give more right answers."""

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.errors import RecipeError
from exporter.labeled.measure import BATCH, ReadImage, add_answers, make_scorer, read_images
from exporter.network import Network
from exporter.recipe import Pixels, Triple
from exporter.transforms import pixel_values
from service.labeled.scores import Scores
from service.labeled.truth import LabeledImages

MOST_IMAGES = 60
CLEARLY_BETTER = 0.1
"""By how much a score must be better before other values are suggested: on few images, scores vary.

Values whose scores lie closer together than that are all named, since so few images do not tell them apart.
"""

SMALLEST_STD = 1e-3
SCALE_TOLERANCE = 1e-2
"""How far a stated scale may be from 1/255, as a share: it is often written with few digits, as 0.0039."""
IMAGENET: dict[str, Triple] = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
HALF: dict[str, Triple] = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
OWN = "mean and std of these images themselves"


@dataclass(frozen=True, slots=True)
class Better:
    """Pixel values with which the source has clearly better answers than with the assumed ones.

    `scores` are those of the options, the best first; they are too close to each other to choose.
    """

    metric: str
    scores: tuple[tuple[str, float], ...]
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
    scored = []
    for options, pixels in common_pixels(network, [one.frame for one in read]):
        # Values that the network is not made for may give no numbers, which says nothing about the assumed ones.
        with suppress(RecipeError):
            scored.append((options, _score(network, labels, read, pixels)[1]))
    best = max((score for _, score in scored), default=0.0)
    least = max(assumed + CLEARLY_BETTER, best - CLEARLY_BETTER)
    suitable = sorted((one for one in scored if one[1] >= least), key=lambda one: -one[1])
    return Better(metric, tuple(suitable), assumed, len(read)) if suitable else None


def common_pixels(
    network: Network, frames: Sequence[NDArray[np.uint8]]
) -> Iterator[tuple[str, Pixels]]:
    """Yield common pixel values with the options that state them; what is stated already stays as it is."""
    pixels = network.pixels
    own = pixel_values(np.stack(frames), Pixels(layout="NHWC", color=pixels.color))
    mean, std = (own.mean(axis=(0, 1, 2)), np.maximum(own.std(axis=(0, 1, 2)), SMALLEST_STD))
    measured = {"mean": _triple(mean), "std": _triple(std)}
    in_order = {
        name: _triple(values[::-1] if pixels.color == "bgr" else values)
        for name, values in IMAGENET.items()
    }
    known = [(HALF, ""), (measured, f" ({OWN})")]
    if pixels.channels > 1:
        known.insert(0, (in_order, ""))
    # Mean and std are in units of what the scale makes of a byte.
    unit = 255 * pixels.scale
    for values, remark in known:
        scaled: dict[str, Triple] = {
            name: _triple([unit * value for value in values[name]]) for name in network.assumed
        }
        yield _options(scaled) + remark, pixels.model_copy(update=scaled)
    if len(network.assumed) == len(IMAGENET):
        other = 1.0 if math.isclose(unit, 1, rel_tol=SCALE_TOLERANCE) else 1 / 255
        alone = {"mean": _triple([0.0]), "std": _triple([1.0])}
        yield (
            f"--scale {other:.5g} {_options(alone)}",
            pixels.model_copy(update={"scale": other, **alone}),
        )


def _score(
    network: Network,
    labels: tuple[str, ...],
    read: Sequence[ReadImage],
    pixels: Pixels,
) -> tuple[str, float]:
    """Return the name and value of the score that the source reaches with these pixel values.

    Raises:
        RecipeError: the service could not answer with its outputs.
    """
    scorer = make_scorer(network, labels)
    size = min(BATCH, network.max_batch or BATCH)
    for begin in range(0, len(read), size):
        batch = read[begin : begin + size]
        values = pixel_values(np.stack([one.frame for one in batch]), pixels)
        outputs = network.head.expected(network.reference.run(values), network.image_input)
        add_answers(scorer, outputs, batch)
    return deciding(scorer.scores())


def deciding(scores: Scores) -> tuple[str, float]:
    """Return the name and value of the score that ways of reading images are compared by, the first of most tasks.

    Where an image may have several labels, the share of right decisions is close to one whatever is decided: most
    labels are absent. It is the F1.
    """
    name = "f1_micro" if "f1_micro" in scores.total else next(iter(scores.total))
    return name, scores.total[name]


def _options(values: dict[str, Triple]) -> str:
    """Return the options that state mean and std."""
    named = {
        name: triple if len(set(triple)) > 1 else triple[:1] for name, triple in values.items()
    }
    return " ".join(
        f"--{name} {','.join(f'{value:.4g}' for value in numbers)}"
        for name, numbers in named.items()
    )


def _triple(values: Sequence[float] | NDArray[np.floating[Any]]) -> Triple:
    """Return a number for each of three channels; one stands for all."""
    rounded = [round(float(value), 4) for value in values]
    first, second, third = rounded * 3 if len(rounded) == 1 else rounded
    return first, second, third
