"""`onnx:` sources: the unchanged file in ONNX Runtime is the truth, at whatever batch it runs."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from exporter.errors import GraphError, ProofError, RecipeError
from exporter.heads.detect import DetectHead
from exporter.network import Network
from exporter.progress import SilentProgress
from exporter.recipe import make_recipe
from exporter.sessions import unoptimized_session
from exporter.sources.onnx_file import load

SIDE = 8
PIXELS = np.random.default_rng(5).random((5, 3, SIDE, SIDE), np.float32)


def op(name: str, inputs: str, outputs: str, **attributes: Any) -> NodeProto:
    return helper.make_node(name, inputs.split(), outputs.split(), **attributes)


def model_of(
    *nodes: NodeProto,
    outputs: tuple[str, ...] = ("raw",),
    batch: int | str = "n",
    **constants: Any,
) -> ModelProto:
    """Return a graph from `x`, whose map `m` (N, 12, 4, 4) a trained layer computes."""
    rng = np.random.default_rng(1)
    known = {
        "w": rng.standard_normal((12, 3, 2, 2)).astype(np.float32),
        "to_four": rng.standard_normal((12, 4)).astype(np.float32),
        **constants,
    }
    graph = helper.make_graph(
        [op("Conv", "x w", "m", strides=[2, 2]), *nodes],
        "found",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in known.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


POOLED = [op("GlobalAveragePool", "m", "p"), op("Flatten", "p", "f")]
CLASSIFIER = [*POOLED, op("MatMul", "f to_four", "raw")]
LABELS = ["a", "b", "c", "d"]


def loaded(
    folder: Path, model: ModelProto, task: str = "classify", **fields: Any
) -> tuple[Network, list[str]]:
    """Return the network in a file, and the warnings."""
    onnx.save(model, folder / "net.onnx")
    recipe = make_recipe(
        {"source": "onnx:net.onnx", "task": task, "name": "net", "folder": folder, **fields}
    )
    progress = SilentProgress()
    return load("net.onnx", recipe, progress), progress.warnings


def by_hand(model: ModelProto, *names: str, step: int = 1) -> list[NDArray[Any]]:
    """Return what ONNX Runtime computes from the file as it is, for the pixels in parts of so many."""
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    parts = [
        session.run(list(names), {"x": PIXELS[at : at + step]})
        for at in range(0, len(PIXELS), step)
    ]
    return [np.concatenate(same) for same in zip(*parts, strict=True)]


def converted(network: Network, count: int = 5) -> list[NDArray[Any]]:
    """Return the raw outputs of the network's graph."""
    model = network.graph.draft()
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in network.raw)
    session = unoptimized_session(model)
    found = session.run(list(network.raw), {session.get_inputs()[0].name: PIXELS[:count]})
    return list(found)


def test_graph_and_reference_compute_what_the_file_computes(tmp_path: Path) -> None:
    (expected,) = by_hand(model_of(*CLASSIFIER), "raw")

    network, warnings = loaded(tmp_path, model_of(*CLASSIFIER), labels=LABELS)

    (found,) = network.reference.run(PIXELS)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(converted(network)[0], expected, atol=1e-5)
    assert network.head.classes == 4
    assert (network.facts.title, network.facts.origin) == ("net", "onnx:net.onnx")
    assert (network.max_batch, network.facts.labels, warnings) == (None, None, [])
    assert network.reference.name.startswith("the source file in ONNX Runtime ")
    assert network.reference.own_outputs(b"") is None


def test_what_nobody_states_of_the_pixels_is_assumed(tmp_path: Path) -> None:
    network, _ = loaded(tmp_path, model_of(*CLASSIFIER))
    stated, _ = loaded(tmp_path, model_of(*CLASSIFIER), pixels={"mean": [0.5] * 3})

    assert network.assumed == ("mean", "std")
    assert stated.assumed == ("std",)
    assert stated.pixels.mean == (0.5, 0.5, 0.5)


