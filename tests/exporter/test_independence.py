"""A network that mixes the images of a batch is refused, whatever its source computes."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from exporter.errors import ProofError, RecipeError
from service.servable_file import read_card
from tests.exporter.exporting import export_to
from tests.exporter.graphs import small_classifier

FOUR = ("a", "b", "c", "d")


def mixing(*end: onnx.NodeProto) -> onnx.ModelProto:
    model = small_classifier()
    model.graph.node[-1].output[0] = "scores"
    model.graph.node.extend(end)
    axis = onnx.numpy_helper.from_array(np.array([0]), "batch_axis")
    model.graph.initializer.append(axis)
    return model


MINUS_MEAN = (
    helper.make_node("ReduceMean", ["scores", "batch_axis"], ["mean"], keepdims=1),
    helper.make_node("Sub", ["scores", "mean"], ["raw"]),
)
SOFTMAX = (helper.make_node("Softmax", ["scores"], ["raw"], axis=0),)


@pytest.mark.parametrize("limit", [1, 3])
def test_an_answer_that_depends_on_the_batch_is_refused(limit: int, tmp_path: Path) -> None:
    onnx.save(mixing(*MINUS_MEAN), tmp_path / "net.onnx")
    bounds = {"limit": limit, "largest": 3, "agreement": 0.0}
    with pytest.raises(ProofError, match=r"depends on the others of its batch.*fixed batch of 1"):
        export_to(tmp_path, "onnx:net.onnx", labels=FOUR, proof=bounds)
    assert not (tmp_path / "1/model.onnx").exists()


def test_a_softmax_over_the_batch_is_refused(tmp_path: Path) -> None:
    onnx.save(mixing(*SOFTMAX), tmp_path / "net.onnx")
    with pytest.raises(
        RecipeError, match=r"Every score is 1\.0.*softmax over the classes \(axis 1\)"
    ):
        export_to(tmp_path, "onnx:net.onnx", labels=FOUR, classify={"activation": "none"})
    assert not (tmp_path / "1/model.onnx").exists()


def test_the_same_network_without_the_mixing_goes_through(tmp_path: Path) -> None:
    onnx.save(small_classifier(), tmp_path / "net.onnx")
    assert read_card(export_to(tmp_path, "onnx:net.onnx", labels=FOUR).path).max_batch is None
