"""Detectors whose boxes are not what their form of output usually has: read as they are, asked about, or said.

From the bytes of an image to the boxes that a server answers with.
"""

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from exporter.encoding import as_png
from exporter.errors import RecipeError
from exporter.outcome import Exported
from service.card import BoxForm
from tests.exporter.exporting import export_to, outputs_of, some_frames
from tests.exporter.found import (
    BOXES,
    CELLS,
    CLASSES,
    LABELS,
    SIDE,
    best_of,
    boxes_of,
    detector,
    scores_of,
)
from tests.exporter.heads.dense import FORMS, as_form, dense_boxes, relative_to_cells
from tests.live import serve

OBJECTS = [10, 40, 62]
"""Boxes of the finest grid that are objects; all others have a score of 0.001."""

SCORES = [0.9, 0.75, 0.5]
Values = NDArray[np.float64]


WIDE, NARROW = 0.16, 0.06
"""Boxes over two cells wide, and some below one, whose corner may be a center too, and whose logarithm is negative."""


def corners(extent: float = WIDE) -> Values:
    """Return a box for each cell that lies in the frame, xyxy in pixels (1, A, 4)."""
    return np.clip(dense_boxes((SIDE, SIDE), images=1, extent=extent), 0, SIDE)


def scores() -> Values:
    found = np.full((1, CELLS, CLASSES), 0.001)
    found[0, OBJECTS, [2, 4, 0]] = SCORES
    return found


def columns(form: str, unit: str = "pixel", *between: Values) -> onnx.ModelProto:
    """Return a detector with one column for each box: box, what is between, scores."""
    boxes = as_form(corners(), form, (SIDE, SIDE) if unit == "frame" else None)
    rows = np.concatenate([boxes, *between, scores()], axis=2)
    return detector({"output0": rows.transpose(0, 2, 1)})


def adopt(folder: Path, model: onnx.ModelProto, **detect: Any) -> Exported:
    onnx.save(model, folder / "net.onnx")
    return export_to(folder, "onnx:net.onnx", task="detect", labels=LABELS, detect=detect)


def require_objects(done: Exported, extent: float = WIDE) -> None:
    found = outputs_of(done.path, some_frames(2, SIDE))
    for index in range(2):
        np.testing.assert_allclose(found["scores"][index][:3], SCORES, atol=1e-5)
        expected = corners(extent)[0, OBJECTS] / SIDE
        np.testing.assert_allclose(found["boxes"][index][:3], expected, atol=1e-5)


@pytest.mark.parametrize("unit", ["pixel", "frame"])
@pytest.mark.parametrize("form", FORMS)
def test_yolov8_s_shape_with_other_boxes_is_read_as_they_are(
    tmp_path: Path, form: str, unit: str
) -> None:
    model = columns(form, unit)
    stated = {"box_unit": unit} if unit == "frame" else {}
    done = adopt(tmp_path, model, **stated)
    require_objects(done)
    assert done.card.boxes is not None
    assert done.card.boxes.format == form
    assert "format" not in done.card.boxes.assumed
    said = [one for one in done.hints if "as real images show" in one]
    assert bool(said) == (form != "cxcywh")


