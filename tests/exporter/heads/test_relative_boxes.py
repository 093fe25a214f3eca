"""Boxes relative to cells: distances to the sides are refused where several cells find an object, and YOLOX is not."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from exporter.errors import RecipeError
from exporter.heads.boxes import Candidates
from exporter.heads.detector_steps import judge_form
from exporter.heads.select_head import select_head
from exporter.recipe import make_recipe
from service.card import ImageInput
from tests.exporter.heads.dense import as_form, dense_boxes, grid_cells, relative_to_cells

SIZE = (128, 160)
FRAME = ImageInput(height=SIZE[0], width=SIZE[1], resize="stretch")
CORNERS = dense_boxes(SIZE, trained=True)
CELLS, STRIDES = grid_cells(SIZE)


def distances() -> NDArray[Any]:
    """Return the distances (I, A, 4) from the middle of each cell to the sides of its box, in strides."""
    middles = (CELLS + 0.5) * STRIDES
    return (
        np.concatenate([middles - CORNERS[..., :2], CORNERS[..., 2:] - middles], axis=2) / STRIDES
    )


def judge(boxes: NDArray[Any], score: float = 0.9) -> str:
    """Return the format that boxes (I, A, 4) are read in, where those of objects have this score."""
    anchors = boxes.shape[1]
    recipe = make_recipe(
        {
            "source": "onnx:net.onnx",
            "task": "detect",
            "name": "net",
            "detect": {"decoder": "yolox", "score_activation": "none"},
        }
    )
    head: Any = select_head(recipe, [(1, anchors, 6)], FRAME)
    # Those of an object are the same in several cells.
    parts = []
    for corners, one in zip(CORNERS, boxes, strict=True):
        _, places, counts = np.unique(corners, axis=0, return_inverse=True, return_counts=True)
        scores = np.where(counts[places.ravel()] > 3, score, 0.01)[None, :, None]
        parts.append(Candidates(one[None], scores, objectness=np.ones_like(scores)))
    return str(judge_form(head, parts, FRAME).recipe.box_format)


def test_distances_to_the_sides_are_not_read_as_offsets() -> None:
    with pytest.raises(RecipeError, match=r"distances from the cells.*with its decoding"):
        judge(distances())


def test_distances_are_not_known_where_nothing_is_found() -> None:
    assert judge(distances(), 0.2) == "grid"


def test_offsets_and_logarithms_of_sizes_are_read() -> None:
    assert judge(relative_to_cells(as_form(CORNERS, "cxcywh"), SIZE)) == "grid"


def test_noise_is_no_distance() -> None:
    rng = np.random.default_rng(3)
    assert judge(rng.normal(0, 1, CORNERS.shape)) == "grid"
