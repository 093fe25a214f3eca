"""Tiny networks for every task, whose inner map shows what it should: a channel for each color, one for brightness."""

from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from service.card import Card, Stage
from service.heads.outputs import Outputs
from tests.servables import color_card, write_servable

SIDE = 16
"""Pixels along each side of the networks' frame; their map has half as many places."""
STAGE = Stage(name="stage_1", tensor="map", channels=4, stride=2)
COLORS = ("red", "green", "blue")

_FLOAT, _UINT8, _INT32 = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT32
Output = tuple[str, int, list[int]]


def tiny_network(task: str) -> onnx.ModelProto:
    """Return a network: classify says which color is strongest, segment finds what is bright, detect has two boxes."""
    nodes, outputs, constants = _HEADS[task]
    image = helper.make_tensor_value_info("image", _UINT8, ["N", SIDE, SIDE, 3])
    infos = [
        helper.make_tensor_value_info(name, kind, ["N", *shape])
        for name, kind, shape in [*outputs, ("features", _FLOAT, [4])]
    ]
    weights = {**_BODY_CONSTANTS, **constants}
    tensors = [numpy_helper.from_array(values, name) for name, values in weights.items()]
    graph = helper.make_graph([*_body(), *nodes], task, [image], infos, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def tiny_card(task: str) -> Card:
    """Return the card of `tiny_network`, named after its task."""
    labels = {"classify": COLORS, "detect": COLORS, "segment": ("background", "thing"), "embed": ()}
    return color_card(SIDE).model_copy(
        update={
            "name": f"tiny-{task}",
            "task": task,
            "labels": labels[task],
            "background_id": 0 if task == "segment" else None,
            "stages": (STAGE,),
        }
    )


def write_tiny(root: Path) -> None:
    """Write a servable for each task that can be explained."""
    for task in _HEADS:
        card = tiny_card(task)
        write_servable(root, card.name, model=tiny_network(task), card=card)


def outputs_of(frame: NDArray[np.uint8]) -> Outputs:
    """Return the outputs and the inner map of the classifier for one frame, computed by NumPy."""
    pixels = frame[::2, ::2].astype(np.float32) / 255
    maps = np.concatenate([pixels, pixels.mean(axis=2, keepdims=True)], axis=2).transpose(2, 0, 1)
    features = maps.mean(axis=(1, 2))
    logits = _CLASS_WEIGHTS @ features
    odds = np.exp(logits - logits.max())
    return {
        "map": maps,
        "features": features,
        "logits": logits,
        "probabilities": odds / odds.sum(),
    }


def _filters() -> NDArray[np.float32]:
    filters = np.zeros((4, 3, 3, 3), np.float32)
    for color in range(3):
        filters[color, color, 1, 1] = 1
    filters[3, :, 1, 1] = 1 / 3
    return filters


_CLASS_WEIGHTS = np.concatenate([8 * np.eye(3), np.zeros((3, 1))], axis=1).astype(np.float32)
_BODY_CONSTANTS = {"scale": np.array(255, np.float32), "filters": _filters()}


def _body() -> list[NodeProto]:
    return [
        helper.make_node("Cast", ["image"], ["floats"], to=_FLOAT),
        helper.make_node("Div", ["floats", "scale"], ["pixels"]),
        helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "filters"], ["map"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("ReduceMean", ["map"], ["features"], axes=[2, 3], keepdims=0),
    ]


_BRIGHT = helper.make_node("ReduceMean", ["pixels"], ["bright"], axes=[3], keepdims=0)

_HEADS: dict[str, tuple[list[NodeProto], list[Output], dict[str, NDArray[np.generic]]]] = {
    "classify": (
        [
            helper.make_node("Gemm", ["features", "weights", "bias"], ["logits"], transB=1),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        ],
        [("logits", _FLOAT, [3]), ("probabilities", _FLOAT, [3])],
        {"weights": _CLASS_WEIGHTS, "bias": np.zeros(3, np.float32)},
    ),
    "segment": (
        [
            _BRIGHT,
            helper.make_node("Greater", ["bright", "half"], ["is_bright"]),
            helper.make_node("Cast", ["is_bright"], ["mask"], to=_UINT8),
            helper.make_node("Mul", ["bright", "nothing"], ["zeros"]),
            helper.make_node("Add", ["zeros", "surely"], ["sure"]),
            helper.make_node("Cast", ["sure"], ["confidence"], to=_UINT8),
        ],
        [("mask", _UINT8, [SIDE, SIDE]), ("confidence", _UINT8, [SIDE, SIDE])],
        {
            "half": np.array(0.5, np.float32),
            "nothing": np.array(0, np.float32),
            "surely": np.array(230, np.float32),
        },
    ),
    "detect": (
        [
            helper.make_node("ReduceMean", ["features"], ["mean"], axes=[1], keepdims=1),
            helper.make_node("Mul", ["mean", "nothing"], ["zero"]),
            helper.make_node("Reshape", ["zero", "three"], ["zero_box"]),
            helper.make_node("Add", ["zero_box", "two_boxes"], ["boxes"]),
            helper.make_node("Add", ["zero", "two_scores"], ["scores"]),
            helper.make_node("Add", ["zero", "two_classes"], ["float_classes"]),
            helper.make_node("Cast", ["float_classes"], ["classes"], to=_INT32),
        ],
        [("boxes", _FLOAT, [2, 4]), ("scores", _FLOAT, [2]), ("classes", _INT32, [2])],
        {
            "nothing": np.array(0, np.float32),
            "three": np.array([-1, 1, 1], np.int64),
            "two_boxes": np.array([[[0, 0, 0.4, 0.4], [0.5, 0.5, 1, 1]]], np.float32),
            "two_scores": np.array([[0.9, 0.6]], np.float32),
            "two_classes": np.array([[0, 2]], np.float32),
        },
    ),
    "embed": ([], [], {}),
}
