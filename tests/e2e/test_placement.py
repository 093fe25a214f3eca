"""A letterbox in the upper left corner, from the upload to boxes and masks on the image."""

from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from service.card import Card, ImageInput, Placement
from tests.images import encode
from tests.live import serve
from tests.servables import color_card, write_servable

WIDTH, HEIGHT = 128, 96
"""Of the frame. It is wide, so that a tall image has its padding at the right, and a square one too."""


def bright_box() -> onnx.ModelProto:
    """Return a detector that finds the box around all pixels of more than 200, with a score of 1."""
    outputs = [
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["N", 1, 4]),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 1]),
        helper.make_tensor_value_info("classes", TensorProto.INT32, ["N", 1]),
        helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", 3]),
    ]
    nodes = [
        helper.make_node("Cast", ["image"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["values"], ["features"], axes=[1, 2], keepdims=0),
        helper.make_node("ReduceMin", ["values"], ["dark"], axes=[3], keepdims=0),
        helper.make_node("Greater", ["dark", "limit"], ["is_bright"]),
        helper.make_node("Cast", ["is_bright"], ["bright"], to=TensorProto.FLOAT),
    ]
    corners = []
    for axis, name, size in ((1, "x", WIDTH), (2, "y", HEIGHT)):
        nodes += [
            helper.make_node("ReduceMax", ["bright"], [name], axes=[axis], keepdims=0),
            helper.make_node("ArgMax", [name], [f"{name}_first"], axis=1),
            helper.make_node("ArgMax", [name], [f"{name}_last"], axis=1, select_last_index=1),
            helper.make_node("Add", [f"{name}_last", "one"], [f"{name}_end"]),
        ]
        for end in ("first", "end"):
            whole, part = f"{name}_{end}", f"{name}_{end}_part"
            nodes += [
                helper.make_node("Cast", [whole], [f"{whole}_value"], to=TensorProto.FLOAT),
                helper.make_node("Div", [f"{whole}_value", f"size_{size}"], [part]),
            ]
            corners.append(part)
    order = [corners[0], corners[2], corners[1], corners[3]]
    nodes += [
        helper.make_node("Concat", order, ["flat"], axis=1),
        helper.make_node("Unsqueeze", ["flat", "one"], ["boxes"]),
        helper.make_node("ReduceMax", ["bright"], ["is_found"], axes=[1], keepdims=0),
        helper.make_node("ReduceMax", ["is_found"], ["scores"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["scores", "zero"], ["kind"]),
        helper.make_node("Cast", ["kind"], ["classes"], to=TensorProto.INT32),
    ]
    constants = [
        helper.make_tensor("limit", TensorProto.FLOAT, [], [200]),
        helper.make_tensor("zero", TensorProto.FLOAT, [], [0]),
        helper.make_tensor("one", TensorProto.INT64, [1], [1]),
        *(helper.make_tensor(f"size_{size}", TensorProto.FLOAT, [], [size]) for size in (WIDTH, HEIGHT)),
    ]  # fmt: skip
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", HEIGHT, WIDTH, 3])
    graph = helper.make_graph(nodes, "bright", [image], outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def card(placement: Placement | None) -> Card:
    image_input = ImageInput(
        height=HEIGHT, width=WIDTH, resize="letterbox", interpolation="nearest", placement=placement
    )
    update = {"name": "bright", "task": "detect", "labels": ("bright",), "input": image_input}
    proof = color_card().certificate.model_copy(update={"metric": "map50"})
    plain = color_card().model_copy(update={**update, "certificate": proof})
    return Card.model_validate_json(plain.model_dump_json())


def picture(size: tuple[int, int], box: tuple[int, int, int, int]) -> bytes:
    shown = Image.new("RGB", size, (20, 30, 40))
    shown.paste((255, 255, 255), box)
    return encode(shown)


@pytest.mark.parametrize("placement", ["corner", "center", None])
def test_boxes_come_back_to_the_image_wherever_it_lies_in_the_frame(
    placement: Placement | None, tmp_path: Path
) -> None:
    write_servable(tmp_path, "bright", model=bright_box(), card=card(placement))
    with serve(models=tmp_path) as live:
        for size, box in (
            ((192, 192), (40, 20, 120, 100)),  # half the size: 96×96, with 32 columns of padding
            ((512, 96), (64, 8, 256, 88)),  # a quarter: 128×24, with 72 rows
            ((128, 96), (3, 5, 100, 90)),  # without padding
            ((48, 192), (0, 0, 48, 192)),  # half the size, and all of it bright
        ):
            (found,) = httpx.post(
                f"{live.url}/v1/detect", content=picture(size, box), params={"model": "bright"}
            ).json()["results"]
            (detection,) = found["detections"]
            assert [detection["box"][side] for side in ("x_min", "y_min", "x_max", "y_max")] == [
                pytest.approx(edge, abs=0.01) for edge in box
            ], (placement, size)


def test_the_card_states_the_corner_and_boxes_are_drawn_on_the_image(
    tmp_path: Path,
) -> None:
    write_servable(tmp_path, "bright", model=bright_box(), card=card("corner"))
    with serve(models=tmp_path) as live:
        stated = httpx.get(f"{live.url}/v1/models/bright").json()
        drawn = httpx.post(
            f"{live.url}/v1/detect?format=overlay", content=picture((192, 192), (40, 20, 120, 100))
        )
    assert "corner" in str(stated)
    assert np.asarray(Image.open(BytesIO(drawn.content))).shape == (192, 192, 3)
