"""Which outputs of a file a task reads, and the form that they are brought to."""

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper

from exporter.errors import GraphError, RecipeError
from exporter.graph import Graph
from exporter.recipe import Recipe, make_recipe
from exporter.sessions import unoptimized_session
from exporter.shapes import Shape
from exporter.sources.found_outputs import RawOutput, read_outputs, require_outputs
from service.card import ImageInput
from tests.exporter.graphs import pixel_graph

FRAME = ImageInput(height=16, width=32, resize="stretch")
FLOAT = TensorProto.FLOAT


def recipe(task: str = "detect", **fields: Any) -> Recipe:
    return make_recipe({"source": "onnx:net.onnx", "task": task, "name": "net", **fields})


def op(name: str, inputs: str, outputs: str, **attributes: Any) -> NodeProto:
    return helper.make_node(name, inputs.split(), outputs.split(), **attributes)


def read(
    task: str,
    *dims: tuple[int, ...],
    counted: bool = False,
    dtypes: tuple[int, ...] = (),
    **fields: Any,
) -> list[RawOutput]:
    """Return the usable ones of the outputs `o0`, `o1`, … with these dimensions."""
    names = [f"o{index}" for index in range(len(dims))]
    nodes = [op("NonZero" if counted else "Identity", "pixels", name) for name in names]
    shapes = {
        name: Shape(one, dtypes[index] if dtypes else FLOAT)
        for index, (name, one) in enumerate(zip(names, dims, strict=True))
    }
    model = pixel_graph(*nodes, outputs=names)
    return read_outputs(model, names, shapes, recipe(task, **fields), FRAME)


def form(task: str, dims: tuple[int, ...], **options: Any) -> tuple[str, tuple[int, ...]]:
    (found,) = read(task, dims, **options)
    return found.form, found.dims


NHWC = {"pixels": {"layout": "NHWC"}}


def test_scores_with_axes_of_size_one_before_the_classes_become_a_vector() -> None:
    assert form("classify", (1, 1, 1, 7)) == ("vector", (1, 7))
    assert form("classify", (1, 1, 7)) == ("vector", (1, 7))
    assert form("classify", (1, 7)) == ("plain", (1, 7))
    assert form("classify", (1, 7, 1, 1)) == ("plain", (1, 7, 1, 1))


@pytest.mark.parametrize(
    ("dims", "fields", "expected"),
    [
        ((1, 7, 1, 1), {}, ("plain", (1, 7, 1, 1))),
        ((1, 1, 1, 7), {}, ("channels_last", (1, 7, 1, 1))),
        ((1, 20, 2, 4), {}, ("plain", (1, 20, 2, 4))),
        ((1, 2, 4, 20), {}, ("channels_last", (1, 20, 2, 4))),
        ((1, 4, 8, 16), {}, ("plain", (1, 4, 8, 16))),
        ((1, 4, 8, 16), NHWC, ("channels_last", (1, 16, 4, 8))),
        ((1, 7, 1, 1), NHWC, ("plain", (1, 7, 1, 1))),
        ((1, 8, 16), {}, ("plain", (1, 8, 16))),
    ],
)
def test_the_axes_of_an_embedder_s_map_are_known_by_aspect_and_layout(
    dims: tuple[int, ...], fields: dict[str, Any], expected: tuple[str, tuple[int, ...]]
) -> None:
    assert form("embed", dims, **fields) == expected


