"""Detectors in the layouts of other tools: the objects come out where they are by construction."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from exporter.encoding import as_png
from exporter.errors import ExportError, GraphError, RecipeError
from tests.exporter.exporting import export_to, outputs_of, some_frames
from tests.exporter.found import (
    BOXES,
    CELLS,
    CLASSES,
    KINDS,
    LABELS,
    SCORES,
    SIDE,
    best_of,
    boxes_of,
    detector,
    scores_of,
)
from tests.exporter.heads.crowds import crowd
from tests.exporter.heads.dense import grid_cells, relative_to_cells
from tests.live import serve


def adopt(
    folder: Path, model: onnx.ModelProto, labels: list[str] | None = None, **detect: Any
) -> Any:
    onnx.save(model, folder / "net.onnx")
    given = LABELS if labels is None else labels
    return export_to(folder, "onnx:net.onnx", task="detect", labels=given, detect=detect)


def require_objects(path: Path, images: int = 2) -> None:
    """Check that the three best candidates of each image are the objects."""
    found = outputs_of(path, some_frames(images, SIDE))
    for index in range(images):
        np.testing.assert_allclose(found["boxes"][index][:3], BOXES, atol=1e-5)
        np.testing.assert_allclose(found["scores"][index][:3], SCORES, atol=1e-5)
        assert found["classes"][index][:3].tolist() == KINDS.tolist()
        assert (found["scores"][index][3:] < 0.01).all()


def joined(*parts: Any) -> Any:
    return np.concatenate(parts, axis=2)


def logits(scores: Any) -> Any:
    return np.log(scores / (1 - scores))


def on_the_grid() -> Any:
    """Return boxes as YOLOX gives them."""
    boxes = boxes_of(CELLS, "cxcywh", SIDE)
    boxes[..., 2:] = np.maximum(boxes[..., 2:], 1e-3)
    return relative_to_cells(boxes, (SIDE, SIDE))


def one(columns: Any) -> dict[str, Any]:
    return {"output0": columns}


YOLO = (boxes_of(CELLS, "cxcywh", SIDE), scores_of(CELLS))
ANCHORS = (boxes_of(3 * CELLS, "cxcywh", SIDE), scores_of(3 * CELLS))

LAYOUTS: dict[str, tuple[Callable[[], dict[str, Any]], dict[str, Any]]] = {
    "yolov8, 11 and 12 (N, 4 + K, A)": (lambda: one(joined(*YOLO).transpose(0, 2, 1)), {}),
    "yolov8, transposed (N, A, 4 + K)": (lambda: one(joined(*YOLO)), {}),
    "yolov8 with as few boxes as classes (N, 4 + K, A)": (
        lambda: one(joined(boxes_of(8, "cxcywh", SIDE), scores_of(8)).transpose(0, 2, 1)),
        {},
    ),
    "few boxes in pixels (N, A, 4 + K)": (
        lambda: one(joined(boxes_of(8, "cxcywh", SIDE), scores_of(8))),
        {"box_unit": "pixel"},
    ),
    "yolov5 (N, A, 5 + K)": (
        lambda: one(joined(ANCHORS[0], np.ones((1, 3 * CELLS, 1)), ANCHORS[1])),
        {},
    ),
    "yolov6 (N, A, 5 + K)": (
        lambda: one(joined(YOLO[0], np.ones((1, CELLS, 1)), YOLO[1])),
        {"decoder": "yolov5"},
    ),
    "yolox (N, A, 5 + K) on the grid": (
        lambda: one(joined(on_the_grid(), np.ones((1, CELLS, 1)), YOLO[1])),
        {"decoder": "yolox"},
    ),
    "yolov10 and 26 (N, 300, 6)": (
        lambda: one(joined(boxes_of(300, unit=SIDE), *(v[..., None] for v in best_of(300)))),
        {},
    ),
    "Ultralytics' RT-DETR (N, Q, 4 + K)": (
        lambda: one(joined(boxes_of(300, "cxcywh"), scores_of(300))),
        {},
    ),
    "Hugging Face's RT-DETR": (
        lambda: {"logits": logits(scores_of(300)), "pred_boxes": boxes_of(300, "cxcywh")},
        {"score_activation": "sigmoid"},
    ),
    "RF-DETR": (
        lambda: {"dets": boxes_of(300, "cxcywh"), "logits": logits(scores_of(300))},
        {"score_activation": "sigmoid"},
    ),
    "PicoDet, scores (N, K, A)": (
        lambda: {"boxes": boxes_of(CELLS, unit=SIDE), "scores": YOLO[1].transpose(0, 2, 1)},
        {"box_unit": "pixel"},
    ),
    "SSD, scores before boxes (N, A, 1, 4)": (
        lambda: {"conf": scores_of(50), "locs": boxes_of(50)[:, :, None]},
        {},
    ),
    "labels, boxes, scores": (
        lambda: {
            "labels": best_of(30)[1].astype(np.int64),
            "boxes": boxes_of(30, unit=SIDE),
            "scores": best_of(30)[0],
        },
        {"box_unit": "pixel"},
    ),
    "MMDetection's dets and labels": (
        lambda: {
            "dets": joined(boxes_of(30, unit=SIDE), best_of(30)[0][..., None]),
            "labels": best_of(30)[1].astype(np.int64),
        },
        {},
    ),
    "PaddleDetection's rows": (
        lambda: one(joined(*(v[..., None] for v in best_of(30)[::-1]), boxes_of(30, unit=SIDE))),
        {},
    ),
    "TensorFlow's EfficientDet": (
        lambda: one(
            joined(
                np.zeros((1, 30, 1)),
                boxes_of(30, "yxyx", SIDE),
                *(v[..., None] for v in best_of(30)),
            )
        ),
        {},
    ),
    "Caffe's rows without their second axis": (
        lambda: one(
            joined(np.zeros((1, 30, 1)), *(v[..., None] for v in best_of(30)[::-1]), boxes_of(30))
        ),
        {},
    ),
    "TensorFlow's detection_boxes": (
        lambda: {
            "detection_boxes": boxes_of(30, "yxyx"),
            "detection_classes": best_of(30)[1],
            "detection_scores": best_of(30)[0],
            "num_detections": np.full((1, 1), 3.0),
        },
        {},
    ),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_is_understood(tmp_path: Path, name: str) -> None:
    outputs, detect = LAYOUTS[name]
    done = adopt(tmp_path, detector(outputs()), **detect)
    require_objects(done.path)
    assert bool(done.card.nms_free) == (name in ONE_BOX)


ONE_BOX = {
    "yolov10 and 26 (N, 300, 6)",
    "Ultralytics' RT-DETR (N, Q, 4 + K)",
    "Hugging Face's RT-DETR",
    "RF-DETR",
    "PaddleDetection's rows",
    "TensorFlow's EfficientDet",
    "Caffe's rows without their second axis",
    "TensorFlow's detection_boxes",
}
"""The layouts of networks that give each object one box."""


def test_whether_each_object_has_one_box_can_be_stated(tmp_path: Path) -> None:
    outputs, detect = LAYOUTS["yolov10 and 26 (N, 300, 6)"]
    done = adopt(tmp_path, detector(outputs()), **detect, nms_free=False)
    assert not done.card.nms_free
    outputs, detect = LAYOUTS["labels, boxes, scores"]
    assert adopt(tmp_path, detector(outputs()), **detect, nms_free=True).card.nms_free


@pytest.mark.parametrize("attention", ["Softmax", "Sigmoid"])
def test_the_best_queries_of_a_transformer_are_an_object_each(
    tmp_path: Path, attention: str
) -> None:
    """D-FINE selects the best queries; a network without attention may select cells of one object."""
    nodes = [
        helper.make_node(attention, ["weights"], ["shares"]),
        helper.make_node("MatMul", ["shares", "values"], ["token"]),
        helper.make_node("Add", ["all_scores", "token"], ["sum"]),
        helper.make_node("TopK", ["sum", "many"], ["scores", "where"], axis=1),
        helper.make_node("GatherElements", ["kinds", "where"], ["numbers"], axis=1),
        helper.make_node("Cast", ["numbers"], ["labels"], to=TensorProto.INT64),
        helper.make_node("Unsqueeze", ["where", "last"], ["rows"]),
        helper.make_node("GatherND", ["all_boxes", "rows"], ["boxes"], batch_dims=1),
    ]
    model = detector(
        {
            "all_boxes": boxes_of(30, unit=SIDE),
            "all_scores": best_of(30)[0],
            "kinds": best_of(30)[1],
            "weights": np.zeros((1, 4)),
        },
        after=nodes,
        names=["labels", "boxes", "scores"],
        constants={
            "values": np.zeros((4, 30), np.float32),
            "many": np.array([30], np.int64),
            "last": np.array([-1], np.int64),
        },
    )
    done = adopt(tmp_path, model, box_unit="pixel")
    require_objects(done.path)
    assert bool(done.card.nms_free) == (attention == "Softmax")


def rows_after_nms() -> tuple[list[onnx.NodeProto], dict[str, Any]]:
    """Return nodes that suppress with NonMaxSuppression and pick boxes (M, 4), scores (M,) and classes (M,)."""
    nodes = [
        helper.make_node("Transpose", ["all_scores"], ["by_class"], perm=[0, 2, 1]),
        helper.make_node(
            "NonMaxSuppression", ["all_boxes", "by_class", "most", "iou", "least"], ["picked"]
        ),
        helper.make_node("Gather", ["picked", "column_1"], ["labels"], axis=1),
        helper.make_node("Gather", ["picked", "column_2"], ["where"], axis=1),
        helper.make_node("Squeeze", ["all_boxes", "first"], ["some_boxes"]),
        helper.make_node("Gather", ["some_boxes", "where"], ["boxes"], axis=0),
        helper.make_node("GatherND", ["by_class", "picked"], ["scores"]),
    ]
    constants = {
        "most": np.array([20], np.int64),
        "iou": np.array([0.5], np.float32),
        "least": np.array([0.3], np.float32),
        "column_1": np.array(1, np.int64),
        "column_2": np.array(2, np.int64),
        "first": np.array([0], np.int64),
    }
    return nodes, constants


def suppressing_detector() -> onnx.ModelProto:
    nodes, constants = rows_after_nms()
    return detector(
        {"all_boxes": boxes_of(40, unit=SIDE), "all_scores": scores_of(40)},
        batch=1,
        after=nodes,
        names=["boxes", "labels", "scores"],
        constants=constants,
    )


def test_a_detector_with_its_own_suppression_gives_its_rows(tmp_path: Path) -> None:
    done = adopt(tmp_path, suppressing_detector(), box_unit="pixel")
    assert done.card.max_batch == 1
    assert done.card.nms_free
    require_objects(done.path, images=1)


def test_the_classes_of_a_suppression_need_a_label_each(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="3 are given, the network has 5 classes"):
        adopt(tmp_path, suppressing_detector(), labels=["a", "b", "c"], box_unit="pixel")


def paddle_rows(lowest: float) -> onnx.ModelProto:
    """Return a detector that gives class, score and box of what scores more, and one row of -1 for nothing."""
    nodes, constants = rows_after_nms()
    nodes += [
        helper.make_node("Cast", ["labels"], ["kinds"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["scores", "at_one"], ["score"]),
        helper.make_node("Concat", ["kinds", "score", "boxes"], ["found"], axis=1),
        helper.make_node("Shape", ["scores"], ["count"]),
        helper.make_node("Sub", ["at_one", "count"], ["missing"]),
        helper.make_node("Max", ["missing", "at_zero"], ["empty"]),
        helper.make_node("Concat", ["at_zero", "at_zero", "empty", "at_zero"], ["pads"], axis=0),
        helper.make_node("Pad", ["found", "pads", "minus_one"], ["multiclass_nms3_0.tmp_0"]),
        helper.make_node("Cast", ["count"], ["multiclass_nms3_0.tmp_2"], to=TensorProto.FLOAT),
    ]
    constants |= {
        "least": np.array([lowest], np.float32),
        "column_1": np.array([1], np.int64),
        "at_zero": np.array([0], np.int64),
        "at_one": np.array([1], np.int64),
        "minus_one": np.array(-1, np.float32),
    }
    return detector(
        {"all_boxes": boxes_of(40, unit=SIDE), "all_scores": scores_of(40)},
        batch=1,
        after=nodes,
        names=["multiclass_nms3_0.tmp_0", "multiclass_nms3_0.tmp_2"],
        constants=constants,
    )


def test_paddledetection_gives_as_many_rows_as_it_finds(tmp_path: Path) -> None:
    done = adopt(tmp_path, paddle_rows(0.3))
    assert done.card.max_batch == 1
    assert done.card.nms_free
    require_objects(done.path, images=1)


def test_the_export_says_in_which_order_it_reads_a_row(tmp_path: Path) -> None:
    done = adopt(tmp_path, paddle_rows(0.3))
    said = " ".join(done.hints)
    assert "a row is read as class, score, box, as real images show: --decoder paddle" in said


def test_an_image_without_an_object_has_one_row_of_minus_one(tmp_path: Path) -> None:
    done = adopt(tmp_path, paddle_rows(0.99), decoder="paddle")
    found = outputs_of(done.path, some_frames(1, SIDE))
    assert not found["scores"].any()


def test_yolov7_s_rows_begin_with_the_image(tmp_path: Path) -> None:
    nodes, constants = rows_after_nms()
    nodes += [
        helper.make_node("Cast", ["picked"], ["picked_float"], to=TensorProto.FLOAT),
        helper.make_node("Slice", ["picked_float", "zero_at", "one_at", "one_at"], ["image"]),
        helper.make_node("Slice", ["picked_float", "one_at", "two_at", "one_at"], ["kind"]),
        helper.make_node("Unsqueeze", ["scores", "one_at"], ["score"]),
        helper.make_node("Concat", ["image", "boxes", "kind", "score"], ["output"], axis=1),
    ]
    constants |= {
        f"{name}_at": np.array([i], np.int64) for i, name in enumerate(("zero", "one", "two"))
    }
    model = detector(
        {"all_boxes": boxes_of(40, unit=SIDE), "all_scores": scores_of(40)},
        after=nodes,
        names=["output"],
        constants=constants,
    )
    done = adopt(tmp_path, model)
    require_objects(done.path, images=1)


@pytest.mark.parametrize("name", ["orig_target_sizes", "im_shape"])
def test_an_input_for_the_size_gets_that_of_the_frame(tmp_path: Path, name: str) -> None:
    """D-FINE and RT-DETR multiply their boxes with width and height, PaddleDetection with height and width."""
    scale = [
        helper.make_node("Cast", [name], ["size"], to=TensorProto.FLOAT),
        helper.make_node("Concat", ["size", "size"], ["both"], axis=1),
        helper.make_node("Unsqueeze", ["both", "axis"], ["factor"]),
        helper.make_node("Mul", ["relative", "factor"], ["boxes"]),
    ]
    model = detector(
        {
            "labels": best_of(30)[1].astype(np.int64),
            "relative": boxes_of(30),
            "scores": best_of(30)[0],
        },
        after=scale,
        names=["labels", "boxes", "scores"],
        extra=[helper.make_tensor_value_info(name, TensorProto.INT64, ["n", 2])],
        constants={"axis": np.array([1], np.int64)},
    )
    done = adopt(tmp_path, model, box_unit="pixel")
    require_objects(done.path)


def chosen_in_the_graph() -> list[onnx.NodeProto]:
    """Return nodes that choose each box's class as end-to-end YOLOs do, and join the rows (N, A, 6)."""
    return [
        helper.make_node("ReduceMax", ["scores"], ["best"], axes=[2], keepdims=1),
        helper.make_node("ArgMax", ["scores"], ["kind"], axis=2, keepdims=1),
        helper.make_node("Cast", ["kind"], ["kind_float"], to=TensorProto.FLOAT),
        helper.make_node("Concat", ["boxes", "best", "kind_float"], ["output0"], axis=2),
    ]


