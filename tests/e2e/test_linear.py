"""A network whose own code resizes without antialiasing: what it gets over HTTP, against PyTorch's interpolation."""

from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper
from PIL import Image

from service.card import Card, ImageInput
from tests.images import encode
from tests.live import serve
from tests.servables import color_card, write_servable

SIDE = 48


def whole_frame() -> onnx.ModelProto:
    """Return an embedder whose features are all values of its frame."""
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", SIDE, SIDE, 3])
    features = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", SIDE * SIDE * 3])
    nodes = [
        helper.make_node("Cast", ["image"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["values"], ["features"], axis=1),
    ]
    graph = helper.make_graph(nodes, "whole", [image], [features])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def card(how: dict[str, Any]) -> Card:
    image_input = ImageInput.model_validate({"height": SIDE, "width": SIDE, **how})
    proof = color_card().certificate.model_copy(update={"metric": "cosine"})
    update = {"name": "whole", "task": "embed", "labels": (), "input": image_input}
    plain = color_card().model_copy(update={**update, "certificate": proof})
    return Card.model_validate_json(plain.model_dump_json())


def interpolated(image: Image.Image, how: dict[str, Any]) -> NDArray[np.float64]:
    """Return the frame by hand."""
    pixels = np.asarray(image.convert("RGB"), np.float32).transpose(2, 0, 1)[None]
    policy = how["resize"]
    size = {"stretch": (SIDE, SIDE), "letterbox": (36, 48), "crop": (60, 80)}[policy]
    resized = torch.nn.functional.interpolate(torch.from_numpy(pixels), size, mode="bilinear")
    values = resized[0].numpy().transpose(1, 2, 0).round()
    if policy == "crop":
        return values[6:54, 16:64].astype(np.float64)
    frame = np.full((SIDE, SIDE, 3), 114.0)
    top = (SIDE - size[0]) // 2
    frame[top : top + size[0]] = values
    return frame


@pytest.mark.parametrize(
    "how",
    [{"resize": "stretch"}, {"resize": "letterbox"}, {"resize": "crop", "shorter_side": 60}],
    ids=lambda how: how["resize"],
)
def test_an_uploaded_image_is_interpolated_without_antialiasing(
    how: dict[str, Any], tmp_path: Path
) -> None:
    write_servable(
        tmp_path, "linear", model=whole_frame(), card=card({**how, "interpolation": "linear"})
    )
    write_servable(tmp_path, "wide", model=whole_frame(), card=card(how))
    sharp = Image.effect_noise((2000, 1500), 80).convert("RGB")
    with serve(models=tmp_path) as live:
        stated = httpx.get(f"{live.url}/v1/models/linear").json()
        assert "'interpolation': 'linear'" in str(stated)
        for body in (encode(sharp, compress_level=1), encode(sharp, "JPEG", quality=95)):
            expected = interpolated(Image.open(BytesIO(body)), how)
            length = float(np.linalg.norm(expected))
            found = {
                name: np.asarray(embedding(live.url, name, body)) * length
                for name in ("linear", "wide")
            }
            # The length of the frame is known to 0.1 %, a value to one level.
            assert np.abs(found["linear"] - expected.ravel()).max() <= 1.5
            assert np.abs(found["wide"] - expected.ravel()).max() > 40


def embedding(url: str, model: str, body: bytes) -> list[float]:
    answer = httpx.post(f"{url}/v1/embed", content=body, params={"model": model})
    assert answer.status_code == 200, answer.text
    values: list[float] = answer.json()["results"][0]["embedding"]
    return values