def test_pixels_of_frames_are_those_of_the_recipe(tmp_path: Path) -> None:
    pixels = {"mean": [0.5] * 3, "std": [0.25] * 3}
    network, _ = loaded(tmp_path, model_of(*CLASSIFIER), pixels=pixels)
    frames = np.full((1, SIDE, SIDE, 3), 51, np.uint8)

    # 51 of 255 are 0.2.
    found = network.reference.pixels_of_frames(frames)

    np.testing.assert_allclose(found, np.full((1, 3, SIDE, SIDE), (0.2 - 0.5) / 0.25), atol=1e-6)


@pytest.mark.parametrize("batch", [1, 2, 4, 7])
def test_a_file_of_a_fixed_batch_is_run_in_parts_and_freed(batch: int, tmp_path: Path) -> None:
    """Five images do not fill the last part; the graph's own reshape names the batch."""
    shaped = [*POOLED, op("MatMul", "f to_four", "s"), op("Reshape", "s dims", "raw")]
    model = model_of(*shaped, batch=batch, dims=np.array([batch, 4], np.int64))
    (expected,) = by_hand(model_of(*CLASSIFIER), "raw")

    network, _ = loaded(tmp_path, model, labels=LABELS)

    (found,) = network.reference.run(PIXELS)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(converted(network)[0], expected, atol=1e-5)
    assert network.max_batch is None


def test_a_file_that_computes_one_image_alone_is_served_so(tmp_path: Path) -> None:
    """The batch is free by name, but a token for one image is joined with it."""
    joined = [
        *POOLED,
        op("MatMul", "f to_four", "s"),
        op("Concat", "s token", "both", axis=0),
        op("ReduceSum", "both first", "raw", keepdims=1),
    ]
    model = model_of(*joined, token=np.full((1, 4), 2.0, np.float32), first=np.array([0]))
    (expected,) = by_hand(model_of(*CLASSIFIER), "raw")

    network, warnings = loaded(tmp_path, model, labels=LABELS)

    np.testing.assert_allclose(network.reference.run(PIXELS)[0], expected + 2, atol=1e-5)
    np.testing.assert_allclose(converted(network, 1)[0], expected[:1] + 2, atol=1e-5)
    assert network.max_batch == 1
    assert "one image at a time, and so does the servable (max_batch 1)" in warnings[0]


@pytest.mark.parametrize("batch", [2, 3, 8])
def test_a_batch_whose_images_differ_by_their_place_is_refused(tmp_path: Path, batch: int) -> None:
    model = model_of(
        *POOLED,
        op("MatMul", "f to_four", "s"),
        op("Add", "s each", "raw"),
        batch=batch,
        each=np.arange(4 * batch, dtype=np.float32).reshape(batch, 4),
    )

    words = rf"fixed at {batch}, and the graph does not compute a single"
    with pytest.raises(GraphError, match=words):
        loaded(tmp_path, model, labels=LABELS)


def test_a_softmax_over_the_whole_batch_is_refused_as_that(tmp_path: Path) -> None:
    nodes = [
        *POOLED,
        op("MatMul", "f to_four", "s"),
        op("Reshape", "s whole", "flat"),
        op("Softmax", "flat", "shares", axis=1),
        op("Reshape", "shares rows", "raw"),
    ]
    shapes: dict[str, Any] = {"whole": np.array([1, -1]), "rows": np.array([-1, 4])}

    with pytest.raises(GraphError, match=r"depends on the others of its batch.*--largest-batch 1"):
        loaded(tmp_path, model_of(*nodes, **shapes), labels=LABELS)

    network, _ = loaded(tmp_path, model_of(*nodes, batch=1, **shapes), labels=LABELS)
    np.testing.assert_allclose(network.reference.run(PIXELS)[0].sum(axis=1), 1, atol=1e-5)


def test_values_that_are_no_numbers_are_named_by_their_layer(tmp_path: Path) -> None:
    model = model_of(*POOLED, op("Sub", "f f", "z"), op("Div", "f z", "i"), op("Sub", "i i", "raw"))

    with pytest.raises(ProofError, match="random pixels"):
        loaded(tmp_path, model)


