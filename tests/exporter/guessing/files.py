"""ONNX files that state shapes and metadata, and compute nothing."""

from pathlib import Path

import onnx
from onnx import TensorProto, helper


def graph_file(
    path: Path, *outputs: list[int | str], size: int | str = 64, **metadata: str
) -> Path:
    """Write an ONNX file with an image input, outputs of these shapes, and metadata; it computes nothing."""
    entry = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, size, size])
    made = [
        helper.make_tensor_value_info(f"output{index}", TensorProto.FLOAT, dims)
        for index, dims in enumerate(outputs)
    ]
    nodes = [helper.make_node("Identity", ["images"], [value.name]) for value in made]
    model = helper.make_model(helper.make_graph(nodes, "g", [entry], made))
    helper.set_model_props(model, metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


def ultralytics(task: str, names: str, imgsz: str = "[64, 64]") -> dict[str, str]:
    """Return the metadata that `yolo export format=onnx` writes."""
    return {"author": "Ultralytics", "task": task, "stride": "32", "names": names, "imgsz": imgsz}
