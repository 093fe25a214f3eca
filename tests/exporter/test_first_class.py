"""Detectors whose class ids begin at 1 get the right labels, or are asked about; to the words of a server's answer."""

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest

from exporter.encoding import as_png
from exporter.errors import RecipeError
from exporter.outcome import Exported
from tests.exporter.exporting import export_to, outputs_of, some_frames
from tests.exporter.found import CLASSES, KINDS, LABELS, SCORES, SIDE, boxes_of, detector
from tests.live import serve

NAMES = [LABELS[kind] for kind in KINDS]
"""The words of the three objects, the best first: the third, the fifth and the first class."""


def counted_from_1(*, last: bool = True) -> onnx.ModelProto:
    """Return TensorFlow's form: ids from 1, and rows of zeros that fill up the list.

    Without `last` no object is of the last class, so that no id is larger than the number of labels allows.
    """
    scores, ids = np.zeros((1, 30)), np.zeros((1, 30))
    scores[0, [1, 3, 5]] = SCORES
    kinds = KINDS if last else np.where(KINDS == CLASSES - 1, 0, KINDS)
    ids[0, [1, 3, 5]] = kinds + 1
    return detector(
        {
            "detection_boxes": boxes_of(30, "yxyx"),
            "detection_classes": ids,
            "detection_scores": scores,
        }
    )


def adopt(folder: Path, model: onnx.ModelProto, labels: list[str], **detect: Any) -> Exported:
    onnx.save(model, folder / "net.onnx")
    return export_to(folder, "onnx:net.onnx", task="detect", labels=labels, detect=detect)


def test_without_the_last_class_on_an_image_the_first_id_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"never 0.*--class-offset 0.*--class-offset -1"):
        adopt(tmp_path, counted_from_1(last=False), LABELS)
    with pytest.raises(RecipeError, match=r"detects class 5 .*--class-offset -1"):
        adopt(tmp_path, counted_from_1(), LABELS)
    assert not (tmp_path / "1").exists()


def test_an_offset_of_minus_one_gives_each_object_its_label(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    done = adopt(folder, counted_from_1(), LABELS, class_offset=-1)

    found = outputs_of(done.path, some_frames(1, SIDE))
    assert found["classes"][0][:3].tolist() == KINDS.tolist()
    assert found["classes"].min() == 0
    image = as_png(np.full((SIDE, SIDE, 3), 90, np.uint8))
    with serve(models=tmp_path) as live:
        answer = httpx.post(f"{live.url}/v1/detect", content=image, timeout=30).json()
    assert [one["label"] for one in answer["results"][0]["detections"]] == NAMES


def test_a_label_for_the_background_keeps_the_ids(tmp_path: Path) -> None:
    done = adopt(tmp_path, counted_from_1(), ["background", *LABELS])
    found = outputs_of(done.path, some_frames(1, SIDE))

    assert [done.card.labels[kind] for kind in found["classes"][0][:3]] == NAMES


def test_an_offset_of_one_is_for_a_background_that_only_the_labels_have(tmp_path: Path) -> None:
    scores, ids = np.zeros((1, 30)), np.zeros((1, 30))
    scores[0, [1, 3, 5]], ids[0, [1, 3, 5]] = SCORES, KINDS
    model = detector({"boxes": boxes_of(30), "scores": scores, "classes": ids})

    with pytest.raises(RecipeError, match=r"class 0 .*'background', is that of no class"):
        adopt(tmp_path, model, ["background", *LABELS])

    done = adopt(tmp_path, model, ["background", *LABELS], class_offset=1)

    found = outputs_of(done.path, some_frames(1, SIDE))
    assert [done.card.labels[kind] for kind in found["classes"][0][:3]] == NAMES


def test_a_background_column_may_have_no_label(tmp_path: Path) -> None:
    """Scores (N, A, 1 + K), of which the first is the background, and K labels."""
    columns = np.full((1, 30, 1 + len(LABELS)), 0.001)
    columns[0, :, 0] = 0.99
    columns[0, [1, 3, 5], KINDS + 1] = SCORES
    model = detector({"boxes": boxes_of(30), "scores": columns})
    with pytest.raises(RecipeError, match=r"5 are given, the network has 6 .*--background first"):
        adopt(tmp_path, model, LABELS)

    done = adopt(tmp_path, model, LABELS, background="first", class_offset=-1)

    found = outputs_of(done.path, some_frames(1, SIDE))
    assert [done.card.labels[kind] for kind in found["classes"][0][:3]] == NAMES
    np.testing.assert_allclose(found["scores"][0][:3], SCORES, atol=1e-6)
