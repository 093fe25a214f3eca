"""KServe V1 and TensorFlow Serving: instances in, predictions out; the truth is an ONNX Runtime session."""

import base64
import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from tests.finders import png

PREDICT = "/v1/models/colors:predict"
PIXELS = np.random.default_rng(1).integers(0, 256, (3, 8, 8, 3), np.uint8)


@pytest.fixture(scope="module")
def truth(zoo: Path) -> list[dict[str, NDArray[Any]]]:
    session = ort.InferenceSession(zoo / "colors/1/model.onnx", providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    found = dict(zip(names, session.run(names, {"image": PIXELS}), strict=True))
    return [{name: found[name][row] for name in names} for row in range(len(PIXELS))]


def b64(pixels: NDArray[np.uint8]) -> dict[str, str]:
    return {"b64": base64.b64encode(png(pixels)).decode()}


def refused(answer: httpx.Response, status: int, text: str) -> None:
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    assert text in answer.json()["error"]


@pytest.mark.parametrize(
    "instances",
    [
        [b64(one) for one in PIXELS],
        [{"image": b64(one)} for one in PIXELS],
        [{"image_bytes": b64(one)} for one in PIXELS],
        PIXELS.tolist(),
        [{"image": one.tolist()} for one in PIXELS],
    ],
    ids=["b64", "named b64", "TensorFlow's name", "numbers", "named numbers"],
)
@pytest.mark.parametrize(
    "path", [PREDICT, "/v1/models/colors/versions/1:predict", f"/kserve{PREDICT}"]
)
def test_each_instance_has_its_prediction(
    http: httpx.Client, truth: list[dict[str, NDArray[Any]]], path: str, instances: list[Any]
) -> None:
    answer = http.post(path, json={"instances": instances, "signature_name": "serving_default"})
    assert answer.status_code == 200, answer.text
    predictions = answer.json()["predictions"]
    for found, wanted in zip(predictions, truth, strict=True):
        assert set(found) == set(wanted)
        for name, values in wanted.items():
            np.testing.assert_allclose(found[name], values, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("inputs", [PIXELS.tolist(), {"image": PIXELS.tolist()}])
def test_inputs_are_answered_by_outputs_in_columns(
    http: httpx.Client, truth: list[dict[str, NDArray[Any]]], inputs: object
) -> None:
    outputs = http.post(PREDICT, json={"inputs": inputs}).json()["outputs"]
    for name, values in truth[0].items():
        np.testing.assert_allclose(outputs[name][0], values, rtol=1e-5, atol=1e-6)
    assert len(outputs["logits"]) == 3


def test_the_metadata_states_the_tensors_as_tensorflow_does(http: httpx.Client) -> None:
    body = http.get("/v1/models/colors/metadata").json()
    assert body["model_spec"] == {"name": "colors", "signature_name": "", "version": "1"}
    signature = body["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    image = signature["inputs"]["image"]
    assert image["dtype"] == "DT_UINT8"
    sizes = [axis["size"] for axis in image["tensor_shape"]["dim"]]
    assert sizes == ["-1", "8", "8", "3"]
    assert signature["outputs"]["logits"]["dtype"] == "DT_FLOAT"
    assert http.get("/v1/models/colors/versions/1/metadata").json() == body


def test_below_its_prefix_is_the_whole_protocol_and_our_own_models_stay(http: httpx.Client) -> None:
    assert http.get("/kserve/").json() == {"status": "alive"}
    assert http.get("/kserve/v1/models").json() == {"models": ["colors", "finder", "painter"]}
    body = http.get("/kserve/v1/models/colors").json()
    assert (body["name"], body["ready"]) == ("colors", True)
    [version] = body["model_version_status"]
    assert (version["version"], version["state"]) == ("1", "AVAILABLE")
    assert http.get("/kserve/v1/models/colors/versions/1").json() == body
    assert "card" in http.get("/v1/models/colors").json()["models"][0]


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({}, 400, "either instances or inputs"),
        ({"instances": [b64(PIXELS[0])], "inputs": []}, 400, "either instances or inputs"),
        ({"instances": []}, 400, "do not fill whole rows"),
        ({"instances": [b64(PIXELS[0])] * 5}, 413, "5 instances, more than the 4 allowed"),
        ({"instances": np.zeros((5, 8, 8, 3), int).tolist()}, 413, "5 instances, more than the 4"),
        ({"instances": PIXELS.transpose(0, 3, 1, 2).tolist()}, 400, "not nested like the shape"),
        ({"instances": PIXELS.ravel().tolist()}, 400, "not nested like the shape [3, 8, 8, 3]"),
        ({"instances": PIXELS[:, :7].tolist()}, 400, "do not fill whole rows"),
        ({"instances": (PIXELS.astype(int) + 1).tolist()}, 400, "whole numbers from 0 to 255"),
        ({"instances": [{"b64": "!"}]}, 400, "not valid base64"),
        ({"instances": [{"b64": 5}]}, 400, "Each instance of colors"),
        ({"instances": ["text"]}, 400, "Each instance of colors"),
        ({"instances": "text"}, 400, "a list that is not empty"),
        ({"instances": [{"tensor": PIXELS[0].tolist()}]}, 400, "Each instance of colors"),
        ({"instances": [b64(PIXELS[0])], "signature_name": "other"}, 400, "only 'serving_default'"),
        ({"instances": [b64(PIXELS[0])], "signature_name": ["a"]}, 400, "only 'serving_default'"),
        ({"instances": [b64(PIXELS[0])], "signature_name": {}}, 400, "only 'serving_default'"),
        ([], 400, "must be an object"),
    ],
)
def test_what_is_wrong_in_a_body_is_named(
    http: httpx.Client, body: object, status: int, text: str
) -> None:
    refused(http.post(PREDICT, content=json.dumps(body)), status, text)


def test_a_body_that_is_cut_anywhere_is_refused(http: httpx.Client) -> None:
    body = json.dumps({"instances": [b64(PIXELS[0]), {"image": PIXELS[1].tolist()}]}).encode()
    for end in range(0, len(body), 97):
        answer = http.post(PREDICT, content=body[:end])
        assert answer.status_code == 400, (end, answer.text)
        assert list(answer.json()) == ["error"]


def test_models_versions_and_paths_that_do_not_exist(http: httpx.Client) -> None:
    one = {"instances": [b64(PIXELS[0])]}
    refused(http.post("/v1/models/nothing:predict", json=one), 404, "no model 'nothing'")
    refused(http.post("/v1/models/colors/versions/7:predict", json=one), 404, "no version 7")
    refused(http.get("/v1/models/colors/versions/7/metadata"), 404, "no version 7")
    refused(http.post("/v1/models/colors/versions/01:predict", json=one), 404, "no version 01")
    refused(http.get("/v1/models/colors/versions/0/metadata"), 404, "no version 0")
    digits = "9" * 5000
    refused(http.get(f"/v1/models/colors/versions/{digits}/metadata"), 404, "no version 9")
    refused(http.get("/kserve/v2"), 404, "nothing at /kserve/v2")
    refused(http.get(PREDICT), 405, "takes POST, not GET")


def test_many_numbers_are_answered_whole(http: httpx.Client) -> None:
    answer = http.post("/v1/models/painter:predict", json={"instances": PIXELS.tolist()})
    found = np.array([one["mask"] for one in answer.json()["predictions"]])
    np.testing.assert_array_equal(found, PIXELS.argmax(axis=3))
