"""Where mean and std are assumed, the common values with which the source would be right more often are named."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from exporter.graph import Graph
from exporter.heads.classify import ClassifyHead
from exporter.labeled.alternatives import OWN, Better, better_pixels
from exporter.network import Array, Facts, Network, Reference
from exporter.recipe import Pixels
from service.card import ImageInput
from service.labeled.truth import LabeledImage, LabeledImages

LABELS = ("light", "dark")
IMAGENET = "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225"
LEVELS = {"light": 200, "dark": 60}
"""As shares these are 0.784 and 0.235; by ImageNet's mean and std about 1.5 and -0.95, by halves 0.57 and -0.53."""


@dataclass
class Judge:
    """A network that calls an image light by the mean of its pixel values; it remembers the batches."""

    is_light: Callable[[float], bool]
    batches: list[int] = field(default_factory=list)

    def run(self, pixels: Array) -> tuple[Array, ...]:
        self.batches.append(len(pixels))
        light = np.array([self.is_light(float(one.mean())) for one in pixels])
        return (np.stack([light, ~light], axis=1).astype(np.float32),)


def network(is_light: Callable[[float], bool], **pixels: Any) -> Network:
    return Network(
        graph=cast("Graph", None),
        raw=("raw",),
        head=ClassifyHead(2),
        reference=cast("Reference", Judge(is_light)),
        image_input=ImageInput(height=4, width=4, resize="stretch"),
        pixels=Pixels(**pixels),
        facts=Facts("", ""),
        assumed=("mean", "std"),
    )


def gray_set(folder: Path, *levels: tuple[str, int]) -> LabeledImages:
    images = []
    for index, (name, level) in enumerate(levels):
        path = folder / f"{index}.png"
        Image.new("RGB", (4, 4), (level, level, level)).save(path)
        images.append(LabeledImage(path, (name,)))
    return LabeledImages("set", tuple(images))


def both(folder: Path, each: int = 5) -> LabeledImages:
    return gray_set(folder, *(LEVELS.items()), *list(LEVELS.items()) * (each - 1))


@pytest.mark.parametrize(
    ("is_light", "options"),
    [
        (lambda mean: mean > 1.2, "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225"),
        (lambda mean: 0.5 < mean < 0.65, "--mean 0.5 --std 0.5"),
        # The mean of 200 and 60 is 130, their standard deviation is 70.
        (
            lambda mean: 0.95 < mean < 1.05,
            "--mean 0.5098 --std 0.2745 (mean and std of these images themselves)",
        ),
        (lambda mean: mean > 100, "--scale 1 --mean 0 --std 1"),
    ],
)
def test_the_values_that_fit_are_named(
    is_light: Callable[[float], bool], options: str, tmp_path: Path
) -> None:
    found = better_pixels(network(is_light), LABELS, both(tmp_path))

    assert found is not None
    assert found == Better("top1", ((options, 1.0),), 0.5, 10)


def test_where_the_assumed_values_fit_there_is_nothing_better(tmp_path: Path) -> None:
    assert better_pixels(network(lambda mean: mean > 0.5), LABELS, both(tmp_path)) is None


def test_what_is_stated_is_not_doubted(tmp_path: Path) -> None:
    stated = replace(network(lambda mean: mean > 1.2), assumed=())

    assert better_pixels(stated, LABELS, both(tmp_path)) is None
    assert cast("Judge", stated.reference).batches == []


def test_images_that_can_not_be_read_show_nothing(tmp_path: Path) -> None:
    labeled = LabeledImages("set", (LabeledImage(tmp_path / "none.png", ("light",)),))

    assert better_pixels(network(lambda mean: mean > 1.2), LABELS, labeled) is None


@pytest.mark.parametrize(("others", "is_named"), [(9, True), (10, False)])
def test_a_tenth_more_right_answers_are_needed(
    others: int, tmp_path: Path, *, is_named: bool
) -> None:
    """Dark images are right in any case; the light one only with other values."""
    labeled = gray_set(tmp_path, ("light", 200), *[("dark", 60)] * others)

    found = better_pixels(network(lambda mean: mean > 100), LABELS, labeled)

    assert (found is not None) == is_named


