"""Boxes of a real network on real photographs, against the raw network run by hand."""

from io import BytesIO
from typing import Any

import httpx
import numpy as np
import onnxruntime as ort
import pytest
from PIL import Image

from service.heads.boxes import iou
from tests.images import encode, photograph, plain
from tests.live import MODELS, problem

CAT = (8, 0, 402, 300)
"""The cat in chelsea.png, by eye: head, ears, and what is seen of the body."""
BY_EYE = {"chelsea": ("cat", CAT), "coffee": ("cup", (172, 20, 410, 290))}


def detections(client: httpx.Client, image: bytes, query: str = "") -> list[dict[str, Any]]:
    response = client.post(f"/v1/detect?{query}", content=image)
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["results"][0]["detections"]
    return found


def corners(detection: dict[str, Any]) -> list[float]:
    return [detection["box"][name] for name in ("x_min", "y_min", "x_max", "y_max")]


@pytest.mark.parametrize("name", sorted(BY_EYE))
def test_a_thing_is_found_where_an_eye_sees_it(client: httpx.Client, name: str) -> None:
    label, by_eye = BY_EYE[name]
    best = detections(client, photograph(name))[0]
    assert best["label"] == label
    overlap = iou(np.array([corners(best)], np.float32), np.array([by_eye], np.float32))[0, 0]
    assert overlap >= 0.7


def test_the_person_in_the_astronauts_image_is_found(client: httpx.Client) -> None:
    assert detections(client, photograph("astronaut"))[0]["label"] == "person"


@pytest.mark.parametrize("color", ["white", "black", "gray"])
def test_a_blank_image_holds_nothing(client: httpx.Client, color: str) -> None:
    assert detections(client, plain(color, (320, 240))) == []


def test_the_answer_is_what_the_raw_network_says(client: httpx.Client) -> None:
    image = Image.open(BytesIO(photograph("coffee"))).convert("RGB")
    session = ort.InferenceSession(
        MODELS / "ssdlite-mobilenet-v2" / "1" / "model.onnx", providers=["CPUExecutionProvider"]
    )
    frame = np.asarray(image.resize((300, 300), Image.Resampling.BILINEAR))[None]
    boxes, scores, classes = session.run(["boxes", "scores", "classes"], {"image": frame})
    raw = [
        (int(class_id), float(score), box * [image.width, image.height] * 1)
        for box, score, class_id in zip(
            boxes[0].reshape(-1, 2, 2), scores[0], classes[0], strict=True
        )
    ]
    for found in detections(client, photograph("coffee"), "score_threshold=0.1&nms=none"):
        alike = [
            (score, box.ravel())
            for class_id, score, box in raw
            if class_id == found["class_id"] and abs(score - found["score"]) <= 0.01
        ]
        limit = np.array([image.width, image.height] * 2)
        nearest = min(np.abs(np.clip(box, 0, limit) - corners(found)).max() for _, box in alike)
        assert nearest <= 2


def test_all_eight_orientations_give_the_same_boxes(client: httpx.Client) -> None:
    upright = Image.open(BytesIO(photograph("coffee")))
    expected = detections(client, encode(upright), "score_threshold=0.5")
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    for orientation in range(1, 9):
        stored = (
            upright.transpose(Image.Transpose(undo[orientation])) if orientation > 1 else upright
        )
        exif = Image.Exif()
        exif[0x0112] = orientation
        found = detections(client, encode(stored, exif=exif), "score_threshold=0.5")
        assert [one["label"] for one in found] == [one["label"] for one in expected]
        for one, other in zip(found, expected, strict=True):
            assert corners(one) == pytest.approx(corners(other), abs=1.5)


def test_a_batch_of_mixed_sizes_gives_each_its_own_geometry(client: httpx.Client) -> None:
    cat = Image.open(BytesIO(photograph("chelsea")))
    sizes = [(451, 300), (902, 600), (300, 451), (1353, 900)]
    images = [encode(cat.resize(size), "JPEG", quality=95) for size in sizes]
    response = client.post("/v1/detect", files=[("file", image) for image in images])
    results = response.json()["results"]
    assert [(one["width"], one["height"]) for one in results] == sizes
    for index, image in enumerate(images):
        alone = detections(client, image)
        assert results[index]["detections"][0]["label"] == "cat"
        together = corners(results[index]["detections"][0])
        assert together == pytest.approx(corners(alone[0]), abs=0.5)


def test_classes_are_chosen_by_name(client: httpx.Client) -> None:
    image = photograph("coffee")
    assert {one["label"] for one in detections(client, image, "classes=cup")} == {"cup"}
    assert {one["label"] for one in detections(client, image, "classes=cup,dining table")} == {
        "cup",
        "dining table",
    }
    assert detections(client, image, "classes=cat&classes=dog") == []


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("score_threshold=2", "score_threshold"),
        ("iou_threshold=-1", "iou_threshold"),
        ("max_detections=0", "max_detections"),
        ("max_detections=301", "300"),
        ("nms=hard", "'per_class', 'agnostic', 'none' or 'soft'"),
        ("box_format=yx", "'xyxy', 'xywh' or 'cxcywh'"),
        ("format=gif", "'json' or 'overlay'"),
        ("normalized=perhaps", "normalized"),
        ("classes=kat", "near: cat"),
    ],
)
def test_a_bad_option_is_named_with_its_range(
    client: httpx.Client, query: str, detail: str
) -> None:
    response = client.post(f"/v1/detect?{query}", content=photograph("chelsea"))
    assert detail in problem(response, 422, "invalid_parameter")


@pytest.mark.parametrize(
    ("accept", "query", "form"),
    [
        ("*/*", "format=overlay", "JPEG"),
        ("image/png", "format=overlay", "PNG"),
        ("image/jpeg", "", "JPEG"),
    ],
)
def test_an_overlay_comes_as_the_client_likes_it(
    client: httpx.Client, accept: str, query: str, form: str
) -> None:
    response = client.post(
        f"/v1/detect?{query}", content=photograph("chelsea"), headers={"Accept": accept}
    )
    image = Image.open(BytesIO(response.content))
    assert (image.format, image.size) == (form, (451, 300))
    assert response.headers["content-type"] == f"image/{form.lower()}"


def test_an_overlay_is_of_one_image(client: httpx.Client) -> None:
    files = [("file", plain("red"))] * 2
    response = client.post("/v1/detect?format=overlay", files=files)
    assert "one image per request, not 2" in problem(response, 422, "invalid_parameter")


def test_a_broken_image_is_a_problem_also_where_an_image_was_requested(
    client: httpx.Client,
) -> None:
    response = client.post("/v1/detect?format=overlay", content=b"no image")
    assert problem(response, 415, "unsupported_image")


def test_a_model_of_another_task_is_refused(client: httpx.Client) -> None:
    response = client.post("/v1/detect?model=lenet5", content=plain("red"))
    assert "does classify, not detect" in problem(response, 422, "wrong_task")
