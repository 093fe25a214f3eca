"""An ONNX file is read once for all that is asked about it, and without the values of its weights."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from exporter.onnx_header import onnx_header


def write(path: Path, output: str) -> None:
    entry = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["n", 2000])
    end = helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, ["n", 2000])
    weights = numpy_helper.from_array(np.ones(2000, np.float32), "w")
    node = helper.make_node("Add", ["x", "w"], [output])
    onnx.save(helper.make_model(helper.make_graph([node], "g", [entry], [end], [weights])), path)


def test_weights_have_a_shape_and_no_values(tmp_path: Path) -> None:
    write(tmp_path / "net.onnx", "y")

    found = onnx_header(tmp_path / "net.onnx")

    assert [(one.name, list(one.dims)) for one in found.graph.initializer] == [("w", [2000])]
    assert found.ByteSize() < 1000


def test_a_file_is_read_again_only_when_it_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    write(path, "y")
    first = onnx_header(path)
    assert onnx_header(path) is first

    write(path, "changed")

    assert onnx_header(path).graph.output[0].name == "changed"


def test_a_missing_file_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        onnx_header(tmp_path / "none.onnx")
