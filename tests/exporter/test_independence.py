"""A network that mixes the images of a batch is refused, whatever its source computes."""

from pathlib import Path
from typing import Any

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
    with pytest.raises(ProofError, match=r"depends on the others of its batch.*--largest-batch 1"):
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


def brightening(**form: Any) -> onnx.ModelProto:
    """Return a classifier that reads eight times the values where the mean of the whole batch is small."""
    model = small_classifier()
    model.graph.node[0].input[0] = "seen"
    model.graph.node.insert(0, helper.make_node("ReduceMean", ["pixels"], ["mean"], keepdims=1))
    model.graph.node.insert(1, helper.make_node("Less", ["mean", "small"], ["is_dark"]))
    model.graph.node.insert(2, helper.make_node("Mul", ["pixels", "eight"], ["bright"]))
    model.graph.node.insert(3, helper.make_node("Where", ["is_dark", "bright", "pixels"], ["seen"]))
    for name, value in (("small", 0.1), ("eight", 8.0)):
        model.graph.initializer.append(
            onnx.numpy_helper.from_array(np.array(value, np.float32), name)
        )
    if form:
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = form["batch"]
    return model


RAW_PIXELS = {"mean": [0.0] * 3, "std": [1.0] * 3}


def test_a_network_that_brightens_dark_batches_is_refused_and_served_one_by_one_on_demand(
    tmp_path: Path,
) -> None:
    onnx.save(brightening(), tmp_path / "net.onnx")
    with pytest.raises(ProofError, match=r"others of its batch.*--largest-batch 1"):
        export_to(tmp_path, "onnx:net.onnx", labels=FOUR, pixels=RAW_PIXELS)
    alone = {"limit": 3, "largest": 1, "agreement": 0.0}
    done = export_to(tmp_path, "onnx:net.onnx", labels=FOUR, pixels=RAW_PIXELS, proof=alone)
    assert (done.card.max_batch, done.card.certificate.batches) == (1, (1,))


def test_the_same_with_a_fixed_batch_of_one_keeps_it(tmp_path: Path) -> None:
    onnx.save(brightening(batch=1), tmp_path / "net.onnx")
    done = export_to(tmp_path, "onnx:net.onnx", labels=FOUR, pixels=RAW_PIXELS)
    assert done.card.max_batch == 1


@pytest.mark.parametrize(("largest", "max_batch"), [(1, 1), (3, None)])
def test_code_that_mixes_the_images_of_a_batch_is_served_one_by_one_on_demand(
    largest: int, max_batch: int | None, tmp_path: Path
) -> None:
    (tmp_path / "own.py").write_text(DIVIDING)
    fields: dict[str, Any] = {
        "labels": FOUR,
        "input": {"height": 16, "width": 16, "resize": "stretch"},
        "pixels": RAW_PIXELS,
        "weights": "none",
        "code": tmp_path,
        "proof": {"limit": 3, "largest": largest, "agreement": 0.0},
    }
    if max_batch is None:
        with pytest.raises(ProofError, match="--largest-batch 1"):
            export_to(tmp_path, "python:own:Dividing", **fields)
        return
    done = export_to(tmp_path, "python:own:Dividing", **fields)
    assert done.card.max_batch == max_batch


DIVIDING = """
import torch

class Dividing(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(3, 8, 3, 2, 1)
        self.head = torch.nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.conv(x / (x.max() + 1e-6)).relu().mean((2, 3))) * 9
"""
