"""What a proof can not show, but an export warns of: its likely cause, and the option to set."""

from typing import Any

import numpy as np
import pytest

from exporter.heads.boxes import PairDecoder
from exporter.heads.classify import ClassifyHead
from exporter.heads.detect import DetectHead
from exporter.heads.embed import EmbedHead
from exporter.heads.segment import SegmentHead
from exporter.hints import Decisions, accuracy_hints, assumption_hints, input_hints
from exporter.labeled.measure import Measurement
from exporter.network import Head, Outputs
from exporter.recipe import Pixels
from exporter.recipe_tables import DetectRecipe
from service.card import Accuracy, Normalization

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


def decided(head: Head, *outputs: dict[str, Any]) -> list[str]:
    decisions = Decisions(head, LABELS)
    for one in outputs:
        batch: Outputs = {name: np.array(values)[None] for name, values in one.items()}
        decisions.add(batch)
    return decisions.hints()


DETECT = DetectHead(PairDecoder(), DetectRecipe(), 4, 3)
CUP = {"probabilities": [0.1, 0.8, 0.1]}
MOON = {"probabilities": [0.1, 0.2, 0.7]}


@pytest.mark.parametrize(
    ("head", "outputs", "result"),
    [
        (ClassifyHead(3), CUP, "class 'cup'"),
        (ClassifyHead(3, multi_label=True), {"probabilities": [0.6, 0.1, 0.9]}, "labels cat, moon"),
        (ClassifyHead(3, multi_label=True), {"probabilities": [0.1, 0.1, 0.2]}, "no label"),
        (SegmentHead(3, (2, 2)), {"mask": [[2, 2], [2, 2]]}, "'moon' in every pixel"),
        (DETECT, {"scores": [0.2, 0.1], "boxes": [[0, 0, 1, 1]] * 2}, "no box with a score of 0.3"),
        (EmbedHead(), {"features": [1.0, 2.0]}, "vectors of the same direction"),
    ],
)
def test_the_same_result_for_all_images_is_a_hint(
    head: Head, outputs: dict[str, Any], result: str
) -> None:
    (hint,) = decided(head, *[outputs] * 8)
    assert "All 8 images" in hint
    assert result in hint
    assert "--mean" in hint


@pytest.mark.parametrize(
    ("head", "outputs"),
    [
        (ClassifyHead(3), [*[CUP] * 20, MOON]),
        (ClassifyHead(3), [CUP] * 7),  # too few to say
        (SegmentHead(3, (1, 2)), [{"mask": [[0, 1]]}] * 9),
        (DETECT, [{"scores": [0.9, 0.1], "boxes": [[0, 0, 1, 1]] * 2}] * 9),
        (EmbedHead(), [*[{"features": [1.0, 2.0]}] * 9, {"features": [1.0, 2.1]}]),
    ],
)
def test_different_results_are_no_hint(head: Head, outputs: list[dict[str, Any]]) -> None:
    assert decided(head, *outputs) == []


def measurement(
    scores: dict[str, float], reference: float | None = None, **fields: Any
) -> Measurement:
    first = next(iter(scores))
    source = {first: scores[first] if reference is None else reference}
    return Measurement(Accuracy(images=100, scores=scores, reference=source), "set", **fields)


def test_accuracy_at_chance_is_a_hint_and_good_accuracy_is_none() -> None:
    truth = tuple([0, 1, 2, 3] * 25)
    (hint,) = accuracy_hints(measurement({"top1": 0.27}, answers=(2, 1, 0, 3) * 25, truth=truth))
    assert "top1 is 27.0% on 100 labeled images" in hint
    assert "by chance would give 25.0%" in hint
    assert accuracy_hints(measurement({"top1": 0.9}, answers=truth, truth=truth)) == []


def test_one_class_in_the_truth_is_no_reason_for_a_hint() -> None:
    ones = (1,) * 100
    assert accuracy_hints(measurement({"top1": 1.0}, answers=ones, truth=ones)) == []


@pytest.mark.parametrize(("name", "low"), [("map", 0.001), ("miou", 0.02)])
def test_almost_no_right_answer_is_a_hint(name: str, low: float) -> None:
    (hint,) = accuracy_hints(measurement({name: low}))
    assert "almost nothing is right" in hint
    assert accuracy_hints(measurement({name: 0.4})) == []


def test_a_loss_by_the_conversion_is_a_hint() -> None:
    (hint,) = accuracy_hints(measurement({"map": 0.30}, reference=0.35))
    assert "the source's own is 35.0%" in hint
    assert "--precision fp32" in hint
    assert accuracy_hints(measurement({"map": 0.30}, reference=0.31)) == []


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


@pytest.mark.parametrize(("empty", "hinted"), [(0, False), (1, False), (2, True), (10, True)])
def test_clear_boxes_without_area_show_another_form(empty: int, *, hinted: bool) -> None:
    """Corner and size, read as two corners: where the object is farther from the corner than it is large."""
    boxes = np.tile(np.array([0.2, 0.2, 0.6, 0.5], np.float32), (1, 12, 1))
    boxes[0, :empty, 2] = 0.1
    boxes[0, 10:] = 0
    scores = np.array([[0.9] * 10 + [0.1] * 2], np.float32)
    decisions = Decisions(DetectHead(PairDecoder(), DetectRecipe(), 12, 3), LABELS)
    decisions.add({"boxes": boxes, "scores": scores, "classes": np.zeros((1, 12), np.int64)})

    hints = [hint for hint in decisions.hints() if "no area" in hint]

    assert len(hints) == hinted
    assert all(f"{empty} of 10 boxes" in hint and "--box-format xyxy" in hint for hint in hints)


@pytest.mark.parametrize(
    ("count", "high", "hinted"), [(60, 60, True), (60, 55, True), (60, 50, False), (40, 40, False)]
)
def test_high_scores_of_nearly_all_boxes_are_hinted_at(
    count: int, high: int, *, hinted: bool
) -> None:
    """As those of 1 − the probability are: nearly every box shows no object."""
    scores = np.full((1, count), 0.2, np.float32)
    scores[0, :high] = 0.98
    boxes = np.tile(np.array([0.2, 0.2, 0.6, 0.5], np.float32), (1, count, 1))
    decisions = Decisions(DetectHead(PairDecoder(), DetectRecipe(), count, 3), LABELS)
    decisions.add({"boxes": boxes, "scores": scores, "classes": np.zeros((1, count), np.int64)})

    hints = [hint for hint in decisions.hints() if "1 − the probability" in hint]

    assert len(hints) == hinted
    assert all(f"{high} of {count} candidates" in hint for hint in hints)
