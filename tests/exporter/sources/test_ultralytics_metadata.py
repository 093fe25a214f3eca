"""Task and labels are read off the metadata that Ultralytics writes into an ONNX file."""

from typing import Any

import pytest
from onnx import ModelProto, helper

from exporter.errors import RecipeError
from exporter.recipe import Recipe, make_recipe
from exporter.sources.ultralytics_metadata import is_ultralytics, named_classes, refuse_other_tasks


def model(**stated: str) -> ModelProto:
    made = helper.make_model(helper.make_graph([], "net", [], []))
    helper.set_model_props(made, stated)
    return made


def recipe(task: str) -> Recipe:
    return make_recipe({"source": "onnx:net.onnx", "task": task, "name": "net"})


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        ("{0: 'cat', 1: 'dog'}", ("cat", "dog")),
        ("{1: 'dog', 0: 'cat'}", ("cat", "dog")),
        ("{'0': 'cat', '1': 'dog'}", ("cat", "dog")),
        ("{0: 'cat', 2: 'dog'}", None),
        ("['cat', 'dog']", None),
        ("{}", None),
        ("{0: open('secret')}", None),
        ("{0: 'cat'", None),
        ("", None),
    ],
)
def test_labels_are_those_of_ids_from_0(names: str, labels: Any) -> None:
    assert named_classes(model(names=names)) == labels


def test_the_tool_is_known_by_its_name_and_a_task() -> None:
    assert is_ultralytics(model(author="Ultralytics", task="detect"))
    assert not is_ultralytics(model(author="Ultralytics"))
    assert not is_ultralytics(model(author="someone", task="detect"))


@pytest.mark.parametrize("task", ["pose", "obb", "segment"])
def test_a_file_of_a_task_with_more_than_boxes_is_no_detector(task: str) -> None:
    with pytest.raises(RecipeError, match=f"its task is '{task}'"):
        refuse_other_tasks(model(task=task), recipe("detect"))
    refuse_other_tasks(model(task=task), recipe("classify"))
    refuse_other_tasks(model(task="detect"), recipe("detect"))
