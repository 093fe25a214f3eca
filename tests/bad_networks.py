"""Servables whose networks misbehave: some never end, others fail, always or on a bright image."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.servables import color_model

MANY = 2**62
"""How often the loop turns: for thousands of years."""


def endless_when_bright(threshold: float = 200.0) -> onnx.ModelProto:
    """Return a classifier of colors that does not end where a pixel is brighter than the threshold, of 0–255."""
    return _looping(
        helper.make_node("Greater", ["brightest", "threshold"], ["turns_on"]), threshold
    )


def endless() -> onnx.ModelProto:
    """Return a classifier of colors that never ends."""
    return _looping(helper.make_node("Less", ["threshold", "brightest"], ["turns_on"]), -1.0)


def failing() -> onnx.ModelProto:
    """Return a classifier of colors that can be loaded and fails in every run."""
    model = color_model()
    _rename(model, "logits", "colors")
    model.graph.initializer.append(numpy_helper.from_array(np.array([9], np.int64), "ninth"))
    model.graph.node.extend(
        [
            helper.make_node("Gather", ["colors", "ninth"], ["absent"], axis=1),
            helper.make_node("Add", ["colors", "absent"], ["logits"]),
        ]
    )
    return model


def failing_when_bright(name: str, threshold: float = 200.0) -> onnx.ModelProto:
    """Return a classifier of colors that fails where a pixel is brighter; the error has the name of its node."""
    model = color_model()
    _rename(model, "logits", "colors")
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(np.array(threshold, np.float32), "threshold"),
            numpy_helper.from_array(np.array([9], np.int64), "ninth"),
            numpy_helper.from_array(np.array(0, np.float32), "zero"),
        ]
    )
    model.graph.node.extend(
        [
            helper.make_node("ReduceMax", ["pixels"], ["brightest"], keepdims=0),
            helper.make_node("Greater", ["brightest", "threshold"], ["is_bright"]),
            helper.make_node("Cast", ["is_bright"], ["one_where_bright"], to=TensorProto.INT64),
            helper.make_node("Mul", ["one_where_bright", "ninth"], ["place"]),
            helper.make_node("Gather", ["colors", "place"], ["absent"], axis=1, name=name),
            helper.make_node("Mul", ["absent", "zero"], ["nothing"]),
            helper.make_node("Add", ["colors", "nothing"], ["logits"]),
        ]
    )
    return model


def _looping(condition: onnx.NodeProto, threshold: float) -> onnx.ModelProto:
    model = color_model()
    _rename(model, "logits", "colors")
    flag = helper.make_tensor_value_info("on", TensorProto.BOOL, [])
    number = helper.make_tensor_value_info("number", TensorProto.INT64, [])
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["on"], ["still_on"]),
            helper.make_node("Add", ["sum", "one"], ["next_sum"]),
        ],
        "turn",
        [number, flag, helper.make_tensor_value_info("sum", TensorProto.FLOAT, [])],
        [
            helper.make_tensor_value_info("still_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next_sum", TensorProto.FLOAT, []),
        ],
    )
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(np.array(MANY, np.int64), "many"),
            numpy_helper.from_array(np.array(threshold, np.float32), "threshold"),
            numpy_helper.from_array(np.array(0, np.float32), "zero"),
            numpy_helper.from_array(np.array(1, np.float32), "one"),
        ]
    )
    model.graph.node.extend(
        [
            helper.make_node("ReduceMax", ["pixels"], ["brightest"], keepdims=0),
            condition,
            helper.make_node("Loop", ["many", "turns_on", "zero"], ["turned"], body=body),
            helper.make_node("Mul", ["turned", "zero"], ["nothing"]),
            helper.make_node("Add", ["colors", "nothing"], ["logits"]),
        ]
    )
    return model


def _rename(model: onnx.ModelProto, old: str, new: str) -> None:
    """Give another name to what a node makes; the nodes behind it read the new one."""
    for node in model.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                if name == old:
                    names[index] = new