@pytest.mark.parametrize(
    ("dims", "fields", "expected"),
    [
        # The frame is twice as wide as high.
        ((1, 5, 8, 16), {}, ("plain", (1, 5, 8, 16))),
        ((1, 8, 16, 5), {}, ("channels_last", (1, 5, 8, 16))),
        ((1, 8, 16, 5), {"labels": ["k"] * 8}, ("channels_last", (1, 5, 8, 16))),
        # Both could be: 4·8 and 8·16 have the aspect. The labels decide, else the layout of the input.
        ((1, 4, 8, 16), {}, ("plain", (1, 4, 8, 16))),
        ((1, 4, 8, 16), {"labels": ["k"] * 16}, ("channels_last", (1, 16, 4, 8))),
        ((1, 4, 8, 16), {"labels": ["k"] * 4, **NHWC}, ("plain", (1, 4, 8, 16))),
        ((1, 4, 8, 16), NHWC, ("channels_last", (1, 16, 4, 8))),
        # One map for two labels.
        ((1, 1, 2, 4), {"labels": ["no", "yes"]}, ("plain", (1, 1, 2, 4))),
        ((1, 9, 9, 1), {"labels": ["no", "yes"]}, ("channels_last", (1, 1, 9, 9))),
        ((1, 9, 9, 1), {"labels": ["a", "b", "c"]}, ("plain", (1, 9, 9, 1))),
        # Without an axis of classes.
        ((1, 8, 16), {}, ("map", (1, 1, 8, 16))),
        ((1, 16, 8), {}, ("plain", (1, 16, 8))),
        # 1.3 times another aspect is still the frame's.
        ((1, 8, 20), {}, ("map", (1, 1, 8, 20))),
        ((1, 8, 21), {}, ("plain", (1, 8, 21))),
        ((1, 26, 40), {}, ("map", (1, 1, 26, 40))),
        ((1, 27, 40), {}, ("plain", (1, 27, 40))),
    ],
)
def test_the_axes_of_maps_are_known_by_aspect_labels_and_layout(
    dims: tuple[int, ...], fields: dict[str, Any], expected: tuple[str, tuple[int, ...]]
) -> None:
    assert form("segment", dims, **fields) == expected


def test_a_map_without_classes_gives_way_to_one_with_them() -> None:
    found = read("segment", (1, 8, 16), (1, 5, 8, 16))

    assert [(one.name, one.form) for one in found] == [("o1", "plain")]


def test_a_detector_s_counted_rows_are_filled_up_to_the_candidates() -> None:
    assert form("detect", (17, 7), counted=True) == ("rows", (1, 2048, 7))
    assert form("detect", (1, 17, 6), counted=True) == ("list", (1, 2048, 6))
    assert form("detect", (1,), counted=True) == ("rows", (1, 2048))
    few = {"detect": {"candidates": 30}}
    assert form("detect", (17, 7), counted=True, **few) == ("rows", (1, 30, 7))
    assert form("detect", (1, 17, 6)) == ("plain", (1, 17, 6))


def test_what_follows_a_count_is_counted_too() -> None:
    nodes = [
        op("NonMaxSuppression", "pixels w", "chosen"),
        op("Gather", "pixels chosen", "picked"),
        op("Identity", "picked", "rows"),
        op("Identity", "pixels", "plain"),
    ]
    names = ["rows", "plain"]
    shapes = {name: Shape((1, 9, 6), FLOAT) for name in names}
    model = pixel_graph(*nodes, outputs=names, w=np.zeros(1, np.float32))

    found = read_outputs(model, names, shapes, recipe(), FRAME)

    assert [one.form for one in found] == ["list", "plain"]


@pytest.mark.parametrize(
    "name", ["NonMaxSuppression", "NonZero", "Unique", "Compress", "Loop", "If", "SequenceAt"]
)
def test_every_operator_that_counts_is_known(name: str) -> None:
    model = pixel_graph(op(name, "pixels", "o"), outputs=["o"])

    (found,) = read_outputs(model, ["o"], {"o": Shape((1, 9, 6), FLOAT)}, recipe(), FRAME)

    assert found.form == "list"


@pytest.mark.parametrize(
    ("task", "dims", "counted"),
    [("classify", (4, 7), False), ("classify", (), False), ("segment", (1, 5, 8, 16), True)],
)
def test_outputs_that_depend_on_more_than_one_image_are_refused(
    task: str,
    dims: tuple[int, ...],
    counted: bool,  # noqa: FBT001 - a parameter
) -> None:
    with pytest.raises(GraphError, match=rf"--task {task}: for one image they are o0 \(") as one:
        read(task, dims, counted=counted)
    assert str(dims) in str(one.value)


def test_an_output_that_is_no_tensor_is_left_out_and_named() -> None:
    model = pixel_graph(op("Identity", "pixels", "o"), outputs=["o"])

    shapes = {"o": Shape((1, 9), FLOAT)}
    found = read_outputs(model, ["s", "o"], shapes, recipe("classify"), FRAME)
    assert [one.name for one in found] == ["o"]
    with pytest.raises(GraphError, match=r"they are s \(no tensor\)\. The first axis must"):
        read_outputs(model, ["s"], {}, recipe("classify"), FRAME)


