"""Protocols of other programs where models have shares, shadows, sleep and a cache: each answers as alone."""

import base64
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.finders import data_url, painted, plain, png, write_detector, write_segmenter
from tests.live import Live, serve
from tests.servables import write_servable

ORANGE, PAINTED = plain((230, 128, 0)), png(painted())
PREDICT = "/x-anylabeling/v1/predict"
CONFIG = (
    '<View><Image name="i" value="$image"/>'
    '<PolygonLabels name="p" toName="i"><Label value="green"/></PolygonLabels>'
    '<Choices name="c" toName="i"><Choice value="red"/></Choices></View>'
)
PLANS = """
[models.{0}]
weights = {{1 = 50, 2 = 50}}
shadow = 1
"""
CHAIN = """
[[steps]]
name = "find"
task = "detect"
model = "finder"

[[steps]]
name = "read"
task = "classify"
model = "colors"
"""


def write_zoo(root: Path, plans: str) -> Path:
    write_servable(root)
    write_detector(root)
    write_segmenter(root)
    names = ("colors", "finder", "painter")
    for name in names:
        shutil.copytree(root / name / "1", root / name / "2")
    (root / "pair").mkdir()
    (root / "pair" / "chain.toml").write_text(CHAIN)
    (root / "foveal.toml").write_text("".join(plans.format(name) for name in names))
    return root


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Each model has two equal versions, with half of the requests each, and the first one as the second's shadow."""
    models = write_zoo(tmp_path_factory.mktemp("shared"), PLANS)
    with serve(models=models, response_cache_bytes=1 << 20) as service:
        yield service


@pytest.fixture(scope="module")
def http(live: Live) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=live.url, timeout=15) as client:
        yield client


def shown(http: httpx.Client, model: str, image: bytes, **params: object) -> dict[str, Any]:
    """Return what X-AnyLabeling shows."""
    body = {"model": model, "image": data_url(image), "params": params}
    answer = http.post(PREDICT, json=body)
    assert answer.status_code == 200, answer.text
    data: dict[str, Any] = answer.json()["data"]
    return data


def own(http: httpx.Client, query: str, image: bytes) -> dict[str, Any]:
    answer = http.post(f"/v1/{query}", content=image)
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()["results"][0]
    return result


def labeled(http: httpx.Client, model: str, image: bytes) -> dict[str, Any]:
    body = {"tasks": [{"data": {"image": data_url(image)}}], "label_config": CONFIG}
    answer = http.post(f"/label-studio/{model}/predict", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["results"][0]
    return found


def test_no_protocol_gets_what_was_kept_for_another(http: httpx.Client) -> None:
    for _ in range(2):
        assert set(shown(http, "painter", PAINTED, epsilon_factor=0.001)) >= {"shapes"}
        assert (
            "polygons" in own(http, "segment?model=painter&polygons=true", PAINTED)["segments"][0]
        )
        assert labeled(http, "painter", PAINTED)["result"][0]["type"] == "polygonlabels"
        assert shown(http, "colors", ORANGE)["description"] == "red"
        assert "predictions" in own(http, "classify?model=colors&top_k=1", ORANGE)
        assert labeled(http, "colors", ORANGE)["result"][0]["value"] == {"choices": ["red"]}
        query = "detect?model=finder&score_threshold=0.3&iou_threshold=0.5"
        assert len(own(http, query, ORANGE)["detections"]) == 2
        assert len(shown(http, "finder", ORANGE)["shapes"]) == 2


def test_a_kept_outline_is_as_fine_as_it_was_asked_for(http: httpx.Client) -> None:
    points = [
        sum(
            len(one["points"])
            for one in shown(http, "painter", PAINTED, epsilon_factor=share)["shapes"]
        )
        for share in (0.001, 0.9, 0.001)
    ]
    assert points[0] == points[2] > points[1]


def infer(http: httpx.Client, model: str, **tensor: Any) -> None:
    body = {"inputs": [{"name": "image", **tensor}]}
    answer = http.post(f"/v2/models/{model}/infer", json=body)
    assert answer.status_code == 200, answer.text


def sent_as_tensor(http: httpx.Client, model: str, image: bytes) -> None:
    shape = http.get(f"/v2/models/{model}").json()["inputs"][0]["shape"][1:]
    color = np.asarray(Image.open(BytesIO(image)))[0, 0]
    data = color.tolist() * (shape[0] * shape[1])
    infer(http, model, datatype="UINT8", shape=[1, *shape], data=data)


def sent_as_bytes(http: httpx.Client, model: str, image: bytes) -> None:
    text = base64.b64encode(image).decode()
    infer(http, model, datatype="BYTES", shape=[1], data=[text])


def sent_to_kserve(http: httpx.Client, model: str, image: bytes) -> None:
    instance = {"b64": base64.b64encode(image).decode()}
    answer = http.post(f"/v1/models/{model}:predict", json={"instances": [instance]})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("model", ["colors", "finder", "painter"])
def test_shadows_of_other_protocols_are_compared(
    live: Live, http: httpx.Client, model: str
) -> None:
    def counted() -> dict[str, float]:
        return {
            outcome: live.sample("foveal_shadow_images_total", model=model, outcome=outcome)
            for outcome in ("agreed", "differed", "failed", "dropped")
        }

    shades = iter(range(256))
    own_forms = (shown, labeled) if model != "finder" else (shown,)
    for ask in (*own_forms, sent_as_tensor, sent_as_bytes, sent_to_kserve):
        before = after = counted()
        # Only one version has a shadow, which is dropped where the service is busy.
        while after["agreed"] == before["agreed"]:
            ask(http, model, plain((200, next(shades), 7)))
            after = counted()
        assert (after["differed"], after["failed"]) == (before["differed"], before["failed"])


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models",
        "/v1/models/pair",
        "/v2/models/colors",
        "/v2/models/colors/config",
        "/v2/models/colors/ready",
        "/v2/models/colors/stats",
        "/v1/models/colors/metadata",
        "/kserve/v1/models/colors",
        "/x-anylabeling/v1/models",
        "/x-anylabeling/v1/models/colors/info",
        "/label-studio/colors/health",
    ],
)
def test_asking_about_a_model_takes_no_request_of_its_shares(http: httpx.Client, path: str) -> None:
    answered = Counter[int]()
    for _ in range(4):
        assert http.get(path).status_code == 200
        answer = http.post("/v1/classify?model=colors", content=ORANGE)
        answered[answer.json()["version"]] += 1
    assert answered == {1: 2, 2: 2}


