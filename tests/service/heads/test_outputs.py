"""Outputs that are no numbers are the network's fault and never reach an answer."""

from typing import Any

import numpy as np
import pytest

from service.errors import InferenceError
from service.heads.classify import classify
from service.heads.detect import DetectionOptions, detect
from service.heads.embed import embed
from tests.source_images import source_of

SOURCE = source_of(10, 10)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("output", ["probabilities", "features", "boxes", "scores"])
def test_what_is_not_finite_is_refused(output: str, value: float) -> None:
    with pytest.raises(InferenceError, match=f"The network's {output} are not finite"):
        answer(output, np.float32(value))


@pytest.mark.parametrize("output", ["probabilities", "features", "boxes", "scores"])
def test_finite_numbers_are_answered(output: str) -> None:
    assert answer(output, np.float32(0.5)) is not None


@pytest.mark.parametrize("class_id", [1, 90, 2**31 - 1])
def test_a_box_of_a_class_without_a_label_is_named_by_its_id(class_id: int) -> None:
    result = detect(box_of(class_id), SOURCE, labels=("a",), options=DetectionOptions())
    assert [(found["label"], found["class_id"]) for found in result["detections"]] == [
        (f"class {class_id}", class_id)
    ]


def test_a_negative_class_only_fills_up_the_list() -> None:
    result = detect(box_of(-1), SOURCE, labels=("a",), options=DetectionOptions())
    assert (result["candidates"], result["detections"]) == (0, [])


def box_of(class_id: int) -> dict[str, Any]:
    """Return the outputs of one box with the best score."""
    return {
        "boxes": np.array([[0, 0, 1, 1]], np.float32),
        "scores": np.ones(1, np.float32),
        "classes": np.array([class_id], np.int32),
    }


def answer(output: str, value: np.float32) -> Any:
    if output == "probabilities":
        return classify({output: np.array([0, value])}, SOURCE, labels=("a", "b"), top_k=2)
    if output == "features":
        return embed({output: np.array([1, value])}, SOURCE)
    outputs = {
        "boxes": np.array([[0, 0, value if output == "boxes" else 1, 1]], np.float32),
        "scores": np.array([value if output == "scores" else 1], np.float32),
        "classes": np.zeros(1, np.int32),
    }
    return detect(outputs, SOURCE, labels=("a",), options=DetectionOptions())
