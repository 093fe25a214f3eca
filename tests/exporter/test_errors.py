"""What is wrong with a recipe's field is said by its name and value, without the words of a library."""

from typing import Any

import pytest

from exporter.errors import RecipeError
from exporter.recipe import make_recipe

MINIMAL = {"source": "onnx:net.onnx", "task": "classify", "name": "net"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pixels": {"color": "hsv"}}, "pixels.color: 'hsv' is none of 'rgb', 'bgr' or 'gray'"),
        (
            {"input": {"hight_px": 3}},
            "input.hight_px: there is no such field; docs/recipe.md and foveal-export reference have all of them",
        ),
        ({"input": {"height": "3.5"}}, "input.height: '3.5' is no whole number"),
        ({"input": [1]}, "input: [1] is no table"),
        ({"proof": {"tolerance": 0}}, "proof.tolerance: 0 is not more than 0"),
        ({"proof": {"agreement": 95}}, "proof.agreement: 95 is more than 1"),
        ({"scores": {"top1": "high"}}, "scores.top1: 'high' is no number"),
        ({"pixels": {"mean": [1, 2]}}, "pixels.mean.2: this must be given"),
        ({"pixels": {"mean": [1, 2, 3, 4]}}, "pixels.mean: 4 values are given, at most 3 are allowed"),
        ({"labels": ["cat", 3]}, "labels.1: 3 is no text; write it in quotes"),
        ({"precision": []}, "precision: 0 values are given, at least 1 are needed"),
        ({"multi_label": "perhaps"}, "multi_label: 'perhaps' is neither true nor false"),
        ({"pixels": {"std": [1, 0, 1]}}, "pixels.std: 0 would make all pixels the same, or divide by 0"),
        ({"window": {"frames": 4}}, "window.stride: this must be given"),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named_with_its_value(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as refused:
        make_recipe({**MINIMAL, **changes})
    assert str(refused.value) == message
