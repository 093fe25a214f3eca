"""DeepStack and CodeProject.AI: the requests are those that their clients send, byte by byte."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.finders import BOXES, plain, write_detector
from tests.live import serve

DETECTION = "/v1/vision/detection"
ORANGE = plain((230, 128, 0))
CUP = {"label": "cup", "x_min": 20, "y_min": 10, "x_max": 60, "y_max": 20}
TABLE = {"label": "dining table", "x_min": 0, "y_min": 20, "x_max": 40, "y_max": 40}
"""The first two of `BOXES` on an image of 80×40."""


def form(image: bytes, fields: Mapping[str, str], name: str = "image") -> dict[str, Any]:
    """Return a form as requests builds it: fields first, and a file whose name is that of its field."""
    boundary = "0695286113aad76fedf38b8f00fb2b5d"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'.encode()
        for key, value in fields.items()
    ]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{name}"\r\n'
    body = b"".join([*parts, head.encode(), b"\r\n", image, f"\r\n--{boundary}--\r\n".encode()])
    return {
        "content": body,
        "headers": {"Content-Type": f"multipart/form-data; boundary={boundary}"},
    }


def places(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["success"] is True
    assert body["count"] == len(body["predictions"])
    return [{k: v for k, v in one.items() if k != "confidence"} for one in body["predictions"]]


def refused(answer: httpx.Response, status: int, text: str) -> None:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert (body["success"], body["code"]) == (False, status)
    assert text in body["error"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"api_key": "", "min_confidence": "0.3"}, [CUP, TABLE]),  # deepstack-python
        ({"min_confidence": "0.6"}, [CUP]),  # codeproject-ai-api
        ({"api_key": "None", "min_confidence": "0.95"}, []),  # deepstack-sdk
        ({"api_key": ""}, [CUP, TABLE]),  # Frigate
    ],
)
@pytest.mark.parametrize("path", [DETECTION, "/v1/vision/custom/finder"])
def test_boxes_come_best_first_in_pixels(
    http: httpx.Client, path: str, fields: dict[str, str], expected: list[dict[str, Any]]
) -> None:
    answer = http.post(path, **form(ORANGE, fields))
    assert places(answer) == expected
    scores = [one["confidence"] for one in answer.json()["predictions"]]
    assert scores == pytest.approx([230 / 255, 128 / 255][: len(scores)], abs=1e-5)


def test_a_scene_is_the_best_class(http: httpx.Client) -> None:
    body = http.post("/v1/vision/scene", **form(ORANGE, {"api_key": ""})).json()
    assert (body["success"], body["label"]) == (True, "red")


def test_the_custom_models_are_those_that_detect(http: httpx.Client) -> None:
    body = http.post("/v1/vision/custom/list").json()
    assert body == {"success": True, "models": ["finder"]}


def test_a_body_that_is_no_form_is_the_image(http: httpx.Client) -> None:
    assert places(http.post(DETECTION, content=ORANGE)) == [CUP, TABLE]


@pytest.mark.parametrize(
    ("sent", "status", "text"),
    [
        (form(b"no image", {}), 400, "no image"),
        (form(ORANGE, {"min_confidence": "half"}), 400, "min_confidence must be a number from 0"),
        (form(ORANGE, {"min_confidence": "nan"}), 400, "min_confidence"),
        (form(ORANGE, {"min_confidence": "40"}), 400, "not '40'"),
        (form(ORANGE, {"min_confidence": "0" * 2000}), 400, "more than 1024 bytes"),
        (
            {"data": {"min_confidence": ["0.1", "0.9"]}, "files": [("image", ORANGE)]},
            400,
            "min_confidence more than once",
        ),
        (form(ORANGE, {str(number): "" for number in range(1001)}), 400, "1000 parts"),
        ({"data": {"min_confidence": "0.4"}, "files": {"a": ("", b"")}}, 400, "no file"),
        ({"files": [("image", ORANGE), ("image", ORANGE)]}, 413, "more than 1 images"),
        ({}, 400, "no body"),
    ],
)
def test_what_is_wrong_is_said_in_the_protocols_form(
    http: httpx.Client, sent: dict[str, Any], status: int, text: str
) -> None:
    refused(http.post(DETECTION, **sent), status, text)


def test_paths_models_and_methods_that_do_not_exist(http: httpx.Client) -> None:
    refused(http.post("/v1/vision/face", **form(ORANGE, {})), 404, "nothing at /v1/vision/face")
    refused(http.post("/v1/vision/custom/nothing", **form(ORANGE, {})), 404, "no model 'nothing'")
    refused(http.post("/v1/vision/custom/colors", **form(ORANGE, {})), 400, "does classify")
    answer = http.get(DETECTION)
    refused(answer, 405, "takes POST, not GET")
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"dining table": "table"}, ["cup", "table"]),
        ({"cup": ""}, ["dining table"]),
        ({"dining table": "table", "*": ""}, ["table"]),
        ({"*": "thing"}, ["thing", "thing"]),
    ],
)
def test_frigate_gets_the_names_that_it_knows_and_no_more_boxes_than_it_holds(
    tmp_path: Path, labels: dict[str, str], expected: list[str]
) -> None:
    across = [(x / 16, y / 4, x / 16 + 1 / 16, y / 4 + 1 / 4) for x in range(16) for y in range(2)]
    write_detector(tmp_path, boxes=BOXES)
    write_detector(tmp_path, "many", boxes=across)
    with (
        serve(models=tmp_path, deepstack_labels=labels, defaults={"detect": "finder"}) as live,
        httpx.Client(base_url=live.url) as client,
    ):
        found = client.post(DETECTION, **form(ORANGE, {"api_key": ""})).json()["predictions"]
        assert [one["label"] for one in found] == expected
        path = "/v1/vision/custom/many"
        unasked = client.post(path, **form(plain((230, 230, 230)), {"api_key": ""})).json()
        asked = client.post(path, **form(plain((230, 230, 230)), {"min_confidence": "0.4"})).json()
        kept = sum(1 for index in range(32) if expected_of(index % 3, labels))
        assert unasked["count"] == min(20, kept)
        assert asked["count"] == kept


def expected_of(class_id: int, labels: Mapping[str, str]) -> str:
    label = ("cup", "dining table", "tv")[class_id]
    if label in labels:
        return labels[label]
    return labels.get("*", label)