def test_each_float_tensor_is_a_layer(tmp_path: Path) -> None:
    network, _ = loaded(tmp_path, model_of(*CLASSIFIER), labels=LABELS)
    m, f = by_hand(with_all(model_of(*CLASSIFIER), "m", "f"), "m", "f")

    layers = dict(network.reference.layers(PIXELS))

    assert list(layers) == ["m", "p", "f", "raw"]
    np.testing.assert_allclose(layers["m"], m, atol=1e-5)
    np.testing.assert_allclose(layers["f"], f, atol=1e-5)


def with_all(model: ModelProto, *names: str) -> ModelProto:
    model.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names
    )
    return model


def test_an_inner_tensor_can_be_named(tmp_path: Path) -> None:
    (f,) = by_hand(with_all(model_of(*CLASSIFIER), "f"), "f")

    network, _ = loaded(tmp_path, model_of(*CLASSIFIER), outputs=["f"])

    assert network.head.classes == 12
    np.testing.assert_allclose(network.reference.run(PIXELS)[0], f, atol=1e-5)
    with pytest.raises(RecipeError, match=r"--outputs none: .*The graph's outputs are raw"):
        loaded(tmp_path, model_of(*CLASSIFIER), outputs=["none"])


def test_which_output_is_taken_is_said(tmp_path: Path) -> None:
    both = model_of(*CLASSIFIER, outputs=("m", "raw"))

    network, warnings = loaded(tmp_path, both)
    _, silent = loaded(tmp_path, both, outputs=["raw"])

    assert network.head.classes == 4
    assert warnings == ["the output raw is taken for the scores, not m (see --outputs)"]
    assert silent == []


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        ("{0: 'cat', 1: 'dog', 2: 'bird', 3: 'cow'}", ("cat", "dog", "bird", "cow")),
        ("{'1': 'dog', '0': 'cat'}", ("cat", "dog")),
        ("{10: 'x', 2: 'y'}", None),
        ("{0: 'cat', 2: 'dog'}", None),
        ("['cat', 'dog']", None),
        ("{", None),
        ("{}", None),
        ("", None),
    ],
)
def test_labels_in_the_metadata_are_in_the_order_of_their_ids(
    names: str, labels: tuple[str, ...] | None, tmp_path: Path
) -> None:
    model = model_of(*CLASSIFIER)
    helper.set_model_props(model, {"names": names})

    assert loaded(tmp_path, model)[0].facts.labels == labels


@pytest.mark.parametrize("task", ["pose", "obb", "segment"])
def test_a_file_of_another_task_is_no_detector(task: str, tmp_path: Path) -> None:
    model = model_of(*CLASSIFIER)
    helper.set_model_props(model, {"task": task})

    with pytest.raises(RecipeError, match=f"its task is '{task}'; its outputs hold more than"):
        loaded(tmp_path, model, "detect")
    assert loaded(tmp_path, model)[0].head.classes == 4


BOXES = [op("Slice", "m zero four axis", "b"), op("Reshape", "b rows", "boxes")]
"""Of the map's 12 channels 4 are boxes, of 16 places."""

CONSTANTS: dict[str, Any] = {
    "zero": np.array([0]),
    "four": np.array([4]),
    "end": np.array([12]),
    "axis": np.array([1]),
    "rows": np.array([0, 16, 4]),
    "kinds": np.array([0, 8, 16]),
}


def test_scores_before_the_boxes_in_columns_are_put_in_order(tmp_path: Path) -> None:
    nodes = [
        *BOXES,
        op("Slice", "m four end axis", "s"),
        op("Reshape", "s kinds", "columns"),
        op("Sigmoid", "columns", "scores"),
    ]
    model = model_of(*nodes, outputs=("scores", "boxes"), **CONSTANTS)
    boxes, scores = by_hand(model, "boxes", "scores")

    network, _ = loaded(tmp_path, model, "detect")

    for found in (network.reference.run(PIXELS), converted(network)):
        np.testing.assert_allclose(found[0], boxes, atol=1e-5)
        np.testing.assert_allclose(found[1], scores.transpose(0, 2, 1), atol=1e-5)
    assert isinstance(network.head, DetectHead)
    assert (network.head.anchors, network.head.columns) == (16, 8)


