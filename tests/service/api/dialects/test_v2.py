"""The Open Inference Protocol over a real socket: bytes in, bytes out; the truth is an ONNX Runtime session."""

import base64
import gzip
import json
import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.live import Live, serve
from tests.servables import write_servable
from tests.service.api.dialects.answers import refused

LENGTH = "Inference-Header-Content-Length"
INFER = "/v2/models/colors/infer"
PIXELS = np.random.default_rng(1).integers(0, 256, (3, 8, 8, 3), np.uint8)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_servable(folder)
    write_servable(folder, version=2)
    broken = folder / "broken" / "1" / "model.onnx"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"no network")
    return folder


@pytest.fixture(scope="module")
def live(root: Path) -> Iterator[Live]:
    with serve(models=root, max_images=4, max_body_bytes=100_000) as service:
        yield service


@pytest.fixture(scope="module")
def http(live: Live) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=live.url, headers={"Accept-Encoding": ""}) as client:
        yield client


@pytest.fixture(scope="module")
def truth(root: Path) -> dict[str, NDArray[Any]]:
    session = ort.InferenceSession(root / "colors/2/model.onnx", providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(names, {"image": PIXELS}), strict=True))


def pixels(**changes: object) -> dict[str, Any]:
    """An input of the tiny network as JSON, with changes; None takes a field away."""
    given = {
        "name": "image",
        "shape": [3, 8, 8, 3],
        "datatype": "UINT8",
        "data": PIXELS.ravel().tolist(),
        **changes,
    }
    return {key: value for key, value in given.items() if value is not None}


def binary(top: dict[str, Any], tail: bytes) -> tuple[bytes, dict[str, str]]:
    text = json.dumps(top).encode()
    return text + tail, {LENGTH: str(len(text))}


def tensors(answer: httpx.Response) -> dict[str, NDArray[Any]]:
    """Read an answer by the protocol's text, not by our code."""
    assert answer.status_code == 200, answer.text
    size = int(answer.headers.get(LENGTH, len(answer.content)))
    top, tail = json.loads(answer.content[:size]), answer.content[size:]
    found = {}
    for one in top["outputs"]:
        kind = {"FP32": "<f4", "UINT8": "u1", "INT32": "<i4"}[one["datatype"]]
        if "data" in one:
            flat = np.array(one["data"], kind)
        else:
            count = one["parameters"]["binary_data_size"]
            flat, tail = np.frombuffer(tail[:count], kind), tail[count:]
        found[one["name"]] = flat.reshape(one["shape"])
    assert not tail
    return found


