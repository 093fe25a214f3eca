"""Masks of real networks on real photographs, against the raw network run by hand and against an eye."""

from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from tests.images import photograph, plain
from tests.live import MODELS, problem

DATA = Path(__file__).parents[1] / "data"
MODEL = "model=u2netp"


def iou(a: NDArray[Any], b: NDArray[Any]) -> float:
    return float(np.logical_and(a, b).sum() / np.logical_or(a, b).sum())


def rendered(client: httpx.Client, name: str, form: str) -> Image.Image:
    response = client.post(f"/v1/segment?{MODEL}&format={form}", content=photograph(name))
    assert response.status_code == 200, response.text
    return Image.open(BytesIO(response.content))


def test_the_cup_is_cut_out_as_a_hand_would(client: httpx.Client) -> None:
    by_hand = np.asarray(Image.open(DATA / "coffee-mask.png")) > 0
    assert iou(np.asarray(rendered(client, "coffee", "mask")), by_hand) >= 0.9


def test_areas_and_mask_tell_the_same(client: httpx.Client) -> None:
    response = client.post(f"/v1/segment?{MODEL}&polygons=true", content=photograph("coffee"))
    (result,) = response.json()["results"]
    (cup,) = result["segments"]
    assert (result["width"], result["height"], cup["label"]) == (600, 400, "object")
    region = coco.decode(cup["rle"]).astype(bool)
    assert np.array_equal(region, np.asarray(rendered(client, "coffee", "mask")) == cup["class_id"])
    assert cup["area"] == region.sum()
    assert cup["fraction"] == pytest.approx(region.mean(), abs=1e-5)
    assert len(cup["polygons"]) >= 1


def test_the_answer_is_what_the_raw_network_says(client: httpx.Client) -> None:
    image = Image.open(BytesIO(photograph("coffee"))).convert("RGB")
    session = ort.InferenceSession(
        MODELS / "u2netp" / "1" / "model.onnx", providers=["CPUExecutionProvider"]
    )
    frame = np.asarray(image.resize((320, 320), Image.Resampling.LANCZOS))[None]
    mask, confidence = session.run(["mask", "confidence"], {"image": frame})
    probability = np.where(mask[0] == 1, confidence[0], 255 - confidence[0]).astype(np.uint8)
    raw = (
        np.asarray(Image.fromarray(probability).resize(image.size, Image.Resampling.BILINEAR)) > 127
    )
    assert iou(np.asarray(rendered(client, "coffee", "mask")), raw) >= 0.98


def test_every_rendering_has_the_images_own_size(client: httpx.Client) -> None:
    modes = {"mask": "P", "overlay": "RGB", "cutout": "RGBA", "confidence": "L"}
    made = {form: rendered(client, "coffee", form) for form in modes}
    assert {form: image.mode for form, image in made.items()} == modes
    assert {image.size for image in made.values()} == {(600, 400)}


def test_accept_alone_chooses_the_mask(client: httpx.Client) -> None:
    headers = {"Accept": "image/png"}
    response = client.post(f"/v1/segment?{MODEL}", content=photograph("coffee"), headers=headers)
    assert Image.open(BytesIO(response.content)).mode == "P"


@pytest.mark.parametrize(
    ("query", "detail"),
    [
        ("format=gif", "'mask'"),
        ("polygons=perhaps", "polygons"),
        ("score_threshold=0.5", "score_threshold"),
    ],
)
def test_a_bad_option_is_named(client: httpx.Client, query: str, detail: str) -> None:
    response = client.post(f"/v1/segment?{query}", content=plain("red"))
    assert detail in problem(response, 422, "invalid_parameter")


@pytest.mark.parametrize(
    "path", sorted((DATA / "compositions").glob("*-mask.png")), ids=lambda path: path.stem
)
def test_a_network_of_many_classes_tells_them_apart(client: httpx.Client, path: Path) -> None:
    composed = path.with_name(path.name.replace("-mask", "")).read_bytes()
    response = client.post("/v1/segment?model=unet-digits&format=mask", content=composed)
    found, true = np.asarray(Image.open(BytesIO(response.content))), np.asarray(Image.open(path))
    assert found.shape == true.shape
    overlaps = [iou(found == class_id, true == class_id) for class_id in np.unique(true)]
    assert np.mean(overlaps) >= 0.7
    listed = client.post("/v1/segment?model=unet-digits", content=composed).json()["results"][0]
    assert {one["class_id"] for one in listed["segments"]} == set(np.unique(found)) - {0}
    assert all(one["label"] == str(one["class_id"] - 1) for one in listed["segments"])