def test_the_class_count_of_an_end_to_end_detector_is_read_off_its_graph(tmp_path: Path) -> None:
    model = detector(
        {"boxes": boxes_of(30, unit=SIDE), "scores": scores_of(30)},
        after=chosen_in_the_graph(),
        names=["output0"],
    )
    with pytest.raises(RecipeError, match=f"4 are given, the network has {CLASSES} classes"):
        adopt(tmp_path, model, labels=LABELS[:4])
    require_objects(adopt(tmp_path, model).path)


def with_objectness(count: int) -> onnx.ModelProto:
    """Return YOLOv5's rows (N, A, 5 + K): cells without an object have a class too, and no objectness."""
    scores = scores_of(count)
    objectness = scores.max(axis=2, keepdims=True)
    classes = np.where(objectness > 0.01, (scores > 0.01) * 0.9, 0.4)
    return detector(one(joined(boxes_of(count, "cxcywh", SIDE), objectness / 0.9, classes)))


def test_rows_with_an_objectness_and_no_usual_grid_are_asked_about(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"6 columns .* objectness.* --decoder yolov5\."):
        adopt(tmp_path, with_objectness(50))
    with pytest.raises(RecipeError, match=r"1200 rows .* --decoder yolov5 \(.*; else"):
        adopt(tmp_path, with_objectness(1200))
    require_objects(adopt(tmp_path, with_objectness(50), decoder="yolov5").path)


