"""Runs the nodes that a head adds on given raw outputs."""

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto, helper

from exporter.graph import Graph
from exporter.network import Array, Head, Outputs
from exporter.sessions import unoptimized_session
from service.card import ImageInput

FRAME = ImageInput(height=8, width=12, resize="stretch")


def grafted(head: Head, raw: Sequence[Array], image_input: ImageInput = FRAME) -> Outputs:
    """Return what the head's nodes compute from raw outputs, each (N, …)."""
    entries = [f"entry_{index}" for index in range(len(raw))]
    names = [f"raw_{index}" for index in range(len(raw))]
    graph = Graph(
        helper.make_model(
            helper.make_graph(
                [
                    helper.make_node("Identity", [a], [b])
                    for a, b in zip(entries, names, strict=True)
                ],
                "raw",
                [
                    helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *value.shape[1:]])
                    for name, value in zip(entries, raw, strict=True)
                ],
                [],
            )
        )
    )
    head.graft(graph, names, image_input)
    session = unoptimized_session(graph.finish())
    found = [output.name for output in session.get_outputs()]
    inputs = {name: value.astype(np.float32) for name, value in zip(entries, raw, strict=True)}
    return dict(zip(found, session.run(None, inputs), strict=True))
