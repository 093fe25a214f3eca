import asyncio
import json
from pathlib import Path

import pytest

from service.api.deadline import Deadline
from service.api.responses import image_response, json_response, require_single, while_connected
from service.errors import ClientLeftError, DeadlineError, InvalidParameterError
from service.imaging.overlay import RenderedImage
from service.runtime.model import Model
from service.runtime.repository import Servable
from tests.servables import color_card
from tests.service.api.client import Client
from tests.service.api.clock import Clock

pytestmark = pytest.mark.anyio
MODEL = Model(Servable("colors", 3, Path("model.onnx"), color_card()))


def deadline(seconds: float = 10) -> Deadline:
    clock = Clock()
    return Deadline(seconds, clock(), requested=True, clock=clock)


def test_results_are_json_with_the_model_that_made_them() -> None:
    response = json_response(MODEL, [{"a": 1}])
    assert json.loads(bytes(response.body)) == {
        "model": "colors",
        "version": 3,
        "results": [{"a": 1}],
    }
    assert response.media_type == "application/json"


def test_an_image_depends_on_accept_and_an_array_states_its_shape() -> None:
    response = image_response(RenderedImage(b"png", "image/png"))
    assert (response.body, response.headers["vary"]) == (b"png", "Accept")
    assert "x-shape" not in response.headers
    floats = image_response(RenderedImage(b"x" * 24, "application/octet-stream", (2, 3)))
    assert floats.headers["x-shape"] == "2,3"


def test_several_images_do_not_fit_into_one() -> None:
    require_single([b"one"], "format=overlay")
    with pytest.raises(
        InvalidParameterError, match="format=overlay answers one image per request, not 2"
    ):
        require_single([b"one", b"two"], "format=overlay")


async def test_work_returns_its_result_while_the_client_stays() -> None:
    async def work() -> int:
        return 7

    assert await while_connected(Client().request, work(), deadline()) == 7


async def test_work_is_canceled_when_the_client_leaves() -> None:
    client, canceled = Client(), asyncio.Event()

    async def work() -> None:
        client.leave()
        try:
            await asyncio.Event().wait()
        finally:
            canceled.set()

    with pytest.raises(ClientLeftError):
        await while_connected(client.request, work(), deadline())
    assert canceled.is_set()


async def test_work_is_canceled_at_the_deadline() -> None:
    canceled = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            canceled.set()

    with pytest.raises(DeadlineError, match="not ready within 10 ms"):
        await while_connected(Client().request, work(), deadline(0.01))
    assert canceled.is_set()


async def test_an_error_of_the_work_is_raised() -> None:
    async def work() -> None:
        raise InvalidParameterError("box: none")

    with pytest.raises(InvalidParameterError, match="box: none"):
        await while_connected(Client().request, work(), deadline())
