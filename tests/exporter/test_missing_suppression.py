"""A real detector's boxes before suppression, in a graph that seems to suppress, are suppressed by each request.

From the bytes of a photograph to the boxes that a server answers with.
"""

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch
from torchvision.ops import batched_nms

from exporter.encoding import as_png
from exporter.outcome import Exported
from service.imaging.decode import Limits
from service.imaging.resize import fit_encoded
from service.servable_file import read_card
from tests.exporter import ssdlite
from tests.exporter.exporting import outputs_of
from tests.exporter.ssdlite import SSDLITE
from tests.exporter.test_models import photograph
from tests.live import serve

SOURCE = SSDLITE / "1" / "model.onnx"
SCORE = 0.4
WIDTH, HEIGHT = 512, 512


def adopt(folder: Path, **detect: Any) -> Exported:
    """Export SSDLite's candidates. Its graph contains a NonMaxSuppression, for crowds alone."""
    return ssdlite.adopt(folder, ssdlite.stranger(), "raw", "boxes", **detect)


def by_hand(body: bytes) -> tuple[list[int], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return classes, boxes in pixels and scores, the best first, of torchvision's suppression."""
    frame, _ = fit_encoded(body, read_card(SOURCE).image_input, Limits())
    found = outputs_of(SOURCE, frame[None])
    boxes, scores, kinds = (torch.tensor(found[n][0]) for n in ("boxes", "scores", "classes"))
    clear = scores >= SCORE
    boxes, scores, kinds = boxes[clear], scores[clear], kinds[clear]
    kept = batched_nms(boxes, scores, kinds, 0.5)
    assert len(kept) < len(scores)
    sides = torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT])
    return kinds[kept].tolist(), (boxes[kept] * sides).numpy(), scores[kept].numpy()


def test_boxes_that_nothing_suppressed_are_suppressed_by_requests(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    done = adopt(tmp_path / "raw")
    assert not done.card.nms_free
    assert any("must be suppressed" in one for one in done.hints)

    body = photograph("astronaut.png")
    with serve(models=tmp_path) as live:
        url = f"{live.url}/v1/detect?score_threshold={SCORE}"
        found = httpx.post(url, content=body, timeout=60).json()["results"][0]["detections"]
    kinds, boxes, scores = by_hand(body)
    assert [one["class_id"] for one in found] == kinds
    sides = ("x_min", "y_min", "x_max", "y_max")
    np.testing.assert_allclose([[one["box"][s] for s in sides] for one in found], boxes, atol=0.1)
    np.testing.assert_allclose([one["score"] for one in found], scores, atol=1e-4)


def test_where_nothing_is_found_one_box_an_object_is_assumed_and_said(tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    for level in range(4):
        colors = np.full((200, 200, 3), 40 + 50 * level, np.uint8)
        (folder / f"{level}.png").write_bytes(as_png(colors))
    done = adopt(tmp_path, images=folder)
    assert done.card.nms_free
    assert done.card.boxes is not None
    assert "nms_free" in done.card.boxes.assumed
    said = next(one for one in done.hints if "that each object has one box" in one)
    assert "--images" in said
    assert "--box-format xyxy and --nms-free state them" in said


def test_a_statement_that_each_object_has_one_box_is_believed(tmp_path: Path) -> None:
    done = adopt(tmp_path, nms_free=True)
    assert done.card.nms_free
    assert not any("must be suppressed" in one for one in done.hints)
