"""The head over time that comes with the project, on clips of things that move, made from what it never saw."""

import httpx
import numpy as np
import pytest

from exporter.training.compositions import read_material
from exporter.training.moving import LABELS, Moving, move
from tests.clips import encode_clip
from tests.images import photograph

EACH = 4


@pytest.fixture(scope="module")
def clips() -> list[Moving]:
    """Return clips of every way, over photographs and of digits that were held out."""
    rng = np.random.default_rng(2024)
    material = read_material()[1]
    return [move(material, rng, way) for _ in range(EACH) for way in range(len(LABELS))]


def recognized(client: httpx.Client, clip: Moving) -> str:
    large = clip.frames.repeat(4, axis=1).repeat(4, axis=2)
    body = encode_clip(large, rate=6, options={"crf": "12"})
    response = client.post("/v1/video?task=temporal&model=motion", content=body)
    assert response.status_code == 200, response.text
    label: str = response.json()["summary"]["predictions"][0]["label"]
    return label


def test_most_ways_are_recognized_from_an_encoded_clip(
    client: httpx.Client, clips: list[Moving]
) -> None:
    right = [recognized(client, clip) == LABELS[clip.way] for clip in clips]
    assert np.mean(right) >= 0.8


def test_seen_backwards_a_thing_goes_the_other_way(
    client: httpx.Client, clips: list[Moving]
) -> None:
    for clip in clips:
        if LABELS[clip.way] == "right" and recognized(client, clip) == "right":
            backwards = Moving(clip.frames[::-1], clip.way)
            assert recognized(client, backwards) == "left"
            return
    pytest.fail("no clip that moves right was recognized")


def test_what_only_serves_a_head_over_time_is_nobodys_default(client: httpx.Client) -> None:
    models = {one["name"]: one for one in client.get("/v1/models").json()["models"]}
    assert models["motion"]["default"]
    assert not models["glance"]["default"]
    image = photograph("chelsea")
    assert client.post("/v1/embed", content=image).json()["model"] == "efficientnet-lite0"
    assert client.post("/v1/embed?model=glance", content=image).status_code == 200
