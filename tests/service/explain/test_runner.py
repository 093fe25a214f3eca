from dataclasses import replace

import pytest

from service.errors import BrokenImageError, InvalidParameterError, UnsupportedImageError
from service.explain.request import ExplainRequest
from tests.images import photograph, plain
from tests.service.explain.running import Bench

pytestmark = pytest.mark.anyio


async def test_filters_need_no_image(tiny_models: Bench) -> None:
    result = await tiny_models.explain("tiny-embed", None, view="filters")
    assert result["layer"]["filters"] == 4


@pytest.mark.parametrize("view", ["maps", "cam", "probe"])
async def test_other_views_do(tiny_models: Bench, view: str) -> None:
    with pytest.raises(InvalidParameterError, match=f"view: {view} needs an image"):
        await tiny_models.explain("tiny-classify", None, view=view)


async def test_an_image_that_can_not_be_read_is_the_clients_error(tiny_models: Bench) -> None:
    with pytest.raises(UnsupportedImageError):
        await tiny_models.explain("tiny-classify", b"no image", view="story")
    with pytest.raises(BrokenImageError):
        await tiny_models.explain(
            "tiny-classify", photograph("coffee")[:2000], view="cam", score=False
        )


async def test_a_target_that_is_not_in_the_image_is_the_clients_error(tiny_models: Bench) -> None:
    with pytest.raises(InvalidParameterError, match="finds only background"):
        await tiny_models.explain("tiny-segment", plain("black"), view="occlusion", score=False)


async def test_a_task_without_targets_can_not_be_explained(tiny_models: Bench) -> None:
    engine = tiny_models.engine
    model = engine.registry.find(("embed",), "tiny-embed", None)
    task = replace(engine.task("embed"), target=None)
    request = ExplainRequest("cam", "json", score=False)
    with pytest.raises(InvalidParameterError, match="that of embed can not be explained"):
        await engine.runner.explain(
            model, plain("red"), request, task=task, segmenter=None, timeout_seconds=5
        )


async def test_the_time_of_the_run_is_reported(tiny_models: Bench) -> None:
    engine = tiny_models.engine
    model = engine.registry.find(("classify",), "tiny-classify", None)
    outcome = await engine.runner.explain(
        model,
        plain("red"),
        ExplainRequest("maps", "json"),
        task=engine.task("classify"),
        segmenter=None,
        timeout_seconds=5,
    )
    assert outcome.trace.batch_size == 1
