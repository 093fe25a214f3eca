"""A task is added from outside the package: one value, and every door is open to it."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx
import jsonschema_rs
import pytest
from PIL import Image

from service.tasks.tasks import TASKS
from tests.clips import counting
from tests.images import plain
from tests.live import Live, serve
from tests.servables import color_card, write_servable
from tests.service.tasks.mean_color import MEAN_COLOR

ORANGE = "#ff8000"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    root = tmp_path_factory.mktemp("models")
    card = color_card().model_copy(update={"task": "mean_color", "labels": ()})
    write_servable(root, card=card)
    with serve(models=root, tasks={**TASKS, "mean_color": MEAN_COLOR}) as running:
        yield running


@pytest.fixture
def client(live: Live) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=live.url, timeout=20) as opened:
        yield opened


def test_it_answers_images_on_its_own_path(client: httpx.Client) -> None:
    (result,) = client.post("/v1/mean_color", content=plain(ORANGE)).json()["results"]
    assert result == {"color": [255, 128, 0]}
    response = client.post("/v1/mean_color?scale=unit", content=plain(ORANGE))
    assert response.json()["results"][0]["color"][1] == pytest.approx(0.502, abs=1e-3)


def test_an_option_that_it_does_not_have_is_refused(client: httpx.Client) -> None:
    response = client.post("/v1/mean_color?top_k=2", content=plain(ORANGE))
    assert (response.status_code, response.json()["code"]) == (422, "invalid_parameter")


def test_its_rendering_is_requested_by_name_or_by_media_type(client: httpx.Client) -> None:
    named = client.post("/v1/mean_color?format=swatch", content=plain(ORANGE))
    accepted = client.post("/v1/mean_color", content=plain(ORANGE), headers={"Accept": "image/png"})
    assert named.content == accepted.content
    image = Image.open(BytesIO(named.content))
    assert (image.size, image.getpixel((0, 0))) == ((32, 32), (255, 128, 0))


def test_it_runs_on_videos(client: httpx.Client) -> None:
    body = counting(4, "mp4", "h264")
    answer = client.post("/v1/video?task=mean_color&every_n=1", content=body).json()
    assert [len(frame["color"]) for frame in answer["frames"]] == [3] * 4
    assert len(answer["summary"]["mean"]) == 3


def test_it_is_documented_and_answers_as_documented(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    operation = document["paths"]["/v1/mean_color"]["post"]
    names = {one["name"] for one in operation["parameters"]}
    assert names == {"model", "version", "format", "scale"}
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    answer = client.post("/v1/mean_color", content=plain(ORANGE)).json()
    jsonschema_rs.validate({**schema, "components": document["components"]}, answer)
    with pytest.raises(jsonschema_rs.ValidationError):
        jsonschema_rs.validate({**schema, "components": document["components"]}, {"results": []})


def test_its_models_are_listed_and_are_its_default(client: httpx.Client) -> None:
    (model,) = client.get("/v1/models").json()["models"]
    assert (model["card"]["task"], model["default"], model["state"]) == (
        "mean_color",
        True,
        "ready",
    )


def test_a_network_for_a_task_that_nobody_knows_is_named(tmp_path: Path) -> None:
    card = color_card().model_copy(update={"task": "dream"})
    write_servable(tmp_path, card=card)
    with serve(models=tmp_path) as running:
        reasons = httpx.get(f"{running.url}/health/ready").json()["reasons"]
    assert "the card's task is 'dream', and this service knows classify" in reasons[0]