def same(found: dict[str, NDArray[Any]], truth: dict[str, NDArray[Any]], rows: slice) -> None:
    assert set(found) == set(truth)
    for name, wanted in truth.items():
        np.testing.assert_allclose(found[name], wanted[rows], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("data", [PIXELS.tolist(), PIXELS.ravel().tolist()], ids=["nested", "flat"])
def test_json_in_json_out(
    http: httpx.Client, truth: dict[str, NDArray[Any]], data: list[Any]
) -> None:
    answer = http.post(INFER, json={"id": "a", "inputs": [pixels(data=data)]})
    same(tensors(answer), truth, slice(None))
    assert answer.json()["id"] == "a"
    assert answer.json()["model_version"] == "2"
    assert answer.headers["content-type"] == "application/json"
    assert LENGTH not in answer.headers


def test_bytes_in_bytes_out(http: httpx.Client, truth: dict[str, NDArray[Any]]) -> None:
    one = pixels(data=None, parameters={"binary_data_size": PIXELS.nbytes})
    top = {"parameters": {"binary_data_output": True}, "inputs": [one]}
    body, headers = binary(top, PIXELS.tobytes())
    answer = http.post(INFER, content=body, headers=headers)
    same(tensors(answer), truth, slice(None))
    assert answer.headers["content-type"] == "application/octet-stream"


def test_outputs_come_in_the_order_in_which_they_are_wanted_each_in_its_form(
    http: httpx.Client, truth: dict[str, NDArray[Any]]
) -> None:
    outputs = [{"name": "features"}, {"name": "logits", "parameters": {"binary_data": True}}]
    answer = http.post(INFER, json={"inputs": [pixels()], "outputs": outputs})
    found = tensors(answer)
    assert list(found) == ["features", "logits"]
    np.testing.assert_allclose(found["logits"], truth["logits"], rtol=1e-5)


def test_the_raw_form_takes_one_rows_bytes(
    http: httpx.Client, truth: dict[str, NDArray[Any]]
) -> None:
    answer = http.post(INFER, content=PIXELS[0].tobytes(), headers={LENGTH: "0"})
    same(tensors(answer), truth, slice(0, 1))


@pytest.mark.parametrize("form", ["raw", "binary", "base64"])
def test_an_encoded_image_gives_what_v1_gives(http: httpx.Client, form: str) -> None:
    stream = BytesIO()
    Image.fromarray(PIXELS[0]).resize((37, 21)).save(stream, "PNG")
    image = stream.getvalue()
    [wanted] = http.post("/v1/classify?top_k=3", content=image).json()["results"]
    one: dict[str, Any] = {"name": "image", "shape": [1], "datatype": "BYTES"}
    if form == "raw":
        answer = http.post(INFER, content=image, headers={LENGTH: "0"})
    elif form == "binary":
        tail = struct.pack("<I", len(image)) + image
        one["parameters"] = {"binary_data_size": len(tail)}
        body, headers = binary({"inputs": [one]}, tail)
        answer = http.post(INFER, content=body, headers=headers)
    else:
        answer = http.post(
            INFER, json={"inputs": [{**one, "data": [base64.b64encode(image).decode()]}]}
        )
    found = tensors(answer)["probabilities"][0]
    for prediction in wanted["predictions"]:
        assert prediction["probability"] == pytest.approx(found[prediction["class_id"]], abs=1e-5)


def test_classification_names_the_best_with_their_labels(
    http: httpx.Client, truth: dict[str, NDArray[Any]]
) -> None:
    outputs = [{"name": "logits", "parameters": {"classification": 2}}]
    [output] = http.post(INFER, json={"inputs": [pixels()], "outputs": outputs}).json()["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [3, 2])
    labels = ("red", "green", "blue")
    wanted = [
        f"{row[at]:f}:{at}:{labels[at]}" for row in truth["logits"] for at in np.argsort(-row)[:2]
    ]
    assert output["data"] == wanted


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_both_directions_may_be_compressed(
    http: httpx.Client, truth: dict[str, NDArray[Any]], coding: str, pack: Any
) -> None:
    one = pixels(data=None, parameters={"binary_data_size": PIXELS.nbytes})
    top = {"parameters": {"binary_data_output": True}, "inputs": [one]}
    body, headers = binary(top, PIXELS.tobytes())
    headers |= {"Content-Encoding": coding, "Accept-Encoding": coding}
    answer = http.post(INFER, content=pack(body), headers=headers)
    assert answer.headers["content-encoding"] == coding
    same(tensors(answer), truth, slice(None))


def test_a_body_cut_at_any_byte_is_refused_in_the_protocols_form(http: httpx.Client) -> None:
    one = pixels(shape=[1, 8, 8, 3], data=None, parameters={"binary_data_size": 192})
    body, headers = binary({"inputs": [one]}, PIXELS[0].tobytes())
    for end in range(1, len(body)):
        refused(http.post(INFER, content=body[:end], headers=headers), 400, "")
    refused(http.post(INFER, content=body + b"x", headers=headers), 400, "additional input data")


@pytest.mark.parametrize(
    ("top", "status", "text"),
    [
        ({"inputs": [pixels(name="x")]}, 400, "unexpected inference input"),
        ({"inputs": []}, 400, "expected 1 inputs"),
        ({"inputs": [pixels(), pixels()]}, 400, "inputs has 2 entries"),
        ({"inputs": [pixels(datatype="FP32")]}, 400, "data-type"),
        ({"inputs": [pixels(shape=[3, 3, 8, 8])]}, 400, "unexpected shape"),
        ({"inputs": [pixels(shape=[0, 8, 8, 3])]}, 400, "unexpected shape"),
        ({"inputs": [pixels(shape=[-1, 8, 8, 3])]}, 400, "unexpected shape"),
        ({"inputs": [pixels(shape=[2**63, 8, 8, 3])]}, 413, "more than the 4"),
        ({"inputs": [pixels(shape=[5, 8, 8, 3])]}, 413, "more than the 4"),
        ({"inputs": [pixels(shape=[2, 8, 8, 3])]}, 400, "elements"),
        ({"inputs": [pixels(data=[256] * 576)]}, 400, "from 0 to 255"),
        ({"inputs": [pixels(data=[-1] * 576)]}, 400, "from 0 to 255"),
        ({"inputs": [pixels(data=[0.5] * 576)]}, 400, "from 0 to 255"),
        ({"inputs": [pixels(data=["0"] * 576)]}, 400, "list of numbers"),
        ({"inputs": [pixels(data=[[0] * 288] * 2)]}, 400, "nested like the shape"),
        ({"inputs": [pixels(parameters={"x": 1})]}, 400, "no parameter"),
        ({"inputs": [pixels(parameters={"binary_data_size": 576})]}, 400, "either data or"),
        ({"inputs": [pixels()], "parameters": {"headers": "x"}}, 400, "no parameter"),
        ({"inputs": [pixels()], "parameters": {"timeout": -1}}, 400, "timeout"),
        ({"inputs": [pixels()], "parameters": {"priority": True}}, 400, "priority"),
        ({"inputs": [pixels()], "outputs": [{"name": "x"}]}, 400, "inference output"),
        ({"inputs": [pixels()], "outputs": [{"name": "logits"}] * 2}, 400, "inference output"),
        ({"inputs": [pixels()], "id": 7}, 400, "id"),
        ({"inputs": [pixels()], "parameters": {"timeout": 1}}, 503, "Request timeout expired"),
        ([], 400, "must be an object"),
    ],
)
def test_what_is_wrong_is_named(http: httpx.Client, top: Any, status: int, text: str) -> None:
    refused(http.post(INFER, json=top), status, text)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("[5[1,2],[3,4]]", "data"),
        ("[1,,2]", "data"),
        ("[1 2,3]", "data"),
        ("[1,2,3]]", "data"),
        ("[" * 300 + "]" * 300, ""),
        ("[1e999]", ""),
    ],
)
def test_lists_that_are_no_json_are_refused(http: httpx.Client, data: str, text: str) -> None:
    shape = '"shape":[1,8,8,3],"datatype":"UINT8"'
    body = f'{{"inputs":[{{"name":"image",{shape},"data":{data}}}]}}'
    refused(http.post(INFER, content=body), 400, text)


