"""Networks that another tool exported to ONNX."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from exporter.errors import ExportError, GraphError, RecipeError, SourceError
from exporter.heads.segment import SegmentHead
from tests.exporter.exporting import QUICK, export_to, outputs_of, some_frames
from tests.exporter.nets import LABELS, SIDE, conv_onnx

PLACES = (SIDE // 8) ** 2


def adopt(folder: Path, model: onnx.ModelProto, **fields: Any) -> Any:
    onnx.save(model, folder / "net.onnx")
    return export_to(folder, "onnx:net.onnx", **fields)


def source_outputs(model: onnx.ModelProto, pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(None, {"pixels": pixels})[0])


def pixels_of(frames: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.ascontiguousarray(frames.transpose(0, 3, 1, 2) / 255, np.float32)


def test_a_classifier_is_adopted_at_another_opset(tmp_path: Path) -> None:
    done = adopt(tmp_path, conv_onnx([-1, 4 * PLACES], opset=11), labels=["x"] * 4 * PLACES)
    assert onnx.load(done.path).opset_import[0].version == 18
    assert done.card.image_input.resize == "stretch"


def test_an_image_may_lie_in_the_corner_of_its_letterbox(tmp_path: Path) -> None:
    done = adopt(
        tmp_path,
        conv_onnx([-1, 4 * PLACES]),
        labels=["x"] * 4 * PLACES,
        input={"resize": "letterbox", "placement": "corner"},
        proof={**QUICK, "agreement": 1.0},
    )
    assert (done.card.image_input.resize, done.card.image_input.placement) == (
        "letterbox",
        "corner",
    )
    assert "placement" in onnx.load(done.path).metadata_props[0].value


def test_a_fixed_batch_of_one_is_freed(tmp_path: Path) -> None:
    model = conv_onnx([1, 4 * PLACES], batch=1)
    done = adopt(tmp_path, model, labels=["x"] * 4 * PLACES)
    frames = some_frames(3, SIDE)

    found = outputs_of(done.path, frames)["logits"]

    one_by_one = [source_outputs(model, pixels_of(frame[None]))[0] for frame in frames]
    np.testing.assert_allclose(found, one_by_one, atol=1e-5)


def test_a_batch_that_can_not_be_freed_is_refused(tmp_path: Path) -> None:
    model = conv_onnx([1, 4 * PLACES], batch=1)
    fold = onnx.helper.make_node("Reshape", ["raw", "fold"], ["folded"])
    model.graph.node.append(fold)
    model.graph.initializer.append(numpy_helper.from_array(np.array([4, -1]), "fold"))
    del model.graph.output[:]
    model.graph.output.append(
        onnx.helper.make_tensor_value_info("folded", onnx.TensorProto.FLOAT, [4, PLACES])
    )
    with pytest.raises(GraphError, match="The first axis must be the batch"):
        adopt(tmp_path, model, labels=["x"] * PLACES)
    assert not (tmp_path / "1").exists()


def test_a_missing_output_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="The graph's outputs are raw"):
        adopt(tmp_path, conv_onnx([-1, 4 * PLACES]), outputs=["logits"], labels=["x"])


def test_outputs_that_do_not_suit_the_task_are_refused_with_the_shapes(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"one score per class.*\(1, 4, 4, 4\)"):
        adopt(tmp_path, conv_onnx([-1, 4, 4, 4]), labels=LABELS)


def test_a_file_that_is_no_onnx_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"no network at all")
    with pytest.raises(SourceError, match=r"net\.onnx"):
        export_to(tmp_path, "onnx:net.onnx", labels=LABELS)


def test_a_missing_file_is_named_with_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="by carrier pigeon"):
        export_to(tmp_path, "onnx:net.onnx", labels=LABELS, origin="by carrier pigeon")


def test_foreign_operators_are_refused(tmp_path: Path) -> None:
    model = conv_onnx([-1, 4 * PLACES])
    model.graph.node[1].domain = "com.example"
    model.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    with pytest.raises(ExportError, match=r"com\.example"):
        adopt(tmp_path, model, labels=LABELS)


def test_maps_are_enlarged_and_every_pixel_gets_its_class(tmp_path: Path) -> None:
    model = conv_onnx([-1, 4, 4, 4])
    done = adopt(tmp_path, model, task="segment", labels=LABELS, segment={"background_id": 0})
    frames = some_frames(2, SIDE)

    found = outputs_of(done.path, frames)

    assert list(found) == list(SegmentHead.outputs)
    assert found["mask"].dtype == found["confidence"].dtype == np.uint8
    assert found["mask"].shape == (2, SIDE, SIDE)
    maps = source_outputs(model, pixels_of(frames))
    center = np.s_[:, 3::8, 3::8]  # beside the middle of a cell the cell's own class is nearest
    agree = (found["mask"][center] == maps.argmax(1)).mean()
    assert agree > 0.7
    assert done.card.background_id == 0


def test_one_map_has_two_classes(tmp_path: Path) -> None:
    model = conv_onnx([-1, 1, 4, 4], activation="Sigmoid")
    done = adopt(
        tmp_path,
        model,
        task="segment",
        labels=["background", "object"],
        segment={"activation": "none", "background_id": 0},
    )
    found = outputs_of(done.path, some_frames(2, SIDE))
    assert set(np.unique(found["mask"])) <= {0, 1}
    assert found["confidence"].min() >= 127


def boxes_and_scores(columns: int, *, sum_to_one: bool = False) -> onnx.ModelProto:
    """A detector of one box a cell: boxes (N, 16, 4) as cxcywh, and scores (N, 16, columns)."""
    model = conv_onnx([-1, PLACES, 4 + columns], activation="Sigmoid")
    for name, first, last in (("boxes", 0, 4), ("scores", 4, 4 + columns)):
        bounds = [np.array([value]) for value in (first, last, 2)]
        names = [f"{name}_{index}" for index in range(3)]
        model.graph.initializer.extend(
            numpy_helper.from_array(value, bound)
            for value, bound in zip(bounds, names, strict=True)
        )
        model.graph.node.append(onnx.helper.make_node("Slice", ["raw", *names], [name]))
    if sum_to_one:
        model.graph.node[-1].output[0] = "independent"
        model.graph.node.append(
            onnx.helper.make_node("Softmax", ["independent"], ["scores"], axis=2)
        )
    del model.graph.output[:]
    for name in ("boxes", "scores"):
        model.graph.output.append(
            onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["n", "a", "k"])
        )
    return model


def test_the_best_pairs_of_box_and_class_come_sorted(tmp_path: Path) -> None:
    model = boxes_and_scores(3)
    done = adopt(
        tmp_path,
        model,
        task="detect",
        labels=["", *LABELS[:3]],
        detect={"box_format": "cxcywh", "class_offset": 1},
    )
    frames = some_frames(2, SIDE)

    found = outputs_of(done.path, frames)

    session = onnxruntime.InferenceSession(model.SerializeToString())
    boxes, scores = session.run(None, {"pixels": pixels_of(frames)})
    flat = scores.reshape(2, -1)
    best = np.argsort(-flat, axis=1)
    np.testing.assert_allclose(found["scores"], np.take_along_axis(flat, best, 1), atol=1e-6)
    np.testing.assert_array_equal(found["classes"], best % 3 + 1)
    x, y, w, h = np.take_along_axis(boxes, best[..., None] // 3, 1).transpose(2, 0, 1)
    corners = np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], -1)
    np.testing.assert_allclose(found["boxes"], corners, atol=1e-6)
    assert found["classes"].dtype == np.int32


def test_a_background_column_is_never_a_candidate(tmp_path: Path) -> None:
    meaning = {"background": "first", "score_activation": "none"}
    model = boxes_and_scores(4, sum_to_one=True)
    done = adopt(tmp_path, model, task="detect", labels=LABELS, detect=meaning)
    assert outputs_of(done.path, some_frames(4, SIDE))["classes"].min() == 1


@pytest.mark.parametrize(
    ("background", "kept", "classes"),
    [
        ("first", ("", "cat", "dog", "bird"), {1, 2, 3}),
        ("last", ("cat", "dog", "bird", ""), {0, 1, 2}),
    ],
)
def test_the_background_needs_no_label_at_either_end(
    background: str, kept: tuple[str, ...], classes: set[int], tmp_path: Path
) -> None:
    meaning = {"background": background, "score_activation": "none"}
    model = boxes_and_scores(4, sum_to_one=True)

    done = adopt(tmp_path, model, task="detect", labels=["cat", "dog", "bird"], detect=meaning)

    assert done.card.labels == kept
    assert set(outputs_of(done.path, some_frames(4, SIDE))["classes"].ravel()) == classes
    with pytest.raises(
        RecipeError, match=f"the {background} is background, whose label may be left out"
    ):
        adopt(tmp_path, model, task="detect", labels=["cat", "dog"], detect=meaning)
    with pytest.raises(RecipeError, match="3 are given, the network has 4 classes"):
        adopt(tmp_path, model, task="detect", labels=["cat", "dog", "background"], detect=meaning)


@pytest.mark.parametrize("meaning", [{"background": "first"}, {"class_offset": 1}])
def test_the_best_class_of_a_box_is_proved_where_no_box_has_the_first_id(
    tmp_path: Path, meaning: dict[str, Any]
) -> None:
    labels = ["background", "cat", "dog", "bird"]
    model = boxes_and_scores(4 if "background" in meaning else 3, sum_to_one=True)
    stated = {"background": "none", **meaning, "one_class_a_box": True}

    done = adopt(tmp_path, model, task="detect", labels=labels, detect=stated)

    assert outputs_of(done.path, some_frames(4, SIDE))["classes"].min() == 1


def test_labels_say_whether_a_column_is_the_background(tmp_path: Path) -> None:
    model = boxes_and_scores(4, sum_to_one=True)
    classes = ["cat", "dog", "bird", "fish"]
    (tmp_path / "classes").mkdir()

    done = adopt(tmp_path / "classes", model, task="detect", labels=classes)

    assert "background" in done.card.boxes.assumed
    assert any(
        "no class is the background" in one and "--background none" in one for one in done.hints
    )
    assert set(outputs_of(done.path, some_frames(4, SIDE))["classes"].ravel()) == {0, 1, 2, 3}

    done = adopt(tmp_path, model, task="detect", labels=["background", *classes[1:]])

    assert "background" not in done.card.boxes.assumed
    assert any("--background first" in one for one in done.hints)
    assert not any("is believed" in one for one in done.hints)
    assert outputs_of(done.path, some_frames(4, SIDE))["classes"].min() == 1


@pytest.mark.parametrize(("decoder", "shape"), [("yolov5", [-1, 16, 9]), ("yolov8", [-1, 8, 16])])
def test_ultralytics_heads_are_decoded(tmp_path: Path, decoder: str, shape: list[int]) -> None:
    model = conv_onnx(shape, activation="Sigmoid")
    meaning = {"decoder": decoder, "box_unit": "frame"}
    done = adopt(tmp_path, model, task="detect", labels=LABELS, detect=meaning)
    frames = some_frames(2, SIDE)

    found = outputs_of(done.path, frames)

    raw = source_outputs(model, pixels_of(frames))
    by_class = raw[..., 4:5] * raw[..., 5:] if decoder == "yolov5" else raw[:, 4:].swapaxes(1, 2)
    scores = by_class.max(2)
    np.testing.assert_allclose(found["scores"], -np.sort(-scores, axis=1), atol=1e-6)
    rows = raw[..., :4] if decoder == "yolov5" else raw[:, :4].swapaxes(1, 2)
    best = np.argsort(-scores, axis=1)[..., None]
    x, y, w, h = np.take_along_axis(rows, best, 1).transpose(2, 0, 1)
    corners = np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], -1)
    np.testing.assert_allclose(found["boxes"], corners, atol=1e-6)
    assert found["classes"].max() < 4


def test_a_decoder_that_does_not_fit_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"\(N, A, 6\).*\(1, 16, 9\)"):
        adopt(
            tmp_path,
            conv_onnx([-1, 16, 9]),
            task="detect",
            labels=LABELS,
            detect={"decoder": "end2end"},
        )


def test_an_input_that_is_no_image_is_refused(tmp_path: Path) -> None:
    model = conv_onnx([-1, 4 * PLACES])
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    with pytest.raises((SourceError, GraphError)):
        adopt(tmp_path, model, labels=LABELS)
