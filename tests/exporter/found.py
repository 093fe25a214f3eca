"""Detectors as other tools write them to ONNX: by construction they find the same three objects in every image."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

SIDE = 64
CELLS = 84
"""The cells of the grids of strides 8, 16 and 32 over 64×64 pixels."""

CLASSES = 5
BOXES = np.array([[0.1, 0.2, 0.4, 0.6], [0.5, 0.5, 0.9, 0.75], [0.3, 0.1, 0.35, 0.9]])
"""xyxy in 0–1 of the frame, the best first."""

SCORES = np.array([0.9, 0.75, 0.5])
KINDS = np.array([2, 4, 0])
LABELS = [f"kind {index}" for index in range(CLASSES)]

INTEGERS = {"labels"}
"""Outputs of a `detector` that hold integers."""

Values = NDArray[np.float32]


def boxes_of(count: int, form: str = "xyxy", unit: float = 1.0) -> Values:
    """Return boxes (1, A, 4); the three objects are at the places 1, 3 and 5, all others are empty."""
    boxes = np.zeros((1, count, 4))
    boxes[0, [1, 3, 5]] = BOXES * unit
    left, top, right, bottom = np.moveaxis(boxes, -1, 0)
    parts = {
        "xyxy": (left, top, right, bottom),
        "yxyx": (top, left, bottom, right),
        "cxcywh": ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top),
    }[form]
    return np.stack(parts, axis=-1).astype(np.float32)


def scores_of(count: int) -> Values:
    """Return scores (1, A, K): those of the objects' classes, and 0.001."""
    scores = np.full((1, count, CLASSES), 0.001, np.float32)
    scores[0, [1, 3, 5], KINDS] = SCORES
    return scores


def best_of(count: int) -> tuple[Values, Values]:
    """Return the scores and the classes that the network has chosen itself, each (1, A)."""
    scores = scores_of(count)
    return scores.max(axis=2), scores.argmax(axis=2).astype(np.float32)


def detector(
    outputs: dict[str, NDArray[Any]],
    *,
    batch: int | str = "n",
    opset: int = 17,
    after: Sequence[NodeProto] = (),
    names: Sequence[str] | None = None,
    extra: Sequence[onnx.ValueInfoProto] = (),
    constants: dict[str, NDArray[Any]] | None = None,
) -> onnx.ModelProto:
    """Return a graph from `images`, float32 (N, 3, 64, 64), that gives these values (1, …) for each image.

    A trained layer reads the image and adds nothing. `after` are further nodes, which read the values by name, and
    `names` are then the outputs.
    """
    nodes = [
        helper.make_node("Conv", ["images", "w"], ["map"], strides=[8, 8]),
        helper.make_node("GlobalAveragePool", ["map"], ["mean"]),
        helper.make_node("Mul", ["mean", "nothing"], ["zeros"]),
        # Not linear, so that the scores are taken for what they are, probabilities.
        helper.make_node("Abs", ["zeros"], ["positive"]),
        helper.make_node("Reshape", ["positive", "flat"], ["zero"]),
    ]
    held: dict[str, NDArray[Any]] = {
        "w": np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype(np.float32),
        "nothing": np.zeros(1, np.float32),
        "flat": np.array([-1, 1], np.int64),
        **(constants or {}),
    }
    for name, value in outputs.items():
        held[f"{name}_value"] = value.astype(np.float32)
        held[f"{name}_dims"] = np.array([-1, *[1] * (value.ndim - 1)], np.int64)
        target = f"{name}_float" if name in INTEGERS else name
        nodes += [
            helper.make_node("Reshape", ["zero", f"{name}_dims"], [f"{name}_zero"]),
            helper.make_node("Add", [f"{name}_value", f"{name}_zero"], [target]),
        ]
        if target != name:
            nodes.append(helper.make_node("Cast", [target], [name], to=TensorProto.INT64))
    nodes += after
    graph = helper.make_graph(
        nodes,
        "found",
        [
            helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, SIDE, SIDE]),
            *extra,
        ],
        [
            helper.make_tensor_value_info(
                name, TensorProto.INT64 if name in INTEGERS else TensorProto.FLOAT, None
            )
            for name in names or outputs
        ],
        [numpy_helper.from_array(value, name) for name, value in held.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
