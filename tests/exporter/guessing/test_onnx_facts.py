"""What an ONNX file states in its metadata, and what the shapes of its outputs show."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from exporter.errors import SourceError
from exporter.guessing.onnx_facts import fixed_size, onnx_options, score_count, states_labels
from tests.exporter.found import CELLS, KINDS, SCORES, boxes_of, detector, scores_of
from tests.exporter.guessing.files import graph_file, ultralytics

Dims = list[int | str]


def options(path: Path) -> dict[str, Any]:
    return {one.parameter: one.value for one in onnx_options(path)}


THINGS = str({index: f"thing {index}" for index in range(80)})


@pytest.mark.parametrize(
    ("dims", "names", "decoder"),
    [
        (["n", 84, 8400], THINGS, "yolov8"),
        (["n", 25200, 85], THINGS, "yolov5"),
        (["n", 300, 6], THINGS, "end2end"),
        (["n", 1000, 6], THINGS, "end2end"),
        (["n", 1001, 6], THINGS, None),
        (["n", 300, 6], "{0: 'cat'}", "end2end"),
        (["n", 5, 8400], "{0: 'cat'}", "yolov8"),
        # Two classes are no end-to-end detector.
        (["n", 6, 84], "{0: 'cat', 1: 'dog'}", "yolov8"),
        (["n", 84], THINGS, None),
        # Without names the columns show nothing.
        (["n", 84, 8400], "no table", None),
    ],
)
def test_the_form_of_an_ultralytics_detector_is_in_its_shape(
    dims: Dims, names: str, decoder: str | None, tmp_path: Path
) -> None:
    path = graph_file(tmp_path / "net.onnx", dims, **ultralytics("detect", names))

    found = options(path)

    assert found.pop("decoder", None) == decoder
    assert found == {"task": "detect", "resize": "letterbox"}


def test_two_outputs_of_ultralytics_have_no_known_form(tmp_path: Path) -> None:
    props = ultralytics("detect", THINGS)
    path = graph_file(tmp_path / "net.onnx", ["n", 84, 8400], ["n", 7], **props)

    assert "decoder" not in options(path)


@pytest.mark.parametrize(
    ("stated", "dims", "decoder"),
    [
        ({"head": "RTDETRDecoder"}, ["n", 300, 6], "end2end"),
        ({"description": "Ultralytics rtdetr-l model"}, ["n", 300, 84], "detr"),
    ],
)
def test_rt_detr_of_ultralytics_stretches_images_and_gives_boxes_in_0_to_1(
    stated: dict[str, str], dims: Dims, decoder: str, tmp_path: Path
) -> None:
    """As Ultralytics 8.4 writes it (`RTDETRDecoder`) and reads it (`RTDETRPredictor`, `scale_fill`), and as 8.0 did."""
    path = graph_file(tmp_path / "net.onnx", dims, **ultralytics("detect", THINGS), **stated)

    assert options(path) == {
        "task": "detect",
        "resize": "stretch",
        "box_unit": "frame",
        "box_format": "cxcywh",
        "decoder": decoder,
    }


@pytest.mark.parametrize(
    ("imgsz", "sides"),
    [
        ("[224, 192]", (224, 192)),
        ("(192, 224)", (192, 224)),
        ("320", (320, 320)),
        ("[1, 2, 3]", None),
        ("None", None),
        ("", None),
    ],
)
def test_a_dynamic_file_of_ultralytics_states_its_size_in_the_metadata(
    imgsz: str, sides: tuple[int, int] | None, tmp_path: Path
) -> None:
    props = ultralytics("classify", "{0: 'cat', 1: 'dog'}", imgsz)
    path = graph_file(tmp_path / "net.onnx", ["n", 2], size="side", **props)

    found = options(path)

    assert (found.get("height"), found.get("width")) == (sides or (None, None))
    assert found["resize"] == "crop"
    assert found.get("shorter_side") == (max(sides) if sides else None)


def test_a_fixed_size_is_not_stated_again(tmp_path: Path) -> None:
    path = graph_file(tmp_path / "net.onnx", ["n", 2], **ultralytics("classify", "{}"))

    assert options(path) == {"task": "classify", "resize": "crop", "shorter_side": 64}


@pytest.mark.parametrize("task", ["pose", "segment", "obb"])
def test_a_task_of_ultralytics_without_a_head_is_refused(task: str, tmp_path: Path) -> None:
    props = ultralytics(task, "{0: 'person'}")
    path = graph_file(tmp_path / "net.onnx", ["n", 56, 84], **props)

    with pytest.raises(
        SourceError, match=rf"net\.onnx: its metadata states task '{task}' of Ultral"
    ):
        options(path)


@pytest.mark.parametrize("absent", ["names", "stride", "task"])
def test_other_metadata_is_not_that_of_ultralytics(absent: str, tmp_path: Path) -> None:
    props = ultralytics("pose", "{0: 'person'}")
    del props[absent]
    path = graph_file(tmp_path / "net.onnx", ["n", 10], **props)

    assert options(path)["task"] == "classify"


@pytest.mark.parametrize(
    ("outputs", "task"),
    [
        ([["n", 10]], "classify"),
        ([["n", 3, 64, 64]], "segment"),
        ([["n", 3, 1, 64]], None),
        ([["n", 3, 64, 1]], None),
        ([["n", 3, 1, 1]], None),
        ([["n", 100, 4], ["n", 100, 7]], "detect"),
        ([["n", 100, 7], ["n", 100, 4]], "detect"),
        ([["n", 100, 4], ["n", 100, 7], ["n", 9]], None),
        ([["n", 10], ["n", 10]], None),
        ([["n"]], None),
    ],
)
def test_the_shapes_show_the_task(outputs: list[Dims], task: str | None, tmp_path: Path) -> None:
    assert options(graph_file(tmp_path / "net.onnx", *outputs)).get("task") == task


@pytest.mark.parametrize(
    ("outputs", "task"),
    [
        ({"pred_logits": scores_of(9), "pred_boxes": boxes_of(9)}, "detect"),
        ({"labels": KINDS[None], "boxes": boxes_of(9)[:, :3], "scores": SCORES[None]}, "detect"),
        ({"labels": KINDS[None], "boxes": boxes_of(9)[:, :3], "other": SCORES[None]}, None),
        ({"labels": KINDS[:1], "probabilities": scores_of(9)[:, 0]}, "classify"),
        ({"labels": KINDS[:1]}, None),
    ],
)
def test_names_and_types_show_the_task(
    outputs: dict[str, Any], task: str | None, tmp_path: Path
) -> None:
    onnx.save(detector(outputs), tmp_path / "net.onnx")

    assert options(tmp_path / "net.onnx").get("task") == task


def test_rows_after_a_suppression_are_no_classifier_s(tmp_path: Path) -> None:
    nodes = [helper.make_node("NonMaxSuppression", ["boxes", "columns"], ["rows"])]
    boxes, columns = boxes_of(9), scores_of(9).transpose(0, 2, 1)
    model = detector({"boxes": boxes, "columns": columns}, after=nodes, names=["rows"], batch=1)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT
    onnx.save(model, tmp_path / "net.onnx")

    assert "task" not in options(tmp_path / "net.onnx")


@pytest.mark.parametrize(
    ("dims", "size", "task"),
    [
        # 64 pixels: 8·8 + 4·4 + 2·2 cells. Of an unknown size, those of the usual ones: 8400 at 640.
        (["n", 84, 10], 64, "detect"),
        (["n", 85, 10], 64, "detect"),  # and one cell of 64 pixels
        (["n", 86, 10], 64, "detect"),  # and one of 128
        (["n", 87, 10], 64, None),
        (["n", 10, 3 * 84], 64, "detect"),
        (["n", 8400, 10], "side", "detect"),
        (["n", 3 * 2100, 10], "side", "detect"),
        (["n", 8401, 10], "side", None),
    ],
)
def test_as_many_boxes_as_cells_of_grids_are_a_detector(
    dims: Dims, size: int | str, task: str | None, tmp_path: Path
) -> None:
    assert options(graph_file(tmp_path / "net.onnx", dims, size=size)).get("task") == task


def test_the_reason_names_the_shape_with_n_for_what_is_free(tmp_path: Path) -> None:
    (one,) = onnx_options(graph_file(tmp_path / "net.onnx", ["n", 10]))

    assert one.why == "one output (N, 10), a score for each class"


def test_labels_in_the_metadata_are_the_file_s(tmp_path: Path) -> None:
    named = graph_file(tmp_path / "named.onnx", ["n", 2], classes="cat,dog")
    nameless = graph_file(tmp_path / "nameless.onnx", ["n", 2])

    assert options(named)["labels"] == str(named)
    assert states_labels(named)
    assert "labels" not in options(nameless)
    assert not states_labels(nameless)


@pytest.mark.parametrize(("size", "is_fixed"), [(64, True), ("side", False)])
def test_a_size_is_fixed_where_all_but_the_batch_are_numbers(
    size: int | str, tmp_path: Path, *, is_fixed: bool
) -> None:
    assert fixed_size(graph_file(tmp_path / "net.onnx", ["n", 2], size=size)) == is_fixed


@pytest.mark.parametrize(
    ("outputs", "count"),
    [([["n", 7]], 7), ([["n", "k"]], None), ([["n", 7, 1]], None), ([["n", 7], ["n", 7]], None)],
)
def test_the_scores_of_a_classifier_are_counted(
    outputs: list[Dims], count: int | None, tmp_path: Path
) -> None:
    assert score_count(graph_file(tmp_path / "net.onnx", *outputs)) == count


def test_shapes_that_the_file_does_not_state_are_inferred(tmp_path: Path) -> None:
    """A constant that is listed as an input is none."""
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["x"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["out"]),
        ],
        "g",
        [
            helper.make_tensor_value_info("w", TensorProto.FLOAT, [48, 5]),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 4, 4]),
        ],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [onnx.numpy_helper.from_array(np.zeros((48, 5), np.float32), "w")],
    )
    path = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), path)

    assert score_count(path) == 5
    assert options(path)["task"] == "classify"
    assert fixed_size(path)


@pytest.mark.parametrize("content", [b"\xff\xff\xff", b"", None])
def test_a_file_that_is_no_onnx_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    if content is not None:
        path.write_bytes(content)

    for ask in (options, fixed_size, score_count):
        with pytest.raises(SourceError, match=r"net\.onnx"):
            ask(path)


@pytest.mark.parametrize("turn", [(0, 1, 2), (0, 2, 1)], ids=["rows", "columns"])
@pytest.mark.parametrize("cells", [CELLS, 3 * CELLS], ids=["a cell", "three anchors a cell"])
def test_boxes_on_a_grid_are_a_detector_s(
    tmp_path: Path, cells: int, turn: tuple[int, int, int]
) -> None:
    boxes = np.concatenate([boxes_of(cells), scores_of(cells)], axis=2)
    onnx.save(detector({"output0": boxes.transpose(turn)}), tmp_path / "net.onnx")

    assert options(tmp_path / "net.onnx")["task"] == "detect"


@pytest.mark.parametrize("shape", [(1, 50, 768), (1, 197, 384)])
def test_tokens_are_no_boxes(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    onnx.save(detector({"tokens": np.zeros(shape, np.float32)}), tmp_path / "net.onnx")

    assert options(tmp_path / "net.onnx") == {}
