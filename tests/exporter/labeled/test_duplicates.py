"""Labeled images show that a detector gives an object several boxes, where the images of the proof do not."""

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from exporter.encoding import as_png
from exporter.outcome import Exported
from tests.exporter.exporting import export_to
from tests.live import serve

pytestmark = [pytest.mark.timeout(400), pytest.mark.filterwarnings("ignore")]

SIDE, PART, OBJECT, ROWS = 64, 16, 24, 10


class EveryCell(nn.Module):
    """Rows of center, size and two scores: each gives the only bright square of an image, as cells around it do."""

    def __init__(self) -> None:
        super().__init__()
        self.smooth = nn.Conv2d(3, 1, 1, bias=False)
        nn.init.constant_(self.smooth.weight, 1 / 3)

    def forward(self, pixels: Tensor) -> Tensor:
        shifts = torch.linspace(-0.5, 0.5, ROWS, device=pixels.device)
        light = torch.sigmoid(40 * (self.smooth(pixels)[:, 0] - 0.75))
        whole = light.sum(dim=(1, 2)) + 1
        places = torch.arange(SIDE, device=pixels.device) + 0.5
        x = (light.sum(dim=1) * places).sum(dim=1) / whole
        y = (light.sum(dim=2) * places).sum(dim=1) / whole
        size = torch.sqrt(whole)
        box = torch.stack([x, y, size, size], dim=1)[:, None].repeat(1, ROWS, 1)
        box = (box + shifts[None, :, None]) / SIDE
        score = torch.sigmoid(whole / 10 - 10)[:, None] - 0.01 * shifts.abs()
        return torch.cat([box, torch.stack([score, 0.1 * score], dim=2).clamp(0, 1)], dim=2)


def frame(left: int, top: int) -> np.ndarray[Any, Any]:
    pixels = np.full((SIDE, SIDE, 3), 60, np.uint8)
    pixels[top : top + OBJECT, left : left + OBJECT] = 250
    return pixels


def labeled_set(folder: Path, count: int = 6) -> Path:
    (folder / "images").mkdir()
    images, found = [], []
    for index in range(count):
        left, top = 4 + 5 * index, 30 - 4 * index
        (folder / f"images/{index}.png").write_bytes(as_png(frame(left, top)))
        images.append({"id": index, "file_name": f"{index}.png", "width": SIDE, "height": SIDE})
        found.append({"image_id": index, "category_id": 1, "bbox": [left, top, OBJECT, OBJECT]})
    kinds = [{"id": at + 1, "name": name} for at, name in enumerate(("square", "circle"))]
    content = {"images": images, "categories": kinds, "annotations": found}
    (folder / "boxes.json").write_text(json.dumps(content))
    return folder / "boxes.json"


def adopt(folder: Path, proof: dict[str, Any], **detect: Any) -> Exported:
    """Export with images in the proof that show nothing."""
    (folder / "plain").mkdir(parents=True)
    for level in range(3):
        colors = np.full((SIDE, SIDE, 3), 30 * level, np.uint8)
        (folder / f"plain/{level}.png").write_bytes(as_png(colors))
    quick = {"limit": 3, "largest": 3, "agreement": 0.0, "images": "plain"}
    return export_to(
        folder,
        "python:tests.exporter.labeled.test_duplicates:EveryCell",
        task="detect",
        weights="none",
        labels=["square", "circle"],
        input={"height": SIDE, "width": SIDE, "resize": "stretch"},
        pixels={"mean": (0, 0, 0), "std": (1, 1, 1)},
        detect={"decoder": "detr", "box_format": "cxcywh", **detect},
        proof={**quick, **proof},
    )


def test_labeled_images_show_boxes_that_must_be_suppressed(tmp_path: Path) -> None:
    folder = tmp_path / "cells"
    folder.mkdir()
    done = adopt(folder, {"labeled": labeled_set(folder)})
    assert not done.card.nms_free
    assert any("must be suppressed" in one for one in done.hints)
    assert done.card.accuracy is not None
    assert done.card.accuracy.scores["map50"] == 1

    with serve(models=tmp_path) as live:
        answer = httpx.post(f"{live.url}/v1/detect", content=as_png(frame(20, 12)), timeout=60)
    (found,) = answer.json()["results"][0]["detections"]
    assert found["label"] == "square"
    assert found["box"]["x_min"] == pytest.approx(20, abs=1.5)


def test_without_them_it_is_assumed_and_can_be_stated(tmp_path: Path) -> None:
    done = adopt(tmp_path / "assumed", {})
    assert done.card.nms_free
    assert done.card.boxes is not None
    assert "nms_free" in done.card.boxes.assumed
    assert any("state --no-nms-free" in one for one in done.hints)

    stated = adopt(tmp_path / "stated", {}, nms_free=False)
    assert not stated.card.nms_free
    assert stated.card.boxes is not None
    assert stated.card.boxes.assumed == ()