def chosen(*extra: NodeProto) -> ModelProto:
    """Return a detector that gives each box its best score and class."""
    nodes = [
        *BOXES,
        op("Slice", "m four end axis", "s"),
        op("Reshape", "s kinds", "columns"),
        op("Sigmoid", "columns", "each"),
        op("ReduceMax", "each axis", "scores", keepdims=0),
        op("ArgMax", "each", "ids", axis=1, keepdims=0),
        op("Cast", "ids", "labels", to=TensorProto.FLOAT),
        *extra,
    ]
    return model_of(*nodes, outputs=("boxes", "scores", "labels"), **CONSTANTS)


def test_how_many_classes_a_detector_chooses_from_is_read_off_its_graph(tmp_path: Path) -> None:
    network, _ = loaded(tmp_path, chosen(), "detect")

    assert isinstance(network.head, DetectHead)
    assert (network.head.recipe.decoder, network.head.classes) == ("triple", 8)
    assert network.head.recipe.nms_free is False
    assert network.background_id is None


def test_whether_each_object_has_one_box_is_read_off_the_graph_unless_it_is_stated(
    tmp_path: Path,
) -> None:
    attention = [
        op("Softmax", "each", "weights"),
        op("MatMul", "weights boxes", "attended"),
        op("TopK", "scores axis", "best place"),
    ]

    network, _ = loaded(tmp_path, chosen(*attention), "detect")
    stated, _ = loaded(tmp_path, chosen(*attention), "detect", detect={"nms_free": False})

    assert isinstance(network.head, DetectHead)
    assert isinstance(stated.head, DetectHead)
    assert network.head.recipe.nms_free is True
    assert stated.head.recipe.nms_free is False


def test_a_file_that_onnx_runtime_does_not_run_is_refused_in_its_words(tmp_path: Path) -> None:
    """The product of these sizes is no matrix product, and shapes alone do not show it."""
    model = model_of(
        *POOLED,
        op("Shape", "f", "s"),
        op("Reshape", "bad s", "b"),
        op("Add", "f b", "raw"),
        bad=np.zeros(5, np.float32),
    )

    with pytest.raises(GraphError):
        loaded(tmp_path, model)


@pytest.mark.parametrize("kind", [TensorProto.INT8, TensorProto.UINT8, TensorProto.INT64])
def test_whole_numbers_are_no_scores(kind: int, tmp_path: Path) -> None:
    rounded = [*POOLED, op("MatMul", "f to_four", "s"), op("Cast", "s", "raw", to=kind)]
    model = model_of(*rounded)
    model.graph.output[0].type.tensor_type.elem_type = kind
    with pytest.raises(GraphError, match=r"'raw' \(1, 4\) has whole numbers.*--outputs"):
        loaded(tmp_path, model, labels=LABELS)
    assert loaded(tmp_path, model, labels=LABELS, outputs=["s"])[0].raw


def test_convolutions_in_double_are_named_as_what_no_opset_mends(tmp_path: Path) -> None:
    wide = np.zeros((12, 3, 2, 2))
    model = model_of(op("GlobalAveragePool", "m", "raw"), w=wide)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    with pytest.raises(GraphError, match=r"computes in double.*float32 \(model\.float\(\)\)"):
        loaded(tmp_path, model, labels=LABELS)


def test_a_fixed_batch_of_one_is_kept_where_images_would_change_each_other(tmp_path: Path) -> None:
    by_largest = [
        op("ReduceMax", "x", "largest", keepdims=1),
        op("Div", "x largest", "even"),
        op("Conv", "even w", "e", strides=[2, 2]),
        op("GlobalAveragePool", "e", "p"),
        op("Flatten", "p", "f"),
        op("MatMul", "f to_four", "raw"),
    ]
    network, warnings = loaded(tmp_path, model_of(*by_largest, batch=1), labels=LABELS)
    assert network.max_batch == 1
    assert "one image at a time" in warnings[0]
