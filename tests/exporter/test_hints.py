"""What a proof can not show, but an export warns of: its likely cause, and the option to set."""

from typing import Any

import numpy as np
import pytest

from exporter.hints import assumption_hints, input_hints
from exporter.recipe import Pixels
from service.card import Normalization

RNG = np.random.default_rng(1)
PHOTOGRAPHS = RNG.integers(0, 256, (8, 16, 16, 3)).astype(np.uint8)
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
IN_BYTES = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}
LABELS = ("cat", "cup", "moon")


@pytest.mark.parametrize(
    "stated",
    [
        {},
        IMAGENET,
        {"mean": (0.5,) * 3, "std": (0.5,) * 3},
        {"scale": 1.0},
        {"scale": 1.0, **IN_BYTES},
        {"scale": 1.0, "mean": (103.939, 116.779, 123.68), "color": "bgr"},  # Caffe's networks
        {"scale": 0.00784313725490196, "mean": (1.0,) * 3, "layout": "NHWC"},
        {"scale": 1.0, "mean": (127.0,) * 3, "std": (128.0,) * 3},
        {"mean": (0.1307,) * 3, "std": (0.3081,) * 3, "color": "gray"},
        {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)},
    ],
)
def test_common_pixel_values_give_no_hint(stated: dict[str, Any]) -> None:
    assert input_hints(PHOTOGRAPHS, Pixels(**stated)) == []


@pytest.mark.parametrize(
    "stated",
    [
        IN_BYTES,
        {**IN_BYTES, "layout": "NHWC"},
        {**IN_BYTES, "color": "gray"},
        {"scale": 1 / 255**2},
        {"std": (255.0,) * 3},
        {"mean": (103.939, 116.779, 123.68), "std": (255.0,) * 3, "color": "bgr"},
    ],
)
def test_values_that_hardly_vary_give_a_hint(stated: dict[str, Any]) -> None:
    (hint,) = input_hints(PHOTOGRAPHS, Pixels(**stated))
    assert "hardly vary" in hint
    assert "--scale" in hint


@pytest.mark.parametrize(
    "stated",
    [
        {"scale": 1.0, **IMAGENET},
        {"scale": 1.0, "mean": (0.5,) * 3, "std": (0.5,) * 3},
        {"scale": 1.0, "mean": (0.485, 0.456, 0.406)},
        {"mean": (123.675, 116.28, 103.53)},
        {"std": (0.00392,) * 3, "mean": (0.5,) * 3},
    ],
)
def test_values_far_outside_of_what_networks_read_give_a_hint(stated: dict[str, Any]) -> None:
    (hint,) = input_hints(PHOTOGRAPHS, Pixels(**stated))
    assert "far outside" in hint


def test_blank_images_are_named_as_the_cause() -> None:
    (hint,) = input_hints(np.full((3, 8, 8, 3), 7, np.uint8), Pixels(**IN_BYTES))
    assert "almost blank" in hint


def test_what_is_assumed_is_shown_with_the_options() -> None:
    def normalization(**fields: Any) -> Normalization:
        return Normalization(scale=1 / 255, mean=(0, 0, 0), std=(1, 1, 1), color="rgb", **fields)

    (hint,) = assumption_hints(normalization(assumed=("mean", "std")), measured=False)
    for part in ("mean 0 and std 1 are assumed", "--mean and --std", "--labeled"):
        assert part in hint
    (hint,) = assumption_hints(normalization(assumed=("std",)), measured=True)
    assert hint.startswith("std 1 is assumed")
    assert "--labeled" not in hint
    assert assumption_hints(normalization(), measured=True) == []
