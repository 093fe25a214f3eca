from io import BytesIO

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from tests.images import encode, photograph, plain
from tests.live import problem

FLOATS = {"Accept": "application/octet-stream"}


def vector(client: httpx.Client, image: bytes, query: str = "") -> NDArray[np.float32]:
    response = client.post(f"/v1/embed?{query}", content=image, headers=FLOATS)
    assert response.status_code == 200, response.text
    return np.frombuffer(response.content, "<f4")


def shots(name: str) -> list[bytes]:
    """The same thing from closer, and by another light."""
    image = Image.open(BytesIO(photograph(name)))
    width, height = image.size
    closer = image.crop((width // 8, height // 8, width * 7 // 8, height * 7 // 8))
    darker = ImageEnhance.Brightness(image).enhance(0.6)
    return [photograph(name), encode(closer, "JPEG"), encode(darker, "JPEG")]


def test_shots_of_one_thing_are_closer_than_those_of_two(client: httpx.Client) -> None:
    names = ("chelsea", "coffee", "rocket", "astronaut")
    vectors = {name: [vector(client, shot) for shot in shots(name)] for name in names}
    for name in names:
        first, *others = vectors[name]
        nearest_same = min(float(first @ other) for other in others)
        nearest_else = max(float(first @ vectors[other][0]) for other in names if other != name)
        assert nearest_same > nearest_else


def test_json_and_bytes_tell_the_same(client: httpx.Client) -> None:
    listed = client.post("/v1/embed", content=photograph("chelsea")).json()["results"][0][
        "embedding"
    ]
    raw = vector(client, photograph("chelsea"))
    assert raw == pytest.approx(listed, abs=1e-6)
    assert float(np.linalg.norm(raw)) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    "model", ["efficientnet-lite0", "lenet5", "ssdlite-mobilenet-v2", "u2netp"]
)
def test_every_network_gives_features(client: httpx.Client, model: str) -> None:
    assert len(vector(client, photograph("coffee"), f"model={model}")) > 1


def test_the_vectors_of_several_images_come_end_to_end(client: httpx.Client) -> None:
    files = [("file", photograph("chelsea")), ("file", photograph("coffee"))]
    response = client.post("/v1/embed", files=files, headers=FLOATS)
    rows, columns = map(int, response.headers["x-shape"].split(","))
    vectors = np.frombuffer(response.content, "<f4").reshape(rows, columns)
    assert rows == 2
    assert vectors[1] == pytest.approx(vector(client, photograph("coffee")), abs=1e-5)


def test_bytes_have_no_room_for_a_failure(client: httpx.Client) -> None:
    files = [("file", plain("red")), ("file", b"no image")]
    response = client.post("/v1/embed", files=files, headers=FLOATS)
    assert "Image 1 has no result" in problem(response, 422, "invalid_parameter")
    both = client.post("/v1/embed", files=files).json()["results"]
    assert both[1]["error"]["code"] == "unsupported_image"