def test_a_server_answers_with_the_boxes_of_corners(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    adopt(folder, columns("xyxy"))
    image = as_png(np.full((SIDE, SIDE, 3), 90, np.uint8))
    with serve(models=tmp_path) as live:
        url = f"{live.url}/v1/detect?score_threshold=0.3&nms=none"
        found = httpx.post(url, content=image, timeout=30).json()["results"][0]["detections"]
    sides = ("x_min", "y_min", "x_max", "y_max")
    boxes = [[one["box"][side] for side in sides] for one in found]
    np.testing.assert_allclose(boxes, corners()[0, OBJECTS], atol=0.01)


@pytest.mark.parametrize(
    ("form", "stated"), [("xyxy", "cxcywh"), ("cxcywh", "xyxy"), ("xyxy", "yxyx")]
)
def test_a_statement_that_the_grid_contradicts_is_refused(
    tmp_path: Path, form: str, stated: str
) -> None:
    with pytest.raises(
        RecipeError, match=f"stated to be {stated}, .*by --box-format.*Give --box-format {form}"
    ):
        adopt(tmp_path, columns(form), box_format=stated)


@pytest.mark.parametrize("form", ["cycxhw", "yxhw"])
def test_sizes_with_the_height_first_can_be_stated(tmp_path: Path, form: str) -> None:
    require_objects(adopt(tmp_path, columns(form), box_format=form))
    with pytest.raises(RecipeError, match=f"Give --box-format {form}"):
        adopt(tmp_path, columns(form), box_format="cxcywh")


def few(form: str, count: int = 60) -> onnx.ModelProto:
    """Return a detector of the best boxes of a grid, as RT-DETR's queries: their places show nothing."""
    rng = np.random.default_rng(3)
    first = rng.uniform(0, 0.8, (count, 2))
    boxes = np.concatenate([first, first + rng.uniform(0.05, 0.2, (count, 2))], axis=1)[None]
    rows = np.full((1, count, CLASSES), 0.001)
    rows[0, [1, 3, 5], [2, 4, 0]] = SCORES
    return detector({"output0": np.concatenate([as_form(boxes, form), rows], axis=2)})


def test_queries_whose_boxes_can_only_be_corners_are_asked_about(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"taken to be cxcywh.*Give --box-format xyxy"):
        adopt(tmp_path, few("xyxy"), decoder="detr")
    done = adopt(tmp_path, few("xyxy"), decoder="detr", box_format="xyxy")
    assert done.card.boxes == BoxForm(format="xyxy", unit="frame", assumed=("nms_free",))


def test_pairs_whose_boxes_can_only_be_centers_are_asked_about(tmp_path: Path) -> None:
    """Half of the boxes look like two corners by chance, so that few are without an area."""
    rng = np.random.default_rng(3)
    count = 200
    size = rng.uniform(0.3, 0.6, (count, 2))
    center = size / 2 + rng.uniform(0, 1, (count, 2)) * (1 - size)
    boxes = np.concatenate([center, size], axis=1)[None]
    rows = np.full((1, count, CLASSES), 0.001)
    model = detector({"boxes": boxes, "scores": rows})
    with pytest.raises(RecipeError, match=r"taken to be xyxy.*Give --box-format cxcywh"):
        adopt(tmp_path, model)


def test_what_nothing_shows_is_assumed_and_said(tmp_path: Path) -> None:
    done = adopt(tmp_path, few("cxcywh"), decoder="detr")
    assumed = ("format", "nms_free")
    assert done.card.boxes == BoxForm(format="cxcywh", unit="frame", assumed=assumed)
    words = "format cxcywh and that each object has one box are assumed"
    assert any(words in one and "--box-format" in one for one in done.hints)
    stated = {"box_format": "cxcywh", "nms_free": True}
    done = adopt(tmp_path, few("cxcywh"), decoder="detr", **stated)
    assert done.card.boxes == BoxForm(format="cxcywh", unit="frame")
    assert not any("assumed: the network's source does not state it" in one for one in done.hints)


def test_an_objectness_may_be_a_row_of_columns(tmp_path: Path) -> None:
    model = columns("cxcywh", "pixel", np.ones((1, CELLS, 1)))
    with pytest.raises(RecipeError, match=r"6 values beside a box.*--decoder yolov5_columns"):
        adopt(tmp_path, model)
    require_objects(adopt(tmp_path, model, decoder="yolov5_columns"))


def test_boxes_that_are_decoded_are_no_offsets_from_cells(tmp_path: Path) -> None:
    boxes = as_form(corners(), "cxcywh")
    rows = np.concatenate([boxes, np.ones((1, CELLS, 1)), scores()], axis=2)
    with pytest.raises(RecipeError, match=r"in pixels already.*--decoder yolov5"):
        adopt(tmp_path, detector({"output0": rows}), decoder="yolox")
    require_objects(adopt(tmp_path, detector({"output0": rows}), decoder="yolov5"))
    done = adopt(tmp_path, detector({"output0": rows}))
    require_objects(done)
    assert any("as real images show: --decoder yolov5" in one for one in done.hints)


def relative() -> Values:
    """Return the boxes as YOLOX gives them."""
    return relative_to_cells(as_form(corners(NARROW), "cxcywh"), (SIDE, SIDE))


def test_boxes_that_are_offsets_from_cells_are_decoded(tmp_path: Path) -> None:
    rows = np.concatenate([relative(), np.ones((1, CELLS, 1)), scores()], axis=2)
    done = adopt(tmp_path, detector({"output0": rows}))
    require_objects(done, NARROW)
    assert done.card.boxes == BoxForm(format="grid", unit="pixel", assumed=("format",))
    assert "boxes are read as grid in pixels: --decoder yolox" in done.hints
    done = adopt(tmp_path, detector({"output0": rows}), decoder="yolox")
    require_objects(done, NARROW)
    assert done.card.boxes == BoxForm(format="grid", unit="pixel")
    with pytest.raises(RecipeError, match=r"look like offsets.*Give --decoder yolox"):
        adopt(tmp_path, detector({"output0": rows}), decoder="yolov5")


def with_objectness(shares: Values, kinds: Values) -> onnx.ModelProto:
    """Return YOLOv5's columns for one label: boxes, and two probabilities that the graph makes by a sigmoid."""
    logits = np.concatenate([shares, kinds], axis=2)
    after = [
        helper.make_node("Sigmoid", ["logits"], ["both"]),
        helper.make_node("Concat", ["boxes", "both"], ["rows"], axis=2),
        helper.make_node("Transpose", ["rows"], ["output0"], perm=[0, 2, 1]),
    ]
    parts = {"boxes": as_form(corners(), "cxcywh"), "logits": np.log(logits / (1 - logits))}
    return detector(parts, after=after, names=["output0"])


def test_the_fifth_of_six_values_is_seen_to_be_an_objectness(tmp_path: Path) -> None:
    shares = np.full((1, CELLS, 1), 0.001)
    shares[0, OBJECTS, 0] = SCORES
    kinds = np.full((1, CELLS, 1), 0.999)
    onnx.save(with_objectness(shares, kinds), tmp_path / "net.onnx")
    done = export_to(tmp_path, "onnx:net.onnx", task="detect", labels=["person"])
    found = outputs_of(done.path, some_frames(1, SIDE))
    np.testing.assert_allclose(found["scores"][0][:3], np.array(SCORES) * 0.999, rtol=1e-4)
    np.testing.assert_allclose(found["boxes"][0][:3], corners()[0, OBJECTS] / SIDE, atol=1e-5)
    assert any("fifth value of a box is read as its objectness" in one for one in done.hints)

    onnx.save(with_objectness(shares, shares), tmp_path / "net.onnx")
    with pytest.raises(RecipeError, match=r"2 values beside a box, and there are 1 labels"):
        export_to(tmp_path, "onnx:net.onnx", task="detect", labels=["person"])


def test_yolov8_turned_and_in_fractions_is_still_suppressed(tmp_path: Path) -> None:
    boxes = as_form(corners(), "cxcywh", (SIDE, SIDE))
    done = adopt(tmp_path, detector({"output0": np.concatenate([boxes, scores()], axis=2)}))
    require_objects(done)
    assert done.card.boxes == BoxForm(format="cxcywh", unit="frame")
    assert not done.card.nms_free


@pytest.mark.parametrize("unit", ["pixel", "frame"])
def test_a_stated_detr_whose_boxes_lie_on_a_grid_is_suppressed(tmp_path: Path, unit: str) -> None:
    boxes = as_form(corners(), "cxcywh", (SIDE, SIDE) if unit == "frame" else None)
    model = detector({"output0": np.concatenate([boxes, scores()], axis=2)})
    done = adopt(tmp_path, model, decoder="detr")
    require_objects(done)
    assert not done.card.nms_free
    assert adopt(tmp_path, model, decoder="detr", nms_free=True).card.nms_free


def test_the_same_columns_as_rows_show_their_form_too(tmp_path: Path) -> None:
    """(N, A, 4 + K) in corners, whose number of labels shows the axis."""
    boxes = as_form(corners(), "xyxy")
    model = detector({"output0": np.concatenate([boxes, scores()], axis=2)})
    require_objects(adopt(tmp_path, model))


@pytest.mark.parametrize("form", ["xyxy", "yxyx"])
def test_boxes_and_scores_on_a_grid_show_which_axis_is_first(tmp_path: Path, form: str) -> None:
    boxes = as_form(corners(), form, (SIDE, SIDE))
    done = adopt(tmp_path, detector({"boxes": boxes, "scores": scores()}))
    require_objects(done)
    assert done.card.boxes == BoxForm(format=form, unit="frame")
    assert any("as real images show" in one for one in done.hints) == (form == "yxyx")


def finder(form: str) -> onnx.ModelProto:
    """Return a network whose only box is around what is bright, `boxes` in this form and `scores` of five classes."""
    order = {"xyxy": ["x1", "y1", "x2", "y2"], "yxyx": ["y1", "x1", "y2", "x2"]}[form]
    nodes = [helper.make_node("ReduceMax", ["images"], ["bright"], axes=[1], keepdims=0)]
    for axis, number in (("x", 1), ("y", 2)):
        line, first, last, end = (f"{axis}_{part}" for part in ("line", "first", "last", "end"))
        nodes += [
            helper.make_node("ReduceMax", ["bright"], [line], axes=[number], keepdims=0),
            helper.make_node("ArgMax", [line], [first], axis=1, keepdims=1),
            helper.make_node("ArgMax", [line], [last], axis=1, keepdims=1, select_last_index=1),
            helper.make_node("Add", [last, "next"], [end]),
            helper.make_node("Cast", [first], [f"{axis}1"], to=TensorProto.FLOAT),
            helper.make_node("Cast", [end], [f"{axis}2"], to=TensorProto.FLOAT),
        ]
    nodes += [
        helper.make_node("Concat", order, ["four"], axis=1),
        helper.make_node("Div", ["four", "side"], ["fractions"]),
        helper.make_node("Unsqueeze", ["fractions", "rows"], ["boxes"]),
    ]
    constants: dict[str, NDArray[Any]] = {
        "next": np.array([1], np.int64),
        "side": np.array([SIDE], np.float32),
        "rows": np.array([1], np.int64),
    }
    outputs = {"scores": np.array([[[0.0, 0.0, 0.9, 0.0, 0.0]]])}
    return detector(outputs, after=nodes, names=["boxes", "scores"], constants=constants)


@pytest.mark.parametrize("form", ["xyxy", "yxyx"])
def test_a_finder_of_few_boxes_is_read_as_mirrored_images_show(tmp_path: Path, form: str) -> None:
    images = tmp_path / "images"
    images.mkdir()
    places = [(2, 30), (10, 40), (4, 36), (14, 44)]
    frames = np.zeros((len(places), SIDE, SIDE, 3), np.uint8)
    for index, (x, y) in enumerate(places):
        frames[index, y : y + 12, x : x + 20] = 255
        (images / f"{index}.png").write_bytes(as_png(frames[index]))
    onnx.save(finder(form), tmp_path / "net.onnx")

    done = export_to(
        tmp_path,
        "onnx:net.onnx",
        task="detect",
        labels=LABELS,
        proof={"images": "images", "largest": 2, "agreement": 0.0},
    )

    assert done.card.boxes is not None
    assert (done.card.boxes.format, done.card.boxes.assumed) == (form, ())
    found = outputs_of(done.path, frames)
    expected = [[x, y, x + 20, y + 12] for x, y in places]
    np.testing.assert_allclose(found["boxes"][:, 0], np.array(expected) / SIDE, atol=1e-6)


PAIR = {"boxes": boxes_of(30, "yxyx"), "scores": scores_of(30)}
TRIPLE = {
    "boxes": boxes_of(30, "yxyx"),
    "scores": best_of(30)[0],
    "labels": best_of(30)[1].astype(np.int64),
}


@pytest.mark.parametrize("outputs", [PAIR, TRIPLE], ids=["pair", "triple"])
def test_an_order_that_nothing_shows_is_never_taken_silently(
    tmp_path: Path, outputs: dict[str, Any]
) -> None:
    done = adopt(tmp_path, detector(outputs))
    assert done.card.boxes == BoxForm(format="xyxy", unit="frame", assumed=("format",))
    assert any("--box-format xyxy states it" in one for one in done.hints)
    done = adopt(tmp_path, detector(outputs), box_format="yxyx", box_unit="frame")
    assert done.card.boxes == BoxForm(format="yxyx", unit="frame")
    assert not any("--box-format yxyx states it" in one for one in done.hints)
    found = outputs_of(done.path, some_frames(1, SIDE))
    np.testing.assert_allclose(found["boxes"][0][:3], BOXES, atol=1e-6)


@pytest.mark.parametrize(("factor", "shift"), [(1000, 0), (2, -1)])
@pytest.mark.parametrize("stated", [{}, {"box_format": "xyxy", "box_unit": "frame"}])
def test_boxes_on_another_scale_are_refused(
    tmp_path: Path, factor: float, shift: float, stated: dict[str, str]
) -> None:
    shares = as_form(corners(), "xyxy", (SIDE, SIDE))
    model = detector({"boxes": factor * shares + shift, "scores": scores()})
    with pytest.raises(RecipeError, match=r"rise .* times as fast as.*in pixels of its input, or"):
        adopt(tmp_path, model, **stated)


def test_columns_in_an_order_that_no_format_has_are_refused(tmp_path: Path) -> None:
    model = detector({"boxes": corners()[..., [0, 2, 1, 3]], "scores": scores()})
    with pytest.raises(RecipeError, match=r"are x, x, y, y.*order of x_min, y_min, x_max, y_max"):
        adopt(tmp_path, model)