def test_an_objectness_is_not_certified_as_a_background(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"--decoder yolov5 without --background"):
        adopt(tmp_path, with_objectness(50), background="first", class_offset=-1)


def test_more_rows_than_queries_have_their_decoder_named(tmp_path: Path) -> None:
    rows = detector(one(joined(boxes_of(1200, "cxcywh", SIDE), scores_of(1200))))
    with pytest.raises(RecipeError, match=r"1200 rows .* --decoder yolov8_rows \(.*; else"):
        adopt(tmp_path, rows)
    require_objects(adopt(tmp_path, rows, decoder="yolov8_rows").path)


def test_what_is_taken_for_granted_of_boxes_is_not_called_a_statement(tmp_path: Path) -> None:
    rows = joined(boxes_of(300, "cxcywh", SIDE), *(v[..., None] for v in best_of(300)))
    rows[0, :, 5] += (
        np.arange(300) % 2
    )  # several classes, so that these are rows of an end-to-end network
    with pytest.raises(RecipeError, match=r"taken to be xyxy.* as is usual for --decoder end2end"):
        adopt(tmp_path, detector(one(rows)), labels=[f"kind {index}" for index in range(7)])


def test_a_detector_of_instance_masks_is_refused_with_the_next_step(tmp_path: Path) -> None:
    rows = joined(*YOLO, np.ones((1, CELLS, 32))).transpose(0, 2, 1)
    model = detector({"output0": rows, "output1": np.ones((1, 32, 16, 16))})
    with pytest.raises(RecipeError, match="export the network without its mask head"):
        adopt(tmp_path, model)


