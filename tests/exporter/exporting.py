"""How the exporter's tests ask for an export: few images, small batches, a quiet terminal."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from exporter.export import Exported, export
from exporter.progress import QuietSteps
from exporter.recipe import make_recipe

QUICK = {"limit": 3, "largest": 3, "agreement": 0.0}


def export_to(folder: Path, source: str, **fields: Any) -> Exported:
    """Export what a recipe with these fields in this folder asks for."""
    said = {"task": "classify", "name": "small", "proof": QUICK, "folder": folder, **fields}
    recipe = make_recipe({"source": source, **said})
    return export(recipe, folder / "1" / "model.onnx", QuietSteps())


def answer(path: Path, frames: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
    """Return a servable's outputs for frames."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"image": frames}), strict=True))


def some_frames(count: int, side: int) -> NDArray[np.uint8]:
    """Return frames of noise, uint8 (N, H, W, 3)."""
    rng = np.random.default_rng(3)
    return rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)
