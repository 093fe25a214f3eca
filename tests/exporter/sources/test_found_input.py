"""Which input of a file is the image, in what form it is, and what the other inputs are given."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper

from exporter.errors import RecipeError, SourceError
from exporter.progress import SilentProgress
from exporter.recipe import Pixels, Recipe, make_recipe
from exporter.sources.found_input import (
    Entry,
    bind_entry,
    find_entry,
    say_free_size,
    settle_pixels,
    settle_size,
)
from service.card import ImageInput

FRAME = ImageInput(height=48, width=64, resize="stretch")


def entry_of(name: str, *dims: int | str, dtype: int = TensorProto.FLOAT) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, dims)


def model_of(*entries: ValueInfoProto, constants: tuple[str, ...] = ()) -> ModelProto:
    """Return a graph that reads the first input; constants are listed as inputs too, as old files do."""
    graph = helper.make_graph(
        [helper.make_node("Identity", [entries[0].name], ["out"])],
        "found",
        [*(entry_of(name, 1) for name in constants), *entries],
        [helper.make_tensor_value_info("out", entries[0].type.tensor_type.elem_type, None)],
        [numpy_helper.from_array(np.zeros(1, np.float32), name) for name in constants],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


IMAGE = entry_of("x", "n", 3, 48, 64)


def recipe(**fields: Any) -> Recipe:
    return make_recipe({"source": "onnx:net.onnx", "task": "detect", "name": "net", **fields})


@pytest.mark.parametrize(
    ("dims", "stated", "expected"),
    [
        (("n", 3, 48, 64), None, ("NCHW", 3, 48, 64, 0)),
        ((4, 1, 48, 64), None, ("NCHW", 1, 48, 64, 4)),
        (("n", 48, 64, 3), None, ("NHWC", 3, 48, 64, 0)),
        ((1, "h", "w", 1), None, ("NHWC", 1, 0, 0, 1)),
        # Both axes could be channels, or none is known: the usual order.
        (("n", 3, 48, 3), None, ("NCHW", 3, 48, 3, 0)),
        (("n", 3, 48, 3), "NHWC", ("NHWC", 3, 3, 48, 0)),
        (("n", "c", "h", "w"), None, ("NCHW", 0, 0, 0, 0)),
        (("n", "c", "h", "w"), "NHWC", ("NHWC", 0, 0, 0, 0)),
    ],
)
def test_the_layout_follows_from_the_number_of_channels(
    dims: tuple[int | str, ...], stated: Any, expected: tuple[Any, ...]
) -> None:
    found = find_entry(model_of(entry_of("x", *dims)), stated)

    assert (found.layout, found.channels, found.height, found.width, found.batch) == expected


@pytest.mark.parametrize(
    ("dims", "stated", "message"),
    [
        (("n", 4, 48, 64), None, "has 4 channels as NCHW; a servable's image has 3, or 1"),
        (("n", 48, 64, 3), "NCHW", r"has 48 channels as NCHW.*; is it --layout NHWC\?"),
        (("n", 3, 48, 64), "NHWC", r"has 64 channels as NHWC.*; is it --layout NCHW\?"),
        (("n", 5, 48, 64), "NHWC", "--color gray$"),
        (("n", 5, 48, 64), None, "--color gray$"),
    ],
)
def test_other_numbers_of_channels_are_refused(
    dims: tuple[int | str, ...], stated: Any, message: str
) -> None:
    with pytest.raises(SourceError, match=message):
        find_entry(model_of(entry_of("x", *dims)), stated)


@pytest.mark.parametrize(
    ("dtype", "is_read"),
    [
        (TensorProto.FLOAT, True),
        (TensorProto.FLOAT16, True),
        (TensorProto.DOUBLE, True),
        (TensorProto.UINT8, True),
        (TensorProto.INT8, False),
        (TensorProto.INT64, True),
        (TensorProto.STRING, False),
    ],
)
def test_an_image_is_a_float_or_a_byte(dtype: int, *, is_read: bool) -> None:
    model = model_of(entry_of("x", "n", 3, 48, 64, dtype=dtype))

    if is_read:
        assert find_entry(model, None).dtype == dtype
        return
    with pytest.raises(SourceError, match=r"one input with four axes.*Export it with one of"):
        find_entry(model, None)


def test_constants_among_the_inputs_are_no_inputs() -> None:
    found = find_entry(model_of(IMAGE, constants=("weight", "bias")), None)

    assert (found.name, found.sides) == ("x", ())


def test_two_images_need_a_value_for_one_of_them() -> None:
    model = model_of(IMAGE, entry_of("left", 1, 1, 48, 64))

    with pytest.raises(SourceError, match=r"values: --arg left=1\.0 "):
        find_entry(model, None)
    found = find_entry(model, None, {"left": 0.5})
    assert found.name == "x"
    np.testing.assert_array_equal(
        found.side_value(found.sides[0], FRAME), np.full((1, 1, 48, 64), 0.5)
    )


def test_a_file_without_an_image_names_its_inputs() -> None:
    vector = entry_of("v", "n", 7)

    with pytest.raises(SourceError, match=r"inputs of this one are v \(float, n, 7\)\. Export it"):
        find_entry(model_of(vector), None)
    unknown = helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None)
    with pytest.raises(SourceError, match=r"x \(float, n, 3, 48, 64\), y .*, s \(no tensor\)"):
        find_entry(model_of(IMAGE, entry_of("y", "n", 3, 1, 1), unknown), None)


@pytest.mark.parametrize(
    ("side", "message"),
    [
        (entry_of("gain", "n", 3), r"gain \(float, n, 3\) beside the image, and.*--arg gain=1\.0 "),
        (entry_of("n_best", 1, dtype=TensorProto.INT64), "--arg n_best=1 "),
        (entry_of("n_best", 1, dtype=TensorProto.INT32), "--arg n_best=1 "),
        (entry_of("training", dtype=TensorProto.BOOL), "--arg training=false "),
        (entry_of("point_coords", 1, 2, 2), r"a prompt.*--arg point_coords=1\.0 .*--task embed"),
        (entry_of("input_ids", 1, 7, dtype=TensorProto.INT64), "a prompt.*--arg input_ids=1 "),
    ],
)
def test_an_input_of_unknown_meaning_needs_a_value(side: ValueInfoProto, message: str) -> None:
    model = model_of(IMAGE, side)

    with pytest.raises(SourceError, match=message):
        find_entry(model, None)
    assert find_entry(model, None, {side.name: 1}).sides == (side,)


def test_a_value_for_no_input_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"--arg warmth=….*no input of this name; it has x$"):
        find_entry(model_of(IMAGE), None, {"warmth": 1})


@pytest.mark.parametrize(
    ("name", "dims", "value"),
    [
        # RT-DETR and D-FINE read width and height, PaddleDetection and YOLOv3 height and width.
        ("orig_target_sizes", ("n", 2), [[64, 48]]),
        ("orig_size", (1, 2), [[64, 48]]),
        ("im_shape", ("n", 2), [[48, 64]]),
        ("image_shape", (1, 2), [[48, 64]]),
        ("target_sizes", ("n", 2), [[48, 64]]),
        ("im_info", ("n", 3), [[48, 64, 1]]),
        ("scale_factor", ("n", 2), [[1, 1]]),
        ("pixel_mask", ("n", "h", "w"), np.ones((1, 48, 64))),
        ("pixel_mask", ("n", 48, 64), np.ones((1, 48, 64))),
    ],
)
def test_inputs_that_detectors_have_get_what_their_name_says(
    name: str, dims: tuple[int | str, ...], value: Any
) -> None:
    side = entry_of(name, *dims, dtype=TensorProto.INT64)
    found = find_entry(model_of(IMAGE, side), None)

    given = found.side_value(side, FRAME)

    np.testing.assert_array_equal(given, value)
    assert given.dtype == np.int64


@pytest.mark.parametrize(
    ("dims", "stated", "value"),
    [
        ((), 3.0, 3.0),
        (("n",), 3.0, [3.0]),
        (("n", 2), 3.0, [[3.0, 3.0]]),
        (("n", 2), [3.0, 4.0], [[3.0, 4.0]]),
        (("n", 2), [[3.0, 4.0]], [[3.0, 4.0]]),
        ((2, 2), [[3.0, 4.0], [5.0, 6.0]], [[3.0, 4.0], [5.0, 6.0]]),
        (("n", "k"), [3.0, 4.0, 5.0], [[3.0, 4.0, 5.0]]),
        (("n", 1, "h", "w"), 0.5, np.full((1, 1, 48, 64), 0.5)),
        (("n", "h", "w"), 0.5, np.full((1, 48, 64), 0.5)),
        ((1, 2), True, [[1.0, 1.0]]),
    ],
)
def test_a_stated_value_gets_the_shape_of_the_input(
    dims: tuple[int | str, ...], stated: Any, value: Any
) -> None:
    side = entry_of("gain", *dims)
    found = find_entry(model_of(IMAGE, side), None, {"gain": stated})

    given = found.side_value(side, FRAME)

    np.testing.assert_array_equal(given, np.array(value, np.float32))
    assert given.dtype == np.float32


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ([1, 2, 3], r"list has the shape \(1, 3\), the input is gain \(float, n, 2\)"),
        ([[1, 2], [3, 4]], r"shape \(2, 2\).*Give it for one image"),
        ([[[1, 2]]], r"shape \(1, 1, 2\)"),
        ([[1], [2, 3]], "rows of the list have different lengths"),
        ("warm", "--arg gain=warm: write a number"),
    ],
)
def test_a_stated_value_of_another_shape_is_refused(stated: Any, message: str) -> None:
    side = entry_of("gain", "n", 2)
    found = find_entry(model_of(IMAGE, side), None, {"gain": stated})

    with pytest.raises(RecipeError, match=message):
        found.side_value(side, FRAME)


def test_a_free_first_axis_of_a_side_is_the_batch() -> None:
    free, fixed = entry_of("im_shape", "n", 2), entry_of("scale_factor", 1, 2)
    found = find_entry(model_of(IMAGE, free, fixed), None)

    feed = found.feed(np.zeros((3, 3, 48, 64), np.float32), FRAME)

    assert {name: value.shape for name, value in feed.items()} == {
        "x": (3, 3, 48, 64),
        "im_shape": (3, 2),
        "scale_factor": (1, 2),
    }


@pytest.mark.parametrize(
    ("dtype", "value"),
    [(TensorProto.UINT8, 4), (TensorProto.FLOAT16, 3.59961), (TensorProto.DOUBLE, 3.6)],
)
def test_pixel_values_get_the_type_of_the_input(dtype: int, value: float) -> None:
    entry = Entry("x", dtype, "NCHW", 1, 1, 1, 0)

    fed = entry.feed(np.full((1, 1, 1, 1), 3.6, np.float32), FRAME)["x"]

    assert fed.dtype == helper.tensor_dtype_to_np_dtype(dtype)
    assert float(fed[0, 0, 0, 0]) == pytest.approx(value, abs=1e-5)


def test_pixels_are_what_recipe_file_and_input_state() -> None:
    entry = find_entry(model_of(entry_of("x", "n", 48, 64, 3)), None)
    stated = Pixels(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), color="bgr")
    own = recipe(pixels={"mean": [0.1, 0.2, 0.3]})

    assert settle_pixels(entry, recipe()) == Pixels(layout="NHWC")
    found = settle_pixels(entry, own, stated)
    assert found == Pixels(layout="NHWC", mean=(0.1, 0.2, 0.3), std=(0.25, 0.25, 0.25), color="bgr")


def test_bytes_are_read_as_they_are() -> None:
    entry = find_entry(model_of(entry_of("x", "n", 3, 48, 64, dtype=TensorProto.UINT8)), None)
    stated = Pixels(mean=(0.5, 0.5, 0.5), color="bgr")

    assert settle_pixels(entry, recipe(), stated) == Pixels(scale=1.0, color="bgr")


def test_one_channel_is_gray_and_the_stated_color_must_fit() -> None:
    gray = find_entry(model_of(entry_of("x", "n", 1, 48, 64)), None)
    three = find_entry(model_of(IMAGE), None)
    free = find_entry(model_of(entry_of("x", "n", "c", 48, 64)), None)

    assert settle_pixels(gray, recipe()).color == "gray"
    assert settle_pixels(free, recipe(pixels={"color": "gray"})).color == "gray"
    with pytest.raises(
        RecipeError,
        match=r"--color rgb: it has 3 channels, and the input 'x' has 1\. Leave --color out",
    ):
        settle_pixels(gray, recipe(pixels={"color": "rgb"}))
    with pytest.raises(
        RecipeError, match=r"it has 1 channels.*has 3\. Leave --color out: the three"
    ):
        settle_pixels(three, recipe(pixels={"color": "gray"}))


def test_a_fixed_size_is_stretched_to_and_can_not_be_another() -> None:
    fixed = find_entry(model_of(IMAGE), None)
    high = find_entry(model_of(entry_of("x", "n", 3, 48, "w")), None)

    assert settle_size(fixed, recipe()) == FRAME
    assert high.size is None
    for name, value in (("height", 47), ("width", 65)):
        with pytest.raises(RecipeError, match=rf"--{name} {value}: the file fixes the {name}"):
            settle_size(fixed, recipe(input={name: value}))
    with pytest.raises(RecipeError, match="give --height and --width"):
        settle_size(high, recipe())
    letterbox = recipe(input={"height": 48, "width": 80, "resize": "letterbox"})
    settled = settle_size(high, letterbox)
    assert (settled.height, settled.width, settled.resize) == (48, 80, "letterbox")
    with pytest.raises(RecipeError, match="--height 47"):
        settle_size(high, recipe(input={"height": 47, "width": 80}))


@pytest.mark.parametrize("sides", [(48, "w"), ("h", 80), ("h", "w")])
def test_a_free_size_is_stretched_to_like_a_fixed_one_which_is_said(
    sides: tuple[int | str, int | str],
) -> None:
    free = find_entry(model_of(entry_of("x", "n", 3, *sides)), None)
    size = {"height": 48, "width": 80}

    progress = SilentProgress()
    for stated in ({"resize": "crop"}, {"shorter_side": 90}):
        settled = settle_size(free, recipe(input=size | stated))
        assert settled.resize == "crop"
        say_free_size(recipe(input=size | stated), settled, progress)
    assert not progress.warnings

    settled = settle_size(free, recipe(input=size))
    assert settled.resize == "stretch"
    say_free_size(recipe(input=size), settled, progress)
    assert "stretched to 48×80" in progress.warnings[0]


def bound(model: ModelProto, given: dict[str, Any] | None = None) -> ModelProto:
    entry = find_entry(model, None, given)
    return bind_entry(model, entry, settle_pixels(entry, recipe()), FRAME)


def test_the_bound_model_has_one_float_input_of_a_fixed_size() -> None:
    model = model_of(entry_of("x", "n", "h", "w", 3), constants=("weight",))
    before = model.SerializeToString()

    found = bound(model).graph

    assert [value.name for value in found.input] == ["x", "weight"]
    dims = [dim.dim_value or dim.dim_param for dim in found.input[0].type.tensor_type.shape.dim]
    assert dims == ["N", 48, 64, 3]
    assert model.SerializeToString() == before
    fixed = bound(model_of(entry_of("x", 4, 3, 48, 64))).graph.input[0]
    assert fixed.type.tensor_type.shape.dim[0].dim_value == 4


def test_bytes_are_cast_behind_a_float_input() -> None:
    model = bound(model_of(entry_of("x", "n", 3, 48, 64, dtype=TensorProto.UINT8)))

    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    entry = session.get_inputs()[0]
    out = session.run(None, {entry.name: np.full((1, 3, 48, 64), 7.0, np.float32)})[0]

    assert (entry.name, entry.type) == ("x_float32", "tensor(float)")
    assert out.dtype == np.uint8
    assert (out == 7).all()


def test_the_other_inputs_become_constants() -> None:
    sides = (entry_of("im_shape", "n", 2), entry_of("gain", "n", 2))

    found = bound(model_of(IMAGE, *sides), {"gain": [5, 6]}).graph

    values = {tensor.name: numpy_helper.to_array(tensor).tolist() for tensor in found.initializer}
    assert values == {"im_shape": [[48.0, 64.0]], "gain": [[5.0, 6.0]]}
    assert [value.name for value in found.input] == ["x"]


def test_shapes_that_a_file_states_are_forgotten() -> None:
    model = model_of(IMAGE)
    model.graph.value_info.append(entry_of("inner", 1, 2, 3))
    model.graph.output[0].type.tensor_type.shape.dim.add().dim_value = 99

    found = bound(model)

    assert not found.graph.value_info
    assert not found.graph.output[0].type.tensor_type.HasField("shape")
    onnx.checker.check_model(onnx.shape_inference.infer_shapes(found))