def grafted(output: RawOutput, value: NDArray[Any]) -> NDArray[Any]:
    """Return what the added nodes compute of a value."""
    kind = helper.np_dtype_to_tensor_dtype(value.dtype)
    model = helper.make_model(
        helper.make_graph(
            [op("Identity", "entry", output.name)],
            "raw",
            [helper.make_tensor_value_info("entry", kind, [None] * value.ndim)],
            [],
        )
    )
    graph = Graph(model)
    name = output.graft(graph)
    graph.set_outputs([onnx.ValueInfoProto(name=name)])
    result: NDArray[Any] = unoptimized_session(graph.draft()).run(None, {"entry": value})[0]
    return result


def counted(*shape: int) -> NDArray[np.float32]:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


ROWS = counted(2, 3) + 1


@pytest.mark.parametrize(
    ("form", "dims", "value", "expected"),
    [
        ("plain", (2, 3), counted(2, 3), counted(2, 3)),
        ("vector", (2, 3), counted(2, 1, 1, 3), counted(2, 3)),
        ("map", (2, 1, 3, 4), counted(2, 3, 4), counted(2, 1, 3, 4)),
        # [n][c][h][w] of the result is [n][h][w][c] of the file.
        ("channels_last", (1, 2, 1, 3), counted(1, 1, 3, 2), [[[[0, 2, 4]], [[1, 3, 5]]]]),
        ("swapped", (1, 3, 2), counted(1, 2, 3), [[[0, 3], [1, 4], [2, 5]]]),
        ("rows", (1, 4, 3), ROWS, [[[1, 2, 3], [4, 5, 6], [0, 0, 0], [0, 0, 0]]]),
        ("rows", (1, 2, 3), ROWS, [[[1, 2, 3], [4, 5, 6]]]),
        ("rows", (1, 1, 3), ROWS, [[[1, 2, 3]]]),
        ("rows", (1, 4), ROWS[:, 0], [[1, 4, 0, 0]]),
        ("rows", (1, 2, 3), ROWS[:0], [[[0, 0, 0], [0, 0, 0]]]),
        ("list", (1, 3, 3), ROWS[None], [[[1, 2, 3], [4, 5, 6], [0, 0, 0]]]),
        ("list", (1, 1, 3), ROWS[None], [[[1, 2, 3]]]),
    ],
)  # fmt: skip
def test_graph_and_numpy_bring_values_to_the_same_form(
    form: Any, dims: tuple[int, ...], value: NDArray[Any], expected: Any
) -> None:
    output = RawOutput("raw", form, dims, FLOAT)

    for found in (grafted(output, value), output.apply(value)):
        np.testing.assert_array_equal(found, np.array(expected, np.float32))
        assert found.dtype == np.float32


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.bool_, np.int32, np.uint8])
def test_other_numbers_and_booleans_become_float32(dtype: type) -> None:
    value: NDArray[Any] = counted(2, 3).astype(dtype)
    output = RawOutput("raw", "plain", (2, 3), helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    for found in (grafted(output, value), output.apply(value)):
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, value.astype(np.float32))


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
def test_rows_of_class_ids_are_filled_up_as_floats_and_others_stay(dtype: type) -> None:
    value: NDArray[Any] = np.array([3, 4], dtype)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    rows = RawOutput("raw", "rows", (1, 3), kind, is_ids=True)
    plain = RawOutput("raw", "plain", (2,), kind, is_ids=True)

    for found in (grafted(rows, value), rows.apply(value)):
        assert found.dtype == np.float32
        assert found.tolist() == [[3, 4, 0]]
    assert grafted(plain, value).dtype == plain.apply(value).dtype == dtype


def test_stated_outputs_may_be_any_tensors_of_the_graph() -> None:
    model = pixel_graph(op("Relu", "pixels", "a"), op("Abs", "a", "b"), outputs=["b"])

    assert require_outputs(recipe(), model) == ("b",)
    assert require_outputs(recipe(outputs=["a", "b", "a"]), model) == ("a", "b")
    with pytest.raises(
        RecipeError, match=r"--outputs c, pixels: no tensor .* The graph's outputs are b;"
    ):
        require_outputs(recipe(outputs=["pixels", "a", "c"]), model)


def test_an_output_that_no_node_makes_is_one() -> None:
    model = pixel_graph(op("Relu", "pixels", "a"), outputs=["a", "pixels"])

    assert require_outputs(recipe(outputs=["pixels"]), model) == ("pixels",)
