import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from service.card import Card, Stage
from service.graph.anatomy import instrument_graph
from tests.servables import color_card

RANDOM = np.random.default_rng(5)
FILTERS = RANDOM.normal(size=(4, 3, 3, 3)).astype(np.float32)
WEIGHTS = RANDOM.normal(size=(4, 3)).astype(np.float32)
STAGES = (
    Stage(name="stage_1", tensor="map_1", channels=4, stride=2),
    Stage(name="stage_2", tensor="map_2", channels=4, stride=2),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A classifier with one convolution, an activation, pooling and a linear layer."""
    nodes = [
        helper.make_node("Conv", ["image", "filters"], ["map_1"], strides=[2, 2]),
        helper.make_node("Relu", ["map_1"], ["map_2"]),
        helper.make_node("GlobalAveragePool", ["map_2"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("MatMul", ["features", "weights"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 9, 9])],
        [onnx.ValueInfoProto(name="logits")],
        [numpy_helper.from_array(FILTERS, "filters"), numpy_helper.from_array(WEIGHTS, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    file = tmp_path / "model.onnx"
    file.write_bytes(model.SerializeToString())
    return file


def card_with(**changes: object) -> Card:
    return Card.model_validate({**color_card().model_dump(), "stages": STAGES, **changes})


def outputs_of(graph: bytes) -> list[str]:
    return [value.name for value in onnx.load_from_string(graph).graph.output]


def test_a_classifier_has_a_first_layer_a_head_and_receptive_fields(path: Path) -> None:
    anatomy = instrument_graph(path, card_with()).anatomy
    assert anatomy.first is not None
    assert anatomy.first.stride == (2, 2)
    assert anatomy.head is not None
    assert anatomy.head.map == "map_2"
    assert anatomy.opening is not None
    assert anatomy.opening.tensors == ["image", "map_1", "map_2"]
    assert anatomy.last is not None
    assert anatomy.last.input == "features"
    assert {name: field.size for name, field in anatomy.fields.items()} == {
        "map_1": (3, 3),
        "map_2": (3, 3),
    }


def test_the_inner_maps_are_outputs_that_run(path: Path) -> None:
    before = path.read_bytes()
    graph = instrument_graph(path, card_with()).graph
    assert outputs_of(graph) == ["logits", "map_1", "map_2", "features"]
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    image = RANDOM.normal(size=(1, 3, 9, 9)).astype(np.float32)
    logits, first, second, features = session.run(None, {"image": image})
    np.testing.assert_allclose(features, second.mean(axis=(2, 3)), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(second, np.maximum(first, 0))
    np.testing.assert_allclose(logits, second.mean(axis=(2, 3)) @ WEIGHTS, rtol=1e-4, atol=1e-5)
    assert path.read_bytes() == before


def test_a_stage_that_is_an_output_already_is_not_added_again(path: Path) -> None:
    stages = (Stage(name="last", tensor="logits", channels=3, stride=9), *STAGES)
    graph = instrument_graph(path, card_with(stages=stages)).graph
    assert outputs_of(graph) == ["logits", "map_1", "map_2", "features"]


def test_a_stage_that_the_graph_lacks_is_named_and_left_out(path: Path) -> None:
    stages = (Stage(name="gone", tensor="no_such_map", channels=3, stride=9), *STAGES)
    found = instrument_graph(path, card_with(stages=stages))
    assert found.anatomy.lacking == ("gone",)
    assert outputs_of(found.graph) == ["logits", "map_1", "map_2", "features"]
    assert not instrument_graph(path, card_with()).anatomy.lacking


def test_the_map_that_the_head_pools_is_an_output_without_any_stage(path: Path) -> None:
    instrumented = instrument_graph(path, card_with(stages=()))
    assert outputs_of(instrumented.graph) == ["logits", "map_2", "map_1", "features"]
    assert list(instrumented.anatomy.fields) == ["map_2"]


def test_only_a_classifier_has_a_linear_head(path: Path) -> None:
    instrumented = instrument_graph(path, card_with(task="embed", labels=(), stages=()))
    assert instrumented.anatomy.head is None
    assert instrumented.anatomy.last is None
    assert outputs_of(instrumented.graph) == ["logits", "map_1", "map_2"]


PROGRAM = """
import gc, re, resource, sys
from pathlib import Path
from service.graph.anatomy import instrument_graph
from tests.service.graph.test_anatomy import card_with

path, card = Path(sys.argv[1]), card_with()

def limited(more):
    gc.collect()
    size = int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (size + more, resource.RLIM_INFINITY))
    try:
        return "whole" if instrument_graph(path, card).graph else "nothing"
    except MemoryError:
        return "no memory"
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

instrument_graph(path, card)
print(sorted({limited(part * 2**20) for part in range(0, 90, 3)}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of memory and /proc need Linux")
def test_where_there_is_no_memory_for_the_graph_that_is_said(path: Path) -> None:
    """Its library says that it "failed to serialize", or that the file can not be parsed."""
    model = onnx.load(path)
    weights = np.zeros(4 * 2**20, np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weights, "many"))
    onnx.save(model, path)
    command = [sys.executable, "-c", PROGRAM, str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.stdout == "['no memory', 'whole']\n", ended.stderr
