"""Whether products of bytes overflow on this processor, found out by computing one.

x86 without VNNI multiplies unsigned by signed bytes and adds two products in 16 bits (`vpmaddubsw`), where
255 · 127 + 255 · 127 does not fit. With weights of seven bits the sum is exact.
"""

import functools
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from service.runtime.device import Device, plan_session
from service.runtime.session import connect

DEPTH = 64
"""The number of products in the sum: enough for whole registers."""


@functools.cache
def products_saturate() -> bool:
    """Return whether a sum of the largest products of unsigned and signed bytes is not what it should be."""
    device = Device("cpu")
    plan = plan_session(device, largest=1, threads=1, cache=Path())
    session = connect(_largest_products(), device, plan)
    (found,) = session.run(None, {"a": np.full((16, DEPTH), 255, np.uint8)})
    return bool((found != 255 * 127 * DEPTH).any())


def _largest_products() -> bytes:
    weights = numpy_helper.from_array(np.full((DEPTH, 16), 127, np.int8), "b")
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "b"], ["c"])],
        "products",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, [16, DEPTH])],
        [helper.make_tensor_value_info("c", TensorProto.INT32, [16, 16])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    serialized: bytes = model.SerializeToString()
    return serialized
