"""The bundled SSDLite's candidates before suppression, given to the exporter as another tool's file."""

from pathlib import Path
from typing import Any

import onnx

from exporter.outcome import Exported
from tests.exporter.exporting import export_to
from tests.exporter.test_models import ROOT

SSDLITE = ROOT / "models" / "ssdlite-mobilenet-v2"
LABELS = [f"kind {index}" for index in range(91)]
OUTPUTS = ("boxes", "scores", "classes")


def stranger() -> onnx.ModelProto:
    """Return its graph without what Foveal has written into the file."""
    model = onnx.load(SSDLITE / "1" / "model.onnx")
    del model.metadata_props[:]
    return model


def adopt(
    folder: Path,
    model: onnx.ModelProto,
    name: str,
    boxes: str,
    *,
    limit: int = 8,
    images: Path | None = None,
    **detect: Any,
) -> Exported:
    """Export it with the output `boxes`, proved with at most `limit` images: those of a folder, or photographs."""
    onnx.save(model, folder / "net.onnx")
    return export_to(
        folder,
        "onnx:net.onnx",
        task="detect",
        name=name,
        labels=LABELS,
        outputs=[boxes, *OUTPUTS[1:]],
        detect={"decoder": "triple", "class_offset": 0, **detect},
        proof={"images": images, "limit": limit, "largest": 2, "agreement": 0.0},
    )
