"""From the pixels of a file to one number, by hand: NumPy, the weights in the file, and the recipe's mean and scale."""

import base64
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper
from PIL import Image

from service.errors import InvalidParameterError
from service.explain.convolution import explain_convolution, usable
from service.explain.network_input import explain_input
from service.explain.request import ExplainRequest
from service.graph.opening import Opening
from service.graph.window import Window
from service.imaging.overlay import RenderedImage
from tests.images import encode
from tests.live import MODELS
from tests.servables import color_card
from tests.service.explain.running import Bench, running
from tests.source_images import source_of

pytestmark = pytest.mark.anyio

MODEL, CHOICE = MODELS / "efficientnet-lite0" / "1" / "model.onnx", (6, 40, 77)
MEAN, SCALE, MARGIN = 127.0, 128.0, 16
"""From models/efficientnet-lite0/recipe.toml; an image of 256×256 pixels is cropped to its middle and not resized."""


@pytest.fixture(scope="module")
async def bench() -> AsyncIterator[Bench]:
    async with running(MODELS) as bench:
        yield bench


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint8]:
    noise = np.random.default_rng(2).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(noise).resize((256, 256), Image.Resampling.BILINEAR))


def frame_of(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return pixels[MARGIN:-MARGIN, MARGIN:-MARGIN]


def weight(name: str) -> NDArray[np.float64]:
    tensors = {one.name: one for one in onnx.load(MODEL).graph.initializer}
    return numpy_helper.to_array(tensors[name]).astype(np.float64)


async def array(bench: Bench, image: bytes, **options: Any) -> NDArray[Any]:
    drawn = await bench.draw("efficientnet-lite0", image, form="npy", **options)
    loaded: NDArray[Any] = np.load(BytesIO(drawn.content))
    return loaded


async def test_pixels_times_weights_are_the_cell_that_the_network_computes(
    bench: Bench, pixels: NDArray[np.uint8]
) -> None:
    index, row, column = CHOICE
    # A stride of 2, and TensorFlow's padding: nothing before the first pixel.
    patch = frame_of(pixels)[2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
    numbers = (patch.astype(np.float64).transpose(2, 0, 1) - MEAN) / SCALE
    weights = weight("_conv_stem.weight")[index]
    total = (numbers * weights).sum() + weight("_conv_stem.weight_bias")[index]
    found = await bench.explain(
        "efficientnet-lite0",
        encode(Image.fromarray(pixels)),
        view="convolution",
        filter=index,
        row=row,
        column=column,
    )
    np.testing.assert_allclose(found["patch"]["values"], numbers, rtol=1e-6)
    np.testing.assert_allclose(found["weights"], weights, rtol=1e-6)
    np.testing.assert_allclose(found["products"], numbers * weights, rtol=1e-5, atol=1e-9)
    assert found["sum"]["value"] == pytest.approx(total, rel=1e-5)
    assert found["sum"]["network"] == pytest.approx(total, rel=1e-4)
    (relu6,) = found["steps"]
    assert relu6["parameters"] == {"low": 0, "high": 6}
    assert relu6["value"] == pytest.approx(min(6, max(0, total)), rel=1e-5)
    assert relu6["network"] == pytest.approx(relu6["value"], rel=1e-4)
    box = found["patch"]["box"]
    assert (box["x_min"], box["y_max"]) == pytest.approx((16 + 154, 16 + 83), abs=0.01)
    image = encode(Image.fromarray(pixels))
    cells = await array(bench, image, view="convolution", filter=index)
    assert cells.shape == (112, 112)
    assert cells[row, column] == pytest.approx(relu6["network"], rel=1e-6)


async def test_the_arrays_in_the_json_are_those_of_the_files(
    bench: Bench, pixels: NDArray[np.uint8]
) -> None:
    image = encode(Image.fromarray(pixels))
    found = await bench.explain(
        "efficientnet-lite0", image, view="convolution", filter=3, channels=1, arrays=True
    )
    for name, options in (
        ("frame", {"view": "input"}),
        ("normalized", {"view": "input", "tensor": "normalized"}),
        ("map", {"view": "convolution", "filter": 3}),
    ):
        head, encoded = found["arrays"][name].split(",")
        assert head == "data:application/octet-stream;base64"
        values = np.load(BytesIO(base64.b64decode(encoded)))
        np.testing.assert_array_equal(values, await array(bench, image, **options))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_the_normalized_tensor_of_any_precision_is_an_array_of_float32(
    dtype: type[np.floating[Any]],
) -> None:
    window = Window((1, 1), (1, 1), (1, 1), (0, 0))
    one = np.ones((1, 1, 1, 1), np.float32)
    opening = Opening("pixels", "sum", one, np.zeros(1, np.float32), window, 1, ())
    values = np.array([[[0.1, -1.5]]], dtype)
    frame, source = np.zeros((1, 2, 3), np.uint8), source_of(8, 8, color_card().image_input)
    explained = partial(explain_input, {"pixels": values}, frame, source, opening=opening)
    drawn = explained(request=ExplainRequest("input", "npy", tensor="normalized"))
    assert isinstance(drawn, RenderedImage)
    loaded = np.load(BytesIO(drawn.content))
    assert loaded.dtype == np.float32
    np.testing.assert_array_equal(loaded, values[None])
    described = explained(request=ExplainRequest("input", "json"))
    assert not isinstance(described, RenderedImage)
    assert described["tensors"][1]["dtype"] == np.dtype(dtype).name
    with pytest.raises(InvalidParameterError, match="Take tensor=frame"):
        explain_input(
            {},
            frame,
            source,
            opening=None,
            request=ExplainRequest("input", "npy", tensor="normalized"),
        )


def test_arrays_that_are_too_large_for_json_are_refused() -> None:
    window = Window((1, 1), (1, 1), (1, 1), (0, 0))
    one = np.ones((1, 1, 1, 1), np.float32)
    opening = Opening("pixels", "sum", one, np.zeros(1, np.float32), window, 1, ())
    frame = np.zeros((1024, 1024, 3), np.uint8)
    outputs = {name: np.zeros((1, 1024, 1024), np.float32) for name in opening.tensors}
    explained = partial(
        explain_convolution, outputs, frame, source_of(8, 8, color_card().image_input)
    )
    request = ExplainRequest("convolution", "json", arrays=True)
    with pytest.raises(InvalidParameterError, match="5242880 numbers"):
        explained(opening=opening, request=request)
    assert explained(opening=opening, request=replace(request, arrays=False))


async def test_the_arrays_are_what_the_file_of_the_network_is_fed(
    bench: Bench, pixels: NDArray[np.uint8]
) -> None:
    image = encode(Image.fromarray(pixels))
    frame = await array(bench, image, view="input")
    np.testing.assert_array_equal(frame, frame_of(pixels)[None])
    normalized = await array(bench, image, view="input", tensor="normalized")
    by_hand = (frame.transpose(0, 3, 1, 2).astype(np.float64) - MEAN) / SCALE
    np.testing.assert_allclose(normalized, by_hand, rtol=1e-5, atol=1e-6)
    described = await bench.explain("efficientnet-lite0", image, view="input")
    first, second = described["tensors"]
    assert (first["shape"], first["dtype"]) == ([1, 224, 224, 3], "uint8")
    assert (second["shape"], second["dtype"]) == ([1, 3, 224, 224], "float32")
    for tensor, planes in ((first, frame[0].transpose(2, 0, 1)), (second, by_hand[0])):
        for one in tensor["channels"]:
            plane = planes[one["channel"]].astype(np.float64)
            assert one["min"] == pytest.approx(plane.min(), rel=1e-3)
            assert one["mean"] == pytest.approx(plane.mean(), rel=1e-3, abs=1e-4)
            assert one["deviation"] == pytest.approx(plane.std(), rel=1e-3)


@pytest.mark.parametrize("class_id", [967, 504])
async def test_features_times_weights_are_the_logit(
    bench: Bench, pixels: NDArray[np.uint8], class_id: int
) -> None:
    session = ort.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
    logits, features = session.run(["logits", "features"], {"image": frame_of(pixels)[None]})
    products = features[0].astype(np.float64) * weight("_fc.weight")[class_id]
    found = await bench.explain(
        "efficientnet-lite0",
        encode(Image.fromarray(pixels)),
        view="logit",
        class_name=str(class_id),
        count=4,
    )
    assert found["logit"] == pytest.approx(logits[0, class_id], rel=1e-4)
    assert found["sum"] == pytest.approx(logits[0, class_id], rel=1e-4)
    assert (found["stage"], found["features"]) == ("stage_5", 1280)
    order = np.argsort(-products)
    assert [one["channel"] for one in found["positive"]] == order[:4].tolist()
    assert [one["channel"] for one in found["negative"]] == order[::-1][:4].tolist()
    for one in (*found["positive"], *found["negative"]):
        assert one["contribution"] == pytest.approx(products[one["channel"]], rel=1e-4)
    parts = [one["contribution"] for one in (*found["positive"], *found["negative"])]
    rests = [found[f"{sign}_rest"]["contribution"] for sign in ("positive", "negative")]
    assert sum(parts) + sum(rests) + found["bias"] == pytest.approx(found["sum"], rel=1e-6)


async def test_the_pooling_of_a_cell_is_what_the_network_computes(
    bench: Bench, pixels: NDArray[np.uint8]
) -> None:
    image = encode(Image.fromarray(pixels))
    found = await bench.explain("lenet5", image, view="convolution", filter=2, row=9, column=4)
    tanh, pooling = found["steps"]
    assert tanh["name"] == "tanh"
    assert tanh["value"] == pytest.approx(np.tanh(found["sum"]["value"]), rel=1e-6)
    assert (pooling["row"], pooling["column"]) == (4, 2)
    assert pooling["values"][1][0] == pytest.approx(tanh["network"], rel=1e-6)
    assert pooling["value"] == pytest.approx(np.mean(pooling["values"]), rel=1e-6)
    assert pooling["network"] == pytest.approx(pooling["value"], rel=1e-4)


async def test_padding_counts_as_zero(tiny_models: Bench) -> None:
    image = encode(Image.new("RGB", (16, 16), (255, 51, 0)))
    found = await tiny_models.explain(
        "tiny-classify", image, view="convolution", filter=1, row=0, column=0
    )
    assert found["patch"]["row"] == found["patch"]["column"] == -1
    assert found["patch"]["padding"] == [[True] * 3, [True, False, False], [True, False, False]]
    assert found["patch"]["values"][0][0] == [0, 0, 0]
    assert found["sum"] == pytest.approx({"value": 0.2, "network": 0.2})
    assert found["steps"] == []


async def test_without_a_choice_it_is_the_highest_cell_of_the_strongest_map(
    tiny_models: Bench,
) -> None:
    image = Image.new("RGB", (16, 16))
    image.putpixel((10, 4), (0, 0, 255))
    found = await tiny_models.explain(
        "tiny-classify", encode(image), view="convolution", channels=2
    )
    assert (found["filter"], found["row"], found["column"]) == (2, 2, 5)
    assert [one["filter"] for one in found["filters"]] == [2, 3]


def test_a_filter_with_too_many_weights_is_not_multiplied_out() -> None:
    window = Window((64, 65), (1, 1), (1, 1), (0, 0))
    weights = np.zeros((2, 1, 64, 65), np.float32)
    opening = Opening("pixels", "sum", weights, np.zeros(2, np.float32), window, 1, ())
    with pytest.raises(InvalidParameterError, match="4160 weights, and at most 4096"):
        usable(opening, "net", None)


def test_the_recipe_says_what_this_test_computes_with() -> None:
    recipe = (Path(MODELS) / "efficientnet-lite0" / "recipe.toml").read_text()
    assert f"mean = [{MEAN}" in recipe
    assert f"std = [{SCALE}" in recipe
    assert "shorter_side = 256" in recipe
