"""ONNX files in every form in which they are found, compared with ONNX Runtime on the file as it is."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from exporter.errors import ExportError, GraphError, RecipeError, SourceError
from tests.exporter.exporting import export_to, outputs_of, some_frames

SIDE = 16
LABELS = ["a", "b", "c"]
Pixels = NDArray[Any]


def weights(kind: type = np.float32) -> dict[str, Pixels]:
    rng = np.random.default_rng(5)
    return {
        "w0": (rng.standard_normal((8, 3, 3, 3)) * 0.3).astype(kind),
        "w1": (rng.standard_normal((16, 8, 3, 3)) * 0.3).astype(kind),
        "w2": rng.standard_normal((16, 3)).astype(kind),
    }


def nodes() -> list[onnx.NodeProto]:
    """Return a classifier from `images` to `scores`."""
    stride: dict[str, Any] = {"strides": [2, 2], "pads": [1, 1, 1, 1]}
    return [
        helper.make_node("Conv", ["images", "w0"], ["a"], **stride),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w1"], ["c"], **stride),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("GlobalAveragePool", ["d"], ["e"]),
        helper.make_node("Flatten", ["e"], ["f"]),
        helper.make_node("MatMul", ["f", "w2"], ["scores"]),
    ]


def network(
    *,
    shape: tuple[int | str, ...] = ("n", 3, SIDE, SIDE),
    dtype: int = TensorProto.FLOAT,
    before: tuple[onnx.NodeProto, ...] = (),
    after: tuple[onnx.NodeProto, ...] = (),
    outputs: tuple[str, ...] = ("scores",),
    output_dtype: int = TensorProto.FLOAT,
    opset: int = 18,
    constants: dict[str, Pixels] | None = None,
    entry: str = "images",
    kind: type = np.float32,
) -> ModelProto:
    held = {**weights(kind), **(constants or {})}
    graph = helper.make_graph(
        [*before, *nodes(), *after],
        "found",
        [helper.make_tensor_value_info(entry, dtype, shape)],
        [helper.make_tensor_value_info(name, output_dtype, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in held.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    version = min(helper.find_min_ir_version_for(opsets), 13)
    return helper.make_model(graph, opset_imports=opsets, ir_version=max(version, 4))


def adopt(folder: Path, model: ModelProto, **fields: Any) -> Any:
    onnx.save(model, folder / "net.onnx")
    return export_to(folder, "onnx:net.onnx", **{"labels": LABELS, **fields})


def planes(frames: NDArray[np.uint8]) -> Pixels:
    return np.ascontiguousarray(frames.transpose(0, 3, 1, 2) / 255, np.float32)


def by_hand(model: ModelProto, pixels: Pixels, batch: int = 0, output: str = "scores") -> Pixels:
    """Return what ONNX Runtime computes from the file as it is, in parts of its batch."""
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    entry = session.get_inputs()[0].name
    step = batch or len(pixels)
    parts = [
        session.run([output], {entry: pixels[at : at + step]})[0]
        for at in range(0, len(pixels), step)
    ]
    return np.concatenate(parts).astype(np.float32)


def require_same(
    path: Path, expected: Pixels, frames: NDArray[np.uint8], atol: float = 1e-4
) -> None:
    np.testing.assert_allclose(outputs_of(path, frames)["logits"], expected, atol=atol)


FRAMES = some_frames(4, SIDE)


@pytest.mark.parametrize("opset", [7, 9, 10, 11, 13, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26])
def test_every_opset_that_onnx_runtime_reads_goes_through(tmp_path: Path, opset: int) -> None:
    model = network(opset=opset)
    done = adopt(tmp_path, model)
    require_same(done.path, by_hand(model, planes(FRAMES)), FRAMES)
    assert onnx.load(done.path).opset_import[0].version == max(18, opset)


def test_an_opset_beyond_onnx_runtime_s_is_refused_with_the_next_step(tmp_path: Path) -> None:
    model = network(opset=18)
    model.opset_import[0].version = onnx.defs.onnx_opset_version() + 1
    with pytest.raises(ExportError, match="opset 18"):
        adopt(tmp_path, model)


def test_old_forms_of_operators_are_converted(tmp_path: Path) -> None:
    """Slices, pads, clips, squeezes and sums had attributes, and softmax flattened, in old opsets."""
    after = (
        helper.make_node("Unsqueeze", ["scores"], ["u"], axes=[2]),
        helper.make_node("Pad", ["u"], ["p"], pads=[0, 1, 0, 0, 1, 0], value=0.5),
        helper.make_node("Slice", ["p"], ["s"], starts=[1], ends=[4], axes=[1]),
        helper.make_node("Squeeze", ["s"], ["q"], axes=[2]),
        helper.make_node("Clip", ["q"], ["k"], min=-3.0, max=3.0),
        helper.make_node("Dropout", ["k"], ["drop"], ratio=0.5),
        helper.make_node("Softmax", ["drop"], ["soft"]),
    )
    before = (helper.make_node("Upsample", ["small", "scales"], ["images"], mode="nearest"),)
    model = network(
        opset=9,
        before=before,
        after=after,
        outputs=("soft",),
        entry="small",
        constants={"scales": np.array([1, 1, 2, 2], np.float32)},
    )
    done = adopt(tmp_path, model)
    expected = by_hand(model, planes(FRAMES), output="soft")
    np.testing.assert_allclose(outputs_of(done.path, FRAMES)["probabilities"], expected, atol=1e-5)


@pytest.mark.parametrize("batch", [1, 4])
def test_a_fixed_batch_is_freed(tmp_path: Path, batch: int) -> None:
    fold = helper.make_node("Reshape", ["scores", "dims"], ["flat"])
    dims = {"dims": np.array([batch, 3], np.int64)}
    model = network(shape=(batch, 3, SIDE, SIDE), after=(fold,), outputs=("flat",), constants=dims)
    done = adopt(tmp_path, model)
    assert done.card.max_batch is None
    require_same(done.path, by_hand(model, planes(FRAMES), batch, "flat"), FRAMES)


def test_a_batch_of_one_for_good_is_served_one_by_one(tmp_path: Path) -> None:
    """A class token that was traced for one image can not be joined with several."""
    join = (
        helper.make_node("Unsqueeze", ["scores", "first"], ["tokens"]),
        helper.make_node("Concat", ["token", "tokens"], ["both"], axis=1),
        helper.make_node("ReduceSum", ["both", "first"], ["joined"], keepdims=0),
    )
    constants: dict[str, Pixels] = {
        "first": np.array([1], np.int64),
        "token": np.full((1, 1, 3), 0.25, np.float32),
    }
    model = network(shape=(1, 3, SIDE, SIDE), after=join, outputs=("joined",), constants=constants)
    done = adopt(tmp_path, model)
    assert done.card.max_batch == 1
    require_same(done.path, by_hand(model, planes(FRAMES), 1, "joined")[:1], FRAMES[:1])


def test_a_batch_of_four_for_good_is_refused_with_the_next_step(tmp_path: Path) -> None:
    add = helper.make_node("Add", ["scores", "each"], ["shifted"])
    constants = {"each": np.arange(12, dtype=np.float32).reshape(4, 3)}
    model = network(
        shape=(4, 3, SIDE, SIDE), after=(add,), outputs=("shifted",), constants=constants
    )
    with pytest.raises(GraphError, match=r"fixed at 4.*dynamic batch"):
        adopt(tmp_path, model)


@pytest.mark.parametrize("stated", [{}, {"pixels": {"layout": "NHWC"}}])
def test_an_input_with_the_channels_last_is_seen(tmp_path: Path, stated: dict[str, Any]) -> None:
    turn = helper.make_node("Transpose", ["last"], ["images"], perm=[0, 3, 1, 2])
    model = network(shape=("n", SIDE, SIDE, 3), before=(turn,), entry="last")
    done = adopt(tmp_path, model, **stated)
    require_same(done.path, by_hand(model, (FRAMES / 255).astype(np.float32)), FRAMES)


def test_an_input_of_bytes_reads_them_as_they_are(tmp_path: Path) -> None:
    before = (
        helper.make_node("Cast", ["bytes"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["float", "full"], ["images"]),
    )
    model = network(
        dtype=TensorProto.UINT8,
        before=before,
        entry="bytes",
        constants={"full": np.array(255, np.float32)},
    )
    done = adopt(tmp_path, model)
    require_same(done.path, by_hand(model, FRAMES.transpose(0, 3, 1, 2).copy()), FRAMES)


def test_float16_in_and_out(tmp_path: Path) -> None:
    half = TensorProto.FLOAT16
    model = network(dtype=half, output_dtype=half, kind=np.float16)
    done = adopt(tmp_path, model)
    expected = by_hand(model, planes(FRAMES).astype(np.float16))
    require_same(done.path, expected, FRAMES, atol=2e-2)
    found = outputs_of(done.path, FRAMES)
    assert found["features"].dtype == np.float32


def test_local_functions_are_inlined(tmp_path: Path) -> None:
    model = network(
        after=(helper.make_node("Twice", ["scores"], ["out"], domain="my.fn"),), outputs=("out",)
    )
    body = [helper.make_node("Add", ["x", "x"], ["y"])]
    opsets = [helper.make_opsetid("", 18)]
    model.functions.append(helper.make_function("my.fn", "Twice", ["x"], ["y"], body, opsets))
    model.opset_import.append(helper.make_opsetid("my.fn", 1))
    done = adopt(tmp_path, model)
    require_same(done.path, by_hand(model, planes(FRAMES), output="out"), FRAMES)


def branches(before: list[onnx.NodeProto], opset: int = 18, **constants: Pixels) -> ModelProto:
    """Return a classifier whose scores are doubled where `condition`, which these nodes may compute, is true."""
    graphs = [
        helper.make_graph(
            [helper.make_node("Mul", ["scores", factor], [f"result_{factor}"])],
            factor,
            [],
            [helper.make_tensor_value_info(f"result_{factor}", TensorProto.FLOAT, None)],
        )
        for factor in ("two", "three")
    ]
    choose = helper.make_node(
        "If", ["condition"], ["out"], then_branch=graphs[0], else_branch=graphs[1]
    )
    factors = {"two": np.array([2], np.float32), "three": np.array([3], np.float32)}
    return network(
        after=(*before, choose),
        outputs=("out",),
        constants={**factors, **constants},
        opset=opset,
    )


@pytest.mark.parametrize("opset", [11, 13, 18])
@pytest.mark.parametrize("value", [True, False])
def test_an_if_with_a_constant_condition_takes_its_branch(
    tmp_path: Path, *, value: bool, opset: int
) -> None:
    model = branches([], opset, condition=np.array(value))
    done = adopt(tmp_path, model)
    require_same(done.path, by_hand(model, planes(FRAMES), output="out"), FRAMES)
    assert "If" not in {node.op_type for node in onnx.load(done.path).graph.node}


def test_an_if_that_looks_at_a_shape_stays(tmp_path: Path) -> None:
    condition = [
        helper.make_node("Shape", ["scores"], ["shape"]),
        helper.make_node("Gather", ["shape", "at"], ["columns"]),
        helper.make_node("Equal", ["columns", "wanted"], ["condition"]),
    ]
    model = branches(condition, at=np.array(1, np.int64), wanted=np.array(3, np.int64))
    done = adopt(tmp_path, model)
    require_same(done.path, by_hand(model, planes(FRAMES), output="out"), FRAMES)


def test_external_data_is_read(tmp_path: Path) -> None:
    model = network()
    folder = tmp_path / "source"
    folder.mkdir()
    onnx.save(
        model, folder / "net.onnx", save_as_external_data=True, location="w.bin", size_threshold=0
    )
    done = export_to(tmp_path, "onnx:source/net.onnx", labels=LABELS)
    require_same(done.path, by_hand(network(), planes(FRAMES)), FRAMES)
    (folder / "w.bin").unlink()
    with pytest.raises(SourceError, match=r"w\.bin"):
        export_to(tmp_path, "onnx:source/net.onnx", labels=LABELS)


def test_nodes_in_any_order_are_sorted(tmp_path: Path) -> None:
    model = network()
    expected = by_hand(model, planes(FRAMES))
    backwards = [
        onnx.NodeProto.FromString(n.SerializeToString()) for n in reversed(model.graph.node)
    ]
    del model.graph.node[:]
    model.graph.node.extend(backwards)
    require_same(adopt(tmp_path, model).path, expected, FRAMES)


def test_constants_may_be_listed_as_inputs(tmp_path: Path) -> None:
    model = network(opset=9)
    for tensor in model.graph.initializer:
        model.graph.input.insert(
            0, helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        )
    expected = by_hand(network(opset=9), planes(FRAMES))
    require_same(adopt(tmp_path, model).path, expected, FRAMES)


def test_a_free_size_is_stated(tmp_path: Path) -> None:
    model = network(shape=("n", 3, "h", "w"))
    with pytest.raises(RecipeError, match="--height and --width"):
        adopt(tmp_path, model)
    size = {"height": SIDE, "width": SIDE, "resize": "stretch"}
    done = adopt(tmp_path, model, input=size)
    require_same(done.path, by_hand(model, planes(FRAMES)), FRAMES)


def test_a_stated_size_must_be_the_file_s(tmp_path: Path) -> None:
    size = {"height": 32, "width": SIDE, "resize": "stretch"}
    with pytest.raises(RecipeError, match=r"--height 32: the file fixes the height .* at 16"):
        adopt(tmp_path, network(), input=size)


def test_the_output_that_suits_the_task_is_taken(tmp_path: Path) -> None:
    model = network(outputs=("d", "e", "scores"))
    require_same(adopt(tmp_path, model).path, by_hand(model, planes(FRAMES)), FRAMES)


def test_a_dead_output_whose_size_depends_on_the_image_is_left_out(tmp_path: Path) -> None:
    model = network(after=(helper.make_node("NonZero", ["d"], ["where"]),), outputs=("scores",))
    model.graph.output.insert(0, helper.make_tensor_value_info("where", TensorProto.INT64, None))
    require_same(adopt(tmp_path, model).path, by_hand(model, planes(FRAMES)), FRAMES)


def test_a_sequence_inside_goes_through_and_one_outside_is_left_out(tmp_path: Path) -> None:
    after = (
        helper.make_node("SplitToSequence", ["scores"], ["parts"], axis=1, keepdims=1),
        helper.make_node("ConcatFromSequence", ["parts"], ["out"], axis=1),
    )
    model = network(after=after, outputs=("out",))
    require_same(adopt(tmp_path, model).path, by_hand(model, planes(FRAMES), output="out"), FRAMES)


@pytest.mark.parametrize(("per_channel", "end"), [(True, ()), (False, ()), (True, ("Softmax",))])
def test_a_quantized_file_goes_through(
    tmp_path: Path, *, per_channel: bool, end: tuple[str, ...]
) -> None:
    """Its layers run on integers, which round otherwise than the file node by node."""
    quantization = pytest.importorskip("onnxruntime.quantization")

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc,name-defined]
        left = iter([{"images": planes(some_frames(1, SIDE))} for _ in range(3)])

        def get_next(self) -> dict[str, Pixels] | None:
            return next(self.left, None)

    after = tuple(helper.make_node(kind, ["scores"], ["out"]) for kind in end)
    output = "out" if end else "scores"
    onnx.save(network(after=after, outputs=(output,)), tmp_path / "float.onnx")
    quantization.quantize_static(
        tmp_path / "float.onnx",
        tmp_path / "net.onnx",
        Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=per_channel,
    )
    model = onnx.load(tmp_path / "net.onnx")
    done = export_to(tmp_path, "onnx:net.onnx", labels=LABELS)
    if end:
        found = outputs_of(done.path, FRAMES)["probabilities"]
        np.testing.assert_allclose(found, by_hand(model, planes(FRAMES), output=output), atol=1e-6)
    else:
        require_same(done.path, by_hand(model, planes(FRAMES)), FRAMES, atol=1e-6)
    assert outputs_of(done.path, FRAMES)["features"].shape == (4, 16)


def test_maps_with_the_channels_last_are_turned(tmp_path: Path) -> None:
    turn = helper.make_node("Transpose", ["d"], ["maps"], perm=[0, 2, 3, 1])
    model = network(after=(turn,), outputs=("maps",))
    done = adopt(
        tmp_path,
        model,
        task="segment",
        labels=[f"{i}" for i in range(16)],
        segment={"activation": "softmax"},
    )
    maps = by_hand(model, planes(FRAMES), output="maps")
    found = outputs_of(done.path, FRAMES)["mask"]
    middle = np.s_[:, 1::4, 1::4]  # beside the middle of a cell the cell's own class is nearest
    assert (found[middle] == maps.argmax(-1)).mean() > 0.7


@pytest.mark.parametrize("dtype", [TensorProto.INT32, TensorProto.INT64])
def test_an_input_of_integers_reads_the_bytes(tmp_path: Path, dtype: int) -> None:
    before = (
        helper.make_node("Cast", ["whole"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["float", "most"], ["images"]),
    )
    most = {"most": np.array(255, np.float32)}
    model = network(dtype=dtype, before=before, entry="whole", constants=most)
    done = adopt(tmp_path, model)
    whole = FRAMES.transpose(0, 3, 1, 2).astype(helper.tensor_dtype_to_np_dtype(dtype))
    require_same(done.path, by_hand(model, whole), FRAMES)


def test_an_input_of_integers_reads_rounded_gray_values(tmp_path: Path) -> None:
    before = (
        helper.make_node("Cast", ["whole"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["float", "most"], ["images"]),
    )
    own = {"most": np.array(100, np.float32), "w0": weights()["w0"][:, :1]}
    shape = ("n", 1, SIDE, SIDE)
    model = network(
        shape=shape, dtype=TensorProto.UINT8, before=before, entry="whole", constants=own
    )

    done = adopt(tmp_path, model)

    luma = FRAMES @ np.array([0.299, 0.587, 0.114])
    require_same(done.path, by_hand(model, np.rint(luma).astype(np.uint8)[:, None]), FRAMES, 1e-2)


def test_scores_in_a_table_of_labels_are_read(tmp_path: Path) -> None:
    """As Custom Vision writes them, beside the best label as text."""
    domain = "ai.onnx.ml"
    after = (
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
        helper.make_node(
            "ZipMap", ["probabilities"], ["loss"], domain=domain, classlabels_strings=LABELS
        ),
        helper.make_node("ArgMax", ["probabilities"], ["best"], axis=1, keepdims=0),
        helper.make_node("ArrayFeatureExtractor", ["names", "best"], ["label"], domain=domain),
    )
    model = network(after=after, outputs=("label", "loss"))
    names = np.array([LABELS], dtype=object)
    model.graph.initializer.append(numpy_helper.from_array(names, "names"))
    model.opset_import.append(helper.make_opsetid(domain, 1))
    label, table = model.graph.output
    label.type.tensor_type.elem_type = TensorProto.STRING
    of_scores = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    table.type.CopyFrom(
        helper.make_sequence_type_proto(helper.make_map_type_proto(TensorProto.STRING, of_scores))
    )

    done = adopt(tmp_path, model)

    plain = network(after=after[:1], outputs=("probabilities",))
    expected = by_hand(plain, planes(FRAMES), output="probabilities")
    found = outputs_of(done.path, FRAMES)["probabilities"]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(-1, 3, SIDE, SIDE), (-1, 3, -1, -1)])
def test_axes_of_size_minus_one_are_free(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """As converters from PaddlePaddle write them."""
    model = network(shape=shape)
    model.graph.output[0].type.tensor_type.shape.dim.add().dim_value = -1
    model.graph.output[0].type.tensor_type.shape.dim.add().dim_value = 3

    size = {"height": SIDE, "width": SIDE, "resize": "stretch"}
    done = adopt(tmp_path, model, **({} if SIDE in shape else {"input": size}))

    require_same(done.path, by_hand(model, planes(FRAMES)), FRAMES)
    assert done.card.max_batch is None


def active_dropout() -> ModelProto:
    drop = helper.make_node("Dropout", ["scores", "ratio", "yes"], ["out"])
    switches = {"ratio": np.array(0.5, np.float32), "yes": np.ones((), bool)}
    return network(after=(drop,), outputs=("out",), constants=switches)


REFUSED: dict[str, tuple[Callable[[], ModelProto], str]] = {
    "four channels": (lambda: network(shape=("n", 4, SIDE, SIDE)), "has 4 channels"),
    "an input of text": (lambda: network(dtype=TensorProto.STRING), "one of these types"),
    "a vector": (
        lambda: network(shape=("n", 48)),
        r"one input with four axes.*images \(float, n, 48\)",
    ),
    "signed bytes": (lambda: network(dtype=TensorProto.INT8), "Export it with one of these types"),
    "an active dropout": (active_dropout, "a dropout in training mode"),
    "no operators": (lambda: ModelProto(ir_version=8), "has no operators"),
    "an unknown operator": (
        lambda: network(after=(helper.make_node("Frobnicate", ["scores"], ["x"]),), outputs=("x",)),
        "Frobnicate",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_not_be_served_is_refused_in_words(tmp_path: Path, name: str) -> None:
    make, words = REFUSED[name]
    with pytest.raises(ExportError, match=words):
        adopt(tmp_path, make())


def test_a_second_input_of_unknown_meaning_is_refused(tmp_path: Path) -> None:
    model = network(after=(helper.make_node("Mul", ["scores", "gain"], ["out"]),), outputs=("out",))
    model.graph.input.append(helper.make_tensor_value_info("gain", TensorProto.FLOAT, ["n", 3]))
    with pytest.raises(SourceError, match=r"gain \(float, n, 3\) beside the image"):
        adopt(tmp_path, model)