def test_at_most_sixty_images_are_looked_at_in_batches_of_eight(tmp_path: Path) -> None:
    net = network(lambda mean: mean > 100)
    found = better_pixels(net, LABELS, both(tmp_path, 31))

    assert found is not None
    assert found.images == 60
    # The assumed values and four others.
    assert cast("Judge", net.reference).batches == [8, 8, 8, 8, 8, 8, 8, 4] * 5


def test_a_network_of_one_image_gets_one_at_a_time(tmp_path: Path) -> None:
    net = replace(network(lambda mean: mean > 100), max_batch=1)
    better_pixels(net, LABELS, both(tmp_path, 1))

    assert cast("Judge", net.reference).batches == [1] * 10


def test_values_that_fit_alike_are_all_named(tmp_path: Path) -> None:
    """Bytes are as right as ImageNet's values: which of them the training used can not be seen."""
    found = better_pixels(network(lambda mean: mean > 1.2), LABELS, both(tmp_path))
    alike = better_pixels(
        network(lambda mean: 1.2 < mean < 20 or mean > 100), LABELS, both(tmp_path)
    )

    assert found is not None
    assert alike is not None
    assert [options for options, _ in alike.scores] == [IMAGENET, "--scale 1 --mean 0 --std 1"]


def test_a_gray_network_is_not_given_three_channels(tmp_path: Path) -> None:
    net = network(lambda mean: mean > 1.2, color="gray")

    assert better_pixels(net, LABELS, both(tmp_path)) is None


def test_a_scale_written_with_few_digits_is_that_of_shares_too(tmp_path: Path) -> None:
    net = network(lambda mean: mean > 100, scale=0.003922)

    found = better_pixels(net, LABELS, both(tmp_path))

    assert found is not None
    assert [options for options, _ in found.scores] == ["--scale 1 --mean 0 --std 1"]


def test_a_stated_mean_stays(tmp_path: Path) -> None:
    net = network(lambda mean: mean > 0.55, mean=(0.5, 0.5, 0.5))

    found = better_pixels(replace(net, assumed=("std",)), LABELS, both(tmp_path))

    assert found is not None
    assert [options for options, _ in found.scores] == [
        "--std 0.229,0.224,0.225", "--std 0.5", f"--std 0.2745 ({OWN})",
    ]  # fmt: skip


def test_another_scale_and_order_of_colors_are_stated_too(tmp_path: Path) -> None:
    red = tmp_path / "red.png"
    Image.new("RGB", (4, 4), (255, 0, 0)).save(red)
    labeled = LabeledImages("set", (LabeledImage(red, ("light",)),))
    # Blue, green and red by ImageNet's values: (0 − 0.406)/0.225, (0 − 0.456)/0.224, (1 − 0.485)/0.229.
    expected = (-1.8044 - 2.0357 + 2.2489) / 3
    net = network(lambda mean: abs(mean - expected) < 0.01, color="bgr", scale=0.5)

    found = better_pixels(net, LABELS, labeled)

    assert found is not None
    # In the units of the stated scale, 255 · 0.5 for the brightest byte.
    assert [options for options, _ in found.scores] == [
        "--mean 51.77,58.14,61.84 --std 28.69,28.56,29.2"
    ]


def test_values_that_give_no_numbers_are_passed_over(tmp_path: Path) -> None:
    """A network that takes the logarithm of shares has NaN for what is below zero."""

    class Logarithm(Judge):
        def run(self, pixels: Array) -> tuple[Array, ...]:
            (raw,) = super().run(pixels)
            return (np.where(pixels.min() < 0, np.float32(np.nan), raw),)

    net = network(lambda mean: mean > 100)
    found = better_pixels(
        replace(net, reference=cast("Reference", Logarithm(lambda mean: mean > 100))),
        LABELS,
        both(tmp_path),
    )

    assert found is not None
    assert [options for options, _ in found.scores] == ["--scale 1 --mean 0 --std 1"]
