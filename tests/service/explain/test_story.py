from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from service.explain.story import drawn_result, predictions_of
from service.tasks.tasks import TASKS
from tests.images import plain
from tests.service.explain.networks import outputs_of, tiny_card
from tests.service.explain.running import Bench
from tests.source_images import source_of

FRAME = np.full((16, 16, 3), (255, 0, 0), np.uint8)
SOURCE = source_of(16, 16)


def test_a_task_that_predicts_classes_ends_with_its_predictions() -> None:
    card = tiny_card("classify")
    predictions = predictions_of(TASKS["classify"], outputs_of(FRAME), SOURCE, card)
    assert [one["label"] for one in predictions] == ["red", "green", "blue"]


@pytest.mark.parametrize("task", ["detect", "segment", "embed"])
def test_other_tasks_have_no_predictions(task: str) -> None:
    assert predictions_of(TASKS[task], {}, SOURCE, tiny_card("embed")) == []


def test_a_task_with_an_overlay_ends_with_it() -> None:
    mask, confidence = np.ones((16, 16), np.uint8), np.full((16, 16), 250, np.uint8)
    outputs = {"mask": mask, "confidence": confidence}
    source = source_of(20, 10, tiny_card("segment").image_input)
    drawn = drawn_result(TASKS["segment"], outputs, source, tiny_card("segment"))
    assert drawn is not None
    assert drawn.size == (20, 10)


def test_a_task_without_an_overlay_ends_with_the_heat() -> None:
    assert drawn_result(TASKS["embed"], {}, SOURCE, tiny_card("embed")) is None


@pytest.mark.anyio
async def test_a_story_holds_the_heat_of_one_run(tiny_models: Bench) -> None:
    image = plain("blue")
    story = await tiny_models.explain("tiny-classify", image, view="story")
    cam = await tiny_models.explain("tiny-classify", image, view="cam", score=False)
    assert (story["method"], story["heat"], story["peak"]) == ("cam", cam["heat"], cam["peak"])
    assert story["filters"] == 4
    assert story["predictions"][0]["label"] == "blue"


@pytest.mark.anyio
async def test_the_sheets_of_all_tasks_end_in_their_own_way(tiny_models: Bench) -> None:
    heights = {}
    for task in ("classify", "detect", "segment", "embed"):
        drawn = await tiny_models.draw(f"tiny-{task}", plain("white"), form="sheet", view="story")
        heights[task] = Image.open(BytesIO(drawn.content)).height
    assert heights["detect"] == heights["segment"] > heights["embed"]
    assert heights["classify"] > heights["embed"]
