"""Heads of detectors before their decoding: offsets from anchors are refused, and boxes are not."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from exporter.errors import RecipeError
from exporter.heads.boxes import Candidates
from exporter.heads.detector_steps import judge_form
from exporter.heads.undecoded import refuse_undecoded
from service.card import ImageInput
from tests.exporter.exporting import export_to
from tests.exporter.found import CELLS, LABELS, detector, scores_of
from tests.exporter.heads.dense import FORMS, Boxes, as_form, dense_boxes, grid_cells
from tests.exporter.heads.judged import detect_head

SIZE = (320, 320)
ANCHOR = 4
"""The side of an anchor, in strides."""


def offsets(
    kind: str,
    a_cell: int = 1,
    size: tuple[int, int] = SIZE,
    levels: Sequence[int] = (8, 16, 32),
    **dense: Any,
) -> Boxes:
    """Return what a network of this kind computes for boxes (I, A, 4) before its decoding."""
    boxes = dense_boxes(size, a_cell=a_cell, inner=True, strides=levels, **dense)
    center = as_form(boxes, "cxcywh")
    cells, strides = (np.repeat(one, a_cell, axis=0) for one in grid_cells(size, levels))
    point, extent = center[..., :2], np.maximum(center[..., 2:], 1e-3)
    middles = (cells + 0.5) * strides
    sides = ANCHOR * strides
    if kind == "distances":
        apart = [middles - (point - extent / 2), (point + extent / 2) - middles]
        return np.concatenate(apart, axis=2).clip(0) / strides
    if kind == "pixels":
        return offsets("distances", a_cell, size, levels, **dense) * strides
    if kind == "ssd":
        parts = [(point - middles) / sides / 0.1, np.log(extent / sides) / 0.2]
        return np.concatenate(parts, axis=2)
    shares = [(point - middles) / strides / 4 + 0.5, np.sqrt(extent / sides) / 2]
    bounded = np.concatenate(shares, axis=2).clip(0.02, 0.98)
    return bounded if kind == "shares" else np.log(bounded / (1 - bounded))


def judge(boxes: NDArray[Any], size: tuple[int, int] = SIZE, **stated: Any) -> None:
    anchors = boxes.shape[1]
    form = {"score_activation": "none", **stated}
    head = detect_head("pair", (1, anchors, 4), (1, anchors, 2), **form)
    refuse_undecoded(
        head, parts_of(boxes), ImageInput(height=size[0], width=size[1], resize="stretch")
    )


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("a_cell", [1, 3])
@pytest.mark.parametrize("kind", ["ssd", "logits", "shares", "distances", "pixels"])
def test_offsets_from_anchors_are_refused_with_the_next_step(
    kind: str, a_cell: int, *, trained: bool
) -> None:
    words = r"offsets from anchors.*--decoder reads offsets.*with its decoding.*--box-format xyxy and --box-unit frame"
    with pytest.raises(RecipeError, match=words):
        judge(offsets(kind, a_cell, trained=trained))


def test_offsets_of_anchors_that_are_on_no_known_grid_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"at most \d+% of them have an area"):
        judge(offsets("ssd", trained=True)[:, 7:])


@pytest.mark.parametrize("kind", ["ssd", "distances"])
def test_what_is_stated_is_not_overruled(kind: str) -> None:
    judge(offsets(kind), box_format="cxcywh", box_unit="pixel")


@pytest.mark.parametrize("unit", ["pixel", "frame"])
@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_boxes_are_not_refused(form: str, unit: str, *, trained: bool) -> None:
    size = (256, 480)
    boxes = dense_boxes(size, trained=trained, a_cell=3)
    found = as_form(boxes, form, size if unit == "frame" else None)
    judge(found, size)
    # Those of queries lie on no grid.
    judge(np.random.default_rng(2).permutation(found, axis=1)[:, 5:300], size)


def test_boxes_around_large_objects_alone_are_not_refused() -> None:
    """Two thirds of all cells have the box of an object that nearly fills the frame, at other places in each image."""
    boxes = dense_boxes(SIZE, trained=True, images=8)
    rng = np.random.default_rng(5)
    for one in boxes:
        first = rng.uniform(0, 0.2, 2) * SIZE
        one[rng.uniform(size=len(one)) < 2 / 3] = [*first, *(first + 0.75 * np.array(SIZE))]
    judge(as_form(boxes, "cxcywh"))


def test_an_export_of_offsets_writes_nothing(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    loc: NDArray[Any] = rng.normal(0, 1, (1, CELLS, 4))
    found: dict[str, NDArray[Any]] = {"loc": loc, "scores": scores_of(CELLS)}
    onnx.save(detector(found), tmp_path / "net.onnx")
    with pytest.raises(RecipeError, match="offsets from anchors"):
        export_to(tmp_path, "onnx:net.onnx", task="detect", labels=LABELS)
    assert not (tmp_path / "1").exists()


@pytest.mark.parametrize("kind", ["shares", "distances", "pixels"])
def test_few_offsets_on_a_grid_of_several_strides_are_refused(kind: str) -> None:
    """A frame of 128 pixels has 336 cells, fewer than a transformer may have queries."""
    found = offsets(kind, size=(128, 128))
    assert found.shape[1] < 1000
    with pytest.raises(RecipeError, match="offsets from anchors"):
        judge(found, (128, 128))


def test_few_offsets_on_two_levels_are_refused_where_there_is_an_objectness() -> None:
    """Queries, which may be as many by chance, have none."""
    size = (128, 128)
    found = offsets("shares", 3, size, (8, 16), trained=True)
    anchors = found.shape[1]
    assert anchors == 960
    judge(found, size)
    head = detect_head("yolov5", (1, anchors, 6), score_activation="none")
    parts = [Candidates(one[None], np.full((1, anchors, 1), 0.4)) for one in found]
    with pytest.raises(RecipeError, match="there are 960, as many as a grid over 128×128 pixels"):
        refuse_undecoded(head, parts, ImageInput(height=128, width=128, resize="stretch"))


def test_few_offsets_on_two_levels_are_refused_where_they_are_in_no_unit() -> None:
    """Distances to the sides in strides, as FCOS gives them, are too large for 0-1 and too small for pixels."""
    found = offsets_of_two_levels()
    with pytest.raises(RecipeError, match="320, as many as a grid over 128×128 pixels has"):
        judge(found, (128, 128))
    judge(found / found.max(), (128, 128))
    judge(found, (128, 128), box_format="xyxy")


def test_distances_to_the_sides_of_large_objects_on_two_levels_are_refused() -> None:
    found = offsets("pixels", size=(128, 128), levels=(16, 32), trained=True, images=16)
    with pytest.raises(RecipeError, match="80, as many as a grid over 128×128 pixels has"):
        judge(found, (128, 128))
    with pytest.raises(RecipeError, match="80, as many as a grid"):
        judge(found / 128, (128, 128))


def test_offsets_of_one_level_alone_are_refused_where_they_are_in_no_unit() -> None:
    found = offsets_of_two_levels()[:, : 16 * 16]
    with pytest.raises(RecipeError, match="256, as many as a grid over 128×128 pixels has"):
        judge(found, (128, 128))
    judge(found / found.max(), (128, 128))


def test_the_advice_to_state_a_form_names_offsets_where_there_are_as_many_as_cells() -> None:
    """Fewer than a transformer's queries may be as many by chance."""
    found = offsets("pixels", size=(128, 128), levels=(16,), trained=True)
    head = detect_head("pair", (1, 64, 4), (1, 64, 2), score_activation="none")
    frame = ImageInput(height=128, width=128, resize="stretch")
    words = r"Give --box-format xywh.*no boxes yet, but offsets .*as many, 64\. Then export"
    with pytest.raises(RecipeError, match=words):
        judge_form(head, parts_of(found), frame)
    with pytest.raises(RecipeError, match="Give --box-format xywh") as raised:
        judge_form(head, parts_of(found[:, 1:]), frame)
    assert "offsets" not in str(raised.value)


def parts_of(boxes: NDArray[Any]) -> list[Candidates[NDArray[Any]]]:
    return [Candidates(one[None], np.full((1, len(one), 2), 0.4)) for one in boxes]


def offsets_of_two_levels() -> Boxes:
    """Return distances (I, A, 4) in strides of boxes on the grids of strides 8 and 16 over 128 pixels."""
    boxes = dense_boxes((128, 128), strides=(8, 16), trained=True, extent=0.5)
    cells, strides = grid_cells((128, 128), (8, 16))
    middles = (cells + 0.5) * strides
    return np.concatenate([middles - boxes[..., :2], boxes[..., 2:] - middles], axis=2) / strides
