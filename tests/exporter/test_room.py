"""A batch for which there is no memory is refused before the system ends the process."""

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from exporter.errors import ExportError, ShortageError
from exporter.room import free_memory, require_room
from tests.exporter.exporting import export_to
from tests.exporter.graphs import normal, small_classifier

LARGE = 1536
BATCH = 1024
"""So many images of this side take 108 GiB at least."""


def network(side: int) -> onnx.ModelProto:
    nodes = [
        helper.make_node(
            "AveragePool", ["images"], ["few"], kernel_shape=[64, 64], strides=[64, 64]
        ),
        helper.make_node("Conv", ["few", "w"], ["maps"]),
        helper.make_node("GlobalAveragePool", ["maps"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["scores"]),
    ]
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, side, side])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 4])
    weights = [numpy_helper.from_array(normal(4, 3, 1, 1), "w")]
    graph = helper.make_graph(nodes, "large", [image], [scores], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.mark.skipif((free_memory() or 0) > 100 * 2**30, reason="there is memory for the batch")
def test_a_batch_that_needs_more_than_is_free_is_refused_with_both_figures(tmp_path: Path) -> None:
    onnx.save(network(LARGE), tmp_path / "net.onnx")
    proof = {"limit": 1, "largest": BATCH, "agreement": 0.0}
    with pytest.raises(ShortageError, match=r"--largest-batch 1024 needs at least 108\.0 GiB"):
        export_to(tmp_path, "onnx:net.onnx", labels=list("abcd"), proof=proof)
    assert not (tmp_path / "1").exists()


def test_the_layer_that_reads_and_writes_most_counts() -> None:
    """Its image has 64×64×3 values, of which both sides hold four bytes."""
    require_room(network(64), 10, free=10 * 2 * 64 * 64 * 3 * 4 * 2)
    with pytest.raises(ShortageError, match="--largest-batch 10 needs"):
        require_room(network(64), 10, free=10 * 2 * 64 * 64 * 3 * 4 - 1)


def test_a_small_network_has_room() -> None:
    assert (free_memory() or 2**31) > 2**20
    require_room(small_classifier(), 17)


def test_more_than_any_proof_needs_is_no_batch(tmp_path: Path) -> None:
    onnx.save(network(64), tmp_path / "net.onnx")
    with pytest.raises(ExportError, match="1024"):
        export_to(tmp_path, "onnx:net.onnx", labels=list("abcd"), proof={"largest": 1025})
