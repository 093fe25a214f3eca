"""The first nodes of every servable: they turn a uint8 image into the values that the network was trained on."""

import numpy as np
from onnx import TensorProto

from exporter.graph import BATCH, Graph
from exporter.recipe import Pixels
from service.card import INPUT_NAME, ImageInput

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in ITU-R BT.601, as in Pillow's mode L."""


def graft_preprocessing(graph: Graph, pixels: Pixels, image_input: ImageInput) -> None:
    """Replace the graph's pixel-value input by `image`, uint8 (N, H, W, 3).

    Scale, mean and std become one multiplication and one addition. The layout is changed first, while a value is still
    one byte.
    """
    raw = graph.inputs[0].name
    graph.free([INPUT_NAME])
    raw = raw if raw != INPUT_NAME else graph.inputs[0].name
    graph.set_input(
        INPUT_NAME, TensorProto.UINT8, [BATCH, image_input.height, image_input.width, 3]
    )

    tensor = INPUT_NAME
    planar = pixels.layout == "NCHW"
    if planar:
        tensor = graph.add("Transpose", [tensor], perm=[0, 3, 1, 2])
    tensor = graph.add("Cast", [tensor], to=TensorProto.FLOAT)
    axis = 1 if planar else 3
    if pixels.color == "bgr":
        order = graph.constant("bgr", np.array([2, 1, 0], np.int64))
        tensor = graph.add("Gather", [tensor, order], axis=axis)
    if pixels.color == "gray":
        luma = graph.constant("luma", _along(axis, LUMA))
        axes = graph.constant("channel_axis", np.array([axis], np.int64))
        weighted = graph.add("Mul", [tensor, luma])
        tensor = graph.add("ReduceSum", [weighted, axes], keepdims=1)
    mean = np.array(pixels.mean[: pixels.channels], np.float64)
    std = np.array(pixels.std[: pixels.channels], np.float64)
    gain = graph.constant("gain", _along(axis, pixels.scale / std))
    offset = graph.constant("offset", _along(axis, -mean / std))
    scaled = graph.add("Mul", [tensor, gain])
    graph.add("Add", [scaled, offset], output=raw)


def _along(axis: int, values: tuple[float, ...] | np.ndarray) -> np.ndarray:
    """Return a float32 vector in the shape that broadcasts along one axis of a four-axis tensor."""
    shape = [1, 1, 1, 1]
    shape[axis] = -1
    return np.asarray(values, np.float32).reshape(shape)
