"""X-AnyLabeling's remote server: the requests are those that its client builds, and its shapes are what it reads."""

from typing import Any

import httpx
import numpy as np
import pytest

from tests.finders import data_url, painted, plain, png

PREDICT = "/x-anylabeling/v1/predict"
ORANGE = data_url(plain((230, 128, 0)))
SHAPE_KEYS = {
    "label", "shape_type", "points", "score", "attributes", "description", "difficult", "direction", "flags",
    "group_id", "kie_linking",
}  # fmt: skip
"""Of a shape, in the schema of X-AnyLabeling-Server."""


def request(model: str, image: str, **params: object) -> dict[str, Any]:
    """Return a request as the client of version 4.2.1 builds it."""
    usual = {"conf_threshold": 0.3, "iou_threshold": 0.5, "epsilon_factor": 0.001}
    return {"model": model, "image": image, "params": {**usual, **params}}


def data_of(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["success"] is True
    data: dict[str, Any] = body["data"]
    return data


def refused(answer: httpx.Response, status: int, code: str, text: str) -> None:
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert (body["success"], body["error"]["code"]) == (False, code)
    assert text in body["error"]["message"]


def test_the_list_says_what_the_tool_shows_for_each_model(http: httpx.Client) -> None:
    models = data_of(http.get("/x-anylabeling/v1/models", headers={"Token": ""}))
    assert list(models) == ["colors", "finder", "painter"]
    widgets = {name: [one["name"] for one in models[name]["widgets"]] for name in models}
    assert "edit_conf" in widgets["finder"]
    assert "mask_fineness_slider" in widgets["painter"]
    assert all("button_run" in names for names in widgets.values())
    assert models["finder"]["classes"] == ["cup", "dining table", "tv"]
    info = data_of(http.get("/x-anylabeling/v1/models/finder/info"))
    assert info == {"model_id": "finder", **models["finder"]}
    assert http.get("/x-anylabeling/health").json() == {"status": "healthy", "models_loaded": 3}


def test_a_detector_gives_rectangles_of_four_corners(http: httpx.Client) -> None:
    data = data_of(http.post(PREDICT, json=request("finder", ORANGE)))
    assert [one["label"] for one in data["shapes"]] == ["cup", "dining table"]
    cup = data["shapes"][0]
    assert set(cup) == SHAPE_KEYS
    assert (cup["shape_type"], cup["score"]) == ("rectangle", pytest.approx(230 / 255, abs=1e-5))
    assert cup["points"] == [[20, 10], [60, 10], [60, 20], [20, 20]]


@pytest.mark.parametrize(
    ("params", "labels"),
    [
        ({"conf_threshold": 0.6}, ["cup"]),
        ({"conf_threshold": 0}, ["cup", "dining table"]),
        ({"filter_classes": ["dining table"]}, ["dining table"]),
        ({"filter_classes": []}, ["cup", "dining table"]),
        ({"marks": [], "text_prompt": "a cup", "reset_tracker": True}, ["cup", "dining table"]),
    ],
)
def test_the_tools_parameters_choose_what_is_found(
    http: httpx.Client, params: dict[str, object], labels: list[str]
) -> None:
    data = data_of(http.post(PREDICT, json=request("finder", ORANGE, **params)))
    assert [one["label"] for one in data["shapes"]] == labels


def test_a_segmenter_gives_polygons_without_the_background(http: httpx.Client) -> None:
    data = data_of(http.post(PREDICT, json=request("painter", data_url(png(painted())))))
    shapes = {one["label"]: one for one in data["shapes"]}
    assert set(shapes) == {"green", "blue"}
    assert shapes["green"]["shape_type"] == "polygon"
    points = np.array(shapes["green"]["points"])
    np.testing.assert_array_equal(points.min(axis=0), [1, 3])
    np.testing.assert_array_equal(points.max(axis=0), [5, 5])
    only = request("painter", data_url(png(painted())), filter_classes=["blue"])
    assert [one["label"] for one in data_of(http.post(PREDICT, json=only))["shapes"]] == ["blue"]


def test_an_outline_has_no_hole_and_fewer_points_where_it_may_be_coarse(http: httpx.Client) -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[..., 0] = 255
    rows, columns = np.mgrid[:64, :64]
    distance = np.hypot(rows - 32, columns - 32)
    pixels[(distance < 28) & (distance > 10)] = (0, 255, 0)
    counts = []
    for fineness in (0, 0.01):
        given = request("painter", data_url(png(pixels)), epsilon_factor=fineness)
        [shape] = data_of(http.post(PREDICT, json=given))["shapes"]
        points = np.array(shape["points"])
        assert np.ptp(points, axis=0) == pytest.approx([56, 56], abs=10)  # of 8×8 pixels
        counts.append(len(points))
    assert counts[1] < counts[0] / 2


def test_a_classifier_describes_the_image_and_keeps_its_shapes(http: httpx.Client) -> None:
    data = data_of(http.post(PREDICT, json=request("colors", ORANGE)))
    assert data == {"shapes": [], "description": "red", "replace": False}


@pytest.mark.parametrize(
    ("given", "status", "code", "text"),
    [
        (request("nothing", ORANGE), 404, "MODEL_NOT_FOUND", "no model 'nothing'"),
        (request("finder", "!"), 400, "INVALID_IMAGE", "not valid base64"),
        (request("finder", data_url(b"no image")), 400, "INVALID_IMAGE", "no image"),
        (request("finder", ORANGE, conf_threshold=2), 400, "INVALID_PARAMETER", "from 0 to 1"),
        (request("finder", ORANGE, conf_threshold=True), 400, "INVALID_PARAMETER", "from 0 to 1"),
        (request("finder", ORANGE, filter_classes="cup"), 400, "INVALID_PARAMETER", "a list"),
        (request("finder", ORANGE, filter_classes=["no"]), 400, "INVALID_PARAMETER", "no 'no'"),
        (
            request("finder", ORANGE, filter_classes=["x" * 99]),
            400,
            "INVALID_PARAMETER",
            "x…; near",
        ),
        ({"model": "finder"}, 400, "INVALID_PARAMETER", "must be strings"),
        ({"model": "finder", "image": 5}, 400, "INVALID_PARAMETER", "image must be a string"),
        ({"model": "finder", "image": "", "params": []}, 400, "INVALID_PARAMETER", "an object"),
        ([], 400, "MALFORMED_JSON", "must be an object"),
        ({"marks": [0] * 20_000}, 400, "MALFORMED_JSON", "more than 16384 values"),
    ],
)
def test_what_is_wrong_is_refused_with_a_status_so_that_the_tool_shows_it(
    http: httpx.Client, given: object, status: int, code: str, text: str
) -> None:
    refused(http.post(PREDICT, json=given), status, code, text)


def test_paths_and_methods_that_do_not_exist(http: httpx.Client) -> None:
    refused(http.post("/x-anylabeling/v1/video/init"), 404, "NOT_FOUND", "nothing at")
    refused(http.get(PREDICT), 405, "METHOD_NOT_ALLOWED", "takes POST")
    refused(http.get("/x-anylabeling/v1/models/no/info"), 404, "MODEL_NOT_FOUND", "no model 'no'")
