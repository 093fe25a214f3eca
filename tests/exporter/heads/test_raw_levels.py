"""Raw heads, as maps over the image, are refused by name: what they are, and how to export their decoding.

The shapes are those of the tools' own exports at 640 pixels with 80 classes, where nothing else is said.
"""

import pytest

from exporter.errors import RecipeError
from exporter.heads.arrange import arrange
from exporter.heads.raw_levels import refuse_levels
from exporter.heads.raw_tensor import Dims, Tensor
from exporter.recipe import make_recipe
from service.card import ImageInput

FRAME = ImageInput(height=640, width=640, resize="letterbox")
WIDE = ImageInput(height=384, width=640, resize="letterbox")


def tensors(*dims: Dims) -> list[Tensor]:
    return [Tensor(f"out{index}", one) for index, one in enumerate(dims)]


def said(*dims: Dims, labels: int = 80, frame: ImageInput = FRAME, decoder: str = "") -> str:
    """Return the refusal of a detector with these outputs."""
    detect = {"decoder": decoder} if decoder else {}
    recipe = make_recipe({"source": "onnx:n.onnx", "task": "detect", "name": "n", "detect": detect})
    with pytest.raises(RecipeError) as refused:
        arrange(recipe, tensors(*dims), frame, labels)
    words = str(refused.value)
    for index, one in enumerate(dims):
        assert f"out{index} {one}" in words
    assert "not decoded" in words
    return words


def maps(*channels: int, sizes: tuple[int, ...] = (80, 40, 20)) -> list[Dims]:
    return [(1, count, size, size) for size in sizes for count in channels]


@pytest.mark.parametrize(
    ("dims", "labels", "form", "step"),
    [
        (maps(255), 80, "3 × (5 + 80)", "--grid"),
        (maps(255), 0, "3 × (5 + 80)", "--grid"),
        ([(1, 3, size, size, 85) for size in (80, 40, 20)], 80, "3 × (5 + 80)", "Darknet"),
        ([(1, size, size, 255) for size in (20, 40)], 80, "3 × (5 + 80)", "Darknet"),
        ([(1, 125, 20, 20)], 20, "5 × (5 + 20)", "Darknet"),
        (maps(6 * 3), 1, "3 × (5 + 1)", "Darknet"),
        ([(1, 3 * size * size, 85) for size in (80, 40, 20)], 80, "3 × (5 + 80)", "Darknet"),
        (maps(85), 80, "1 × (5 + 80)", "--decode_in_inference"),
        (maps(144), 80, "64 + 80", "model.export"),
        ([(1, 144, size * size) for size in (80, 40, 20)], 80, "64 + 80", "model.export"),
        (maps(65), 1, "64 + 1", "model.export"),
        (maps(64, 80, 1), 80, "16 bins", "RKNN"),
        (maps(68, 80), 80, "17 bins", "RKNN"),
        (maps(84), 80, "4 + 80", "mmdeploy"),
        (maps(720, 36, sizes=(80, 40, 20, 10, 5)), 80, "4 × 9 and K × 9", "mmdeploy"),
        (maps(80, 4, 1, sizes=(80, 40, 20, 10, 5)), 80, "4 × 1 and K × 1", "mmdeploy"),
        ([(1, 24, 40, 40), (1, 486, 40, 40), (1, 16, 20, 20), (1, 324, 20, 20)], 80, "4 × A", ""),
        (maps(80, 2, 2, sizes=(160,)), 80, "CenterNet", "peaks"),
        (maps(1, 2, 2, sizes=(160,)), 1, "CenterNet", "peaks"),
        (maps(2, 2, 2, sizes=(160,)), 2, "CenterNet", "peaks"),
        (maps(7, 13), 80, "seem to be", "mmdeploy"),
    ],
    ids=[
        "yolo",
        "yolo of unknown labels",
        "yolov5",
        "darknet in tensorflow",
        "yolov2",
        "one class",
        "yolo in rows",
        "yolox",
        "yolov8",
        "yolov8 flat",
        "yolov8 of one class",
        "rknn",
        "ppyoloe",
        "anchor-free",
        "retinanet",
        "fcos",
        "ssd",
        "centernet",
        "centernet of one class",
        "centernet of two classes",
        "others",
    ],
)
def test_raw_heads_are_named_with_the_next_step(
    dims: list[Dims], labels: int, form: str, step: str
) -> None:
    words = said(*dims, labels=labels)
    assert form in words
    assert step in words


def test_a_stated_decoder_does_not_hide_what_they_are() -> None:
    assert "3 × (5 + 80)" in said(*maps(255), decoder="yolov5")
    assert "64 + 80" in said(*maps(144), decoder="yolov8")


@pytest.mark.parametrize(
    ("dims", "decoder"),
    [
        ([(1, size * size, 85) for size in (80, 40, 20)], "yolov5"),
        ([(1, size * size, 85) for size in (80, 40, 20)], "yolox"),
        ([(1, 3 * size * size, 85) for size in (80, 40, 20)], "yolov5"),
        ([(1, size * size, 84) for size in (80, 40)], "yolov8_rows"),
        ([(1, size * size, 84) for size in (80, 40)], "detr"),
        ([(1, 84, size * size) for size in (80, 40, 20)], "yolov8"),
        ([(1, size * size, last) for size in (80, 40) for last in (4, 80)], "pair"),
        ([(1, size * size, last) for size in (80, 40) for last in (4, 80)], ""),
    ],
)
def test_rows_of_levels_apart_are_not_read_from_the_first_level_alone(
    dims: list[Dims], decoder: str
) -> None:
    assert "join the levels" in said(*dims, decoder=decoder)


@pytest.mark.parametrize(
    ("dims", "decoder"),
    [
        ([(1, 25200, 85), *[(1, 3, size, size, 85) for size in (80, 40, 20)]], "yolov5"),
        ([(1, 84, 8000), (1, 144, 80, 80), (1, 144, 40, 40)], "yolov8"),
        ([(1, 6400, 4), (1, 6400, 80)], "pair"),
        ([(1, 84, 6400)], "yolov8"),
    ],
)
def test_a_stated_decoder_reads_boxes_that_are_joined(dims: list[Dims], decoder: str) -> None:
    recipe = make_recipe(
        {"source": "onnx:n.onnx", "task": "detect", "name": "n", "detect": {"decoder": decoder}}
    )
    _, ordered = arrange(recipe, tensors(*dims), FRAME, 80)
    assert ordered[0].name == "out0"


def test_the_frame_need_not_be_square() -> None:
    dims = [(1, 255, 384 // stride, 640 // stride) for stride in (8, 16, 32)]
    assert "stride 8, 16 and 32" in said(*dims, frame=WIDE)


@pytest.mark.parametrize(
    "dims",
    [
        [(1, 25200, 85), *[(1, 3, size, size, 85) for size in (80, 40, 20)]],
        [(1, 84, 8400)],
        [(1, 8400, 4), (1, 8400, 80)],
        [(1, 6400, 4), (1, 6400, 80)],
        [(1, 1, 100, 7)],
        [(1, 116, 8400), (1, 32, 160, 160)],
        [(1, 300, 84)],
        [(1, 21, 640, 640)],
        [(1, 21, 80, 80)],
    ],
)
def test_other_outputs_are_left_to_their_decoders(dims: list[Dims]) -> None:
    refuse_levels(tensors(*dims), FRAME, 80)
