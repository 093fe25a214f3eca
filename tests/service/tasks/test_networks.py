"""Which networks the tasks can use, and why the others are refused."""

from pathlib import Path
from typing import Any

import pytest

from service.card import Window
from service.runtime.repository import Servable
from service.tasks.networks import usable
from service.tasks.tasks import TASKS
from tests.servables import color_card

OVER_TIME = {
    "input": None,
    "backbone": "glance",
    "backbone_sha256": "0" * 64,
    "window": Window(frames=4, stride=2, fps=2),
}


def servable(**changes: Any) -> Servable:
    card = color_card().model_copy(update=changes)
    return Servable("colors", 1, Path("colors/1/model.onnx"), card)


@pytest.mark.parametrize("task", ["classify", "segment", "detect"])
def test_a_network_that_names_classes_needs_labels(task: str) -> None:
    found, (refusal,) = usable([servable(task=task, labels=())], TASKS)
    assert found == ()
    assert refusal.name == "colors"
    assert f"colors/1/model.onnx: a network for {task} needs labels" in refusal.reason


@pytest.mark.parametrize(
    "changes",
    [
        {"task": "classify"},
        {"task": "embed", "labels": ()},
        {"task": "temporal", **OVER_TIME},
    ],
)
def test_a_network_whose_card_fits_its_task_is_used(changes: dict[str, Any]) -> None:
    one = servable(**changes)
    assert usable([one], TASKS) == ((one,), ())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"task": "dream"}, "'dream', and this service knows classify, segment"),
        ({"task": "classify", **OVER_TIME}, "classify reads images, and the card has no input"),
        ({"background_id": 3}, "background_id 3 is none of the 3 classes"),
        ({"task": "temporal"}, "temporal reads features, and the card has an input for images"),
    ],
)
def test_a_network_that_no_task_can_use_is_refused(changes: dict[str, Any], reason: str) -> None:
    found, (refusal,) = usable([servable(**changes), servable()], TASKS)
    assert found == (servable(),)
    assert reason in refusal.reason
