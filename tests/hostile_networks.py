"""Servables made to harm what loads them: huge tensors, nested functions, foreign code, a crash of the process."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from tests.servables import color_model

HUGE = 2**34
"""Floats of 64 GiB."""


def with_nodes(
    nodes: Sequence[NodeProto],
    output: str,
    constants: dict[str, Any] | None = None,
) -> onnx.ModelProto:
    """Return a classifier of colors that also computes `output`, and adds its smallest value times zero."""
    model = color_model()
    for node in model.graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == "logits":
                    names[place] = "colors"
    for name, value in (constants or {}).items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((), np.float32), "none"))
    model.graph.node.extend(
        [
            *nodes,
            helper.make_node("Cast", [output], ["as_float"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMin", ["as_float"], ["least"], keepdims=0),
            helper.make_node("Mul", ["least", "none"], ["nothing"]),
            helper.make_node("Add", ["colors", "nothing"], ["logits"]),
        ]
    )
    return model


def huge_constant() -> onnx.ModelProto:
    """Return one that makes a constant of 64 GiB out of a shape in the file."""
    node = helper.make_node("ConstantOfShape", ["shape"], ["made"])
    return with_nodes([node], "made", {"shape": np.array([HUGE], np.int64)})


def huge_computed() -> onnx.ModelProto:
    """Return one whose shape of 64 GiB is computed, so that it does not stand in the file."""
    nodes = [
        helper.make_node("Mul", ["side", "side"], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["made"]),
    ]
    return with_nodes(nodes, "made", {"side": np.array([2**17], np.int64)})


def crashing() -> onnx.ModelProto:
    """Return one that ends its process: the quotient of the least int64 and -1 is none, which x86 answers by a trap."""
    nodes = [
        helper.make_node("ReduceMax", ["pixels"], ["brightest"], keepdims=0),
        helper.make_node("Cast", ["brightest"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Mul", ["whole", "zero"], ["nil"]),
        helper.make_node("Sub", ["nil", "one"], ["minus_one"]),
        helper.make_node("Div", ["least_int", "minus_one"], ["quotient"]),
    ]
    constants = {
        "zero": np.array(0, np.int64),
        "one": np.array(1, np.int64),
        "least_int": np.array([np.iinfo(np.int64).min]),
    }
    return with_nodes(nodes, "quotient", constants)


def nested_conditions(depth: int) -> onnx.ModelProto:
    """Return one with so many conditions within each other."""

    def branch(left: int) -> onnx.GraphProto:
        name = f"at_{left}"
        if not left:
            node = helper.make_node("Identity", ["none"], [name])
        else:
            node = helper.make_node(
                "If", ["truth"], [name], then_branch=branch(left - 1), else_branch=branch(0)
            )
        value = helper.make_tensor_value_info(name, TensorProto.FLOAT, [])
        return helper.make_graph([node], f"branch_{left}", [], [value])

    node = helper.make_node(
        "If", ["truth"], ["chosen"], then_branch=branch(depth - 1), else_branch=branch(0)
    )
    return with_nodes([node], "chosen", {"truth": np.ones((), np.bool_)})


def nested_functions(depth: int, calls: int) -> onnx.ModelProto:
    """Return one with a function that calls another one so many times, and so on: calls to the power of depth nodes."""
    node = helper.make_node("f0", ["scale"], ["made"], domain="local")
    model = with_nodes([node], "made")
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    model.opset_import.append(opsets[1])
    for level in range(depth):
        inner = f"f{level + 1}" if level + 1 < depth else "Identity"
        domain = "local" if level + 1 < depth else ""
        nodes = [
            helper.make_node(inner, [f"v{n}"], [f"v{n + 1}"], domain=domain) for n in range(calls)
        ]
        model.functions.append(
            helper.make_function(
                "local", f"f{level}", ["v0"], [f"v{calls}"], nodes, opset_imports=opsets
            )
        )
    return model


def calling_itself() -> onnx.ModelProto:
    """Return one with a function that calls itself."""
    model = nested_functions(1, 1)
    model.functions[0].node[0].op_type = "f0"
    model.functions[0].node[0].domain = "local"
    return model