@pytest.mark.parametrize("labels", [1, 2, 3, 5])
def test_rows_of_two_grids_are_suppressed_by_requests(tmp_path: Path, labels: int) -> None:
    """Of strides 8 and 16; six and seven columns are no box with a score and a class."""
    rows = joined(on_two_grids(), scores_of(TWO_GRIDS)[..., :labels])
    done = adopt(tmp_path, detector(one(rows)), labels=[f"kind {index}" for index in range(labels)])
    assert not done.card.nms_free
    assert done.card.boxes is not None
    assert "nms_free" not in done.card.boxes.assumed


TWO_GRIDS = 80


def on_two_grids() -> Any:
    """Return centers and sizes in pixels of a box for each cell of the strides 8 and 16, (1, 80, 4)."""
    cells, strides = grid_cells((SIDE, SIDE), (8, 16))
    return np.concatenate([(cells + 0.5) * strides, np.ones((TWO_GRIDS, 2)) * strides], axis=1)[
        None
    ]


def test_raw_heads_of_each_level_are_refused_with_their_form_and_the_next_step(
    tmp_path: Path,
) -> None:
    levels = {f"p{size}": np.ones((1, 3 * (5 + CLASSES), size, size)) for size in (8, 4, 2)}
    with pytest.raises(RecipeError) as refused:
        adopt(tmp_path, detector(levels))
    words = str(refused.value)
    assert "p8 (1, 30, 8, 8), p4 (1, 30, 4, 4), p2 (1, 30, 2, 2)" in words
    assert "3 × (5 + 5)" in words
    assert "not decoded in the graph" in words


