"""Whether the source has clearly more right answers with other colors, another way of resizing or another mean and std.

Nothing of it is applied: what fits better is named, with its option and the accuracy that it has.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.errors import RecipeError
from exporter.labeled.alternatives import CLEARLY_BETTER, MOST_IMAGES, common_pixels, deciding
from exporter.labeled.answers import OutputScorer
from exporter.labeled.chance import is_luck
from exporter.labeled.measure import (
    BATCH,
    Measurement,
    ReadImage,
    add_answers,
    make_scorer,
    read_images,
)
from exporter.network import Network, Outputs
from exporter.progress import Progress
from exporter.recipe import ASSUMABLE
from exporter.transforms import pixel_values
from service.labeled.average_precision import box_scores
from service.labeled.scorers import BoxScorer, ClassScorer, LabelScorer, MaskScorer
from service.labeled.scores import Scores, chance, is_at_chance, mask_scores
from service.labeled.truth import LabeledImage, LabeledImages

MOST_SECONDS = 60.0
"""No further batch is tried after so long; those until then are judged by."""

TURNS = 8
"""The images are taken in so many turns, each evenly over all of them, so that the first ones show every class too."""

BLACK = (0, 0, 0)

CAFFE = (103.939, 116.779, 123.68)
"""The mean of ImageNet's blue, green and red bytes, as Caffe's networks subtract it."""


@dataclass(frozen=True, slots=True)
class BetterInputs:
    """Options with which the source has clearly better answers, the best first, and their score.

    `current` is the score without them on the same images.
    """

    metric: str
    scores: tuple[tuple[str, float], ...]
    current: float
    images: int

    def hints(self) -> list[str]:
        """Return what is better, in words; nothing where nothing is."""
        if not self.scores:
            return []
        found = ", ".join(f"{score:.1%} with {options}" for options, score in self.scores)
        choice = (
            ". These are too close to each other to choose: take what the training used"
            if len(self.scores) > 1
            else ". Did the training use it?"
        )
        now = f"{self.metric} of the source is {self.current:.1%} as it is exported"
        return [f"{now}, {found}, on {self.images} labeled images{choice}"]


def better_inputs(
    network: Network,
    labels: tuple[str, ...],
    labeled: LabeledImages,
    measurement: Measurement,
    progress: Progress,
    *,
    values_too: bool = False,
    most_seconds: float = MOST_SECONDS,
) -> tuple[BetterInputs, ...]:
    """Return better colors and better ways of resizing, if any are, else better mean and std; a sample is tried.

    A better one has a score that is larger by a tenth, on so many images that it is no luck.

    Args:
        network: it is not changed.
        labels: by class id.
        labeled: the images with known answers.
        measurement: what was measured; where hardly anything is wrong, nothing is tried.
        progress: receives a step of its own.
        values_too: whether the other order of colors is also tried with other values of what is assumed.
        most_seconds: see `MOST_SECONDS`.
    """
    if deciding(Scores(measurement.accuracy.scores, {}))[1] > 1 - CLEARLY_BETTER:
        return ()
    images = in_turns(labeled.at_most(MOST_IMAGES).images)
    progress.begin("Try other colors and resizes")
    colors = list(_other_colors(network))
    values = [
        one
        for _, other in (colors if values_too and network.assumed else ())
        for one in _with_values(other, images)
    ]
    stated = [] if network.assumed else list(_other_values(network, images))
    groups = [colors, list(_other_resizes(network)), values, stated]
    current = _Tally("", network, labels)
    tried = [[_Tally(options, other, labels) for options, other in group] for group in groups]
    every = [current, *(one for group in tried for one in group)]
    _answer(every, images, progress, most_seconds)
    if current.failed or not current.each:
        return ()
    color, resize, both, other_values = (_better(current, group) for group in tried)
    found = (color if color.scores else both, resize)
    # Other values may make up for a part of what wrong colors do.
    return tuple(one for one in found if one.scores) or (other_values,) * bool(other_values.scores)


def in_turns(images: Sequence[LabeledImage]) -> list[LabeledImage]:
    """Return the images in turns, each with every eighth one."""
    return [one for turn in range(TURNS) for one in images[turn::TURNS]]


def _other_colors(network: Network) -> Iterator[tuple[str, Network]]:
    other = {"rgb": "bgr", "bgr": "rgb"}.get(network.pixels.color)
    if other is not None:
        pixels = network.pixels.model_copy(update={"color": other})
        yield f"--color {other}", replace(network, pixels=pixels)


def _other_values(
    network: Network, images: Sequence[LabeledImage]
) -> Iterator[tuple[str, Network]]:
    """Yield the network with common values in place of mean and std that are stated."""
    frames = [one.frame for one in read_images(images[:BATCH], network, [])]
    free = replace(network, assumed=ASSUMABLE)
    for options, pixels in common_pixels(free, frames) if frames else ():
        yield options, replace(network, pixels=pixels)


def _with_values(other: Network, images: Sequence[LabeledImage]) -> Iterator[tuple[str, Network]]:
    """Yield the network of the other colors with common values of what is assumed, and with those of Caffe."""
    color = other.pixels.color
    frames = [one.frame for one in read_images(images[:BATCH], other, [])]
    for options, pixels in common_pixels(other, frames) if frames else ():
        yield f"--color {color} {options}", replace(other, pixels=pixels)
    if color == "bgr" and len(other.assumed) == len(ASSUMABLE):
        values = {"scale": 1.0, "mean": CAFFE, "std": (1.0, 1.0, 1.0)}
        shown = ",".join(map(str, CAFFE))
        pixels = other.pixels.model_copy(update=values)
        yield f"--color bgr --scale 1 --mean {shown} --std 1", replace(other, pixels=pixels)


def _other_resizes(network: Network) -> Iterator[tuple[str, Network]]:
    """Yield the network with the other ways of resizing; a letterbox with the usual border, and with a black one."""
    now = network.image_input
    side = max(now.height, now.width)
    others: dict[str, dict[str, object]] = {
        "--resize stretch": {"resize": "stretch", "shorter_side": None},
        f"--resize crop --shorter-side {side}": {"resize": "crop", "shorter_side": side},
        "--resize letterbox": {"resize": "letterbox", "shorter_side": None},
        "--resize letterbox --pad-color 0,0,0": {
            "resize": "letterbox",
            "shorter_side": None,
            "pad_color": BLACK,
        },
    }
    for options, changed in others.items():
        if changed["resize"] != now.resize:
            yield options, replace(network, image_input=now.model_copy(update=changed))


@dataclass(slots=True)
class _Tally:
    """The answers with one input, and the score of each image; `failed` where the service could not answer so.

    `counted` are the pixels of the masks that were scored, by class, as `MaskScorer` counts them.
    """

    options: str
    network: Network
    labels: tuple[str, ...]
    each: list[float] = field(default_factory=list)
    failed: bool = False
    counted: NDArray[np.int64] | int = 0
    scorer: OutputScorer[Any] = field(init=False)

    def __post_init__(self) -> None:
        self.scorer = make_scorer(self.network, self.labels)

    @property
    def score(self) -> float:
        return deciding(self.scorer.scores())[1]

    @property
    def is_chance(self) -> bool:
        """Whether classes are right no more often than by chance, better as that may be than what is always wrong."""
        scorer = self.scorer.scorer
        if not isinstance(scorer, ClassScorer):
            return False
        by_chance = chance([one[0] for one in scorer.ranked], scorer.truth)
        return by_chance is not None and is_at_chance(self.score, by_chance, len(self.each))

    def add(self, outputs: Outputs, batch: Sequence[ReadImage]) -> None:
        for index, one in enumerate(batch):
            single = {name: values[index : index + 1] for name, values in outputs.items()}
            add_answers(self.scorer, single, [one])
            self.each.append(self._last())

    def _last(self) -> float:
        """Return the score of the image that was added last."""
        match self.scorer.scorer:
            case ClassScorer(ranked=ranked, truth=truth):
                return float(ranked[-1][0] == truth[-1])
            case LabelScorer(assigned=assigned, truth=flags):
                return float((assigned[-1] == flags[-1]).mean())
            case BoxScorer(found=found, truth=boxes):
                return box_scores(found[-1:], boxes[-1:]).total["map"]
            case MaskScorer(counts=counts):
                before, self.counted = self.counted, counts.copy()
                return mask_scores(counts - before).total["miou"]
        raise AssertionError("each task with labeled images has its scorer")


def _answer(
    every: Sequence[_Tally],
    images: Sequence[LabeledImage],
    progress: Progress,
    most_seconds: float,
) -> None:
    """Add the answers for the images to each tally, batch by batch, until all are done or the time is over."""
    network = every[0].network
    size = min(BATCH, network.max_batch or BATCH)
    end = perf_counter() + most_seconds
    for begin in range(0, len(images), size):
        if begin and perf_counter() > end:
            return
        read = read_images(images[begin : begin + size], network, [])
        for tally in every if read else ():
            same = tally.network.image_input == network.image_input
            labeled = [one.labeled for one in read]
            _add(tally, read if same else read_images(labeled, tally.network, []), len(read))
        done = min(begin + size, len(images))
        progress.advance(done / len(images), f"{done} images")


def _add(tally: _Tally, read: Sequence[ReadImage], count: int) -> None:
    """Add the answers for a batch, of which all images must have been read and must have an answer."""
    if tally.failed or len(read) != count:
        tally.failed = True
        return
    network = tally.network
    values = pixel_values(np.stack([one.frame for one in read]), network.pixels)
    try:
        tally.add(network.head.expected(network.reference.run(values), network.image_input), read)
    except RecipeError:
        tally.failed = True


def _better(current: _Tally, group: Sequence[_Tally]) -> BetterInputs:
    """Return those of a group that are clearly better, and about as good as the best of it."""
    name, now = deciding(current.scorer.scores())
    scored = [
        (one.options, one.score)
        for one in group
        if not one.failed and not is_luck(one.each, current.each) and not one.is_chance
    ]
    best = max((score for _, score in scored), default=0.0)
    least = max(now + CLEARLY_BETTER, best - CLEARLY_BETTER)
    suitable = sorted((one for one in scored if one[1] >= least), key=lambda one: -one[1])
    return BetterInputs(name, tuple(suitable), now, len(current.each))