@pytest.mark.parametrize("length", ["-1", "x", "1.0", "99999999999999999999", "٣", ""])
def test_a_length_that_is_none_is_refused(http: httpx.Client, length: str) -> None:
    headers = [(b"inference-header-content-length", length.encode())]
    refused(http.post(INFER, content=b"{}", headers=headers), 400, LENGTH)


@pytest.mark.parametrize("second", ["3", "same"])
def test_two_lengths_are_refused_since_a_proxy_may_read_the_other_one(
    http: httpx.Client, second: str
) -> None:
    one = pixels(shape=[1, 8, 8, 3], data=None, parameters={"binary_data_size": 192})
    body, headers = binary({"inputs": [one]}, PIXELS[0].tobytes())
    length = headers[LENGTH]
    twice = [(LENGTH, length), (LENGTH, length if second == "same" else second)]
    refused(http.post(INFER, content=body, headers=twice), 400, "more than once")


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/v2/nothing", 404, "nothing at"),
        ("GET", "/v2/models/x", 404, "Request for unknown model: 'x' is not found"),
        ("GET", "/v2/models/colors/versions/9", 404, "version 9 is not found"),
        ("GET", "/v2/models/colors/versions/01", 404, "the first of which is not 0"),
        ("POST", "/v2/models/colors/versions/01/infer", 404, "version 01 is not found"),
        ("GET", "/v2/models/colors@x", 404, "'colors@x' is not found. colors has no alias 'x'"),
        ("GET", f"/v2/models/colors/versions/{'9' * 5000}", 404, "is not found"),
        ("GET", INFER, 405, "takes POST"),
        ("POST", "/v2", 405, "takes GET"),
        ("POST", INFER, 400, "no body"),
        ("POST", "/v2/repository/models/colors/load", 401, "FOVEAL_KEYS"),
    ],
)
def test_paths_and_methods_are_refused_in_the_protocols_form(
    http: httpx.Client, method: str, path: str, status: int, text: str
) -> None:
    refused(http.request(method, path), status, text)


def test_a_body_over_the_limit_is_refused(http: httpx.Client) -> None:
    refused(http.post(INFER, content=b" " * 100_001), 413, "larger than")


def test_the_index_lists_what_is_served_and_what_is_not(http: httpx.Client) -> None:
    states = [
        (one["name"], one["version"], one["state"])
        for one in http.post("/v2/repository/index").json()
    ]
    ready = [("colors", "1", "READY"), ("colors", "2", "READY")]
    assert states == [*ready, ("broken", "1", "UNAVAILABLE")]
    only = http.post("/v2/repository/index", json={"ready": True}).json()
    assert [(one["name"], one["version"], one["state"]) for one in only] == ready


def test_statistics_count_requests_runs_and_images(http: httpx.Client, live: Live) -> None:
    path = "/v2/models/colors/versions/2/stats"

    def read() -> dict[str, Any]:
        [found] = http.get(path).json()["model_stats"]
        return dict(found)

    before, images = read(), live.sample("foveal_images_total", model="colors", outcome="answered")
    for _ in range(5):
        assert http.post(INFER, json={"inputs": [pixels()]}).status_code == 200
    after = read()
    assert after["version"] == "2"
    assert after["inference_count"] - before["inference_count"] == 15
    assert live.sample("foveal_images_total", model="colors", outcome="answered") - images == 15
    runs = after["execution_count"] - before["execution_count"]
    assert 5 <= runs <= 15
    assert (
        sum(one["compute_infer"]["count"] for one in after["batch_stats"])
        == after["execution_count"]
    )
    for name, one in after["inference_stats"].items():
        grown = one["count"] - before["inference_stats"][name]["count"]
        assert grown == (0 if name in {"fail", "cache_hit", "cache_miss"} else 5), name
        assert one["ns"] >= before["inference_stats"][name]["ns"]


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/v2/health/live", 200, {"live": True}),
        ("/v2/health/ready", 503, {"ready": False}),  # one file is broken
        ("/v2/models/colors/ready", 200, {"name": "colors", "ready": True}),
    ],
)
def test_health_is_a_status_and_the_body_that_kserves_client_reads(
    http: httpx.Client, path: str, status: int, body: dict[str, object]
) -> None:
    answer = http.get(path)
    assert (answer.status_code, answer.json()) == (status, body)