def test_levels_that_are_outputs_of_their_own_are_not_read_from_the_first_alone(
    tmp_path: Path,
) -> None:
    levels = {f"p{size}": np.ones((1, size**2, 5 + CLASSES)) for size in (8, 4, 2)}
    with pytest.raises(
        RecipeError, match=r"p2 \(1, 4, 10\) for one image.* join the levels to one"
    ):
        adopt(tmp_path, detector(levels), decoder="yolov5")


def test_a_detector_of_poses_is_refused_by_what_the_file_says(tmp_path: Path) -> None:
    model = detector({"output0": np.ones((1, 56, CELLS))})
    helper.set_model_props(model, {"task": "pose"})
    with pytest.raises(RecipeError, match="its task is 'pose'"):
        adopt(tmp_path, model, labels=["person"])


def test_a_suppression_of_tensorrt_is_refused_with_the_next_step(tmp_path: Path) -> None:
    model = detector(
        {"boxes": boxes_of(30), "scores": scores_of(30)},
        after=[
            helper.make_node(
                "EfficientNMS_TRT", ["boxes", "scores"], ["n", "b", "s", "c"], domain="TRT"
            )
        ],
        names=["n", "b", "s", "c"],
    )
    with pytest.raises(GraphError, match="Export the network without its NMS"):
        adopt(tmp_path, model)


