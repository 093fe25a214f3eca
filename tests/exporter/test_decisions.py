"""What a network decides on the images of a proof, and the hint that it is always the same."""

from typing import Any

import numpy as np
import pytest

from exporter.decisions import Decisions
from exporter.heads.boxes import PairDecoder
from exporter.heads.classify import ClassifyHead
from exporter.heads.detect import DetectHead
from exporter.heads.embed import EmbedHead
from exporter.heads.segment import SegmentHead
from exporter.network import Head, Outputs
from exporter.recipe_tables import DetectRecipe

LABELS = ("cat", "cup", "moon")


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


def test_clear_boxes_beside_the_image_have_no_area_in_it() -> None:
    boxes = np.tile(np.array([1.2, 0.2, 1.6, 0.5], np.float32), (1, 12, 1))
    scores = np.full((1, 12), 0.9, np.float32)
    decisions = Decisions(DetectHead(PairDecoder(), DetectRecipe(), 12, 3), LABELS)
    decisions.add({"boxes": boxes, "scores": scores, "classes": np.zeros((1, 12), np.int64)})
    assert any("12 of 12 boxes" in hint and "no area" in hint for hint in decisions.hints())


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
