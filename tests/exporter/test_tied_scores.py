"""Boxes of the same score: the first one of the network comes first, before suppression and at the cut to 100.

Saturated scores are all 1.0, so that which boxes suppression keeps, and which of them are the 100 that are returned,
depends on the order of ties alone. It is that of a stable sort, as in torchvision's `nms`. Sigmoids of large logits are
no such ties: PyTorch's and ONNX Runtime's differ by 1e-7, which is enough to change the order, or the best class.
"""

from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torchvision.ops import nms

from exporter.encoding import as_png
from tests.exporter.exporting import export_to
from tests.exporter.found import CLASSES, LABELS, SIDE, detector
from tests.live import serve

ANCHORS = 144
LEAST, OVERLAP, MOST = 0.05, 0.5, 100


def head(seed: int, largest: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return clamped boxes, xyxy in pixels (A, 4), and saturated scores (A, K)."""
    rng = np.random.default_rng(seed)
    middle = rng.uniform(0, SIDE, (ANCHORS, 2))
    half = rng.uniform(2, largest, (ANCHORS, 2))
    corners = np.concatenate([middle - half, middle + half], axis=1).clip(0, SIDE)
    scores = np.clip(rng.normal(0.7, 0.8, (ANCHORS, CLASSES)), 0.001, 1)
    return corners.astype(np.float32), scores.astype(np.float32)


def expected(corners: NDArray[np.float32], scores: NDArray[np.float32]) -> list[int]:
    """Return the anchors that torchvision's `nms` keeps of each class, the best 100, ties in the network's order."""
    best, kinds = scores.max(axis=1), scores.argmax(axis=1)
    kept: list[int] = []
    for kind in range(CLASSES):
        own = np.flatnonzero((kinds == kind) & (best >= LEAST))
        stays = nms(torch.from_numpy(corners[own]), torch.from_numpy(best[own]), OVERLAP)
        kept += own[stays.numpy()].tolist()
    return sorted(kept, key=lambda anchor: (-best[anchor], anchor))[:MOST]


@pytest.mark.parametrize(("seed", "largest"), [(1, 5.0), (2, 7.0), (3, 20.0)])
def test_the_service_keeps_what_a_stable_suppression_keeps(
    tmp_path: Path, seed: int, largest: float
) -> None:
    corners, scores = head(seed, largest)
    first, second = corners[:, :2], corners[:, 2:]
    rows = np.concatenate([(first + second) / 2, second - first, scores], axis=1)
    folder = tmp_path / "small"
    folder.mkdir()
    onnx.save(detector({"output0": rows.T[None]}), folder / "net.onnx")
    form = {"decoder": "yolov8", "box_format": "cxcywh", "box_unit": "pixel"}
    export_to(folder, "onnx:net.onnx", task="detect", labels=LABELS, detect=form)
    query = f"score_threshold={LEAST}&iou_threshold={OVERLAP}&max_detections={MOST}"
    image = as_png(np.full((SIDE, SIDE, 3), 90, np.uint8))

    with serve(models=tmp_path) as live:
        answer = httpx.post(f"{live.url}/v1/detect?{query}", content=image, timeout=30).json()

    found = answer["results"][0]["detections"]
    anchors = expected(corners, scores)
    assert [one["class_id"] for one in found] == scores.argmax(axis=1)[anchors].tolist()
    sides = ("x_min", "y_min", "x_max", "y_max")
    boxes = [[one["box"][side] for side in sides] for one in found]
    np.testing.assert_allclose(boxes, corners[anchors], atol=0.02)
    tied = scores.max(axis=1)[anchors] == 1
    assert tied.sum() > len(anchors) / 4