def test_yolox_and_yolov6_can_not_be_distinguished(tmp_path: Path) -> None:
    rows = joined(YOLO[0], np.ones((1, CELLS, 1)), YOLO[1])
    with pytest.raises(RecipeError, match="--decoder yolox or yolov5"):
        adopt(tmp_path, detector(one(rows)))


@pytest.mark.parametrize(
    ("outputs", "detect", "option"),
    [
        (
            {"boxes": boxes_of(30, "cxcywh")[:, 1:6:2], "scores": scores_of(30)[:, 1:6:2]},
            {},
            "--box-format",
        ),
        (
            {"boxes": boxes_of(30, unit=SIDE), "scores": scores_of(30)},
            {"box_unit": "frame"},
            "--box-unit pixel",
        ),
        (
            {"boxes": boxes_of(30), "scores": scores_of(30)},
            {"box_unit": "pixel"},
            "--box-unit frame",
        ),
    ],
)
def test_boxes_that_can_not_be_what_is_stated_are_refused(
    tmp_path: Path, outputs: dict[str, Any], detect: dict[str, Any], option: str
) -> None:
    with pytest.raises(ExportError, match=option):
        adopt(tmp_path, detector(outputs), **detect)


@pytest.mark.parametrize("confident", [1.0, 0.2])
@pytest.mark.parametrize("decoder", ["yolov8", "yolov5"])
def test_boxes_in_0_to_1_of_a_detector_whose_boxes_are_usually_in_pixels(
    tmp_path: Path, decoder: str, confident: float
) -> None:
    """YOLOv8 as TensorFlow Lite's export has it: center and size are divided by the frame's size."""
    centers, scores = boxes_of(CELLS, "cxcywh"), scores_of(CELLS) * confident
    rows = {
        "yolov8": joined(centers, scores).transpose(0, 2, 1),
        "yolov5": joined(centers, np.ones((1, CELLS, 1)), scores),
    }[decoder]
    with pytest.raises(RecipeError, match="Give --box-unit frame"):
        adopt(tmp_path, detector(one(rows)), decoder=decoder, box_unit="pixel")
    forms: tuple[dict[str, Any], ...] = ({"box_unit": "frame"}, {})
    for stated in forms:
        done = adopt(tmp_path, detector(one(rows)), decoder=decoder, **stated)
        found = outputs_of(done.path, some_frames(1, SIDE))
        np.testing.assert_allclose(found["boxes"][0][:3], BOXES, atol=1e-5)
        assert done.card.boxes is not None
        assert "unit" not in done.card.boxes.assumed


@pytest.mark.parametrize("kind", ["pair", "triple"])
def test_boxes_in_pixels_of_a_detector_whose_boxes_are_usually_shares(
    tmp_path: Path, kind: str
) -> None:
    boxes = boxes_of(30, unit=SIDE)
    best, kinds = best_of(30)
    outputs: dict[str, dict[str, Any]] = {
        "pair": {"boxes": boxes, "scores": scores_of(30)},
        "triple": {"boxes": boxes, "scores": best, "labels": kinds.astype(np.int64)},
    }
    done = adopt(tmp_path, detector(outputs[kind]))
    require_objects(done.path)
    assert done.card.boxes is not None
    assert (done.card.boxes.unit, "unit" in done.card.boxes.assumed) == ("pixel", False)
    assert any("xyxy in pixels, as real images show" in one for one in done.hints)


