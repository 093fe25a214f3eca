"""The bundled SSDLite's candidates before suppression, given to the exporter as another tool's file."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from exporter.outcome import Exported
from tests.exporter.exporting import export_to
from tests.exporter.test_models import ROOT

SSDLITE = ROOT / "models" / "ssdlite-mobilenet-v2"
LABELS = [f"kind {index}" for index in range(91)]
OUTPUTS = ("boxes", "scores", "classes")
ROWS = 100
CORNERS = np.eye(4, dtype=np.float32)
"""What makes xyxy in 0–1 of the frame of the boxes: nothing."""


def stranger() -> onnx.ModelProto:
    """Return its graph without what Foveal has written into the file."""
    model = onnx.load(SSDLITE / "1" / "model.onnx")
    del model.metadata_props[:]
    return model


def suppressed(turn: NDArray[np.float32] = CORNERS) -> onnx.ModelProto:
    """Return its graph for one image, with suppression inside: `rows` (1, 100, 6) of box, score and class.

    Args:
        turn: what xyxy in 0–1 of the frame is multiplied by, (4, 4).
    """
    model = stranger()
    graph = model.graph
    candidates = graph.output[0].type.tensor_type.shape.dim[1].dim_value
    graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    values = {
        "turn": turn,
        "apart": np.float32(2),
        "axis_of_classes": np.array([1], np.int64),
        "axis_of_boxes": np.array([2], np.int64),
        "first_image": np.int64(0),
        "column": np.int64(2),
        "most": np.array([ROWS], np.int64),
        "iou": np.array([0.5], np.float32),
        "least": np.array([0.05], np.float32),
        "none": np.zeros((1, 6), np.float32),
        "filler": np.full(ROWS, candidates, np.int64),
        "start": np.array([0], np.int64),
    }
    graph.initializer.extend(numpy_helper.from_array(np.asarray(v), n) for n, v in values.items())
    steps: list[tuple[str, list[str], str, dict[str, int]]] = [
        ("Cast", ["classes"], "kinds", {"to": TensorProto.FLOAT}),
        ("Unsqueeze", ["kinds", "axis_of_boxes"], "kinds_3", {}),
        ("Mul", ["kinds_3", "apart"], "moved_by", {}),
        ("Add", ["boxes", "moved_by"], "by_class", {}),
        ("Unsqueeze", ["scores", "axis_of_classes"], "scores_of_one", {}),
        (
            "NonMaxSuppression",
            ["by_class", "scores_of_one", "most", "iou", "least"],
            "selected",
            {},
        ),
        ("Gather", ["selected", "column"], "places", {"axis": 1}),
        ("Concat", ["places", "filler"], "filled", {"axis": 0}),
        ("Slice", ["filled", "start", "most"], "hundred", {}),
        ("MatMul", ["boxes", "turn"], "turned", {}),
        ("Unsqueeze", ["scores", "axis_of_boxes"], "scores_3", {}),
        ("Concat", ["turned", "scores_3", "kinds_3"], "all", {"axis": 2}),
        ("Gather", ["all", "first_image"], "of_one", {"axis": 0}),
        ("Concat", ["of_one", "none"], "with_none", {"axis": 0}),
        ("Gather", ["with_none", "hundred"], "best", {"axis": 0}),
        ("Unsqueeze", ["best", "start"], "rows", {}),
    ]
    for kind, given, to, more in steps:
        node = helper.make_node(kind, given, [to])
        node.attribute.extend(helper.make_attribute(name, value) for name, value in more.items())
        graph.node.append(node)
    del graph.output[:]
    shape = [1, ROWS, 6]
    graph.output.append(helper.make_tensor_value_info("rows", TensorProto.FLOAT, shape))
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
