"""Lists that are filled up with −1, as KerasCV's and TensorRT's are, give what they hold, and nothing more."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from exporter.errors import RecipeError
from exporter.heads.boxes import DECODERS
from exporter.heads.classify import ClassifyHead
from exporter.heads.filler import settle_filler
from tests.exporter.exporting import export_to, outputs_of, some_frames
from tests.exporter.found import BOXES, KINDS, LABELS, SCORES, SIDE, detector
from tests.exporter.heads.judged import detect_head

Values = NDArray[np.float64]
PLACES = 20


def filled(*columns: Values, by: float = -1) -> Values:
    """Return a list (1, 20, C) of the three objects; the places behind these hold one number."""
    rows = np.full((1, PLACES, sum(one.shape[1] for one in columns)), by, np.float64)
    rows[0, : len(KINDS)] = np.concatenate(columns, axis=1)
    return rows


PIXELS, IMAGES = BOXES * SIDE, np.zeros((3, 1))
SCORE, KIND = SCORES[:, None], KINDS[:, None].astype(np.float64)
LISTS = {
    "triple": {
        "boxes": filled(PIXELS),
        "scores": filled(SCORE)[..., 0],
        "labels": filled(KIND)[..., 0],
    },
    "end2end": {"out": filled(PIXELS, SCORE, KIND)},
    "mmdet": {"dets": filled(PIXELS, SCORE), "labels": filled(KIND)[..., 0]},
    "efficientdet": {"out": filled(IMAGES, PIXELS[:, [1, 0, 3, 2]], SCORE, KIND)},
    "yolov7": {"out": filled(IMAGES, PIXELS, KIND, SCORE)},
}


@pytest.mark.parametrize("decoder", LISTS)
def test_rows_of_minus_one_become_zeros(tmp_path: Path, decoder: str) -> None:
    onnx.save(detector(LISTS[decoder]), tmp_path / "net.onnx")
    done = export_to(tmp_path, "onnx:net.onnx", task="detect", labels=LABELS)
    found = outputs_of(done.path, some_frames(2, SIDE))
    for boxes, scores, classes in zip(
        found["boxes"], found["scores"], found["classes"], strict=True
    ):
        np.testing.assert_allclose(boxes[:3], BOXES, atol=1e-5)
        np.testing.assert_allclose(scores[:3], SCORES, atol=1e-6)
        assert classes[:3].tolist() == KINDS.tolist()
        assert not boxes[3:].any()
        assert not scores[3:].any()
        assert not classes[3:].any()


def test_a_score_of_minus_one_with_a_class_is_no_filler(tmp_path: Path) -> None:
    rows = filled(PIXELS, SCORE, KIND)
    rows[:, 3:, 5] = 2
    onnx.save(detector({"out": rows}), tmp_path / "net.onnx")
    with pytest.raises(RecipeError, match="not probabilities"):
        export_to(tmp_path, "onnx:net.onnx", task="detect", labels=LABELS)


def test_a_head_without_such_rows_stays() -> None:
    rows = filled(PIXELS, SCORE, KIND, by=0).astype(np.float32)
    head = detect_head("end2end", rows.shape)
    head = replace(head, decoder=DECODERS["end2end"])
    assert settle_filler(head, [[rows]]) is head
    other = ClassifyHead(3, multi_label=False)
    assert settle_filler(other, []) is other
