"""The number of labels against that of the classes."""

import pytest

from exporter.checks import check_labels
from exporter.errors import RecipeError
from exporter.network import Facts
from exporter.recipe import Recipe, make_recipe

FACTS = Facts(title="net", origin="here", classes=3)


def recipe(task: str) -> Recipe:
    return make_recipe({"source": "onnx:net.onnx", "task": task, "name": "net"})


def test_a_source_s_classes_need_labels() -> None:
    with pytest.raises(RecipeError, match="none are given, the network has 3 classes"):
        check_labels(recipe("classify"), FACTS)


def test_a_task_without_classes_needs_none_whatever_the_source_counts() -> None:
    assert check_labels(recipe("embed"), FACTS) == ()


@pytest.mark.parametrize("task", ["classify", "embed"])
def test_classes_that_the_outputs_show_need_labels_for_every_task(task: str) -> None:
    with pytest.raises(RecipeError, match="none are given, the network has 2 classes"):
        check_labels(recipe(task), FACTS, needed=2)
