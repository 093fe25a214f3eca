"""A real detector with its own suppression, proved on two photographs: no wrong form of its boxes is believed.

It finds three objects in them. From the bytes of a photograph to the boxes that a server answers with.
"""

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from exporter.encoding import as_png
from exporter.errors import RecipeError
from exporter.outcome import Exported
from tests.exporter import ssdlite
from tests.exporter.exporting import export_to
from tests.exporter.found import detector as found_detector
from tests.exporter.heads.dense import FORMS, as_form
from tests.exporter.ssdlite import CORNERS, LABELS, SSDLITE
from tests.exporter.test_models import photograph
from tests.live import serve

SIDE = 300
FRAME = (1, 1)
STATED = {"nms_free": True, "class_offset": 0}


def turned(form: str, factor: float = SIDE) -> onnx.ModelProto:
    """Return SSDLite with boxes in another form, in shares of the frame times a factor."""
    turn = as_form(CORNERS.astype(np.float64), form, FRAME) * factor
    return ssdlite.suppressed(turn.astype(np.float32))


def adopt(folder: Path, model: onnx.ModelProto, form: str, **proof: Any) -> Exported:
    onnx.save(model, folder / "net.onnx")
    return export_to(
        folder,
        "onnx:net.onnx",
        task="detect",
        name="rows",
        labels=LABELS,
        detect={"decoder": "end2end", "box_format": form, "box_unit": "pixel", **STATED},
        proof={"limit": 2, "largest": 1, **proof},
    )


@pytest.mark.parametrize(
    ("form", "stated"),
    [
        ("xyxy", "yxyx"),
        ("xyxy", "xywh"),
        ("yxyx", "xyxy"),
        ("xywh", "cxcywh"),
        ("xywh", "yxhw"),
        ("cxcywh", "xywh"),
        ("cxcywh", "xyxy"),
        ("cxcywh", "cycxhw"),
        ("cycxhw", "cxcywh"),
    ],
)
def test_a_wrong_form_is_refused(tmp_path: Path, form: str, stated: str) -> None:
    with pytest.raises(RecipeError, match="--box-format"):
        adopt(tmp_path, turned(form), stated)


def test_pixels_of_another_size_of_image_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"its numbers were about 2(\.\d)? times those of pixels"):
        adopt(tmp_path, turned("xyxy", 640), "xyxy", limit=6)


@pytest.mark.parametrize("form", FORMS)
def test_the_right_form_is_served_as_the_corners_are(tmp_path: Path, form: str) -> None:
    (tmp_path / "rows").mkdir()
    adopt(tmp_path / "rows", turned(form), form)
    (tmp_path / SSDLITE.name).symlink_to(SSDLITE)

    def found(url: str, model: str) -> NDArray[np.float64]:
        wanted = f"{url}/v1/detect?model={model}&score_threshold=0.5&nms=none"
        answer = httpx.post(wanted, content=photograph("chelsea.png"), timeout=60).json()
        boxes = [one["box"] for one in answer["results"][0]["detections"]]
        sides = ("x_min", "y_min", "x_max", "y_max")
        return np.array([[box[side] for side in sides] for box in boxes])

    with serve(models=tmp_path) as live:
        mine, right = (found(live.url, name) for name in ("rows", SSDLITE.name))
    assert len(mine)
    # The first of the boxes before suppression is the best one after it.
    np.testing.assert_allclose(mine[0], right[0], atol=0.5)


def test_a_form_that_nothing_can_test_is_believed_and_said(tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    for level in range(3):
        colors = np.full((200, 200, 3), 40 + 50 * level, np.uint8)
        (folder / f"{level}.png").write_bytes(as_png(colors))
    done = adopt(tmp_path, turned("xyxy"), "cxcywh", images=folder, limit=3)
    said = next(one for one in done.hints if "hardly tested" in one)
    assert "--box-format cxcywh is believed" in said
    assert "on 3 images the network finds 0 clear objects" in said
    assert "--images" in said


def test_boxes_that_nothing_can_show_are_assumed_to_be_the_usual_ones(tmp_path: Path) -> None:
    """Rows of EfficientDet, image, y first, score and class, that are the same for every image."""
    row = np.array([[[0, 30, 60, 120, 200, 0.9, 3], [0, 130, 60, 220, 150, 0.8, 1]]], np.float32)
    rows = np.concatenate([row, np.zeros((1, 98, 7), np.float32)], axis=1)
    onnx.save(found_detector({"detections": rows}), tmp_path / "net.onnx")
    fields: dict[str, Any] = {"task": "detect", "labels": LABELS}
    detect = {"decoder": "efficientdet", **STATED}
    done = export_to(tmp_path, "onnx:net.onnx", detect=detect, **fields)
    assert done.card.boxes is not None
    assert (done.card.boxes.format, done.card.boxes.assumed) == ("yxyx", ("format",))
    assert any("format yxyx is assumed" in one for one in done.hints)
    detect |= {"box_format": "xyxy", "box_unit": "pixel"}
    done = export_to(tmp_path, "onnx:net.onnx", detect=detect, **fields)
    assert any("--box-format xyxy is believed, but hardly tested" in one for one in done.hints)
