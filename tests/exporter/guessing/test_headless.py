"""A network of timm without a classifier is taken for an embedder, unless something else is stated."""

from typing import Any

import pytest

from exporter.guessing.guess import guess
from exporter.guessing.headless import with_own_task

HEADLESS = "timm:vit_small_patch14_dinov2"


def test_a_network_without_a_classifier_is_an_embedder() -> None:
    found = with_own_task(guess(HEADLESS, {}))

    assert found.values["task"] == "embed"
    assert found.granted[0].shown == "embed"
    assert "no classifier" in found.granted[0].why
    assert [one.parameter for one in found.granted] == ["task", "name"]


def test_a_classifier_without_classes_becomes_an_embedder() -> None:
    found = with_own_task(guess("timm:resnet10t", {"arg": ["num_classes=0", "global_pool="]}))

    assert found.values["task"] == "embed"


@pytest.mark.parametrize(
    ("word", "stated"),
    [
        (HEADLESS, {"task": "classify"}),
        (HEADLESS, {"labels": "labels.txt"}),
        (HEADLESS, {"arg": ["num_classes=3"]}),
        ("timm:test_vit", {}),
        ("timm:test_vit.no_such_tag", {}),
        ("timm:no_such_network", {}),
        ("torchvision:resnet18", {}),
    ],
)
def test_any_other_network_keeps_its_task(word: str, stated: dict[str, Any]) -> None:
    found = guess(word, stated)

    assert with_own_task(found) is found
