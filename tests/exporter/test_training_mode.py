"""Graphs in training mode are refused."""

import numpy as np
import onnx
import pytest
from onnx import helper

from exporter.errors import GraphError
from exporter.graph import GRAFT_PREFIX
from exporter.training_mode import refuse_training
from tests.exporter.graphs import pixel_graph, small_classifier


def norm(mode: int) -> onnx.ModelProto:
    values = np.ones(3, np.float32)
    node = helper.make_node(
        "BatchNormalization", ["pixels", "s", "b", "m", "v"], ["raw"], training_mode=mode
    )
    return pixel_graph(node, s=values, b=values, m=values, v=values)


def dropout(active: bool) -> onnx.ModelProto:  # noqa: FBT001 - what is tested
    node = helper.make_node("Dropout", ["pixels", "ratio", "active"], ["raw"])
    return pixel_graph(node, ratio=np.array(0.5, np.float32), active=np.array(active))


def random(name: str) -> onnx.ModelProto:
    node = helper.make_node("RandomUniformLike", ["pixels"], ["raw"], name)
    return pixel_graph(node)


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (norm(1), "a batch norm in training mode"),
        (dropout(active=True), "a dropout in training mode"),
        (random("noise"), "noise is a source of random numbers"),
    ],
)
def test_what_depends_on_chance_or_on_the_batch_is_refused(
    model: onnx.ModelProto, named: str
) -> None:
    with pytest.raises(GraphError, match=f"{named}.*model.eval"):
        refuse_training(model)


@pytest.mark.parametrize(
    "model",
    [small_classifier(), norm(0), dropout(active=False), random(f"{GRAFT_PREFIX}noise")],
)
def test_a_graph_in_evaluation_mode_passes(model: onnx.ModelProto) -> None:
    refuse_training(model)
