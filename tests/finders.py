"""Tiny networks that find things: boxes whose scores are the colors of an image, and a mask of its strongest channel.

So what each answer must be follows from the pixels that a test draws.
"""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from tests.servables import SIDE, color_card, write_servable

BOXES = ((0.25, 0.25, 0.75, 0.5), (0.0, 0.5, 0.5, 1.0), (0.5, 0.5, 1.0, 1.0))
"""xyxy in 0–1: the first is scored by the mean of red, the second of green, the third of blue."""
THINGS = ("cup", "dining table", "tv")
PAINTS = ("red", "green", "blue")
"""The classes of the mask; red is background."""


def write_detector(
    root: Path, name: str = "finder", boxes: Sequence[Sequence[float]] = BOXES
) -> Path:
    """Write a detector: box i has class i and the score of channel i, both modulo 3."""
    count = len(boxes)
    channels = np.arange(count) % 3
    constants = [
        numpy_helper.from_array(np.array([boxes], np.float32), "all_boxes"),
        numpy_helper.from_array(np.array([channels], np.int32), "all_classes"),
        numpy_helper.from_array(channels, "channels"),
        numpy_helper.from_array(np.array(255, np.float32), "most"),
        numpy_helper.from_array(np.array([0], np.int64), "first"),
        numpy_helper.from_array(np.array([1], np.int64), "second"),
        numpy_helper.from_array(np.array([1, 1], np.int64), "ones"),
        numpy_helper.from_array(np.array([1], np.int64), "one"),
    ]
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["features"], axes=[1, 2], keepdims=0),
        helper.make_node("Div", ["features", "most"], ["shares"]),
        helper.make_node("Gather", ["shares", "channels"], ["scores"], axis=1),
        helper.make_node("Shape", ["image"], ["shape"]),
        helper.make_node("Slice", ["shape", "first", "second"], ["batch"]),
        helper.make_node("Concat", ["batch", "ones"], ["three"], axis=0),
        helper.make_node("Concat", ["batch", "one"], ["two"], axis=0),
        helper.make_node("Expand", ["all_boxes", "three"], ["boxes"]),
        helper.make_node("Expand", ["all_classes", "two"], ["classes"]),
    ]
    outputs = [
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["N", count, 4]),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", count]),
        helper.make_tensor_value_info("classes", TensorProto.INT32, ["N", count]),
        helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 3]),
    ]
    return _write(root, name, "detect", THINGS, (nodes, outputs, constants))


def write_segmenter(root: Path, name: str = "painter") -> Path:
    """Write a segmenter: each pixel's class is its strongest channel, and its probability that channel's value."""
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ArgMax", ["pixels"], ["strongest"], axis=3, keepdims=0),
        helper.make_node("Cast", ["strongest"], ["mask"], to=TensorProto.UINT8),
        helper.make_node("ReduceMax", ["pixels"], ["value"], axes=[3], keepdims=0),
        helper.make_node("Cast", ["value"], ["confidence"], to=TensorProto.UINT8),
        helper.make_node("ReduceMean", ["pixels"], ["features"], axes=[1, 2], keepdims=0),
    ]
    outputs = [
        helper.make_tensor_value_info("mask", TensorProto.UINT8, ["N", SIDE, SIDE]),
        helper.make_tensor_value_info("confidence", TensorProto.UINT8, ["N", SIDE, SIDE]),
        helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 3]),
    ]
    return _write(root, name, "segment", PAINTS, (nodes, outputs, []))


def _write(
    root: Path,
    name: str,
    task: str,
    labels: Sequence[str],
    parts: tuple[list[onnx.NodeProto], list[onnx.ValueInfoProto], list[onnx.TensorProto]],
) -> Path:
    nodes, outputs, constants = parts
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", SIDE, SIDE, 3])
    graph = helper.make_graph(nodes, name, [image], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    card = color_card().model_copy(
        update={
            "name": name,
            "task": task,
            "labels": tuple(labels),
            "background_id": 0 if task == "segment" else None,
        }
    )
    return write_servable(root, name, model=model, card=card)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Return an image (H, W, 3) as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def plain(color: tuple[int, int, int], width: int = 80, height: int = 40) -> bytes:
    """Return an image of one color as PNG: the scores of the three things are its channels."""
    return png(np.full((height, width, 3), color, np.uint8))


def painted() -> NDArray[np.uint8]:
    """Return red, with a block of green 4 wide and 2 high at x=1, y=3, and one pixel of blue at x=7, y=0."""
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[..., 0] = 255
    pixels[3:5, 1:5] = (0, 255, 0)
    pixels[0, 7] = (0, 0, 255)
    return pixels


def data_url(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"