def test_each_protocol_splits_its_requests_by_the_shares(live: Live, http: httpx.Client) -> None:
    def of(route: str) -> list[float]:
        return [
            live.sample("foveal_requests_total", route=route, model="colors", version=one)
            for one in "12"
        ]

    paths = {PREDICT: PREDICT, "/label-studio/{model}/predict": "/label-studio/colors/predict"}
    for route, path in paths.items():
        before = of(route)
        for _ in range(4):
            if path == PREDICT:
                shown(http, "colors", ORANGE)
            else:
                labeled(http, "colors", ORANGE)
        assert [now - then for now, then in zip(of(route), before, strict=True)] == [2, 2], route


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """All models but the last one that a request came for are asleep."""
    models = write_zoo(tmp_path_factory.mktemp("small"), "")
    with (
        serve(models=models, models_memory_bytes=1, models_stay_seconds=0) as service,
        httpx.Client(base_url=service.url, timeout=15) as client,
    ):
        yield client


def state(http: httpx.Client, name: str, version: int) -> str:
    models = http.get(f"/v1/models/{name}").json()["models"]
    return str(next(one["state"] for one in models if one["version"] == version))


def be_asleep(http: httpx.Client) -> None:
    """Put every version of `colors` to sleep."""
    own(http, "segment?model=painter", PAINTED)
    assert state(http, "colors", 1) == state(http, "colors", 2) == "asleep"


def test_kserve_v1_wakes_a_model_and_calls_it_available_while_it_is_asleep(
    small: httpx.Client,
) -> None:
    be_asleep(small)
    for path in ("/kserve/v1/models/colors", "/kserve/v1/models/colors/versions/1"):
        answer = small.get(path)
        assert answer.status_code == 200, answer.text
        states = {one["state"] for one in answer.json()["model_version_status"]}
        assert states == {"AVAILABLE"}
    assert small.get("/v1/models/colors/metadata").status_code == 200
    assert small.get("/x-anylabeling/health").json()["models_loaded"] == 6
    body = json.dumps({"instances": [{"b64": base64.b64encode(ORANGE).decode()}]})
    answer = small.post("/v1/models/colors:predict", content=body)
    assert answer.status_code == 200, answer.text
    assert state(small, "colors", 2) == "ready"


def test_the_newest_version_answers_also_where_only_an_older_one_is_in_memory(
    small: httpx.Client,
) -> None:
    be_asleep(small)
    assert small.post("/v1/classify?model=colors:1", content=ORANGE).json()["version"] == 1
    assert state(small, "colors", 2) == "asleep"
    assert small.post("/v1/classify?model=colors", content=ORANGE).json()["version"] == 2
