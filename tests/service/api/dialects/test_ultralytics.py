"""Ultralytics' client: the requests are those of its `TritonRemoteModel`, and the client itself where it is installed.

It is licensed under the AGPL, so it is no dependency of the tests: ULTRALYTICS_PYTHON names the Python of an
environment that has `ultralytics` and `tritonclient[http]`.
"""

import ast
import io
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.live import Live
from tests.service.api.dialects.answers import refused
from tests.service.api.dialects.elsewhere import lines_of

triton = pytest.importorskip("tritonclient.http")

ORANGE = np.array((230, 128, 0), np.uint8)
Floats = NDArray[np.float32]


def ask(live: Live, name: str, images: Floats) -> tuple[Any, dict[str, Any]]:
    """Return the only output and the metadata, read and sent as the client does."""
    client = triton.InferenceServerClient(live.url.removeprefix("http://"))
    config = client.get_model_config(name)
    (given,), (found,) = config["input"], config["output"]
    assert given["data_type"] == found["data_type"] == "TYPE_FP32"
    assert given["dims"] == list(images.shape[1:])
    tensor = triton.InferInput(given["name"], [*images.shape], "FP32")
    tensor.set_data_from_numpy(images)
    answer = client.infer(
        name, [tensor], outputs=[triton.InferRequestedOutput(found["name"])]
    ).as_numpy(found["name"])
    assert list(answer.shape[1:]) == found["dims"]
    client.close()
    return answer, ast.literal_eval(config["parameters"]["metadata"]["string_value"])


def floats(pixels: NDArray[np.uint8]) -> Floats:
    """Return images (N, 8, 8, 3) as the client sends them: (N, 3, 8, 8) in 0–1."""
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)).astype(np.float32) / np.float32(255)


@pytest.mark.parametrize("name", ["finder", "finder:1"])
def test_a_detector_gives_boxes_in_pixels_of_what_was_sent(spoken: Live, name: str) -> None:
    images = floats(np.broadcast_to(ORANGE, (2, 8, 8, 3)))
    found, metadata = ask(spoken, f"ultralytics:{name}", images)
    assert found.shape == (2, 300, 6)
    for rows in found:
        np.testing.assert_allclose(rows[0], [2, 2, 6, 4, 230 / 255, 0], rtol=1e-5)
        np.testing.assert_allclose(rows[1], [0, 4, 4, 8, 128 / 255, 1], rtol=1e-5)
        assert not rows[2:].any(), "the client drops boxes without a score"
    assert (metadata["task"], metadata["imgsz"], metadata["end2end"]) == ("detect", [8, 8], True)
    assert metadata["names"] == {0: "cup", 1: "dining table", 2: "tv"}


def test_a_classifier_gives_the_probabilities_that_v1_gives(
    spoken: Live, http: httpx.Client
) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (1, 8, 8, 3), np.uint8)
    found, metadata = ask(spoken, "ultralytics:colors", floats(pixels))
    file = io.BytesIO()
    Image.fromarray(pixels[0]).save(file, "PNG")
    best = http.post("/v1/classify?model=colors&top_k=3", content=file.getvalue()).json()
    expected = {one["class_id"]: one["probability"] for one in best["results"][0]["predictions"]}
    assert found[0] == pytest.approx([expected[number] for number in range(3)], abs=1e-5)
    assert (metadata["task"], metadata["end2end"]) == ("classify", False)


def test_floats_beyond_the_range_of_an_image_are_its_ends(spoken: Live) -> None:
    images = floats(np.broadcast_to(ORANGE, (1, 8, 8, 3)))
    images[0, 0], images[0, 2] = 7, -3
    found, _ = ask(spoken, "ultralytics:finder", images)
    np.testing.assert_allclose(found[0, 0], [2, 2, 6, 4, 1, 0], rtol=1e-5)
    assert not found[0, 2:].any()


@pytest.mark.parametrize(
    ("name", "status", "text"),
    [
        ("ultralytics:painter", 400, "painter does segment"),
        ("ultralytics:nothing", 404, "Request for unknown model: 'nothing' is not found."),
        ("ultralytics:finder:9", 404, "finder has no version 9"),
        ("ultralytics:1", 404, "There is no model 'ultralytics'"),
        ("ultralytics:", 400, "selects no model"),
    ],
)
def test_what_has_no_such_view_is_refused(
    http: httpx.Client, name: str, status: int, text: str
) -> None:
    refused(http.get(f"/v2/models/{name}/config"), status, text)
    refused(http.post(f"/v2/models/{name}/infer", content=b"{}"), status, text)


def test_the_view_takes_its_own_input_and_names_it(http: httpx.Client) -> None:
    path = "/v2/models/ultralytics:finder"
    described = http.get(path).json()
    assert described["inputs"] == [{"name": "images", "datatype": "FP32", "shape": [-1, 3, 8, 8]}]
    assert described["outputs"][0]["shape"] == [-1, 300, 6]
    assert http.get(f"{path}/ready").json() == {"name": "ultralytics:finder", "ready": True}
    own = {"name": "image", "shape": [1, 8, 8, 3], "datatype": "UINT8", "data": [0] * 192}
    answer = http.post(f"{path}/infer", content=json.dumps({"inputs": [own]}))
    refused(answer, 400, "model 'ultralytics:finder', which takes 'images'")
    short = {"name": "images", "shape": [1, 3, 8, 9], "datatype": "FP32", "data": [0] * 216}
    answer = http.post(f"{path}/infer", content=json.dumps({"inputs": [short]}))
    refused(answer, 400, "Expected [-1, 3, 8, 8]")


CLIENT = """
import sys
from PIL import Image
from ultralytics import YOLO

found = YOLO(f"{sys.argv[1]}/ultralytics:finder", task="detect")(sys.argv[2], conf=0.6)[0]
best = YOLO(f"{sys.argv[1]}/ultralytics:colors", task="classify")(sys.argv[2])[0]
print([found.names[int(one)] for one in found.boxes.cls], found.boxes.xyxy.tolist(), best.names[best.probs.top1])
"""


@pytest.mark.timeout(300)  # it imports PyTorch
def test_the_client_itself_predicts(spoken: Live, tmp_path: Path) -> None:
    picture = Image.fromarray(np.broadcast_to(ORANGE, (80, 80, 3)).copy())
    printed = lines_of("ULTRALYTICS_PYTHON", CLIENT, spoken, tmp_path, picture)
    assert printed[-1] == "['cup'] [[20.0, 20.0, 60.0, 40.0]] red"