@pytest.mark.parametrize("box_format", [None, "cxcywh"])
@pytest.mark.parametrize(
    ("columns", "decoder"),
    [(1, "yolov5"), (2, "yolov5"), (2, "detr"), (3, "detr")],
    ids=["YOLOv5 of one class", "of two", "DETR of two classes", "of three"],
)
def test_six_or_seven_columns_may_be_scores_for_each_class(
    tmp_path: Path, columns: int, decoder: str, box_format: str | None
) -> None:
    unit, count = (SIDE, 3 * CELLS) if decoder == "yolov5" else (1.0, 30)
    scores = np.full((1, count, columns), 0.001, np.float32)
    scores[0, [1, 3, 5], 0] = SCORES
    objectness = np.full((1, count, 1), 0.999)
    parts = [objectness] if decoder == "yolov5" else []
    model = detector(one(joined(boxes_of(count, "cxcywh", unit), *parts, scores)))
    labels = LABELS[:columns]
    stated = {"box_format": box_format} if box_format else {}
    with pytest.raises(RecipeError, match=f"--decoder {decoder}"):
        adopt(tmp_path, model, labels=labels, **stated)
    done = adopt(tmp_path, model, labels=labels, decoder=decoder)
    found = outputs_of(done.path, some_frames(1, SIDE))
    np.testing.assert_allclose(found["boxes"][0][:3], BOXES, atol=1e-5)
    np.testing.assert_allclose(found["scores"][0][:3], SCORES, rtol=2e-3)


@pytest.mark.parametrize("background", ["first", "last"])
def test_a_softmax_over_a_box_may_have_a_background_column(tmp_path: Path, background: str) -> None:
    """SSD and DETR: a box that shows nothing has the probability 1 of the background."""
    kinds = scores_of(50)
    rest = 1 - kinds.sum(axis=2, keepdims=True)
    parts = [rest, kinds] if background == "first" else [kinds, rest]
    for values, activation in ((joined(*parts), None), (np.log(joined(*parts)), "softmax")):
        model = detector({"boxes": boxes_of(50), "scores": values})
        labels = [*LABELS, "background"]
        wrong = ["background", *LABELS] if background == "last" else labels
        for given in (wrong, [*LABELS, "plane"]):
            with pytest.raises(RecipeError, match="--background first, last"):
                adopt(tmp_path, model, labels=given, score_activation=activation)
        done = adopt(
            tmp_path, model, labels=labels, background=background, score_activation=activation
        )
        found = outputs_of(done.path, some_frames(1, SIDE))
        np.testing.assert_allclose(found["boxes"][0][:3], BOXES, atol=1e-5)
        np.testing.assert_allclose(found["scores"][0][:3], SCORES, atol=1e-5)
        assert found["classes"][0][:3].tolist() == (KINDS + (background == "first")).tolist()


@pytest.mark.parametrize("labels", ["recipe", "metadata"])
@pytest.mark.parametrize("count", [11, 340, 2000])
def test_the_axis_that_fits_the_labels_has_the_scores(
    tmp_path: Path, count: int, labels: str
) -> None:
    """YOLOv8's columns at a number of boxes that no usual grids have, as with P2 or P7 levels."""
    columns = joined(boxes_of(count, "cxcywh", SIDE), scores_of(count)).transpose(0, 2, 1)
    model = detector(one(columns))
    if labels == "metadata":
        helper.set_model_props(model, {"names": str(dict(enumerate(LABELS)))})
    onnx.save(model, tmp_path / "net.onnx")
    given = LABELS if labels == "recipe" else None
    done = export_to(tmp_path, "onnx:net.onnx", task="detect", labels=given)
    require_objects(done.path)


def test_a_request_finds_every_object_of_a_crowd(tmp_path: Path) -> None:
    boxes, scores = crowd(100, 20)
    (tmp_path / "small").mkdir()
    adopt(tmp_path / "small", detector({"boxes": boxes, "scores": scores}), labels=["person"])
    image = as_png(np.full((SIDE, SIDE, 3), 90, np.uint8))
    with serve(models=tmp_path) as live:
        url = f"{live.url}/v1/detect?max_detections=300"
        result = httpx.post(url, content=image, timeout=30).json()["results"][0]
    assert (result["candidates"], result["kept"]) == (2000, 100)


