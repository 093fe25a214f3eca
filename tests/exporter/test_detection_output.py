"""SSDs that end as Caffe's and OpenVINO's layer DetectionOutput does: a list (1, 1, A, 7) that a row may end early."""

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from exporter.encoding import as_png
from exporter.errors import ProofError, RecipeError
from exporter.report import show_precisions
from tests.exporter.exporting import export_to, outputs_of, some_frames
from tests.exporter.found import BOXES, KINDS, SCORES, SIDE, boxes_of, detector, scores_of
from tests.exporter.test_found_detectors import rows_after_nms
from tests.live import serve

LABELS = ["background", *(f"kind {index}" for index in range(5))]
WIDTH, HEIGHT = 200, 100
SIDES = ("x_min", "y_min", "x_max", "y_max")
IMAGE = np.random.default_rng(4).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def listed(*behind: list[float]) -> NDArray[np.float32]:
    """Return a list of ten rows with the three objects, and rows behind these."""
    rows = np.zeros((10, 7), np.float32)
    rows[:3] = np.column_stack([np.zeros(3), KINDS + 1, SCORES, BOXES])
    for place, row in enumerate(behind, start=3):
        rows[place] = row
    return rows[None, None]


STALE = [0, 3, 0.99, 0.2, 0.2, 0.8, 0.8]
END = [-1.0, 0, 0, 0, 0, 0, 0]
FIXED = {
    "filled with zeros": listed(),
    "ended by a negative image": listed(END, STALE, STALE),
    "filled with negative images": listed(*[[-1.0] * 7] * 7),
}


def with_own_length() -> onnx.ModelProto:
    """Return a detector whose list is as long as what its NonMaxSuppression has left, and then ended."""
    nodes, constants = rows_after_nms()
    nodes += [
        helper.make_node("Cast", ["labels"], ["kind"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["kind", "one"], ["id"]),
        helper.make_node("Mul", ["id", "nothing_at_all"], ["image"]),
        helper.make_node("Unsqueeze", ["scores", "axis"], ["score"]),
        helper.make_node("Concat", ["image", "id", "score", "boxes"], ["rows"], axis=1),
        helper.make_node("Concat", ["rows", "behind"], ["all_rows"], axis=0),
        helper.make_node("Unsqueeze", ["all_rows", "axes"], ["detection_out"]),
    ]
    constants |= {
        "one": np.ones(1, np.float32),
        "nothing_at_all": np.zeros(1, np.float32),
        "axis": np.array([1], np.int64),
        "axes": np.array([0, 1], np.int64),
        "column_1": np.array([1], np.int64),
        "behind": np.array([END, STALE], np.float32),
    }
    return detector(
        {"all_boxes": boxes_of(40), "all_scores": scores_of(40)},
        batch=1,
        after=nodes,
        names=["detection_out"],
        constants=constants,
    )


def adopt(folder: Path, model: onnx.ModelProto, name: str, **fields: Any) -> Any:
    folder.mkdir(exist_ok=True)
    onnx.save(model, folder / "net.onnx")
    fields = {"labels": LABELS, **fields}
    return export_to(folder, "onnx:net.onnx", task="detect", name=name, **fields)


def test_a_server_answers_with_what_the_list_holds(tmp_path: Path) -> None:
    models = {name.replace(" ", "-"): detector({"out": rows}) for name, rows in FIXED.items()}
    models["own-length"] = with_own_length()
    for name, model in models.items():
        card = adopt(tmp_path / name, model, name).card
        assert card.nms_free
        assert (card.boxes.format, card.boxes.unit) == ("xyxy", "frame")
    found = {}
    with serve(models=tmp_path) as live:
        for name in models:
            url = f"{live.url}/v1/detect?model={name}&score_threshold=0.3"
            answer = httpx.post(url, content=as_png(IMAGE), timeout=60)
            found[name] = answer.json()["results"][0]["detections"]
    for name, rows in found.items():
        assert [one["class_id"] for one in rows] == [kind + 1 for kind in KINDS], name
        np.testing.assert_allclose([one["score"] for one in rows], SCORES, atol=1e-3, err_msg=name)
        right = BOXES * [WIDTH, HEIGHT, WIDTH, HEIGHT]
        boxes = [[one["box"][side] for side in SIDES] for one in rows]
        np.testing.assert_allclose(boxes, right, atol=0.2, err_msg=name)


def test_a_list_of_one_row_for_each_image_is_served_in_batches(tmp_path: Path) -> None:
    done = adopt(tmp_path, detector({"out": FIXED["ended by a negative image"]}), "several")
    assert done.card.max_batch is None


def test_a_list_of_an_own_length_is_served_an_image_at_a_time(tmp_path: Path) -> None:
    assert adopt(tmp_path, with_own_length(), "single").card.max_batch == 1


def test_another_order_of_the_columns_is_refused(tmp_path: Path) -> None:
    rows = listed()[..., [0, 3, 4, 5, 6, 1, 2]]
    with pytest.raises(RecipeError, match=r"image, class, score, box.*Export the network with its"):
        adopt(tmp_path, detector({"out": rows}), "turned")


@pytest.mark.parametrize("batch", [2, 4, 8])
def test_one_list_of_several_images_is_refused_with_the_next_step(
    tmp_path: Path, batch: int
) -> None:
    """The layer gives one list for all images of a batch that is fixed."""
    images = np.arange(batch, dtype=np.float32).repeat(10)[:, None]
    every = np.concatenate([images, np.tile(listed()[0, 0, :, 1:], (batch, 1))], axis=1)
    together = [
        helper.make_node("ReduceSum", ["positive", "first"], ["one"]),
        helper.make_node("Add", ["every", "one"], ["detection_out"]),
    ]
    constants = {"first": np.zeros(1, np.int64), "every": every[None, None]}
    model = detector(
        {"unused": np.zeros((1, 1))},
        batch=batch,
        after=together,
        names=["detection_out"],
        constants=constants,
    )
    shape = [1, 1, 10 * batch, 7]
    model.graph.output[0].CopyFrom(
        helper.make_tensor_value_info("detection_out", TensorProto.FLOAT, shape)
    )
    words = rf"several images, numbered 0 to {batch - 1}.*with a batch of 1"
    with pytest.raises(RecipeError, match=words):
        adopt(tmp_path, model, "several")


def test_classes_that_begin_at_one_need_their_background(tmp_path: Path) -> None:
    rows = listed()
    rows[..., 1] += rows[..., 2] > 0
    with pytest.raises(RecipeError, match=r"never 0.*--class-offset 0"):
        adopt(tmp_path, detector({"out": rows}), "ids", labels=[f"kind {n}" for n in range(7)])


def test_a_detector_of_one_image_at_a_time_is_reduced(tmp_path: Path) -> None:
    done = adopt(tmp_path, with_own_length(), "reduced", precision=["fp16"])
    assert (done.card.precision, done.card.max_batch) == ("fp16", 1)
    assert [set(one.milliseconds) for one in done.precisions] == [{1}, {1}]
    found = outputs_of(done.path, some_frames(1, SIDE))
    np.testing.assert_allclose(found["boxes"][0][:3], BOXES, atol=2e-3)
    np.testing.assert_allclose(found["scores"][0][:3], SCORES, atol=2e-3)
    assert found["classes"][0][:3].tolist() == [kind + 1 for kind in KINDS]
    assert show_precisions(done.precisions).row_count == 2


def test_a_network_without_a_layer_for_int8_says_so(tmp_path: Path) -> None:
    with pytest.raises(ProofError, match="the network has none: leave int8 out"):
        adopt(tmp_path, with_own_length(), "eight", precision=["int8"])
