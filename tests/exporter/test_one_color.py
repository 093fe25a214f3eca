"""A network without a number for images of one color is served, and the export says which ones."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from exporter.errors import GraphError
from exporter.network import Array, Outputs
from exporter.one_color import warn_of_one_color
from exporter.progress import SilentProgress
from service.servable_file import read_card
from tests.exporter.exporting import export_to
from tests.exporter.graphs import small_classifier

IMAGES = np.zeros((2, 4, 4, 3), np.uint8)


def by_own_largest() -> onnx.ModelProto:
    model = small_classifier()
    model.graph.node[0].input[0] = "even"
    axes = onnx.numpy_helper.from_array(np.array([1, 2, 3]), "axes")
    model.graph.initializer.append(axes)
    model.graph.node.insert(0, helper.make_node("ReduceMax", ["pixels", "axes"], ["largest"]))
    model.graph.node.insert(1, helper.make_node("Div", ["pixels", "largest"], ["even"]))
    return model


def warnings_of(answer: float, where: int) -> list[str]:
    def run(images: Array) -> Outputs:
        return {"logits": np.where(images.max(axis=(1, 2, 3)) == where, answer, 1.0)}

    progress = SilentProgress()
    warn_of_one_color(run, IMAGES, progress)
    return progress.warnings


def test_a_network_that_divides_by_an_images_largest_value_goes_through(tmp_path: Path) -> None:
    onnx.save(by_own_largest(), tmp_path / "net.onnx")
    pixels = {"mean": [0.0] * 3, "std": [1.0] * 3}
    done = export_to(tmp_path, "onnx:net.onnx", labels=("a", "b", "c", "d"), pixels=pixels)
    assert read_card(done.path).max_batch is None


@pytest.mark.parametrize(
    ("answer", "where", "words"),
    [
        (np.nan, 0, "an image that is black all over gets no answer"),
        (np.inf, 255, "an image that is white all over gets no answer"),
        (np.nan, 128, "an image that is gray all over gets no answer"),
    ],
)
def test_the_color_is_named(answer: float, where: int, words: str) -> None:
    (warning,) = warnings_of(answer, where)
    assert words in warning
    assert "add a small number to the divisor" in warning


def test_nothing_is_said_where_all_are_finite() -> None:
    assert warnings_of(2.0, 0) == []


def test_a_graph_that_fails_on_a_black_image_is_refused() -> None:
    def run(_: Array) -> Outputs:
        raise GraphError("The graph does not run")

    with pytest.raises(GraphError, match=r"On a black image.*does not run"):
        warn_of_one_color(run, IMAGES, SilentProgress())


def test_windows_are_no_images() -> None:
    def run(_: Array) -> Outputs:
        raise AssertionError

    warn_of_one_color(run, np.zeros((2, 4, 3), np.float32), SilentProgress())
