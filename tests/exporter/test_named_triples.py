"""Scores and classes of a detector are told apart by names that say both, and beside a count of what was found."""

from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
from onnx import helper

from exporter.encoding import as_png
from exporter.errors import RecipeError
from tests.exporter.exporting import export_to, some_frames
from tests.exporter.found import (
    BOXES,
    CELLS,
    KINDS,
    LABELS,
    SCORES,
    SIDE,
    best_of,
    boxes_of,
    detector,
    scores_of,
)
from tests.live import serve


def named(scores: str, classes: str) -> onnx.ModelProto:
    found, kinds = best_of(CELLS)
    return detector({"boxes": boxes_of(CELLS), scores: found, classes: kinds})


def counted() -> onnx.ModelProto:
    """Return a graph that gives as many detections as it finds, and their number, as TensorFlow's networks do."""
    scores, kinds = best_of(CELLS)
    values = {"b": boxes_of(CELLS, "yxyx"), "s": scores, "c": kinds}
    names = ["detection_boxes", "detection_scores", "detection_classes"]
    after = [
        helper.make_node("Greater", ["s", "least"], ["clear"]),
        helper.make_node("Reshape", ["clear", "list"], ["listed"]),
        helper.make_node("NonZero", ["listed"], ["where"]),
        helper.make_node("Reshape", ["where", "list"], ["kept"]),
        *(
            helper.make_node("Gather", [one, "kept"], [name], axis=1)
            for one, name in zip(values, names, strict=True)
        ),
        helper.make_node("Shape", ["kept"], ["size"]),
        helper.make_node("Cast", ["size"], ["num_detections"], to=onnx.TensorProto.FLOAT),
    ]
    constants = {"least": np.array(0.01, np.float32), "list": np.array([-1])}
    names = [*names, "num_detections"]
    return detector(values, batch=1, after=after, names=names, constants=constants)


@pytest.mark.parametrize(
    "model",
    [
        named("class_scores", "class_ids"),
        named("cls_conf", "cls_pred"),
        named("label_prob", "label"),
        counted(),
    ],
    ids=["class_scores", "cls_conf", "label_prob", "counted"],
)
def test_names_tell_scores_from_classes(tmp_path: Path, model: onnx.ModelProto) -> None:
    (tmp_path / "net").mkdir()
    onnx.save(model, tmp_path / "net" / "net.onnx")
    export_to(tmp_path / "net", "onnx:net.onnx", task="detect", name="net", labels=LABELS)

    with serve(models=tmp_path) as live:
        body = as_png(some_frames(1, SIDE)[0])
        answer = httpx.post(f"{live.url}/v1/detect", content=body, timeout=60).json()

    found = answer["results"][0]["detections"]
    assert [one["class_id"] for one in found] == KINDS.tolist()
    np.testing.assert_allclose([one["score"] for one in found], SCORES, atol=1e-4)
    sides = ("x_min", "y_min", "x_max", "y_max")
    boxes = [[one["box"][side] for side in sides] for one in found]
    np.testing.assert_allclose(boxes, BOXES * SIDE, atol=0.1)


def test_scores_that_are_taken_for_the_ids_of_two_classes_are_refused(tmp_path: Path) -> None:
    """Ids of 0 and 1 lie where scores do: every object had the score 1 and the first class, certified."""
    found, kinds = best_of(CELLS)
    values = {"boxes": boxes_of(CELLS), "first": found, "second": np.minimum(kinds, 1)}
    onnx.save(detector(values), tmp_path / "net.onnx")

    def export(*outputs: str) -> None:
        export_to(
            tmp_path,
            "onnx:net.onnx",
            task="detect",
            labels=LABELS[:2],
            outputs=list(outputs),
            detect={"decoder": "triple"},
        )

    with pytest.raises(
        RecipeError, match=r"the class id must be, real images give .*BOXES,SCORES,CLASSES"
    ):
        export("boxes", "second", "first")
    export("boxes", "first", "second")


def test_boxes_in_columns_beside_scores_are_refused_with_the_next_step(tmp_path: Path) -> None:
    boxes, scores = (one.transpose(0, 2, 1) for one in (boxes_of(CELLS), scores_of(CELLS)))
    onnx.save(detector({"boxes": boxes, "scores": scores}), tmp_path / "net.onnx")

    with pytest.raises(
        RecipeError, match=r"boxes \(1, 4, 84\) has its boxes in columns.*transposed"
    ):
        export_to(tmp_path, "onnx:net.onnx", task="detect", labels=LABELS)
