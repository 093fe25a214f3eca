"""A DETR with PyTorch's own `nn.Transformer`: asked about what it leaves open, and served as it answers."""

from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from exporter.encoding import as_png
from exporter.errors import RecipeError
from tests.exporter.exporting import export_to
from tests.images import photograph
from tests.live import serve

pytestmark = [pytest.mark.timeout(400), pytest.mark.filterwarnings("ignore")]

SIDE, QUERIES, CLASSES, WIDTH = 64, 12, 3, 32
LABELS = ["cat", "dog", "bird", "no object"]


class Detr(nn.Module):
    """DETR (arXiv:2005.12872) as its authors' fifty lines have it, with learned places."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 16, 8, 8), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, WIDTH, 2, 2)
        )
        self.transformer = nn.Transformer(WIDTH, 4, 1, 1, 64, batch_first=True)
        self.rows = nn.Parameter(torch.randn(4, WIDTH // 2))
        self.columns = nn.Parameter(torch.randn(4, WIDTH // 2))
        self.queries = nn.Parameter(3 * torch.randn(QUERIES, WIDTH))
        self.classes = nn.Linear(WIDTH, CLASSES + 1)
        self.boxes = nn.Linear(WIDTH, 4)

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        found = self.backbone(pixels)
        height, width = found.shape[-2:]
        places = torch.cat(
            [
                self.columns[:width].unsqueeze(0).repeat(height, 1, 1),
                self.rows[:height].unsqueeze(1).repeat(1, width, 1),
            ],
            dim=-1,
        ).flatten(0, 1)
        tokens = places + found.flatten(2).transpose(1, 2)
        queries = self.queries.unsqueeze(0).repeat(len(pixels), 1, 1)
        read = self.transformer(tokens, queries)
        return {"pred_logits": 3 * self.classes(read), "pred_boxes": self.boxes(read).sigmoid()}


def export_detr(folder: Path, **detect: Any) -> Any:
    return export_to(
        folder,
        "python:tests.exporter.sources.test_handmade_detr:Detr",
        task="detect",
        weights="none",
        labels=LABELS,
        input={"height": SIDE, "width": SIDE, "resize": "stretch"},
        detect=detect,
    )


def test_its_logits_are_asked_about_and_a_label_says_its_background(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="--activation sigmoid or softmax"):
        export_detr(tmp_path)
    done = export_detr(tmp_path, score_activation="softmax")
    assert any(
        "the last column of the scores is read so, --background last" in one for one in done.hints
    )


def test_a_server_answers_with_its_queries(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    done = export_detr(folder, score_activation="softmax", background="last", one_class_a_box=True)
    body = as_png(np.asarray(_frame()))
    with serve(models=tmp_path) as live:
        url = f"{live.url}/v1/detect?score_threshold=0&max_detections=300"
        found = httpx.post(url, content=body, timeout=60).json()["results"][0]["detections"]

    # Random weights are made after this seed (`--weights none`), and this network sets its own.
    module = Detr().eval()
    with torch.inference_mode():
        values = torch.from_numpy(_frame().astype(np.float32) / 255).permute(2, 0, 1)[None]
        raw = module(values)
    shares = raw["pred_logits"].softmax(dim=-1)[0, :, :-1]
    scores, kinds = (one.numpy() for one in shares.max(dim=1))
    x, y, w, h = raw["pred_boxes"][0].numpy().T
    boxes = np.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], axis=1).clip(0, 1) * SIDE
    expected = np.column_stack([kinds, scores, boxes])
    sides = ("x_min", "y_min", "x_max", "y_max")
    served = np.array(
        [[one["class_id"], one["score"], *(one["box"][side] for side in sides)] for one in found]
    )
    assert done.card.nms_free
    assert len(served) == QUERIES
    apart = np.abs(served[:, None] - expected[None]).max(axis=2)
    assert apart.min(axis=1).max() < 0.01
    assert apart.min(axis=0).max() < 0.01


def _frame() -> Any:
    """Return a photograph at the network's size, uint8 (H, W, 3)."""
    return np.asarray(
        Image.open(BytesIO(photograph("chelsea"))).convert("RGB").resize((SIDE, SIDE))
    )
