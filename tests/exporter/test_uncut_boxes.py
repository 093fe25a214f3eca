"""Objects at the edge of an image: their boxes are suppressed as the network gives them, and then cut to the image.

From the bytes of an image to the boxes that a server answers with, beside torchvision's suppression of the same boxes.
"""

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torchvision.ops import batched_nms, clip_boxes_to_image

from service.servable_file import read_card
from tests.exporter.exporting import export_to, outputs_of, some_frames
from tests.exporter.found import CLASSES, LABELS, SIDE, detector
from tests.images import plain
from tests.live import serve

BOXES = np.array(
    [
        # Two objects whose boxes are the same inside of the frame.
        [-0.8, 0.2, 0.4, 0.6],
        [-0.05, 0.2, 0.4, 0.6],
        [0.6, 0.1, 1.8, 0.5],
        [0.6, 0.1, 1.02, 0.5],
        # One object whose boxes differ inside of the frame.
        [0.45, 0.6, 0.6, 3.0],
        [0.45, 0.82, 0.6, 3.0],
        # Beside the frame, and inside of it.
        [1.2, 0.2, 1.5, 0.4],
        [0.4, 0.35, 0.6, 0.55],
    ]
)
SCORES = np.array([0.9, 0.8, 0.85, 0.75, 0.7, 0.65, 0.95, 0.6])
KINDS = np.array([0, 0, 1, 1, 2, 2, 3, 4])
OF_FORMAT = {
    "xyxy": lambda left, top, right, bottom: (left, top, right, bottom),
    "yxyx": lambda left, top, right, bottom: (top, left, bottom, right),
    "xywh": lambda left, top, right, bottom: (left, top, right - left, bottom - top),
    "cxcywh": lambda left, top, right, bottom: (
        (left + right) / 2,
        (top + bottom) / 2,
        right - left,
        bottom - top,
    ),
}
SIZES = {"portrait": (150, 300), "landscape": (300, 150), "square": (90, 90)}


def network(form: str, unit: str) -> onnx.ModelProto:
    numbers = np.stack(OF_FORMAT[form](*BOXES.T), axis=-1) * (SIDE if unit == "pixel" else 1)
    scores = np.full((1, len(BOXES), CLASSES), 0.001, np.float32)
    scores[0, np.arange(len(BOXES)), KINDS] = SCORES
    return detector({"boxes": numbers[None], "scores": scores})


def adopt(folder: Path, form: str, unit: str, resize: str) -> Path:
    source = folder / "raw.onnx"
    onnx.save(network(form, unit), source)
    detect: dict[str, Any] = {
        "decoder": "pair",
        "box_format": form,
        "box_unit": unit,
        "score_activation": "none",
        "background": "none",
        "nms_free": False,
    }
    done = export_to(
        folder / "edges",
        f"onnx:{source}",
        task="detect",
        name="edges",
        labels=LABELS,
        input={"height": SIDE, "width": SIDE, "resize": resize},
        detect=detect,
    )
    assert done.card.certificate.agreement == 1
    return folder / "edges" / "1" / "model.onnx"


def by_hand(width: int, height: int, resize: str) -> list[tuple[int, float, NDArray[np.float64]]]:
    """Return class, score and box in pixels of each object, the best first."""
    boxes = torch.from_numpy(BOXES)
    kept = batched_nms(boxes, torch.from_numpy(SCORES), torch.from_numpy(KINDS), 0.5)
    assert len(kept) == 7
    scale = torch.tensor([width, height]).double()
    offset = torch.zeros(2).double()
    if resize == "letterbox":
        offset = (scale - scale.max()) / 2
        scale = scale.max().repeat(2)
    carried = clip_boxes_to_image(
        boxes[kept] * scale.repeat(2) + offset.repeat(2), (height, width)
    ).numpy()
    return [
        (int(KINDS[one]), float(SCORES[one]), box)
        for one, box in zip(kept, carried, strict=True)
        if (box[2:] > box[:2]).all()
    ]


@pytest.mark.parametrize(
    ("form", "unit", "resize"),
    [
        ("xyxy", "frame", "letterbox"),
        ("xyxy", "pixel", "stretch"),
        ("xywh", "pixel", "letterbox"),
        ("yxyx", "frame", "stretch"),
        ("cxcywh", "pixel", "letterbox"),
    ],
)
def test_objects_at_the_edge_are_those_that_suppression_of_whole_boxes_leaves(
    form: str, unit: str, resize: str, tmp_path: Path
) -> None:
    path = adopt(tmp_path, form, unit, resize)
    assert not read_card(path).nms_free
    raw = outputs_of(path, some_frames(1, SIDE))["boxes"][0]
    assert raw.min() == pytest.approx(-0.8, abs=1e-6)
    assert raw.max() == pytest.approx(3, abs=1e-6)
    with serve(models=tmp_path) as live:
        for width, height in SIZES.values():
            url = f"{live.url}/v1/detect?model=edges&score_threshold=0.3"
            answer = httpx.post(url, content=plain("teal", (width, height)), timeout=60).json()
            found = answer["results"][0]["detections"]
            expected = by_hand(width, height, resize)
            assert len(expected) == 6
            assert [one["class_id"] for one in found] == [kind for kind, _, _ in expected]
            assert [one["score"] for one in found] == pytest.approx([one for _, one, _ in expected])
            sides = ("x_min", "y_min", "x_max", "y_max")
            boxes = [[one["box"][side] for side in sides] for one in found]
            np.testing.assert_allclose(boxes, [box for _, _, box in expected], atol=0.02)
