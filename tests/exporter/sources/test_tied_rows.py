"""`onnx:` sources whose boxes have about the same score: rounding decides which of them suppresses the other."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from exporter.errors import GraphError
from exporter.network import Network
from exporter.progress import SilentProgress
from exporter.recipe import make_recipe
from exporter.sessions import alternating_session, unoptimized_session
from exporter.sources.batch_refusal import batch_refusal
from exporter.sources.onnx_file import load

SIDE = 48
BOXES = 12 * 12 * 10
"""On each of 12 × 12 cells ten boxes, which overlap those of other cells."""


def op(name: str, inputs: str, outputs: str, **attributes: Any) -> NodeProto:
    return helper.make_node(name, inputs.split(), outputs.split(), **attributes)


def detector(batch: int | str = 1) -> ModelProto:
    """Return a graph whose scores saturate near 1, with its own suppression: rows of box, score and class."""
    rng = np.random.default_rng(2)
    corners = rng.uniform(0, SIDE - 16, (1, BOXES, 2))
    known = {
        "w": rng.standard_normal((64, 3, 3, 3)) * 0.2,
        "v": rng.standard_normal((10, 64, 3, 3)) * 0.1,
        "large": np.float32(13),
        "boxes": np.concatenate([corners, corners + rng.uniform(14, 16, corners.shape)], 2),
        "iou": np.array([0.6]),
        "least": np.array([0.1]),
    }
    constants = [numpy_helper.from_array(np.asarray(v, np.float32), k) for k, v in known.items()]
    whole = {"most": [300], "flat": [1, 1, BOXES], "column": [1, -1, 1], "third": [2], "zero": 0}
    constants += [numpy_helper.from_array(np.array(v, np.int64), k) for k, v in whole.items()]
    nodes = [
        op("Conv", "x w", "a", strides=[2, 2], pads=[1, 1, 1, 1]),
        op("Conv", "a v", "b", strides=[2, 2], pads=[1, 1, 1, 1]),
        op("Add", "b large", "c"),
        op("Sigmoid", "c", "d"),
        op("Reshape", "d flat", "scores"),
        op("NonMaxSuppression", "boxes scores most iou least", "kept"),
        op("Gather", "kept third", "wide", axis=1),
        op("Squeeze", "wide", "index"),
        op("Gather", "boxes index", "kept_boxes", axis=1),
        op("Gather", "scores index", "kept_scores", axis=2),
        op("Reshape", "kept_scores column", "score"),
        op("Sub", "score score", "class"),
        op("Concat", "kept_boxes score class", "rows", axis=2),
    ]
    graph = helper.make_graph(
        nodes,
        "tied",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, [1, None, 6])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def loaded(folder: Path, model: ModelProto) -> Network:
    onnx.save(model, folder / "net.onnx")
    fields = {"source": "onnx:net.onnx", "task": "detect", "name": "net", "folder": folder}
    return load("net.onnx", make_recipe(fields), SilentProgress())


def rows_of(model: ModelProto) -> list[NDArray[np.float32]]:
    """Return the rows for the same image in the two kinds of sessions that an export makes."""
    pixels = np.random.default_rng(0).random((1, 3, SIDE, SIDE), np.float32)
    sessions = alternating_session(model, optimized=False), unoptimized_session(model)
    return [session.run(None, {"x": pixels})[0] for session in sessions]


def test_a_detector_whose_rows_change_with_rounding_is_exported_for_one_image(
    tmp_path: Path,
) -> None:
    one, other = (np.sort(rows, axis=1) for rows in rows_of(detector()))
    if np.array_equal(one, other):
        pytest.skip("this processor rounds alike in both sessions")

    network = loaded(tmp_path, detector())

    assert network.max_batch == 1


def test_a_detector_that_draws_its_boxes_is_refused_as_that(tmp_path: Path) -> None:
    """The random numbers are in a branch, where no operator of the graph itself shows them."""
    model = detector()
    drawn = helper.make_graph(
        [op("RandomNormalLike", "kept_boxes", "drawn", scale=9.0)],
        "branch",
        [],
        [helper.make_tensor_value_info("drawn", TensorProto.FLOAT, None)],
    )
    join = model.graph.node.pop()
    join.input[0] = "moved"
    added = [
        op("ReduceMax", "score", "best", keepdims=0),
        op("Cast", "best", "any", to=TensorProto.BOOL),
        op("If", "any", "noise", then_branch=drawn, else_branch=drawn),
        op("Add", "kept_boxes noise", "moved"),
    ]
    model.graph.node.extend([*added, join])

    with pytest.raises(GraphError, match=r"another result for the same image.*model\.eval\(\)"):
        loaded(tmp_path, model)


@pytest.mark.parametrize(
    ("fixed", "part", "advised", "tried"),
    [
        (4, 4, "a dynamic batch, or with a batch of 1", "--largest-batch"),
        (1, 1, "again with a dynamic batch", "a batch of 1."),
        (0, 1, "again with a batch of 1", "dynamic"),
        (0, 0, "--largest-batch 1", "dynamic"),
    ],
)
def test_the_advice_is_never_what_the_file_has_or_what_was_tried(
    fixed: int, part: int, advised: str, tried: str
) -> None:
    message = batch_refusal(fixed, part)

    assert advised in message
    assert tried not in message