@pytest.mark.parametrize("has_sigmoid", [True, False])
def test_scores_are_multiplied_by_an_objectness_of_its_own(
    tmp_path: Path, *, has_sigmoid: bool
) -> None:
    """Cells without an object have a clear class too, and no objectness."""
    scores = scores_of(30)
    shares = scores.max(axis=2)
    classes = np.where(shares[..., None] > 0.01, np.where(scores > 0.01, 0.9, 0.001), 0.4)
    objectness = shares / 0.9
    parts = {"boxes": boxes_of(30), "objectness": objectness, "class_probs": classes}
    if not has_sigmoid:
        for name in ("objectness", "class_probs"):
            parts[name] = np.log(parts[name] / (1 - parts[name] + 1e-6))
    stated: dict[str, Any] = {} if has_sigmoid else {"score_activation": "sigmoid"}
    with pytest.raises(RecipeError, match=r"state --decoder pair_objectness\."):
        adopt(tmp_path, detector(parts), **stated)

    done = adopt(tmp_path, detector(parts), decoder="pair_objectness", **stated)

    found = outputs_of(done.path, some_frames(1, SIDE))
    np.testing.assert_allclose(found["boxes"][0][:3], BOXES, atol=1e-5)
    np.testing.assert_allclose(found["scores"][0][:3], SCORES, atol=1e-4)
    assert found["classes"][0][:3].tolist() == KINDS.tolist()
    assert found["scores"][0][3] < 0.01


@pytest.mark.parametrize("decoder", ["", "pair"])
@pytest.mark.parametrize("is_reversed", [False, True])
def test_scores_of_one_class_need_no_axis_for_it(
    tmp_path: Path, decoder: str, *, is_reversed: bool
) -> None:
    parts = {"boxes": boxes_of(30), "scores": best_of(30)[0]}
    model = detector(dict(reversed(parts.items())) if is_reversed else parts)
    stated = {"decoder": decoder} if decoder else {}

    done = adopt(tmp_path, model, labels=["person"], **stated)

    found = outputs_of(done.path, some_frames(2, SIDE))
    np.testing.assert_allclose(found["boxes"][1][:3], BOXES, atol=1e-5)
    np.testing.assert_allclose(found["scores"][1][:3], SCORES, atol=1e-5)
    assert not found["classes"].any()
    assert not done.card.nms_free


def test_one_score_a_box_is_not_that_of_several_classes(tmp_path: Path) -> None:
    model = detector({"boxes": boxes_of(30), "scores": best_of(30)[0]})
    with pytest.raises(
        RecipeError, match=r"\(N, A, 5\), or with the class of each box too, \(N, A"
    ):
        adopt(tmp_path, model)


def test_an_objectness_of_another_notation_than_the_scores_is_refused(tmp_path: Path) -> None:
    parts = {"boxes": boxes_of(30), "scores": scores_of(30), "objectness": np.full((1, 30), -3.0)}
    with pytest.raises(RecipeError, match=r"objectness -3 to -3: only one of them are probab"):
        adopt(tmp_path, detector(parts), decoder="pair_objectness")


def test_an_objectness_of_its_own_is_not_left_out_in_silence(tmp_path: Path) -> None:
    parts = {"boxes": boxes_of(30, unit=SIDE), "scores": scores_of(30)}
    model = detector({**parts, "objectness": np.full((1, 30), 0.5)})
    with pytest.raises(RecipeError, match=r"objectness \(1, 30\) has one value for each box"):
        adopt(tmp_path, model, box_unit="pixel")

    done = export_to(
        tmp_path,
        "onnx:net.onnx",
        task="detect",
        labels=LABELS,
        outputs=["boxes", "scores"],
        detect={"box_unit": "pixel"},
    )
    require_objects(done.path)


@pytest.mark.parametrize("which", ["first", "last"])
def test_a_background_is_not_the_only_column(tmp_path: Path, which: str) -> None:
    model = detector({"boxes": boxes_of(40), "scores": scores_of(40)[..., :1]})
    with pytest.raises(RecipeError, match=rf"--background {which}: .*no class is left.*Leave it"):
        adopt(tmp_path, model, LABELS[:1], background=which)
