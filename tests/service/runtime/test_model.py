import asyncio
from pathlib import Path

import pytest

from service.errors import NotReadyError, ShuttingDownError
from service.metrics import Metrics
from service.runtime.batcher import Batcher
from service.runtime.model import Model
from service.runtime.repository import Servable
from service.runtime.workers import Workers
from tests.servables import color_card

pytestmark = pytest.mark.anyio


def a_model() -> Model:
    return Model(Servable("colors", 3, Path("colors"), color_card()))


def a_batcher() -> Batcher:
    series = Metrics().of_version("colors", 1)
    batcher = Batcher([lambda batch: {"same": batch}], Workers(1), series, largest=1, capacity=1)
    batcher.open()
    return batcher


def test_a_model_is_called_as_its_folders_are() -> None:
    model = a_model()
    assert (model.name, model.version, model.card.task) == ("colors", 3, "classify")
    assert str(model) == "colors version 3"


def test_each_model_is_itself_even_where_two_are_of_one_file() -> None:
    one, other = a_model(), a_model()
    assert len({one, other}) == 2
    assert one != other


def test_a_model_in_a_log_shows_neither_its_queue_nor_a_tensor() -> None:
    shown = repr(a_model())
    assert "state='loading'" in shown
    assert "queue" not in shown
    assert "blank" not in shown


def test_a_new_model_is_loading_and_its_queue_says_so() -> None:
    model = a_model()
    assert model.state == "loading"
    with pytest.raises(NotReadyError, match=r"^colors version 3 is still loading\.$"):
        _ = model.batcher


async def test_a_failed_model_keeps_its_queue_so_that_it_can_prove_itself_again() -> None:
    model, batcher = a_model(), a_batcher()
    model.queue = batcher
    model.mark_failed("did not answer")
    assert (model.state, model.reason) == ("failed", "did not answer")
    assert model.batcher is batcher
    model.mark_ready()
    assert (model.state, model.reason) == ("ready", "")


async def test_a_retired_model_lets_go_of_its_queue_which_accepts_nothing_more() -> None:
    model, batcher = a_model(), a_batcher()
    model.queue = batcher
    model.mark_ready()
    await model.retire()
    assert model.state == "failed"
    with pytest.raises(NotReadyError, match="was removed"):
        _ = model.batcher
    with pytest.raises(ShuttingDownError, match="the model was removed"):
        await batcher.submit([], timeout_seconds=1)


async def test_a_model_without_a_queue_can_be_retired() -> None:
    model = a_model()
    await asyncio.wait_for(model.retire(), 5)
    assert model.reason == "was removed"
