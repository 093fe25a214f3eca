"""Exports for tests: few images, small batches, no progress on the terminal."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from exporter.export import export
from exporter.heads.classify import ClassifyHead
from exporter.heads.detect import DetectHead
from exporter.heads.embed import EmbedHead
from exporter.heads.segment import SegmentHead
from exporter.heads.temporal import TemporalHead
from exporter.outcome import Exported
from exporter.progress import SilentProgress
from exporter.recipe import make_recipe

OUTPUTS: dict[str, tuple[str, ...]] = {
    head.task: head.outputs
    for head in (ClassifyHead, SegmentHead, DetectHead, EmbedHead, TemporalHead)
}
"""The names of a servable's outputs for each task, as the exporter's heads declare them."""

QUICK = {"limit": 3, "largest": 3, "agreement": 0.0}


def export_to(folder: Path, source: str, **fields: Any) -> Exported:
    """Export by a recipe with these fields in this folder."""
    content = {"task": "classify", "name": "small", "proof": QUICK, "folder": folder, **fields}
    recipe = make_recipe({"source": source, **content})
    return export(recipe, folder / "1" / "model.onnx", SilentProgress())


def outputs_of(path: Path, frames: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """Return a servable's outputs for frames."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"image": frames}), strict=True))


def some_frames(count: int, side: int) -> NDArray[np.uint8]:
    """Return frames of noise, uint8 (N, H, W, 3)."""
    rng = np.random.default_rng(3)
    return rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
